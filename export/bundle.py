"""Write a trained run as a bundle on disk, checked; the bundle appears whole or not at all."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import xarray as xr

from export.card import model_card
from export.graphs import OPSET
from export.precision_gate import PrecisionError, in_float32, in_lower_precision
from hydrofill.bundle import CARD, DECODER, ENCODER, MANIFEST, WEIGHTS, Bundle, Dtype, Manifest, digest, read_bundle
from hydrofill.errors import BundleError
from hydrofill.paths import resolve_target, written_whole
from model.network.weights import weights_bytes
from model.run_folder import Run

WEIGHTS_LICENCE = "Apache-2.0"  # of the weights; the training data keep theirs, named in the manifest


def write_bundle(
    run: Run, folder: Path, version: str, dtype: Dtype = "float32", data: xr.Dataset | None = None
) -> Bundle:
    """Export `run` into `folder`, whose name becomes the bundle's; an older bundle there is replaced.

    The bundle of a general network also holds the network's weights, from which a tuning starts.

    Args:
        run: the trained run.
        folder: the bundle's folder.
        version: three numbers, such as 1.0.0.
        dtype: precision of the blocks of encoder and decoder.
        data: the training data. A `dtype` other than float32 needs them: it is compared with float32 on the held-out
            steps.

    Raises:
        ParityError: graphs and network disagree; nothing is written.
        PrecisionError: `dtype` costs too much skill or cannot be judged; nothing is written.
        BundleError: `folder` exists and is not a bundle; it is not replaced.
        ValueError: the name or version is not allowed.
    """
    resolve_target(folder, folder=True)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise BundleError("exists and is not a bundle; it is not replaced", where=str(folder))
    if dtype == "float32":
        shipped = in_float32(run)
    elif data is None:
        raise PrecisionError(f"{dtype} is judged on held-out training data: none is given")
    else:
        shipped = in_lower_precision(run, dtype, data)
    card = model_card(run, folder.name, shipped).encode()
    files = {ENCODER: shipped.encoder, DECODER: shipped.decoder, CARD: card}
    if run.layout.general:
        files[WEIGHTS] = weights_bytes(run.network)
    manifest = Manifest(
        name=folder.name,
        version=version,
        created=datetime.now(UTC).replace(microsecond=0),
        licence=WEIGHTS_LICENCE,
        training=run.data,
        layout=run.layout,
        encoder=shipped.specs[0],
        decoder=shipped.specs[1],
        opset=OPSET,
        optimised=shipped.optimised,
        precision=shipped.precision,
        parity=shipped.parity,
        skill=shipped.skill,
        calibration=run.calibration,
        widening=run.tuning.widening if run.tuning else {},
        files={name: digest(content) for name, content in files.items()},
    )
    _replace_folder(folder, {**files, MANIFEST: manifest.to_json().encode()})
    return read_bundle(folder)


def _replace_folder(folder: Path, files: dict[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(folder, folder=True) as fresh:
        fresh.mkdir()
        for name, content in files.items():
            (fresh / name).write_bytes(content)
