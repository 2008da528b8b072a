"""`python -m model COMMAND`: make data, train networks and score fills."""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hydrofill.bundle import BUNDLE_NAME
from hydrofill.cli import Missing, progress_bar, refuse, run_package
from hydrofill.errors import ContractError
from hydrofill.paths import exit_on_signals, written_whole

if TYPE_CHECKING:  # each command loads what it needs when it runs, so that --help is quick
    import xarray as xr

    from hydrofill.cube import WaterCube
    from hydrofill.layout import Layout
    from model.evaluation.hidden_cells import Filler
    from model.run_folder import Tuning


DATA, TRAINING, SCORES = "Data", "Training", "Scores"  # groups of commands
cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
messages = Console(stderr=True)
results = Console(width=max(Console().width, 110))  # rows of tables stay whole in a file


@cli.callback()
def model() -> None:
    """Make data, train networks and score fills."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("pint").setLevel(logging.ERROR)  # cf-xarray redefines units on purpose


@cli.command(rich_help_panel=DATA)
def data(
    name: Annotated[str, typer.Argument(help="Name of the sample: lez or cance.")],
    out: Annotated[Path, typer.Argument(help="NetCDF file to write.")],
) -> None:
    """Write a real sample as CF NetCDF, from the data files in the Python package hydro-smash."""
    from model.datasets.samples import SAMPLES, SampleUnavailableError, build_sample, write_sample

    if name not in SAMPLES:
        refuse(f"no sample is called {name!r}; there are {', '.join(SAMPLES)}")
    try:
        with progress_bar() as advance:
            dataset = build_sample(name, progress=advance)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_sample(dataset, out)
    except (SampleUnavailableError, ContractError, OSError) as error:
        refuse(error)
    results.print(f"{out}: {dataset.attrs['title']}, {_sizes(dataset)}", highlight=False, soft_wrap=True)


@cli.command(rich_help_panel=DATA)
def simulate(
    out: Annotated[Path, typer.Argument(help="NetCDF file (.nc) or Zarr store (.zarr) to write.")],
    preset: Annotated[
        str, typer.Option(help="Size: small (40 x 30 cells, 12 sites) or gb (290 x 180 cells, 671 sites).")
    ] = "small",
    years: Annotated[float | None, typer.Option(help="Length in years. [default: two years]", min=0.003)] = None,
    days: Annotated[int | None, typer.Option(help="Length in days, in place of --years.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Random seed for terrain, weather and gaps.", min=0)] = 0,
    gaps: Annotated[
        bool, typer.Option("--gaps", help="Remove what clouds, satellite swaths and outages would hide.")
    ] = False,
) -> None:
    """Simulate rain, soil moisture, temperature, evaporation and river flow that conserve water."""
    from model.config import ConfigError
    from model.datasets.simulator.config import choose_config
    from model.datasets.simulator.gaps import NO_GAPS, GapConfig
    from model.datasets.simulator.simulation import write_simulation

    try:
        config = choose_config(preset, years, days)
        with progress_bar() as advance:
            ledger = write_simulation(out, config, seed, GapConfig() if gaps else NO_GAPS, advance)
    except (ConfigError, ContractError, OSError) as error:
        refuse(error)
    lost = float(abs(ledger.of_land().residual[0]))
    size = f"{config.days} days x {config.rows} x {config.columns} cells, {config.sites} sites"
    results.print(f"{out}: {size}; water balance of the land closes to {lost:.1e} mm", highlight=False, soft_wrap=True)


@cli.command(rich_help_panel=SCORES)
def withhold(
    source: Annotated[Path, typer.Argument(help="NetCDF file in which cells are hidden.")],
    out: Annotated[Path, typer.Argument(help="NetCDF case to write, with V, V_truth and V_gap for each variable V.")],
    seed: Annotated[int, typer.Option(help="Random seed for the hidden cells.", min=0)] = 0,
) -> None:
    """Hide observed cells of a file by clouds, squares, frames and gauge outages; the case keeps the truth."""
    from hydrofill.cf.on_disk import hdf5_on_disk
    from model.gaps.withhold import withhold as withhold_cells

    try:
        case = withhold_cells(_load(source), seed)
        out.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(out) as partial, hdf5_on_disk(partial) as file:
            case.to_netcdf(file, engine="h5netcdf")
    except (ContractError, OSError) as error:
        refuse(error)
    results.print(f"{out}: {_sizes(case)}, cells withheld with seed {seed}", highlight=False, soft_wrap=True)


@cli.command(rich_help_panel=SCORES)
def score(
    case: Annotated[Path, typer.Argument(help="Case that `withhold` wrote.")],
    filled: Annotated[Path, typer.Argument(help="The same case after filling.")],
) -> None:
    """Score a filled case on its withheld cells, against linear interpolation in time and the mean of each cell."""
    from model.evaluation.metrics.cases import score_case
    from model.evaluation.tables import withheld_table

    try:
        scored = score_case(_load(case), _load(filled))
    except (ContractError, OSError) as error:
        refuse(error)
    results.print(withheld_table(scored))
    for name, changed in scored.observed_changed.items():
        unfilled = sum(row.unfilled for row in scored.rows if row.variable == name)
        results.print(
            f"{name}: {changed} observed values changed, {unfilled} withheld cells left unfilled",
            highlight=False,
            soft_wrap=True,
        )


@cli.command(rich_help_panel=TRAINING)
def train(
    sources: Annotated[list[Path], typer.Argument(help="NetCDF files or a Zarr store, with gaps.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings; settings that it leaves out are the preset's.")
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="Named settings: hydrofill, or a published system (water_fm_small, plan_a, crossmae, crossmae_wfm)."
        ),
    ] = "hydrofill",
    minutes: Annotated[
        float | None, typer.Option(help="Longest training time in minutes. [default: from the settings]", min=0.01)
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            help="Number of processors or GPUs that share every batch. [default: from the settings, 1]", min=1
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed for weights, masks and windows.", min=0)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    missing: Missing = None,
) -> None:
    """Train a network on data with gaps; only observed values are used."""
    from model.config import ConfigError, choose_preset, read_config
    from model.data.sources import open_sources
    from model.evaluation.doubts import doubts_of
    from model.evaluation.tables import chosen, skill_table
    from model.run_folder import CONFIG, RunError, read_layout, read_run
    from model.training.devices import DeviceLostError
    from model.training.train import DivergedError
    from model.training.train import train as train_steps

    try:
        source = out / CONFIG if resume else config
        settings = read_config(source, preset) if source else choose_preset(preset)
        training = settings.training
        training = training.updated(minutes=minutes or training.minutes, devices=devices or training.devices)
        training = training.updated(seed=training.seed if seed is None else seed)
        settings = settings.updated(training=training)
        dataset, trained_steps = open_sources(sources, missing or ()), None
        with _training_bar(settings.training.steps) as show:
            for number, progress in enumerate(train_steps(dataset, out, settings, resume)):
                if number == 0:
                    results.print(chosen(read_layout(out), settings), highlight=False, soft_wrap=True)
                trained_steps = progress.step
                show(progress.share, f"step {progress.step}  loss {progress.loss:.4f}", progress.by_variable)
        skill = read_run(out).skill
    except (ContractError, ConfigError, RunError, DivergedError, DeviceLostError, OSError) as error:
        refuse(error)
    except KeyboardInterrupt:
        refuse(f"training was stopped; continue with --resume --out {out}")
    if skill:
        results.print(skill_table("Held-out blocks of time", skill))
    for doubt in doubts_of(trained_steps, skill):
        messages.print(f"warning: {doubt}", highlight=False, soft_wrap=True, markup=False)
    results.print(f"{out}: trained; next: python -m export {out} bundles/NAME", highlight=False, soft_wrap=True)


@cli.command(rich_help_panel=TRAINING)
def pretrain(
    config: Annotated[Path, typer.Argument(help="YAML file of settings, such as configs/general.yaml.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    minutes: Annotated[
        float | None, typer.Option(help="Longest training time in minutes. [default: from the settings]", min=0.01)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that make records and draw windows. [default: the cores]", min=1)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
) -> None:
    """Train a general network, which fills data that it was not trained on, on many real and simulated records."""
    from hydrofill.cores import usable_cores
    from model.config import ConfigError
    from model.pretraining.config import read_pretraining
    from model.pretraining.pretrain import RECORDS, start_pretraining
    from model.pretraining.pretrain import pretrain as pretrain_steps
    from model.pretraining.record_store import RecordStore
    from model.run_folder import RunError

    try:
        settings = read_pretraining(config)
        if minutes is not None:
            settings = settings.updated(training=settings.training.updated(minutes=minutes))
        if not resume:
            start_pretraining(out, settings)
        with progress_bar("records") as advance:
            RecordStore(out / RECORDS, settings).make(workers or usable_cores(), partial(advance, "measure records"))
        with _training_bar(settings.training.steps) as show:
            known: dict[str, float] = {}
            for progress in pretrain_steps(
                out, settings, resume=resume, workers=max(1, (workers or usable_cores()) - 1)
            ):
                share = progress.step / settings.training.steps
                if progress.check is not None:
                    known = {"RMSE over the stacked guess's on held-out records": progress.check}
                show(share, f"step {progress.step}  loss {progress.loss:.4f}", known)
    except (ContractError, ConfigError, RunError, OSError) as error:
        refuse(error)
    except KeyboardInterrupt:
        refuse(f"training was stopped; continue with --resume --out {out}")
    results.print(f"{out}: trained; next: python -m export {out} bundles/NAME", highlight=False, soft_wrap=True)


@cli.command(rich_help_panel=TRAINING)
def tune(
    sources: Annotated[list[Path], typer.Argument(metavar="DATA...", help="NetCDF files or a Zarr store, with gaps.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write; an older bundle there is replaced.")],
    minutes: Annotated[
        float, typer.Option(help="Processor time in minutes, with the preparation and without the export.", min=0.01)
    ] = 1.0,
    start: Annotated[
        str, typer.Option("--from", metavar="BUNDLE", help="Folder or name of the general bundle to tune.")
    ] = "general",
    seed: Annotated[int, typer.Option(help="Random seed for gaps and windows.", min=0)] = 0,
    steps: Annotated[
        int | None, typer.Option(help="Number of steps, in place of --minutes.", min=1, hidden=True)
    ] = None,
    missing: Missing = None,
) -> None:
    """Fit the general network to one data set, and write the result as a bundle; only observed values are used."""
    import torch

    from hydrofill.bundle import MANIFEST, find_bundle, read_bundle
    from model.config import ConfigError
    from model.data.sources import open_sources
    from model.pretraining.tune import tune as tune_steps
    from model.run_folder import RunError, read_run

    if not re.match(BUNDLE_NAME, out.name):
        refuse(f"{out.name!r} cannot name a bundle: use lower-case letters, digits, '.', '_' and '-'")
    if out.exists() and not (out / MANIFEST).is_file():
        refuse(f"{out}: exists and is not a bundle; it is not replaced")
    torch.set_num_threads(1)  # the weights do not depend on the number of cores
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        try:
            bundle, dataset = read_bundle(find_bundle(start)), open_sources(sources, missing or ())
            with _training_bar() as show:
                for progress in tune_steps(dataset, bundle, folder, minutes=minutes, seed=seed, steps=steps):
                    known = {} if progress.check is None else {"RMSE over the stacked guess's": progress.check}
                    show(progress.share, progress.doing, known)
            results.print(_outcome(read_run(folder).tuning), highlight=False, soft_wrap=True)
        except (ContractError, ConfigError, RunError, OSError) as error:
            refuse(error)
        except KeyboardInterrupt:
            refuse(f"tuning was stopped; {out} was not written")
        run_package("export", "export", [str(folder), str(out)])


@cli.command(rich_help_panel=SCORES)
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run or of a bundle.")],
    source: Annotated[Path, typer.Argument(help="NetCDF file in which cells are hidden and filled.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    seed: Annotated[int, typer.Option(help="Random seed for the hidden cells.", min=0)] = 0,
    baselines: Annotated[
        str, typer.Option(help="Methods to compare with: all, none, or names such as cell_mean,linear_in_time,kriging.")
    ] = "all",
    plots: Annotated[
        Path | None, typer.Option(help="Folder for plots: maps of the error, reliability, spectra.")
    ] = None,
    missing: Missing = None,
) -> None:
    """Score a trained network or a bundle on any data by kind of gap, with classical methods for comparison."""
    from hydrofill.bundle import MANIFEST
    from model.baselines.library import chosen_methods
    from model.baselines.stacked import StackedUnavailableError
    from model.evaluation.comparison import compare, trials
    from model.evaluation.plots import PlotsUnavailableError, draw
    from model.evaluation.tables import comparison_table, measures_table
    from model.run_folder import RunError

    rows = []
    try:
        methods = chosen_methods(baselines)
        read = _read_for_bundle if (run / MANIFEST).is_file() else _read_for_run
        cube, layout, fill = read(run, _load(source, missing or ()))
        with messages.status("filling") as status:
            for trial in trials(cube, layout, fill, seed, methods, progress=status.update):
                rows.append(compare(trial))
                if plots is not None:
                    draw(trial, plots)
    except (ContractError, RunError, StackedUnavailableError, PlotsUnavailableError, OSError) as error:
        refuse(error)
    if as_json:
        print(json.dumps([row.row() for row in rows], indent=1))
        return
    results.print(comparison_table(f"{source}, observed cells hidden by each kind of gap: RMSE", rows))
    results.print(measures_table("Measures of hydrofill", rows))
    if plots is not None:
        results.print(f"{plots}: plots written", highlight=False, soft_wrap=True)


def _read_for_run(folder: Path, dataset: xr.Dataset) -> tuple[WaterCube, Layout, Filler]:
    """Return a dataset as the network of a run reads it, the network's layout, and the network as a filler."""
    from hydrofill.cf.dataset import read_dataset
    from model.evaluation.hidden_cells import network_filler
    from model.network.predictor import TorchPredictor
    from model.run_folder import read_run

    trained = read_run(folder)
    fill = network_filler(trained.layout, TorchPredictor(trained.network), trained.calibration)
    return read_dataset(dataset, trained.layout).cube, trained.layout, fill


def _read_for_bundle(folder: Path, dataset: xr.Dataset) -> tuple[WaterCube, Layout, Filler]:
    """Return a dataset as a bundle reads it, the layout that names its variables, and the bundle as a filler."""
    from hydrofill.api import open_bundle
    from hydrofill.filling import FillOptions, prepare_fill
    from hydrofill.general.layout import compose_layout
    from model.evaluation.comparison import bundle_filler

    bundle = open_bundle(folder)
    reading = prepare_fill(dataset, bundle.layout, FillOptions()).reading
    general = bundle.layout.general
    layout = compose_layout(reading.cube, reading.grid_units) if general else bundle.layout
    return reading.cube, layout, bundle_filler(bundle)


def _load(path: Path, missing: Sequence[str] = ()) -> xr.Dataset:
    """Read a file into memory; `missing` stands for missing values."""
    from model.data.sources import open_sources

    with open_sources([path], missing) as opened:
        return opened.load()


def _outcome(tuning: Tuning | None) -> str:
    """Return in one line what a tuning achieved."""
    assert tuning is not None
    if not tuning.step:
        return "no check on held-out cells was better than the start: the weights are those of the start"
    return (
        f"RMSE over the stacked guess's, on held-out cells: {tuning.before:.3f} before and {tuning.after:.3f} after "
        f"{tuning.step} steps"
    )


@contextmanager
def _training_bar(steps: int | None = None) -> Iterator[Callable[[float, str, Mapping[str, float]], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=messages)
    task = progress.add_task("" if steps is None else f"at most {steps} steps", total=1.0)
    try:

        def show(share: float, text: str, by_variable: Mapping[str, float]) -> None:
            parts = "  ".join(f"{name} {loss:.3f}" for name, loss in by_variable.items())
            progress.start()  # at the first step, so that an error before it is the only line
            progress.update(task, completed=share, description=f"{text}  {parts}")

        yield show
    finally:
        progress.stop()


def _sizes(dataset: xr.Dataset) -> str:
    return " x ".join(f"{size} {name}" for name, size in dataset.sizes.items())


if __name__ == "__main__":
    exit_on_signals()
    cli()
