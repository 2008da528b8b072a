"""The command `hydrofill`. Each command imports what it needs when it runs, so that `hydrofill --help` is quick.

`fill` and `inspect` belong to the library. The other commands belong to app/, model/ and export/, which are in the
checkout and in the image but not in the wheel; they are handed their arguments here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from hydrofill.archives.fill import Step
    from hydrofill.archives.summaries import Summary
    from hydrofill.inspection import InspectedVariable

BAD_INPUT = 2
INTERRUPTED = 130  # 128 and the number of SIGINT
SPEED_PERIOD_S = 600.0  # over which the time left is estimated: blocks take seconds, and some take twice as long
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


class Provider(StrEnum):
    """The processor or GPU that runs the graphs."""

    cpu = "cpu"
    cuda = "cuda"


Group = Annotated[
    str, typer.Option(metavar="NAME", help="Group of the file. [default: the root, or the only group with data]")
]


class CodesOption(StrEnum):
    """What is done about the gaps of codes."""

    keep = "keep"
    nearest = "nearest"
    frequent = "frequent"


Missing = Annotated[
    list[str] | None,
    typer.Option(
        "--missing",
        metavar="VALUE",
        help="A value that stands for missing values, such as -9999; NAME=-9999 for one variable; NAME=none if all its "
        "values are real. May be repeated.",
    ),
]

cli = typer.Typer(
    help="Fill the gaps of gridded and gauged water data, with an uncertainty for every filled value.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@cli.command()
def fill(
    source: Annotated[
        str,
        typer.Argument(metavar="IN", help="NetCDF file, pattern of NetCDF files ('rain_*.nc'), Zarr store, or CSV."),
    ],
    target: Annotated[
        str, typer.Argument(metavar="OUT", help="File (OUT.nc, OUT.csv) or store (OUT.zarr) to write; never IN.")
    ],
    bundle: Annotated[
        str | None,
        typer.Option(metavar="BUNDLE", help="Folder or name of the bundle that fills. [default: general]"),
    ] = None,
    max_gap: Annotated[
        str | None,
        typer.Option(metavar="N|TIME", help="Longest gap to fill, in time steps (6) or as a duration (6h, 3D, PT6H)."),
    ] = None,
    max_distance: Annotated[
        str | None,
        typer.Option(metavar="N|LENGTH", help="Longest distance to an observed cell: cells (3), or '20 km'."),
    ] = None,
    interior_only: Annotated[
        bool, typer.Option("--interior-only", help="Fill only between two observed values in time.")
    ] = False,
    where: Annotated[
        str | None, typer.Option(metavar="MASK", help="Fill only where this variable of the file is not zero.")
    ] = None,
    support: Annotated[
        float | None,
        typer.Option(metavar="S", help="Least share of observed cells around a cell that is filled, 0 to 1."),
    ] = None,
    variables: Annotated[
        str | None, typer.Option(metavar="A,B", help="Variables to fill. [default: all that the bundle knows]")
    ] = None,
    missing: Missing = None,
    codes: Annotated[
        CodesOption, typer.Option(help="What is done about the gaps of codes: kept, or filled from the codes around.")
    ] = CodesOption.keep,
    members: Annotated[
        int, typer.Option(min=0, metavar="N", help="Possible fields to draw into V_members. [default: none]")
    ] = 0,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory of all processes, such as 2GiB. [default: no limit]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. [default: one for each core that fits into the memory]")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Dask scheduler (tcp://host:8786), or dask://local for a local cluster."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a fill that was interrupted.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
    group: Group = "",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Fill chunks that cannot be read like gaps. [default: end]")
    ] = False,
    provider: Annotated[
        Provider,
        typer.Option(envvar="HYDROFILL_PROVIDER", help="What runs the network: the processor or an NVIDIA GPU."),
    ] = Provider.cpu,
    threads: Annotated[
        int | None,
        typer.Option(min=1, envvar="HYDROFILL_THREADS", help="Threads of the network in each process."),
    ] = None,
) -> None:
    """Fill the gaps of a file or of an archive of any size.

    Observed values stay bit-identical. Each filled variable V gets V_std (standard deviation, 0 where observed) and
    V_flag (0 observed, 1 filled, 2 outside, 3 refused; options that refuse gaps add 4 too far, 5 not interior, 6 not
    selected, 7 low support). A large archive is filled block by block, and the same blocks
    give the same bits for any number of workers.
    """
    from hydrofill.archives.inputs import check_target, find_input
    from hydrofill.archives.memory import parse_bytes
    from hydrofill.paths import FileRefusedError

    names = names_in(variables)
    try:
        check_target(find_input(source, group), target, overwrite)
        limit = None if memory is None else parse_bytes(memory)
    except (FileRefusedError, ValueError) as error:
        refuse(error)
    from hydrofill.archives.fill import ArchiveOptions, fill_archive
    from hydrofill.bundle import find_bundle, read_bundle
    from hydrofill.errors import ContractError, ProviderError, WorkersLostError
    from hydrofill.filling import FillOptions
    from hydrofill.gaps.control import GapControl

    how = ArchiveOptions(limit, workers, scheduler, resume, overwrite, skip_bad, provider.value, threads, group)
    try:
        control = GapControl.of(max_gap, max_distance, interior_only, where, support)
        options = FillOptions(names, control, missing=tuple(missing or ()), codes=codes.value, members=members)
        known = read_bundle(find_bundle(bundle))
        with _archive_progress(Path(source).name) as show:
            summaries = fill_archive(source, target, known, options, how, show)
    except (ContractError, FileRefusedError, ProviderError, WorkersLostError) as error:
        refuse(error)
    except OSError as error:
        refuse(f"{target}: {error.strerror or error}")
    except KeyboardInterrupt:
        typer.echo("interrupted; --resume goes on where a large archive was", err=True)
        raise typer.Exit(INTERRUPTED) from None
    _print_summaries([s for s in summaries if s.observed], control.flags)
    for empty in (s for s in summaries if not s.observed):
        typer.echo(f"warning: {empty.title} is left out: all its values are missing", err=True)
    _print_absent_steps(source)
    typer.echo(f"{target} written with {known.manifest.name} {known.manifest.version}")


@cli.command()
def inspect(
    source: Annotated[
        str,
        typer.Argument(metavar="IN", help="NetCDF file, pattern of NetCDF files ('rain_*.nc'), Zarr store, or CSV."),
    ],
    bundle: Annotated[
        str | None,
        typer.Option(metavar="BUNDLE", help="Folder or name of the bundle that would fill. [default: general]"),
    ] = None,
    group: Group = "",
    missing: Missing = None,
) -> None:
    """Print what `fill` would read in a file or an archive, and why, without filling anything."""
    from hydrofill.archives.inputs import find_input
    from hydrofill.paths import FileRefusedError

    try:
        given = find_input(source, group)
    except FileRefusedError as error:
        refuse(error)
    from hydrofill.api import inspect as inspect_dataset
    from hydrofill.archives.opening import open_input
    from hydrofill.errors import ContractError

    try:
        with open_input(given) as dataset:
            found = inspect_dataset(dataset, bundle=bundle, missing=missing or ())
    except (ContractError, FileRefusedError, OSError) as error:
        refuse(error)
    _print_absent_steps(source)
    _print_inspection(source, found.bundle, found.axes, found.variables)


class HowOption(StrEnum):
    """What is made of the values of an area and a period."""

    sum = "sum"
    mean = "mean"


@cli.command()
def total(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="File or store to add up, such as one that fill --members wrote.")
    ],
    over: Annotated[
        str | None,
        typer.Option(
            metavar="AREAS",
            help="Areas: polygons (.geojson), or a map of numbers (y, x) or shares (area, y, x). [default: the grid]",
        ),
    ] = None,
    every: Annotated[str, typer.Option(help="day, week, month, season, year, all, or days such as 10d.")] = "month",
    variables: Annotated[
        str | None, typer.Option(metavar="A,B", help="Variables to add up. [default: all fields and gauges]")
    ] = None,
    how: Annotated[
        HowOption | None, typer.Option("--as", help="Sum or mean, whatever the units. [default: by the units]")
    ] = None,
    name_property: Annotated[
        str | None, typer.Option(metavar="KEY", help="Property of the polygons that names them. [default: found]")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all totals: .csv, .json or .nc.")] = None,
    picture: Annotated[Path | None, typer.Option(metavar="PNG", help="Draw the totals of the first variable.")] = None,
    group: Group = "",
) -> None:
    """Print sums and means of a filled file over areas and periods, with their uncertainty from members."""
    from hydrofill.errors import ContractError
    from hydrofill.paths import FileRefusedError
    from hydrofill.totals.command import run

    try:
        chosen = names_in(variables)
        run(source, over, every, chosen, None if how is None else how.value, name_property, out, picture, group)
    except (ContractError, FileRefusedError) as error:
        refuse(error)
    except OSError as error:
        refuse(f"{error.filename or source}: {error.strerror or error}")


def names_in(text: str | None) -> tuple[str, ...]:
    """Return the names in a text such as "a, b"."""
    return tuple(name.strip() for name in text.split(",")) if text is not None else ()


def _pass_on(name: str, package: str, help_text: str) -> None:
    """Add the command `name`, which hands its arguments to the command line of a package outside the library."""

    @cli.command(name, help=help_text, context_settings=PASSED_ON, add_help_option=False)
    def command(context: typer.Context) -> None:
        run_package(package, name, context.args)


_pass_on("serve", "app", "Start the HTTP server.")
_pass_on("demo", "app", "Hide data of a real sample, fill it through a server, draw and score it.")
_pass_on("key", "app", "Make an API key for a client of the server.")
_pass_on("pretrain", "model", "Train a general network on many real and simulated records.")
_pass_on("train", "model", "Train a network of named variables from nothing.")
_pass_on("tune", "model", "Fit the general network to your own gappy data, in a minute.")
_pass_on("evaluate", "model", "Score a bundle or a trained network by kind of gap, next to classical methods.")
_pass_on("export", "export", "Turn a trained network into a bundle that fills and serves.")
_pass_on("data", "model", "Write a real sample as NetCDF.")
_pass_on("simulate", "model", "Simulate a water cycle with all five variables.")
_pass_on("withhold", "model", "Hide observed cells of a file by kinds of gap, to score a fill later.")
_pass_on("score", "model", "Score a filled file on the cells that were hidden.")


def main() -> None:
    """Run the command line."""
    from hydrofill.paths import exit_on_signals

    exit_on_signals()
    cli(prog_name="hydrofill")


def refuse(reason: object) -> NoReturn:
    """Print one clear line and exit with the code for bad input."""
    typer.echo(f"error: {' '.join(str(reason).split())}", err=True)
    raise typer.Exit(BAD_INPUT)


def run_package(package: str, name: str, arguments: list[str]) -> None:
    """Run the command `name` of `python -m package`, in this process."""
    checkout = Path(__file__).parents[1]
    if find_spec(package) is None and (checkout / package / "__main__.py").is_file():
        sys.path.insert(0, str(checkout))
    if find_spec(package) is None:
        refuse(f"'hydrofill {name}' needs the checkout or the image of hydrofill: the wheel holds 'fill' and 'inspect'")
    try:
        commands: typer.Typer = import_module(f"{package}.__main__").cli
    except ModuleNotFoundError as error:
        refuse(f"'hydrofill {name}' needs the package {error.name}, which is not installed here; see CONTRIBUTING.md")
    if package == name:  # a package that is one command
        commands(arguments, prog_name=f"hydrofill {name}")
    else:
        commands([name, *arguments], prog_name="hydrofill")


@contextmanager
def progress_bar(unit: str = "") -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar on standard error, where that is a terminal, and yield a function that moves it.

    The function takes what is being done, and how many `unit` of how many are done. Without a unit, the bar shows per
    cent.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    counts = (MofNCompleteColumn(), TextColumn(unit)) if unit else (TaskProgressColumn(),)
    columns = (BarColumn(), *counts, TimeRemainingColumn())
    text = TextColumn("{task.description}")
    with Progress(text, *columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


@contextmanager
def _archive_progress(name: str) -> Iterator[Callable[[Step], None]]:
    """Show the progress of a fill on standard error, where that is a terminal: parts, cells a second, time left."""
    from time import perf_counter

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"))
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=SPEED_PERIOD_S,
    ) as bar:
        task, doing, started, first = bar.add_task(name, total=None, speed=""), "", perf_counter(), 0

        def show(step: Step) -> None:
            nonlocal doing, started, first
            if step.doing != doing:
                bar.reset(task, description=f"{step.doing} {name}", speed="")
                doing, started, first = step.doing, perf_counter(), step.done - 1
            seconds = max(perf_counter() - started, 1e-9)
            speed = f"{(step.done - first) * step.cells / seconds:,.0f} cells/s" if step.cells else ""
            bar.update(task, completed=step.done, total=step.total, speed=speed)

        yield show


def _print_summaries(summaries: list[Summary], flags: Sequence[int]) -> None:
    from rich.console import Console
    from rich.table import Table

    from hydrofill.archives.summaries import notes_of, shown_summaries
    from hydrofill.reconstruct import FLAG_MEANINGS, USUAL_FLAGS

    further = [FLAG_MEANINGS[flag] for flag in flags if flag not in USUAL_FLAGS]
    shown = ("observed", "filled", "refused", *further, "outside")
    titles = (name.replace("_", " ") for name in shown)
    table = Table("variable", *titles, "longest gap filled", "measured to", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for s in shown_summaries(summaries):
        counts = [f"{count:,}" for count in (getattr(s, name) for name in shown)]
        gaps = ["" if steps is None else f"{steps} steps" for steps in (s.longest_gap, s.longest_measured)]
        table.add_row(s.title, *counts, *gaps)
    console = Console()
    console = console if console.is_terminal else Console(width=220)  # rows stay whole in a file
    console.print(table)
    for name, note in {s.name: s.note for s in summaries if s.note}.items():
        typer.echo(f"{name}: {note}")
    for note in notes_of(summaries):
        typer.echo(f"note: {note}", err=True)


def _print_absent_steps(source: str) -> None:
    """Say which time steps a CSV leaves out; they are not filled."""
    from hydrofill.archives.inputs import find_input
    from hydrofill.archives.opening import open_input
    from hydrofill.cf.csv import absent_steps

    given = find_input(source)
    if given.format != "csv":
        return
    with open_input(given) as dataset:
        if said := absent_steps(dataset):
            typer.echo(f"note: {said}", err=True)


def _print_inspection(
    source: str, bundle: str, axes: Mapping[str, str], variables: tuple[InspectedVariable, ...]
) -> None:
    from rich.console import Console
    from rich.table import Table

    named = ", ".join(f"{name} is {axis}" if name != axis else name for name, axis in axes.items())
    title = f"{source}: axes {named or 'not recognised'}; as the bundle {bundle} would read it"
    table = Table(
        "variable", "dimensions", "units", "missing", "longest gap", "lowest", "highest", "taken as", "why", box=None
    )
    for column in table.columns[3:7]:
        column.justify = "right"
    for v in variables:
        dims = ", ".join(f"{name} {size}" for name, size in v.dims) or "none"
        missing = "" if v.missing is None else f"{100 * v.missing:.1f} %"
        gap = "" if v.longest_gap is None else f"{v.longest_gap} steps"
        low, high = (_shown(value) for value in (v.lowest, v.highest))
        table.add_row(v.name, dims, v.units, missing, gap, low, high, v.taken_as, v.reason)
    console = Console()
    console = console if console.is_terminal else Console(width=220)  # rows stay whole in a file
    console.print(title, highlight=False, soft_wrap=True, markup=False)
    console.print(table)


def _shown(value: float | str | None) -> str:
    return f"{value:.6g}" if isinstance(value, float) else value or ""


if __name__ == "__main__":
    main()
