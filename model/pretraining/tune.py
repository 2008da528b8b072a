"""Tune a general network to one data set: a short training on cells that are hidden in the data itself.

The data's own gaps, moved in time, and drawn gaps hide observed cells (hydrofill/gaps/self_gaps.py). What is left is
measured as the record of a fill. The last part of the data is held out: the network is checked on cells hidden there,
and the weights of the best check are kept. A network is never worse on these cells than the one it started from.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr
from torch import Tensor

from hydrofill.bundle import Bundle, TrainingData
from hydrofill.cf.axes import one_of, recognise
from hydrofill.cube import WaterCube
from hydrofill.errors import BundleError, NothingObservedError
from hydrofill.filling import FillOptions, prepare_fill
from hydrofill.gaps.self_gaps import hide_observed
from hydrofill.general.context import Context
from hydrofill.layout import GENERAL
from model.config import RunConfig, TrainingConfig
from model.data.cubes import LoadedCube
from model.data.windows import Example
from model.network.mae import CrossMAE
from model.network.weights import WeightsError, read_network
from model.pretraining.pretrain import check_network, take_step
from model.pretraining.record_store import PretrainingBatch, sorted_batches, stack_pretraining
from model.pretraining.records import (
    MIN_VALUES,
    MeasuredRecord,
    PretrainingRecord,
    crop_size,
    draw_slices,
    measure_record,
    without_constants,
)
from model.run_folder import Tuning, save_tuning, save_weights, start_run
from model.training.optimiser import start_state
from model.training.train import describe

SETTINGS = TrainingConfig(
    batch_size=8, learning_rate=3e-4, warmup=0.1, weight_decay=0.0, ema_decay=0.98, held_out=0.2, minutes=1.0
)
MAX_READ_VALUES = 50_000_000  # of all variables together, 200 MB: of larger data the last steps are read
RECORD_VALUES = 60_000  # of all variables together in one record, which takes about three seconds to prepare
PREPARATION_SHARE = 0.4  # of the processor time, that making records may take
FIXED_RECORDS = 2  # parts of the data to learn from where the number of steps is fixed
MAX_RECORDS = 16  # parts of the data to learn from
CHECK_RECORDS = 3
CHECK_WINDOWS = 16  # of each record of a check
STEPS_PER_CHECK = 20
MIN_GAIN = 0.002  # by which the best check must be better than the start, so that chance is not taken for skill
MIN_STEPS = 10  # of data whose last steps are held out; of shorter data a part of the grid is held out
TOO_FEW = "too few values are observed to hide any"
MAX_TRIES = 10  # draws of a record in which nothing can be scored, before the data is refused
STREAM = 20_261_125  # of the seeds of this module, other than those of the self-check and of pretraining


@dataclass(frozen=True)
class TuningProgress:
    """Where a tuning is: share of the budget, what is done, and the last check.

    check: geometric mean, over held-out windows, of the network's RMSE over that of the stacked guess; None before the
    first check.
    """

    share: float
    doing: str
    check: float | None


def tune(
    dataset: xr.Dataset,
    start: Bundle,
    folder: Path,
    *,
    minutes: float = SETTINGS.minutes,
    seed: int = 0,
    steps: int | None = None,
    clock: Callable[[], float] = time.process_time,
) -> Iterator[TuningProgress]:
    """Tune the network of a general bundle to `dataset`, and write the run into `folder`; yield the progress.

    Args:
        dataset: the data, with gaps.
        start: the bundle whose weights the training starts from.
        folder: of the run.
        minutes: processor time in all, preparation included.
        seed: of gaps, parts and windows.
        steps: number of steps, whatever time they take: the same data, seed and number of steps give the same weights.
            None for as many steps as `minutes` allow.
        clock: gives the seconds that the budget counts.

    Raises:
        ContractError: the data cannot be used, or too few values are observed to hide any.
        BundleError: the bundle is not a general one, or holds no weights.
        RunError: the folder already holds a run.
    """
    budget = Budget(minutes, steps, clock, clock())
    settings = SETTINGS.updated(minutes=minutes, seed=seed, steps=steps or SETTINGS.steps)
    network = read_start(start)
    cube = read_data(dataset)
    start_run(folder, RunConfig(network=network.config, training=settings), GENERAL, _describe(dataset, cube, start))
    held_out = HeldOut.of(cube.shape, settings.held_out)
    yield TuningProgress(budget.used(0), "hide cells to check on", None)
    checks = _check_batches(cube, held_out, seed)
    records, number = _draw_seen(cube, held_out, (STREAM, seed, 1)), 1
    while budget.has_room(number):
        yield TuningProgress(budget.used(0), f"hide cells to learn from, {number}", None)
        records += _draw_seen(cube, held_out, (STREAM, seed, 1, number))
        number += 1
    before = check_network(network, checks)
    best = yield from _train(network, settings, records, checks, budget, Best(before, 0, _copied(network)))
    network.load_state_dict(best.weights)
    save_weights(folder, network)
    used = Tuning(
        name=start.manifest.name,
        version=start.manifest.version,
        sha256=start.sha256,
        minutes=(clock() - budget.started) / 60,
        step=best.step,
        before=_known(before),
        after=_known(best.check),
    )
    save_tuning(folder, used)


def read_start(start: Bundle) -> CrossMAE:
    """Return the network of a general bundle.

    Raises:
        BundleError: the bundle is not a general one, holds no weights, or its weights are damaged.
    """
    name = start.manifest.name
    if not start.manifest.layout.general:
        raise BundleError("is trained for certain variables; tuning starts from a general bundle", where=name)
    if start.weights is None:
        raise BundleError("holds no weights to tune; export its run again", where=name)
    try:
        return read_network(start.weights)
    except WeightsError as error:
        raise BundleError(str(error), where=name) from error


def read_data(dataset: xr.Dataset) -> WaterCube:
    """Return the data as a cube without variables that do not vary; of large data the last steps.

    Raises:
        ContractError: the data cannot be used, or too few values are observed to hide any.
    """
    time_axis = one_of(recognise(dataset).values(), "time")
    values = sum(variable.size for variable in dataset.data_vars.values())
    if time_axis is not None and values > MAX_READ_VALUES:
        n_time = dataset.sizes[time_axis.name]
        steps = max(1, n_time * MAX_READ_VALUES // values)
        dataset = dataset.isel({time_axis.name: slice(n_time - steps, None)})
    read = prepare_fill(dataset, GENERAL, FillOptions()).reading.cube
    cube = without_constants(read)
    if not cube.of_kind("grid", "series"):
        raise NothingObservedError(
            TOO_FEW, got=sorted(read.variables), expected=f"{MIN_VALUES} values of a variable that vary"
        )
    return cube


@dataclass(frozen=True)
class HeldOut:
    """The part of the data that is held out: all from index `cut` on along an axis of (T, H, W)."""

    axis: int
    cut: int

    @classmethod
    def of(cls, shape: tuple[int, int, int], share: float) -> HeldOut:
        """Return the last `share` of the steps, or of the longer axis of the grid where there are few steps.

        Raises:
            NothingObservedError: there is a single step of a single cell, or of gauges.
        """
        axis = 0 if shape[0] >= MIN_STEPS or max(shape[1:]) <= shape[0] else 1 + int(np.argmax(shape[1:]))
        if shape[axis] < 2:
            raise NothingObservedError(TOO_FEW, got="a single step", expected="two steps at least")
        return cls(axis, shape[axis] - max(1, round(share * shape[axis])))

    def seen_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the shape (T, H, W) of what is not held out."""
        steps, rows, columns = (self.cut if axis == self.axis else n for axis, n in enumerate(shape))
        return steps, rows, columns

    def cells(self, part: WaterCube, start: int) -> dict[str, np.ndarray]:
        """Return the held-out cells of a part that begins at index `start` of the axis, bool by variable."""
        first = max(self.cut - start, 0)
        slices = [slice(first if axis == self.axis else 0, n) for axis, n in enumerate(part.shape)]
        near = part.sites_in(slices[1], slices[2])
        cells: dict[str, np.ndarray] = {}
        for name, variable in part.of_kind("grid", "series").items():
            cells[name] = np.zeros(variable.values.shape, bool)
            cells[name][tuple(slices) if variable.kind == "grid" else (slices[0], near)] = True
        return cells


@dataclass(frozen=True)
class Budget:
    """How long a tuning lasts: a number of steps, or else minutes of processor time from `started` on."""

    minutes: float
    steps: int | None
    clock: Callable[[], float]
    started: float

    def used(self, step: int) -> float:
        """Return the share of the budget that is used after so many steps."""
        return step / self.steps if self.steps else (self.clock() - self.started) / (60 * self.minutes)

    def has_room(self, number: int) -> bool:
        """Return whether one more part of the data is prepared after so many."""
        if self.steps:
            return number < FIXED_RECORDS
        return number < MAX_RECORDS and self.used(0) < PREPARATION_SHARE


@dataclass(frozen=True)
class Best:
    """The best check so far, its step, 0 for the start, and the weights."""

    check: float
    step: int
    weights: dict[str, Tensor]

    def or_better(self, check: float, step: int, network: CrossMAE) -> Best:
        """Return the check of `network` if it is better; the first must be better than the start by MIN_GAIN."""
        bound = self.check if self.step else self.check * (1 - MIN_GAIN)
        return Best(check, step, _copied(network)) if check < bound else self


def _train(
    network: CrossMAE,
    settings: TrainingConfig,
    records: list[PretrainingRecord],
    checks: list[PretrainingBatch],
    budget: Budget,
    best: Best,
) -> Generator[TuningProgress, None, Best]:
    """Train until the budget is used, and return the best check; yield the progress after every step."""
    rng = np.random.default_rng((STREAM, settings.seed, 2))
    batches = sorted_batches(rng, _windows(rng, records), settings.batch_size)
    state, first = start_state(network, settings), budget.used(0)
    check: float | None = best.check
    while (used := budget.used(state.step)) < 1:
        loss = take_step(state, next(batches), settings, (used - first) / (1 - first))
        state.step += 1
        if state.step % STEPS_PER_CHECK == 0 or budget.used(state.step) >= 1:
            check = check_network(state.averaged, checks)
            best = best.or_better(check, state.step, state.averaged)
        yield TuningProgress(used, f"step {state.step}  loss {loss:.4f}", check)
    return best


def _windows(rng: np.random.Generator, records: list[PretrainingRecord]) -> Iterator[tuple[Example, Context]]:
    """Yield windows of records drawn at random, without end."""
    while True:
        example = records[int(rng.integers(len(records)))].example(rng)
        if example is not None:
            yield example


def _draw_seen(cube: WaterCube, held_out: HeldOut, seed: tuple[int, ...]) -> list[PretrainingRecord]:
    """Draw a part of what is not held out with cells hidden, and return the records that can be learnt from.

    The hidden cells of the part's self-check are records too: their guesses are made already.

    Raises:
        NothingObservedError: no draw has a value to hide and another to see.
    """
    rng, shape = np.random.default_rng(seed), held_out.seen_shape(cube.shape)
    for number in range(MAX_TRIES):
        part = cube.window(*draw_slices(rng, shape, crop_size(rng, cube, shape, RECORD_VALUES)))
        measured = _measure(rng, part, number + seed[-1], None)
        found = [] if measured is None else [measured.record, *_records_of_self_check(measured)]
        usable = [record for record in found if record.example(rng) is not None]
        if usable:
            return usable
    raise NothingObservedError(TOO_FEW, got=sorted(cube.variables))


def _check_batches(cube: WaterCube, held_out: HeldOut, seed: int) -> list[PretrainingBatch]:
    """Return windows with hidden cells in what is held out; all else is seen.

    Raises:
        NothingObservedError: no draw has a value to hide and another to see.
    """
    rng, batches = np.random.default_rng((STREAM, seed, 0)), []
    axis, length = held_out.axis, cube.shape[held_out.axis]
    for number in range(MAX_TRIES * CHECK_RECORDS):
        size = crop_size(rng, cube, cube.shape, RECORD_VALUES)
        slices = list(draw_slices(rng, cube.shape, size))
        last = length - size[axis]
        start = last if last <= held_out.cut else int(rng.integers(held_out.cut, last + 1))
        slices[axis] = slice(start, start + size[axis])
        part = cube.window(*slices)
        measured = _measure(rng, part, number, held_out.cells(part, start))
        if measured is not None:
            drawn = [e for _ in range(CHECK_WINDOWS) if (e := measured.record.example(rng)) is not None]
            batches += [stack_pretraining(drawn)] if drawn else []
        if len(batches) == CHECK_RECORDS:
            break
    if not batches:
        raise NothingObservedError(TOO_FEW, got=sorted(cube.variables))
    return batches


def _measure(
    rng: np.random.Generator, part: WaterCube, number: int, only: dict[str, np.ndarray] | None
) -> MeasuredRecord | None:
    """Hide observed cells of a part, of `only` these cells if given, and measure what is left."""
    part = without_constants(part)
    shift = int(rng.integers(1, max(len(part.time), 2)))
    hidden = {
        name: hide_observed(rng, variable.valid, shift, number) > 0
        for name, variable in part.of_kind("grid", "series").items()
    }
    if only is not None:
        hidden = {name: cells & only[name] for name, cells in hidden.items()}
    return measure_record(part, hidden) if any(cells.any() for cells in hidden.values()) else None


def _records_of_self_check(measured: MeasuredRecord) -> list[PretrainingRecord]:
    """Return the draws of a record's self-check as records to learn from."""
    record, check = measured
    names = [spec.name for spec in check.layout.variables]
    statics = record.truth.of_kind("static_grid", "static_site")
    return [
        PretrainingRecord(
            replace(draw.truth, variables={n: draw.truth.variables[n] for n in (*names, *statics)}, domain={}),
            {name: draw.codes[name] > 0 for name in names},
            draw.guesses,
            check.layout,
            check.context,
        )
        for draw in check.draws
    ]


def _describe(dataset: xr.Dataset, cube: WaterCube, start: Bundle) -> TrainingData:
    """Return the description of the data, with the credits that the licences of the start's data ask for."""
    data, before = describe(dataset, LoadedCube.of(cube)), start.manifest.training
    return data.model_copy(
        update={
            "source": "; ".join(filter(None, (data.source, before.source))),
            "licence": "; ".join(filter(None, (data.licence, before.licence))),
        }
    )


def _known(check: float) -> float | None:
    return check if math.isfinite(check) else None


def _copied(network: CrossMAE) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
