"""Learning from gappy data: one loop, whatever the device."""

from __future__ import annotations

import csv
import logging
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
import xarray as xr
from lightning.fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from export.contract.cube import WaterCube
from export.contract.layout import Layout
from export.contract.manifest import TrainingData
from model.calibration import calibrate
from model.checkpoint import TrainingState, read_layout, save_calibration, save_skill, save_weights, start_run
from model.config import RunConfig
from model.data.layout import choose_layout, choose_statistics
from model.data.reading import IN_MEMORY_VALUES, LazyCube, LazyReading, read_lazily
from model.data.records import guess_errors
from model.data.windows import Batch, WindowSampler, held_out_steps, without_steps
from model.evaluation import evaluate
from model.losses import balanced_crps
from model.mae import CrossMAE
from model.predict import TorchPredictor

logger = logging.getLogger(__name__)
ADAM_BETAS = (0.9, 0.95)  # as MAE pre-trains (He et al. 2022, appendix A.1)
FINAL_RATE = 0.01  # share of the learning rate at the end of the cosine
SAVE_EVERY_S = 60.0
LOG_EVERY = 10


class DivergedError(ArithmeticError):
    """The loss is no number any more."""


@dataclass(frozen=True)
class Progress:
    """Where a training is: `share` of its budget used, the running loss, and each variable's."""

    step: int
    seconds: float
    share: float
    loss: float
    by_variable: Mapping[str, float]


def train(dataset: xr.Dataset, folder: Path, config: RunConfig, resume: bool = False) -> Iterator[Progress]:
    """Train on the observed cells of `dataset` and leave a run in `folder`; yields after every step.

    Blocks of time (`held_out`) are kept from training, and the scores there are written at the end.

    Raises:
        ContractError: the data cannot be used. RunError: the folder holds another run, or none to resume.
        DivergedError: the loss became no number; the last whole state stays on disk.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        reading = read_lazily(dataset, read_layout(folder) if resume else None, Path(scratch))
        yield from _train(dataset, reading, folder, config, resume)


def _train(
    dataset: xr.Dataset, reading: LazyReading, folder: Path, config: RunConfig, resume: bool
) -> Iterator[Progress]:
    cube: WaterCube | LazyCube
    cube = reading.cube.load() if reading.cube.size <= IN_MEMORY_VALUES else reading.cube
    layout = read_layout(folder) if resume else choose_layout(cube, reading.grid_units, config.tokens)
    if not resume:
        start_run(folder, config, layout, describe(dataset, cube))
    held = _held_out(cube, layout, config)
    seen = cube.without_steps(held) if isinstance(cube, LazyCube) else without_steps(cube, held)
    fabric = Fabric(accelerator="auto", devices=1)
    torch.manual_seed(config.training.seed)
    network = CrossMAE(layout, config.network)
    statistics = choose_statistics(seen, layout)
    network.set_statistics(statistics)
    sampler = WindowSampler(seen, layout, config.masking, config.training.batch_size, config.training.seed)
    if layout.guesses and not resume:
        network.set_guess_errors(guess_errors(sampler.record(0), layout, statistics.spread[:, 0]))
    state = _start_state(network, config, fabric, folder, resume)
    yield from _optimise(state, sampler, layout, config, fabric, folder)
    average = state.average.module
    assert isinstance(average, CrossMAE)  # AveragedModel holds a copy of what it was given
    save_weights(folder, average)
    predict = TorchPredictor(average)
    if isinstance(cube, LazyCube):
        cube, held = cube.excerpt(held, layout.window.steps, IN_MEMORY_VALUES)
    calibration = calibrate(cube, layout, predict, config.masking, config.training.seed)
    save_calibration(folder, calibration)
    if held.any():
        save_skill(folder, evaluate(cube, layout, predict, held, config.training.seed, calibration))


def describe(dataset: xr.Dataset, cube: WaterCube | LazyCube) -> TrainingData:
    """What the data say of themselves, for the model card."""
    times = cube.time.astype("datetime64[s]").tolist()
    text = {key: str(dataset.attrs.get(key, "")) for key in ("title", "source", "license")}
    return TrainingData(
        title=text["title"],
        source=text["source"],
        licence=text["license"],
        start=times[0],
        end=times[-1],
        frames=len(times),
    )


def _held_out(cube: WaterCube | LazyCube, layout: Layout, config: RunConfig) -> np.ndarray:
    rng = np.random.default_rng(config.training.seed)
    return held_out_steps(len(cube.time), config.training.held_out, layout.window.steps, rng)


def _start_state(network: CrossMAE, config: RunConfig, fabric: Fabric, folder: Path, resume: bool) -> TrainingState:
    settings = config.training
    network.to(fabric.device)
    matrices = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=ADAM_BETAS,
    )

    def follow(average: Tensor, current: Tensor, seen: Tensor | int) -> Tensor:
        decay = min(settings.ema_decay, (1 + int(seen)) / (10 + int(seen)))  # short memory while weights still run
        return average + (1 - decay) * (current - average)

    average = AveragedModel(network, avg_fn=follow)
    state = TrainingState(network, average, optimizer)
    if resume:
        state.load(folder)
    return state


def _optimise(
    state: TrainingState, sampler: WindowSampler, layout: Layout, config: RunConfig, fabric: Fabric, folder: Path
) -> Iterator[Progress]:
    settings = config.training
    network, optimizer = fabric.setup(state.network, state.optimizer)
    names = [v.name for v in layout.variables]
    before, started, saved = state.seconds, time.monotonic(), time.monotonic()
    with (folder / "log.csv").open("a", newline="", encoding="utf-8") as file:
        log = _Log(file, names)
        network.train()
        while (share := budget_used(state, config)) < 1:
            rate = settings.learning_rate * schedule(share, settings.warmup)
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = sampler.batch(state.step)
            loss, by_variable = _loss(network, batch, layout)
            if not bool(torch.isfinite(loss)):
                raise DivergedError(
                    f"the loss is {float(loss.detach())} at step {state.step}; try a lower learning_rate"
                )
            optimizer.zero_grad()
            fabric.backward(loss)
            fabric.clip_gradients(network, optimizer, max_norm=settings.clip_norm)
            optimizer.step()
            state.average.update_parameters(state.network)  # type: ignore[operator]
            state.step += 1
            state.seconds = before + time.monotonic() - started
            log.add(state, float(loss.detach()), by_variable.tolist(), rate)
            try:
                yield Progress(state.step, state.seconds, share, log.recent, log.by_variable())
            except GeneratorExit:  # whoever watches has gone: leave a state to resume from
                state.save(folder)
                raise
            if time.monotonic() - saved > SAVE_EVERY_S:
                state.save(folder)
                saved = time.monotonic()
        state.save(folder)


def budget_used(state: TrainingState, config: RunConfig) -> float:
    """The share of steps or minutes used, whichever is more."""
    return max(state.step / config.training.steps, state.seconds / (60 * config.training.minutes))


def schedule(share: float, warmup: float) -> float:
    """Learning rate as a share of its peak: linear warm-up, then a cosine to FINAL_RATE."""
    if share < warmup:
        return (share + 1e-3) / (warmup + 1e-3)
    turn = (share - warmup) / (1 - warmup)
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(turn, 1.0)))


def _loss(network: torch.nn.Module, batch: Batch, layout: Layout) -> tuple[Tensor, Tensor]:
    predicted = network(batch.tokens, batch.queries)
    device = predicted.loc.device
    module = network.module
    assert isinstance(module, CrossMAE)
    target, variable = (torch.from_numpy(a).to(device) for a in (batch.target, batch.queries.variable))
    n_variables = len(layout.variables)
    spread = module.encoder.embedding.spread[:n_variables, 0]
    return balanced_crps(predicted, target, variable, spread, n_variables)


class _Log:
    """Running means for the progress bar, and a line of log.csv every LOG_EVERY steps."""

    def __init__(self, file: TextIO, names: list[str]) -> None:
        self.file, self.writer = file, csv.writer(file)
        if file.tell() == 0:
            self.writer.writerow(["step", "seconds", "learning_rate", "loss", *names])
        self.recent = math.nan
        self.names, self.recent_by_variable = names, [math.nan] * len(names)

    def by_variable(self) -> dict[str, float]:
        return dict(zip(self.names, self.recent_by_variable, strict=True))

    def add(self, state: TrainingState, loss: float, by_variable: list[float], rate: float) -> None:
        self.recent = _running(self.recent, loss)
        self.recent_by_variable = [_running(a, b) for a, b in zip(self.recent_by_variable, by_variable, strict=True)]
        if state.step % LOG_EVERY == 0:
            shown = [f"{v:.5g}" for v in (rate, self.recent, *self.recent_by_variable)]
            self.writer.writerow([state.step, f"{state.seconds:.1f}", *shown])
            self.file.flush()


def _running(mean: float, value: float) -> float:
    if math.isnan(mean):
        return value
    return mean if math.isnan(value) else 0.97 * mean + 0.03 * value
