"""Commands: serve, fill, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from app import logs
from app.demo import DemoError, DemoPlan, run_demo
from app.engine.model import Model, load_model
from app.engine.sessions import ProviderError, Runtime, check_provider
from app.files import FileRefusedError, Summary, check_paths, fill_file
from app.keys import make_key
from app.main import create_app, load_bundles
from app.server import serve_app
from app.settings import SettingsError, check_address, read_settings
from export.contract.errors import ContractError
from export.contract.manifest import read_bundle

BAD_INPUT = 2

cli = typer.Typer(
    help="Fill the gaps of gridded and gauged water data, with an uncertainty for every filled value.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@cli.command()
def serve(
    bundles: Annotated[
        Path | None, typer.Option(help="Folder that holds one folder a bundle. [default: bundles]")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. [default: 8000]")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the settings in force and end.")] = False,
) -> None:
    """Start the HTTP server.

    Every setting is also an environment variable HYDROFILL_<NAME>, as --print-config shows; options go first.
    """
    try:
        settings = read_settings(bundles=bundles, host=host, port=port)
        if print_config:
            typer.echo(settings.lines())
            return
        logs.configure(settings)
        check_address(settings)
        app = create_app(settings, loaded=load_bundles(settings))
    except (SettingsError, ProviderError, ContractError) as error:
        raise _refuse(error) from error
    raise typer.Exit(serve_app(app, settings))


@cli.command()
def key(client: Annotated[str, typer.Argument(help="Name of the client that the key is for.")]) -> None:
    """Make an API key: it goes to standard error, once, and its line for HYDROFILL_KEYS_FILE to standard output."""
    made, digest = make_key()
    typer.echo(f"{client}:{digest}")
    typer.echo(made, err=True)


@cli.command()
def fill(
    source: Annotated[Path, typer.Argument(metavar="IN.nc", help="NetCDF file with gaps.")],
    target: Annotated[Path, typer.Argument(metavar="OUT.nc", help="Where the filled file is written; never IN.nc.")],
    bundle: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the bundle that fills.")],
    max_gap: Annotated[
        int | None, typer.Option(min=1, help="Longest gap to fill, in time steps; others stay missing.")
    ] = None,
    variables: Annotated[
        str | None, typer.Option(metavar="A,B", help="Variables to fill. [default: all that suit]")
    ] = None,
) -> None:
    """Fill the gaps of a NetCDF file with the server's engine, without a server.

    Observed values stay bit-identical. Each variable V gets V_std and V_flag: 0 observed, 1 filled, 2 outside,
    3 refused.
    """
    names = [name.strip() for name in variables.split(",")] if variables is not None else []
    try:
        settings = read_settings()
        check_paths(source, target)
        model = _load(bundle, Runtime(settings.provider, settings.graph_threads))
        with _bar() as progress:
            task = progress.add_task(f"fill {source.name}", total=None)
            report = lambda done, total: progress.update(task, completed=done, total=total)  # noqa: E731
            summaries = fill_file(source, target, model, names, max_gap, report)
    except (SettingsError, ProviderError, ContractError, FileRefusedError) as error:
        raise _refuse(error) from error
    Console().print(_table(summaries))
    typer.echo(f"{target} written with {model.manifest.name} {model.manifest.version}")


@cli.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for sample, reply and picture.")] = Path("out"),
    bundles: Annotated[Path, typer.Option(metavar="DIR", help="Folder that holds the bundle.")] = Path("bundles"),
    bundle: Annotated[str, typer.Option(help="Name of the bundle that fills.")] = "lez-daily",
) -> None:
    """Show all of it on a real sample: hide data, start a server, have the gaps filled, draw and score the result."""
    try:
        run_demo(DemoPlan(out, bundles, bundle), typer.echo)
    except DemoError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def _load(folder: Path, runtime: Runtime) -> Model:
    check_provider(runtime)
    return load_model(read_bundle(folder), runtime)


def _bar() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("windows"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _table(summaries: list[Summary]) -> Table:
    table = Table("variable", "observed", "filled", "refused", "outside", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for s in summaries:
        table.add_row(s.name, *(f"{count:,}" for count in (s.observed, s.filled, s.refused, s.outside)))
    return table


def _refuse(error: Exception) -> typer.Exit:
    """One clear line, and the exit code for bad input."""
    typer.echo(f"error: {' '.join(str(error).split())}", err=True)
    return typer.Exit(BAD_INPUT)


if __name__ == "__main__":
    cli(prog_name="python -m app")
