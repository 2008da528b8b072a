"""`python -m export RUN bundles/NAME`: export a trained run as a bundle that fills and serves."""

from __future__ import annotations

import logging
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hydrofill.bundle import BUNDLE_NAME
from hydrofill.cli import refuse
from hydrofill.errors import ContractError
from hydrofill.paths import exit_on_signals


class Precisions(StrEnum):
    """The precisions of the manifest's `Dtype`."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@cli.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run, as `python -m model train` writes it.")],
    bundle: Annotated[
        Path,
        typer.Argument(help="Folder to write, such as bundles/mine; its last part becomes the name of the bundle."),
    ],
    version: Annotated[str, typer.Option(help="Version of the bundle: three numbers.")] = "1.0.0",
    precision: Annotated[
        Precisions, typer.Option(help="Precision of the network: float16 for GPUs, int8 for processors with VNNI.")
    ] = Precisions.float32,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="The training data; float16 and int8 are compared with float32 on the held-out steps."),
    ] = None,
) -> None:
    """Export a trained run as ONNX graphs with a manifest and a model card; the graphs are checked."""
    console = Console(stderr=True)
    if not re.match(BUNDLE_NAME, bundle.name):
        refuse(f"{bundle.name!r} cannot name a bundle: use lower-case letters, digits, '.', '_' and '-'")
    if not re.match(r"^\d+\.\d+\.\d+$", version):
        refuse(f"{version!r} is not a version: expected three numbers such as 1.0.0")
    if precision != Precisions.float32 and not data:
        refuse(f"{precision.value} is judged on held-out steps: give the training data with --data")
    with console.status("loading the network"):
        from export.bundle import write_bundle  # torch takes seconds to load: check the arguments first
        from export.parity import ParityError
        from export.precision_gate import PrecisionError
        from model.data.sources import open_sources
        from model.run_folder import RunError, read_run

        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns about a package that is not used here
    try:
        with console.status("tracing, optimising and checking the graphs: about a minute"):
            opened = open_sources(data) if data and precision != Precisions.float32 else None
            written = write_bundle(read_run(run), bundle, version, precision.value, opened)
    except (RunError, ParityError, PrecisionError, ContractError, OSError) as error:
        refuse(error)
    sizes = sum(f.size for f in written.manifest.files.values()) / 2**20
    worst = written.manifest.parity.max_relative_difference
    print(
        f"{bundle}: {written.manifest.name} {version}, {sizes:.1f} MiB, largest difference from the network {worst:.1e}"
    )


if __name__ == "__main__":
    exit_on_signals()
    cli()
