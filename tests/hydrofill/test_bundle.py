"""A bundle is read completely or refused; bundles are found by folder or by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hydrofill.bundle import DEFAULT_BUNDLE, find_bundle, read_bundle, shipped_bundles
from hydrofill.errors import BundleError


def test_a_bundle_of_an_older_schema_is_refused_with_advice(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(find_bundle(), tmp_path / "old"))
    document = json.loads((folder / "manifest.json").read_text())
    del document["optimised"]
    (folder / "manifest.json").write_text(json.dumps({**document, "schema_version": 2}))
    with pytest.raises(BundleError, match=r"another schema_version; export the run again \(got 2; expected 3\)"):
        read_bundle(folder)


def test_the_default_bundle_is_shipped_and_valid() -> None:
    assert find_bundle() == shipped_bundles() / DEFAULT_BUNDLE
    assert read_bundle(find_bundle()).manifest.name == DEFAULT_BUNDLE


def test_a_bundle_is_found_by_its_folder_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_bundle(Path(DEFAULT_BUNDLE)) == shipped_bundles() / DEFAULT_BUNDLE
    (tmp_path / DEFAULT_BUNDLE).mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_bundle(Path(DEFAULT_BUNDLE)) == Path(DEFAULT_BUNDLE)


@pytest.mark.parametrize("name", ["nowhere", "../bundles", "/nowhere/at-all", ""])
def test_an_unknown_bundle_is_refused_and_the_shipped_ones_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=DEFAULT_BUNDLE):
        find_bundle(Path(name) / "x" if not name else Path(name))
