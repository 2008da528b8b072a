"""Train on data with gaps: one loop, on one device or on several that share every batch."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from lightning.fabric import Fabric
from torch import Tensor, nn

from hydrofill.bundle import TrainingData
from hydrofill.cube import WaterCube
from hydrofill.layout import Layout
from model.config import ConfigError, RunConfig
from model.data.cubes import Cube
from model.data.layout import choose_layout, choose_statistics
from model.data.lazy_cube import IN_MEMORY_VALUES, read_lazily
from model.data.training_records import guess_errors
from model.data.windows import Batch, WindowSampler, held_out_steps
from model.evaluation.calibration import calibrate
from model.evaluation.held_out_skill import evaluate
from model.network.mae import CrossMAE
from model.network.predictor import TorchPredictor
from model.run_folder import (
    TrainingState,
    read_layout,
    save_calibration,
    save_skill,
    save_weights,
    start_run,
)
from model.training.devices import computes_in_bfloat16, join_devices, on_devices
from model.training.early_stopping import held_out_batches
from model.training.losses import balance, crps_sums, means
from model.training.optimiser import schedule, start_state
from model.training.training_log import Log, Progress, require_tensorboard

SAVE_EVERY_S = 60.0
RECORDS_OF_ERRORS = 3  # records in which the usual errors of the first guesses are measured


class DivergedError(ArithmeticError):
    """The loss has become NaN or infinite."""


@dataclass(frozen=True)
class Material:
    """The training data: a cube, its layout, and the steps that are held out, `held` (T,) bool."""

    cube: Cube
    layout: Layout
    held: np.ndarray

    @property
    def seen(self) -> Cube:
        """The cube without the held-out steps."""
        return self.cube.without_steps(self.held)

    def to_score(self) -> tuple[WaterCube, np.ndarray]:
        """Return a cube for scores on the held-out steps, in memory, and which of its steps are held out."""
        return self.cube.excerpt(self.held, self.layout.window.steps, IN_MEMORY_VALUES)


class Losses(NamedTuple):
    """Losses of one batch over all devices: this device's part, the whole loss, and the loss of each variable."""

    own: Tensor
    whole: float
    by_variable: list[float]


def train(
    dataset: xr.Dataset,
    folder: Path,
    config: RunConfig,
    resume: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """Train on the observed cells of `dataset` and write a run into `folder`; yield the progress after every step.

    Blocks of time (`held_out`) are not used for training; the scores on them are written at the end.

    Args:
        dataset: the data, with gaps.
        folder: the run's folder.
        config: the settings.
        resume: whether to continue the run in `folder`.
        clock: gives the seconds that the budget counts.

    Raises:
        ContractError: the data cannot be used.
        RunError: the folder holds another run, or none to resume.
        ConfigError: the machine lacks what the settings require.
        DeviceLostError: a device stopped.
        DivergedError: the loss became NaN or infinite; the last saved state stays on disk.
    """
    if config.training.tensorboard:
        require_tensorboard()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        material = read_material(dataset, read_layout(folder) if resume else None, config, Path(scratch))
        given = (dataset, material.layout, folder, config, resume, Path(scratch))
        with on_devices(config.training.devices, _follow, given) as fabric:
            training = _Training(material, folder, config, fabric)
            if not resume:
                start_run(folder, config, material.layout, describe(dataset, material.cube))
            training.start(resume)
            yield from training.steps(clock)
            training.finish()


def _follow(
    rank: int,
    number: int,
    port: int,
    dataset: xr.Dataset,
    layout: Layout,
    folder: Path,
    config: RunConfig,
    resume: bool,
    scratch: Path,
) -> None:
    """Take part in a training as device `rank`; `train` runs on the first device."""
    own = scratch / str(rank)
    own.mkdir()
    fabric = join_devices(rank, number, port)
    try:
        training = _Training(read_material(dataset, layout, config, own), folder, config, fabric)
        training.start(resume)
        for _ in training.steps():
            pass
    except (ConfigError, DivergedError):
        return  # the first device has the same error and reports it


def read_material(dataset: xr.Dataset, layout: Layout | None, config: RunConfig, scratch: Path) -> Material:
    """Read the training data.

    Args:
        dataset: the data, with gaps.
        layout: the layout of the run; None chooses one from the data.
        config: the settings.
        scratch: folder for copies of data that do not fit in memory.

    Raises:
        ContractError: the data cannot be used.
    """
    reading = read_lazily(dataset, layout, scratch)
    cube: Cube = reading.cube.load() if reading.cube.size <= IN_MEMORY_VALUES else reading.cube
    layout = layout or choose_layout(cube, reading.grid_units, config.tokens)
    rng = np.random.default_rng(config.training.seed)
    held = held_out_steps(len(cube.time), config.training.held_out, layout.window.steps, rng)
    return Material(cube, layout, held)


def describe(dataset: xr.Dataset, cube: Cube) -> TrainingData:
    """Return the description of the data for the manifest and the model card."""
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


class _Training:
    """One device's part of a training.

    Every device computes the same, except for its share of each batch. Only the first device writes files; its clock
    counts.
    """

    def __init__(self, material: Material, folder: Path, config: RunConfig, fabric: Fabric) -> None:
        self.material, self.layout, self.folder, self.config = material, material.layout, folder, config
        self.fabric, self.settings = fabric, config.training
        self.in_bfloat16 = computes_in_bfloat16(self.settings.precision, fabric.device)
        torch.manual_seed(self.settings.seed)
        network = CrossMAE(self.layout, config.network)
        seen = material.seen
        statistics = choose_statistics(seen, self.layout)
        network.set_statistics(statistics)
        self.std = statistics.std[: len(self.layout.variables), 0]
        self.state = start_state(network.to(fabric.device), self.settings)
        share = self.settings.batch_size // self.settings.devices
        self.sampler = WindowSampler(
            seen, self.layout, config.masking, share, self.settings.seed, rank=fabric.global_rank, ahead=True
        )

    def start(self, resume: bool) -> None:
        """Load the state on disk, or initialise and save a new one."""
        state = self.state
        if resume:
            state.load(self.folder)
        elif self.layout.guesses:
            records = [self.sampler.record(number) for number in reversed(range(RECORDS_OF_ERRORS))]
            errors = guess_errors(records, self.layout, self.std)
            for network in (state.network, state.averaged):
                network.set_guess_errors(errors)
        self.network, self.optimizer = self.fabric.setup(state.network, state.optimizer)
        self.network.train()
        material = self.material
        self.held_out = held_out_batches(
            material.cube, material.held, self.layout, self.config, self.fabric.global_rank
        )
        self.log: Log | None = None
        if self.fabric.is_global_zero:
            names = [v.name for v in self.layout.variables]
            self.log = Log(self.folder, names, state.step, state.means, self.settings.tensorboard)
            self.log.held_out = state.checks.loss
        if not resume:
            self._save()

    def steps(self, clock: Callable[[], float] = time.monotonic) -> Iterator[Progress]:
        """Train until the budget is used or the held-out loss stops improving; save the last state."""
        state, settings = self.state, self.settings
        before, started, saved = state.seconds, clock(), time.monotonic()
        try:
            while (share := self._budget_used()) < 1 and not state.checks.exhausted(settings.patience):
                losses, rate = self._step(share)
                state.seconds = before + clock() - started
                if self.held_out and state.checks.due(share, state.step):
                    self._check(share)
                if self.log is None:
                    continue
                self.log.add(state.step, state.seconds, [losses.whole, *losses.by_variable], rate)
                state.means = self.log.means
                yield self.log.progress(state.step, state.seconds, share)
                if time.monotonic() - saved > SAVE_EVERY_S:
                    state.save(self.folder)
                    saved = time.monotonic()
        except GeneratorExit:  # the caller has stopped: save a state to resume from
            self._save()
            raise
        finally:
            self.sampler.close()
            if self.log is not None:
                self.log.close()
        self._save()

    def finish(self) -> None:
        """Write the weights, the calibration of their uncertainty, and their scores on the held-out steps."""
        average, material = self.state.averaged, self.material
        if self.state.best and self.state.checks.exhausted(self.settings.patience):
            average.load_state_dict(self.state.best)
        (cube, held), seed = material.to_score(), self.settings.seed
        predict = TorchPredictor(average)
        calibration = calibrate(cube, self.layout, predict, self.config.masking, seed)
        save_calibration(self.folder, calibration)
        if held.any():
            save_skill(self.folder, evaluate(cube, self.layout, predict, held, seed, calibration))
        save_weights(self.folder, average)

    def _step(self, share: float) -> tuple[Losses, float]:
        state, settings = self.state, self.settings
        rate = settings.learning_rate * schedule(share, settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses = self._losses(self.network, self.sampler.batch(state.step))
        if not math.isfinite(losses.whole):
            raise DivergedError(f"the loss is {losses.whole} at step {state.step}; try a lower learning_rate")
        self.optimizer.zero_grad()
        self.fabric.backward(losses.own)
        self.fabric.clip_gradients(self.network, self.optimizer, max_norm=settings.clip_norm)
        self.optimizer.step()
        state.average.update_parameters(state.network)
        state.step += 1
        return losses, rate

    def _losses(self, network: nn.Module, batch: Batch) -> Losses:
        """Return the losses of a batch. Sums are taken over all devices before means, as for the whole batch."""
        with torch.autocast(self.fabric.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            predicted = network(batch.tokens, batch.queries)
        device, number = self.fabric.device, len(self.layout.variables)
        target, variable = (torch.from_numpy(a).to(device) for a in (batch.target, batch.queries.variable))
        std = self.state.network.encoder.embedding.spread[:number, 0]
        predicted = predicted._replace(loc=predicted.loc.float(), scale=predicted.scale.float())
        total, count = crps_sums(predicted, target, variable, std, number)
        all_total, all_count = self._sum(torch.stack([total.detach(), count]))
        own = balance(total * self.fabric.world_size, all_count)  # gradients are averaged over devices
        return Losses(own, float(balance(all_total, all_count)), means(all_total, all_count).tolist())

    @torch.no_grad()
    def _check(self, share: float) -> None:
        """Score the averaged network on the held-out steps."""
        state = self.state
        losses = [self._losses(state.averaged, batch).whole for batch in self.held_out]
        if state.checks.add(float(np.mean(losses)), share, state.step):
            state.keep_best()
        if self.log is not None:
            self.log.held_out = state.checks.loss

    def _budget_used(self) -> float:
        """Return the share of the budget that is used, as measured on the first device."""
        used = budget_used(self.state, self.config) if self.fabric.is_global_zero else 0.0
        return float(self._sum(torch.tensor(used, dtype=torch.float64, device=self.fabric.device)))

    def _sum(self, values: Tensor) -> Tensor:
        """Return the sum over all devices."""
        reduced = self.fabric.all_reduce(values, reduce_op="sum")
        assert isinstance(reduced, Tensor)
        return reduced

    def _save(self) -> None:
        if self.fabric.is_global_zero:
            self.state.save(self.folder)


def budget_used(state: TrainingState, config: RunConfig) -> float:
    """Return the share of the steps or of the minutes that is used, whichever is larger."""
    return max(state.step / config.training.steps, state.seconds / (60 * config.training.minutes))
