"""A manifest is read whole and of this schema, or refused in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from export.contract.errors import BundleError
from export.contract.manifest import Bundle, read_bundle

BundleAt = tuple[Bundle, Path]


def test_a_bundle_of_an_older_schema_is_refused_and_told_what_to_do(bundle: BundleAt, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle[1], tmp_path / "old"))
    document = json.loads((folder / "manifest.json").read_text())
    del document["optimised"]
    (folder / "manifest.json").write_text(json.dumps({**document, "schema_version": 2}))
    with pytest.raises(BundleError, match=r"another schema_version: export the run again \(got 2; expected 3\)"):
        read_bundle(folder)


def test_the_bundle_says_how_far_its_graphs_are_optimised(bundle: BundleAt) -> None:
    assert bundle[0].manifest.optimised.level == "extended"
