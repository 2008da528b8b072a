"""Pretrain the general network: windows of many records, each with the context that was measured on it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.utils.data import DataLoader

from hydrofill.bundle import TrainingData
from hydrofill.general.guesses import STACKED
from hydrofill.layout import GENERAL
from hydrofill.paths import write_text
from model.config import RunConfig, TrainingConfig
from model.network.context import ContextTensors
from model.network.general_heads import guess_errors
from model.network.mae import CrossMAE
from model.pretraining.config import PretrainingConfig
from model.pretraining.record_store import (
    MASKS,
    PretrainingBatch,
    PretrainingWindows,
    RecordStore,
    stack_pretraining,
)
from model.pretraining.records import PretrainingRecord
from model.run_folder import RunError, TrainingState, save_weights, start_run
from model.training.optimiser import schedule, start_state

logger = logging.getLogger(__name__)

FIRST_YEAR, LAST_YEAR = (datetime(year, 1, 1, tzinfo=UTC) for year in (1860, 2100))  # of the data sets' time axes
RECORDS, LOG, PRETRAINING = "records", "log.csv", "pretraining.yaml"
MIN_CELL_ERROR = 0.02  # standard scores: smaller errors of the stacked guess weigh no more in the loss
STEPS_PER_SAVE = 500
STEPS_PER_REPORT = 25
CHECK_WINDOWS = 4  # of each held-out record
LOSS_MEMORY = 0.98  # of the running mean of the loss


@dataclass(frozen=True)
class PretrainingProgress:
    """Progress of a pretraining: step, running mean of the loss, seconds, and the last check on held-out records.

    check: geometric mean, over the variables of held-out windows, of the network's RMSE over that of the stacked guess.
    """

    step: int
    loss: float
    seconds: float
    check: float | None


def pretrain(
    folder: Path, config: PretrainingConfig, *, resume: bool, workers: int = 1
) -> Iterator[PretrainingProgress]:
    """Train a general network on the records in `folder`, and write its weights.

    Args:
        folder: of the run; the records must be there (`RecordStore.make`).
        config: the settings.
        resume: whether to continue a stopped run.
        workers: number of processes that draw windows.

    Raises:
        RunError: the run cannot be resumed.
    """
    state = _first_state(config)
    if resume:
        state.load(folder)
    store = RecordStore(folder / RECORDS, config)
    if not store.numbers[0]:
        raise RunError(f"{folder} holds no records to train on")
    held_out = _held_out(store)
    loader = DataLoader(
        PretrainingWindows(store, state.step),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=8 if workers else None,
    )
    started, before = time.monotonic(), state.seconds
    batches = iter(loader)
    while True:
        share = max(state.step / config.training.steps, state.seconds / (60 * config.training.minutes))
        if share >= 1:
            break
        loss = take_step(state, next(batches), config.training, share)
        state.step += 1
        state.seconds = before + time.monotonic() - started
        state.means[0] = loss if math.isnan(state.means[0]) else LOSS_MEMORY * state.means[0] + (1 - LOSS_MEMORY) * loss
        check = None
        if state.step % STEPS_PER_SAVE == 0:
            check = _save(folder, state, held_out)
        if check is not None or state.step % STEPS_PER_REPORT == 0:
            yield PretrainingProgress(state.step, state.means[0], state.seconds, check)
    check = _save(folder, state, held_out)
    yield PretrainingProgress(state.step, state.means[0], state.seconds, check)


def start_pretraining(folder: Path, config: PretrainingConfig) -> None:
    """Write the settings of a new run, and the state that its training starts from.

    Raises:
        RunError: the folder already holds a run.
    """
    data = describe_sources(config)
    start_run(folder, RunConfig(network=config.network, training=config.training), GENERAL, data)
    write_text(folder / PRETRAINING, config.to_yaml())
    _first_state(config).save(folder)


def _first_state(config: PretrainingConfig) -> TrainingState:
    """Return the state before the first step, always the same for the same settings."""
    torch.manual_seed(config.training.seed)
    state = start_state(CrossMAE(GENERAL, config.network), config.training)
    state.means = [math.nan]
    return state


def describe_sources(config: PretrainingConfig) -> TrainingData:
    """Return what the network is trained on, with the credits that the licences of the data ask for."""
    used = [n for n in sorted(config.data.glob("*.nc")) if n.name != MASKS and n.stem not in config.exclude]
    attributions, licences = [], []
    for path in used:
        with xr.open_dataset(path, engine="h5netcdf", decode_times=False) as opened:
            attributions.append(str(opened.attrs.get("attribution", path.stem)))
            licences.append(str(opened.attrs.get("license", "not stated")))
    return TrainingData(
        title=f"Records of {len(used)} open data sets and of simulated fields",
        source="; ".join(dict.fromkeys(attributions)),
        licence="; ".join(dict.fromkeys(licences)),
        start=FIRST_YEAR,
        end=LAST_YEAR,
        frames=config.records,
    )


def cell_loss(network: CrossMAE, batch: PretrainingBatch) -> Tensor:
    """Return the mean over windows of the mean CRPS of their scored cells.

    The CRPS of a cell is in units of the error that was measured for the stacked guess in cells of its class, so that
    what is nearly known and what is hardly known count the same.
    """
    queries, context = batch.windows.queries, ContextTensors.of(batch.context)
    predicted = network(batch.windows.tokens, queries, context)
    target, variable, distance = (
        torch.from_numpy(a) for a in (batch.windows.target, queries.variable, queries.distance)
    )
    error = guess_errors(distance, variable, context)[..., STACKED]
    scored = ~torch.isnan(target)
    crps = predicted.crps(torch.where(scored, target, torch.zeros_like(target)))
    std = network.encoder.embedding.scale(variable, context)[1]
    crps = torch.where(scored, crps / (std * (error + MIN_CELL_ERROR)), torch.zeros_like(crps))
    number = scored.sum((1, 2))
    return (crps.sum((1, 2)) / number.clamp(min=1)).sum() / (number > 0).sum()


def check_network(network: CrossMAE, batches: list[PretrainingBatch]) -> float:
    """Return the geometric mean over windows of the network's RMSE over that of the stacked guess."""
    network.eval()
    logs = []
    with torch.inference_mode():
        for batch in batches:
            queries, target = batch.windows.queries, batch.windows.target
            mean = network(batch.windows.tokens, queries, ContextTensors.of(batch.context)).mean().numpy()
            stacked = queries.guess[..., STACKED]
            for ours, theirs, truth in zip(mean, stacked, target, strict=True):
                at = ~np.isnan(truth)
                errors = [float(np.sqrt(np.mean((a[at] - truth[at]) ** 2))) for a in (ours, theirs)]
                if at.any() and min(errors) > 0:
                    logs.append(math.log(errors[0] / errors[1]))
    network.train()
    return math.exp(float(np.mean(logs))) if logs else math.nan


def take_step(state: TrainingState, batch: PretrainingBatch, settings: TrainingConfig, share: float) -> float:
    """Change the weights by one batch, at the learning rate of this share of the budget; return the loss."""
    for group in state.optimizer.param_groups:
        group["lr"] = settings.learning_rate * schedule(share, settings.warmup)
    loss = cell_loss(state.network, batch)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    size = torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip_norm)
    if torch.isfinite(size):  # a batch whose gradient overflows is left out
        state.optimizer.step()
        state.average.update_parameters(state.network)
    else:
        logger.warning("step %d: the gradient is not finite; the batch is left out", state.step)
    return float(loss.detach())


def _held_out(store: RecordStore) -> list[PretrainingBatch]:
    rng, batches = np.random.default_rng(store.config.training.seed), []
    for number in store.numbers[1]:
        record = PretrainingRecord.load(store.path(number))
        drawn = [example for _ in range(CHECK_WINDOWS) if (example := record.example(rng)) is not None]
        if drawn:
            batches.append(stack_pretraining(drawn))
    return batches


def _save(folder: Path, state: TrainingState, held_out: list[PretrainingBatch]) -> float:
    """Write the state and the averaged weights, and check and log them; return the check."""
    state.save(folder)
    save_weights(folder, state.averaged)
    check = check_network(state.averaged, held_out)
    _log(folder, state, check)
    return check


def _log(folder: Path, state: TrainingState, check: float) -> None:
    path = folder / LOG
    lines = path.read_text(encoding="utf-8") if path.exists() else "step,seconds,loss,check\n"
    write_text(path, f"{lines}{state.step},{state.seconds:.0f},{state.means[0]:.5f},{check:.4f}\n")
