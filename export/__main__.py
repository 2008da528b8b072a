"""`python -m export RUN bundles/NAME`: a trained run becomes a bundle ready to serve."""

from __future__ import annotations

import logging
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from hydrofill.bundle import BUNDLE_NAME
from hydrofill.errors import ContractError

REFUSED = 2


class Precisions(StrEnum):
    """As the manifest's `Dtype`."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@cli.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder that `python -m model train` left.")],
    bundle: Annotated[
        Path, typer.Argument(help="Folder of the bundle, such as bundles/mine; its last part is the name.")
    ],
    version: Annotated[str, typer.Option(help="Version of the bundle, such as 1.0.0.")] = "1.0.0",
    precision: Annotated[
        Precisions, typer.Option(help="Of the network's blocks: float16 for GPUs, int8 for processors with VNNI.")
    ] = Precisions.float32,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="What was trained on: float16 and int8 are judged on the steps held out from it."),
    ] = None,
) -> None:
    """Turn a trained run into ONNX graphs, a manifest and a model card, checked against the network."""
    console = Console(stderr=True)
    if not re.match(BUNDLE_NAME, bundle.name):
        _refuse(console, f"{bundle.name!r} is no name for a bundle: small letters, digits, '.', '_' and '-'")
    if not re.match(r"^\d+\.\d+\.\d+$", version):
        _refuse(console, f"{version!r} is no version: expected three numbers such as 1.0.0")
    if precision != Precisions.float32 and not data:
        _refuse(console, f"{precision.value} is judged on held-out steps: name what was trained on with --data")
    with console.status("loading the network"):
        from export.bundle import write_bundle  # torch takes seconds to load: after the arguments are known good
        from export.parity import ParityError
        from export.precision_gate import PrecisionError
        from model.data.sources import open_sources
        from model.run_folder import RunError, read_run

        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of a package that nothing here uses
    try:
        with console.status("tracing, optimising and checking the graphs: about a minute"):
            opened = open_sources(data) if data and precision != Precisions.float32 else None
            written = write_bundle(read_run(run), bundle, version, precision.value, opened)
    except (RunError, ParityError, PrecisionError, ContractError, OSError) as error:
        _refuse(console, str(error))
    sizes = sum(f.size for f in written.manifest.files.values()) / 2**20
    worst = written.manifest.parity.max_relative_difference
    print(
        f"{bundle}: {written.manifest.name} {version}, {sizes:.1f} MiB, largest difference from the network {worst:.1e}"
    )


def _refuse(console: Console, reason: str) -> NoReturn:
    console.print(f"export: {reason}", style="red", soft_wrap=True, highlight=False, markup=False)
    raise typer.Exit(REFUSED)


if __name__ == "__main__":
    cli()
