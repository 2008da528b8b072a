"""A bundle is read completely or refused; bundles are found by folder or by name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hydrofill.bundle import DEFAULT_BUNDLE, find_bundle, read_bundle, shipped_bundles
from hydrofill.errors import BundleError
from tests.support.tiny import write_bundle


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


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link_out(path: Path) -> None:
    secret = path.parents[1] / "secret"
    secret.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(secret)


def _link_to_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _huge(path: Path) -> None:
    os.truncate(path, 2**40)  # sparse


@pytest.mark.parametrize("name", ["manifest.json", "encoder.onnx", "MODEL_CARD.md"])
@pytest.mark.parametrize("make", [_fifo, _link_out, _link_to_device, _folder, _huge])
def test_only_regular_files_inside_of_the_folder_are_read(
    make: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    folder = write_bundle(tmp_path)
    make(folder / name)
    with pytest.raises(BundleError, match=name):
        read_bundle(folder)


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)  # as volumes of a cluster are mounted
    (folder / "data").mkdir()
    for path in [path for path in folder.iterdir() if path.is_file()]:
        path.rename(folder / "data" / path.name)
        path.symlink_to(f"data/{path.name}")
    assert read_bundle(folder).manifest.name == "tiny"


def edited(folder: Path, *keys: str | int, value: object) -> None:
    """Replace one value of a manifest."""
    document = json.loads((folder / "manifest.json").read_text())
    part = document
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    (folder / "manifest.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("keys", "value", "word"),
    [
        (("layout", "place", "y_origin"), float("nan"), "y_origin"),
        (("layout", "variables", 0, "upper"), float("inf"), "upper"),
        (("parity", "max_relative_difference"), float("nan"), "max_relative_difference"),
        (("layout", "window", "steps"), 10**12, "the window is too large"),
        (("layout", "patch", "steps"), 10**9, "the patches are too large"),
        (
            ("layout", "domain"),
            {"precipitation": {"rows": 10**6, "columns": 10**6, "bits": "eJw="}},
            "a domain is too large",
        ),
        (("files", "encoder.onnx", "size"), 2**50, r"files\.encoder"),
        (("layout",), [], "layout"),
    ],
)
def test_numbers_that_no_network_has_are_refused(
    keys: tuple[str, ...], value: object, word: str, tmp_path: Path
) -> None:
    folder = write_bundle(tmp_path)
    edited(folder, *keys, value=value)
    with pytest.raises(BundleError, match=word):
        read_bundle(folder)


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"layout":' * 200_000, b"9" * 6_000, b"\xff\xfe", b"", b"null"])
def test_a_manifest_that_is_no_manifest_is_refused(content: bytes, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        read_bundle(folder)
