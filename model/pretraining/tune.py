"""Tune a general network to one data set: a short training on cells that are hidden in the data itself.

The data's own gaps, moved in time, and drawn gaps hide observed cells (hydrofill/gaps/self_gaps.py). What is left is
measured as the record of a fill. Blocks of time are held out: the network is checked on cells hidden there, and the
weights of the best check are kept. A network is never worse on these cells than the one it started from.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from torch import Tensor

from hydrofill.bundle import Bundle, TrainingData
from hydrofill.cube import WaterCube
from hydrofill.errors import BundleError
from hydrofill.general.context import Context
from hydrofill.layout import GENERAL
from model.config import RunConfig, TrainingConfig
from model.data.cubes import LoadedCube
from model.data.windows import Example
from model.network.mae import CrossMAE
from model.network.weights import WeightsError, read_network
from model.pretraining.learnt_cells import widening
from model.pretraining.pretrain import check_network, take_step
from model.pretraining.record_store import PretrainingBatch, sorted_batches
from model.pretraining.records import PretrainingRecord
from model.pretraining.tuning_records import STREAM, HeldOut, SeenPart, check_batches, draw_seen, read_data
from model.run_folder import Tuning, save_tuning, save_weights, start_run
from model.training.optimiser import start_state
from model.training.train import describe

SETTINGS = TrainingConfig(
    batch_size=4, learning_rate=1e-3, warmup=0.1, weight_decay=0.0, ema_decay=0.98, held_out=0.2, minutes=1.0
)
# The parts of the network that are tuned. On three data sets these gained as much as all weights or more, and a step
# takes two thirds of the time.
TUNED_PARTS = ("head.", "queries.")
PREPARATION_SHARE = 0.4  # of the processor time, that making records may take
FIXED_RECORDS = 2  # parts of the data to learn from where the number of steps is fixed
MAX_RECORDS = 12  # parts of the data to learn from, about 30 MB each
STEPS_PER_CHECK = 10
MEASURED_PARTS = 4  # at most, of those learnt from, on which the widening is measured
MEASURING_SHARE = 0.08  # of the processor time, that this may take
MIN_GAIN = 0.002  # by which the best check must be better than the start, so that chance is not taken for skill


@dataclass(frozen=True)
class TuningProgress:
    """Progress of a tuning: share of the budget, the present work, and the last check.

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
    checks = check_batches(cube, held_out, seed)
    parts = [draw_seen(cube, held_out, seed, 0)]
    while budget.has_room(len(parts)):
        yield TuningProgress(budget.used(0), f"hide cells to learn from, {len(parts)}", None)
        parts.append(draw_seen(cube, held_out, seed, len(parts)))
    records = [record for part in parts for record in part.records]
    before = check_network(network, checks)
    best = yield from _train(network, settings, records, checks, budget, Best(before, 0, _copied(network)))
    network.load_state_dict(best.weights)
    yield TuningProgress(1.0, "measure what was learnt by heart", best.check)
    widened = _widened(start, network, parts) if best.step else start.manifest.widening
    used = Tuning(
        name=start.manifest.name,
        version=start.manifest.version,
        sha256=start.sha256,
        minutes=(clock() - budget.started) / 60,
        step=best.step,
        before=_known(before),
        after=_known(best.check),
        widening=widened,
    )
    save_tuning(folder, used)
    save_weights(folder, network)


def _widened(start: Bundle, network: CrossMAE, parts: Sequence[SeenPart]) -> dict[str, float]:
    """Return the widening of the tuned network, by variable; what a tuned start had learnt stays learnt."""
    found = widening([part.learnt for part in parts[:MEASURED_PARTS]], read_start(start), network)
    before = start.manifest.widening
    return {name: before.get(name, 1.0) * found.get(name, 1.0) for name in {**before, **found}}


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


@dataclass(frozen=True)
class Budget:
    """Length of a tuning: a number of steps, or else minutes of processor time from `started` on."""

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
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(TUNED_PARTS))
    batches = sorted_batches(rng, _windows(rng, records), settings.batch_size)
    state, first = start_state(network, settings), budget.used(0)
    check: float | None = best.check
    last = 1.0 if budget.steps else 1 - MEASURING_SHARE
    while (used := budget.used(state.step)) < last:
        loss = take_step(state, next(batches), settings, (used - first) / (last - first))
        state.step += 1
        if state.step % STEPS_PER_CHECK == 0 or budget.used(state.step) >= last:
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
