"""A run on disk: settings, layout, weights and training state; nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hydrofill.bundle import Skill, TrainingData
from hydrofill.calibration import Calibration
from hydrofill.layout import Frozen, Layout
from hydrofill.paths import write_text, written_whole
from model.config import RunConfig, read_config
from model.network.mae import CrossMAE
from model.training.early_stopping import Checks

CONFIG, LAYOUT, DATA, WEIGHTS, SKILL = "config.yaml", "layout.json", "data.json", "weights.safetensors", "skill.json"
CALIBRATION = "calibration.json"
TUNING = "tuning.json"
STATE = "state.safetensors"
PLAIN = "state"  # the key of what is no tensor, as JSON in the metadata of the state


class RunError(ValueError):
    """A run folder that is absent, incomplete or of another network."""


class Tuning(Frozen):
    """Record of the tuning of a general network to one data set.

    name, version, sha256: of the bundle that the tuning started from; sha256 is that of the manifest. minutes:
    processor time. step: the step whose weights were kept, 0 for those of the start. before, after: geometric mean over
    held-out windows of the network's RMSE over that of the stacked guess; null where the stacked guess is exact.
    widening: factor of the standard deviations by variable, at least 1 (model/pretraining/learnt_cells.py).
    """

    name: str
    version: str
    sha256: str
    minutes: float
    step: int
    before: float | None
    after: float | None
    widening: dict[str, float] = Field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A trained network with its settings, layout and data; the weights are the average over the training."""

    folder: Path
    config: RunConfig
    layout: Layout
    data: TrainingData
    network: CrossMAE
    skill: tuple[Skill, ...]
    calibration: dict[str, Calibration]
    tuning: Tuning | None = None


def start_run(folder: Path, config: RunConfig, layout: Layout, data: TrainingData) -> None:
    """Write the files that do not change in training. A run that was ended before its first state is started again.

    Raises:
        RunError: the folder already holds a run.
    """
    if (folder / STATE).exists() or (folder / WEIGHTS).exists():
        raise RunError(f"{folder} already holds a run: continue it with --resume, or choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / LAYOUT, layout.model_dump_json(indent=1))
    write_text(folder / DATA, data.model_dump_json(indent=1))
    write_text(folder / CONFIG, config.to_yaml())


def read_run(folder: Path) -> Run:
    """Read the run in `folder`, with its network on the CPU in evaluation mode.

    Raises:
        RunError: the folder holds no finished run, or its files do not fit together.
    """
    try:
        config, layout = read_config(folder / CONFIG), read_layout(folder)
        data = TrainingData.model_validate_json((folder / DATA).read_bytes())
        skill = json.loads((folder / SKILL).read_bytes()) if (folder / SKILL).exists() else []
        network = CrossMAE(layout, config.network)
        network.load_state_dict(load_file(folder / WEIGHTS))
        rows = tuple(Skill.model_validate(row) for row in skill)
        found = json.loads((folder / CALIBRATION).read_bytes()) if (folder / CALIBRATION).exists() else {}
        calibration = {name: Calibration.model_validate(c) for name, c in found.items()}
        tuning = Tuning.model_validate_json((folder / TUNING).read_bytes()) if (folder / TUNING).exists() else None
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise RunError(f"{folder} is not a finished run: {_one_line(error)}") from error
    return Run(folder, config, layout, data, network.eval(), rows, calibration, tuning)


def read_layout(folder: Path) -> Layout:
    """Read the layout of a run.

    Raises:
        RunError: the layout is absent or not valid.
    """
    try:
        return Layout.model_validate_json((folder / LAYOUT).read_bytes())
    except (OSError, ValidationError) as error:
        raise RunError(f"{folder} holds no run") from error


def save_weights(folder: Path, network: nn.Module) -> None:
    """Write the trained weights. They are written last, because a folder that has them is a finished run."""
    _replace_tensors(folder / WEIGHTS, network.state_dict())


def save_skill(folder: Path, skill: tuple[Skill, ...]) -> None:
    """Write the scores on held-out cells."""
    write_text(folder / SKILL, json.dumps([row.model_dump() for row in skill], indent=1))


def save_calibration(folder: Path, calibration: Mapping[str, Calibration]) -> None:
    """Write the calibration of the uncertainty, by variable."""
    write_text(folder / CALIBRATION, json.dumps({n: c.model_dump() for n, c in calibration.items()}, indent=1))


def save_tuning(folder: Path, tuning: Tuning) -> None:
    """Write how the network was tuned."""
    write_text(folder / TUNING, tuning.model_dump_json(indent=1))


@dataclass
class TrainingState:
    """Everything that a training is continued from.

    means: running means of the loss and of each variable's loss. best: the averaged weights at the best check on
    held-out steps, without a prefix; empty before the first check. generation: number of times the state was saved.
    """

    network: CrossMAE
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    means: list[float] = field(default_factory=list)
    checks: Checks = field(default_factory=Checks)
    best: dict[str, Tensor] = field(default_factory=dict)
    generation: int = 0

    @property
    def averaged(self) -> CrossMAE:
        """The network with the average of its weights so far."""
        module = self.average.module
        assert isinstance(module, CrossMAE)  # AveragedModel holds a copy of the network
        return module

    def keep_best(self) -> None:
        """Keep the average of the weights so far as that of the best check."""
        self.best = {name: value.detach().clone() for name, value in self.averaged.state_dict().items()}

    def save(self, folder: Path) -> None:
        """Write the state as one file; if that is interrupted at any moment, the last state stays whole."""
        moments = {
            f"optimizer.{index}.{name}": value
            for index, values in self.optimizer.state_dict()["state"].items()
            for name, value in values.items()
        }
        weights = {"network": self.network.state_dict(), "average": self.average.state_dict(), "best": self.best}
        named = {f"{part}.{name}": value for part, held in weights.items() for name, value in held.items()}
        self.generation += 1
        plain = {name: getattr(self, name) for name in ("generation", "step", "seconds", "means")}
        text = json.dumps({**plain, "checks": asdict(self.checks)})
        _replace_tensors(folder / STATE, {**named, **moments}, {PLAIN: text})

    def load(self, folder: Path) -> None:
        """Load the state that `save` wrote.

        Raises:
            RunError: the state is absent, damaged or of another network.
        """
        try:
            with safe_open(folder / STATE, "pt") as file:
                plain = json.loads((file.metadata() or {})[PLAIN])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            self.network.load_state_dict(_without_prefix("network", tensors))
            self.average.load_state_dict(_without_prefix("average", tensors))
            self.optimizer.load_state_dict(_optimizer_state(self.optimizer, tensors))
            self.best = _without_prefix("best", tensors)
            self.generation, self.step = int(plain["generation"]), int(plain["step"])
            self.seconds = float(plain["seconds"])
            self.means, self.checks = list(plain["means"]), Checks(**plain["checks"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise RunError(f"{folder} cannot be resumed: {_one_line(error)}") from error


def _optimizer_state(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _without_prefix("optimizer", tensors).items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}


def _without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(prefix + ".")}


def _replace_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    held = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with written_whole(path) as partial:
        save_file(held, partial, metadata)


def _one_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
