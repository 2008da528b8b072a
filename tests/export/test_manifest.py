"""A bundle is read whole and checked whole, or refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from export.contract.errors import BundleError
from export.contract.layout import Domain, Layout, VariableSpec
from export.contract.manifest import (
    CARD,
    DECODER,
    ENCODER,
    MANIFEST,
    GraphSpec,
    Manifest,
    Parity,
    TrainingData,
    digest,
    read_bundle,
)

CONTENT = {ENCODER: b"encoder", DECODER: b"decoder", CARD: b"card"}


@pytest.fixture
def bundle(tmp_path: Path, layout: Layout) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    manifest = Manifest(
        name="small",
        version="1.0.0",
        created="2026-11-23T00:00:00Z",
        licence="Apache-2.0",
        training=TrainingData(
            title="t",
            source="s",
            licence="l",
            start="2012-08-01T00:00:00Z",
            end="2012-08-20T00:00:00Z",
            frames=20,
        ),
        layout=layout.model_copy(update={"domain": {"pet": Domain.from_array(np.eye(7, 5, dtype=bool))}}),
        encoder=GraphSpec(inputs=(), outputs=()),
        decoder=GraphSpec(inputs=(), outputs=()),
        opset=20,
        parity=Parity(tolerance=1e-4, max_relative_difference=1e-6, shapes=({"batch": 1},)),
        skill=(),
        files={name: digest(content) for name, content in CONTENT.items()},
    )
    (folder / MANIFEST).write_text(manifest.to_json())
    return folder


def edit(bundle: Path, change: Callable[[dict[str, object]], object]) -> None:
    content = json.loads((bundle / MANIFEST).read_text())
    change(content)
    (bundle / MANIFEST).write_text(json.dumps(content))


def test_a_whole_bundle_is_read(bundle: Path) -> None:
    read = read_bundle(bundle)
    assert read.encoder == b"encoder" and read.decoder == b"decoder"
    assert read.sha256 == digest((bundle / MANIFEST).read_bytes()).sha256
    np.testing.assert_array_equal(read.manifest.layout.domain["pet"].to_array(), np.eye(7, 5, dtype=bool))


@pytest.mark.parametrize("name", [ENCODER, DECODER, CARD])
def test_a_file_altered_missing_or_longer_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(CONTENT[name].upper())
    with pytest.raises(BundleError, match=f"small: {name} is not the file"):
        read_bundle(bundle)
    (bundle / name).write_bytes(CONTENT[name] + b"!")
    with pytest.raises(BundleError, match=f"{name} is larger"):
        read_bundle(bundle)
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name} cannot be read"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(schema_version=2), "schema_version"),
        (lambda m: m.update(surprise=1), "surprise"),
        (lambda m: m.update(name="../up"), "name"),
        (lambda m: m["files"].pop(ENCODER), "no digest of encoder.onnx"),
        (lambda m: m["files"].update({"other.bin": {"sha256": "0" * 64, "size": 1}}), "files"),
        (lambda m: m["layout"]["variables"].clear(), "layout.variables"),
        (lambda m: m["layout"]["domain"]["pet"].update(bits="AAAA"), "not deflated data"),
        (lambda m: m["layout"]["domain"]["pet"].update(rows=70), "holds 5 bytes, expected 44"),
    ],
)
def test_a_manifest_that_is_off_is_refused(
    bundle: Path, change: Callable[[dict[str, object]], object], says: str
) -> None:
    edit(bundle, change)
    with pytest.raises(BundleError, match=says):
        read_bundle(bundle)


def test_no_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        read_bundle(tmp_path)


def test_a_domain_keeps_its_cells() -> None:
    inside = np.random.default_rng(0).random((290, 180)) < 0.3
    np.testing.assert_array_equal(Domain.from_array(inside).to_array(), inside)


@pytest.mark.parametrize(
    ("update", "says"),
    [
        ({"variables": [{"name": "a", "kind": "static_grid", "units": ""}]}, "wrong kind"),
        ({"static": [{"name": "pet", "kind": "static_grid", "units": ""}]}, "named twice"),
    ],
)
def test_a_layout_that_contradicts_itself_is_refused(layout: Layout, update: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Layout.model_validate({**layout.model_dump(), **update})


def test_a_square_root_needs_a_floor_of_zero() -> None:
    with pytest.raises(ValidationError, match="transform sqrt needs lower = 0"):
        VariableSpec(name="sst", kind="grid", units="degC", transform="sqrt")
