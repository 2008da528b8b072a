"""A trained run as a bundle on disk: whole and checked, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from export.card import model_card
from export.contract.manifest import CARD, DECODER, ENCODER, MANIFEST, Bundle, Manifest, digest, read_bundle
from export.optimise import optimise, optimised
from export.parity import check_parity
from export.to_onnx import OPSET, graph_specs, to_onnx
from model.checkpoint import Run

WEIGHTS_LICENCE = "Apache-2.0"  # of the weights; the training data keep theirs, named in the manifest


def write_bundle(run: Run, folder: Path, version: str) -> Bundle:
    """Export `run` into `folder`, whose name becomes the bundle's; an older bundle there is replaced.

    Raises:
        ParityError: graphs and network disagree; nothing is written.
        ValueError: the name or version is not allowed.
    """
    encoder, decoder = to_onnx(run.network)
    encoder, decoder = optimise(encoder), optimise(decoder)
    parity = check_parity(run.network, encoder, decoder)
    card = model_card(run, folder.name, parity).encode()
    encoder_spec, decoder_spec = graph_specs(run.network)
    files = {ENCODER: encoder, DECODER: decoder, CARD: card}
    manifest = Manifest(
        name=folder.name,
        version=version,
        created=datetime.now(UTC).replace(microsecond=0),
        licence=WEIGHTS_LICENCE,
        training=run.data,
        layout=run.layout,
        encoder=encoder_spec,
        decoder=decoder_spec,
        opset=OPSET,
        optimised=optimised(),
        parity=parity,
        skill=run.skill,
        calibration=run.calibration,
        files={name: digest(content) for name, content in files.items()},
    )
    _replace_folder(folder, {**files, MANIFEST: manifest.to_json().encode()})
    return read_bundle(folder)


def _replace_folder(folder: Path, files: dict[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        fresh.chmod(0o755)
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
