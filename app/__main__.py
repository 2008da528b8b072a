"""The server's command line: `python -m app serve`, `key`, `fill` and `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.demo.run import DemoError, DemoPlan, run_demo
from app.keys import make_key
from app.main import create_app, load_bundles
from app.server import serve_app
from app.settings import SettingsError, check_address, read_settings
from app.telemetry import logs
from hydrofill.cli import fill, refuse
from hydrofill.errors import ContractError, ProviderError
from hydrofill.paths import FileRefusedError, exit_on_signals

cli = typer.Typer(
    help="Fill the gaps of gridded and gauged water data, with an uncertainty for every filled value.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@cli.command()
def serve(
    bundles: Annotated[
        Path | None, typer.Option(help="Folder that holds one folder per bundle. [default: bundles]")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. [default: 8000]")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the settings and exit.")] = False,
) -> None:
    """Start the HTTP server.

    Every setting is an environment variable HYDROFILL_<NAME>; --print-config lists them. Options take precedence.
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
        refuse(error)
    raise typer.Exit(serve_app(app, settings))


@cli.command()
def key(client: Annotated[str, typer.Argument(help="Name of the client that the key is for.")]) -> None:
    """Make an API key. Print the key to standard error, and its line for HYDROFILL_KEYS_FILE to standard output."""
    made, digest = make_key()
    typer.echo(f"{client}:{digest}")
    typer.echo(made, err=True)


cli.command()(fill)


@cli.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the sample, the reply and the figure.")] = Path(
        "out"
    ),
    bundles: Annotated[Path, typer.Option(metavar="DIR", help="Folder that holds the bundle.")] = Path("bundles"),
    bundle: Annotated[str, typer.Option(help="Name of the bundle that fills.")] = "lez-daily",
) -> None:
    """Hide data of a real sample, fill the gaps through a server, then draw and score the result."""
    try:
        run_demo(DemoPlan(out, bundles, bundle), typer.echo)
    except (DemoError, FileRefusedError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    exit_on_signals()
    cli(prog_name="python -m app")
