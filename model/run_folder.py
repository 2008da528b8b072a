"""A run on disk: settings, layout, weights and training state; nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hydrofill.bundle import Skill, TrainingData
from hydrofill.calibration import Calibration
from hydrofill.layout import Frozen, Layout
from hydrofill.paths import written_whole
from model.config import RunConfig, read_config
from model.network.mae import CrossMAE
from model.training.early_stopping import Checks

CONFIG, LAYOUT, DATA, WEIGHTS, SKILL = "config.yaml", "layout.json", "data.json", "weights.safetensors", "skill.json"
CALIBRATION = "calibration.json"
TUNING = "tuning.json"
STATE_TENSORS, STATE, BEST = "state.safetensors", "state.json", "best.safetensors"


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
    """Write the files that do not change in training.

    Raises:
        RunError: the folder already holds a run.
    """
    if (folder / CONFIG).exists():
        raise RunError(f"{folder} already holds a run: continue it with --resume, or choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LAYOUT).write_text(layout.model_dump_json(indent=1), encoding="utf-8")
    (folder / DATA).write_text(data.model_dump_json(indent=1), encoding="utf-8")
    (folder / CONFIG).write_text(config.to_yaml(), encoding="utf-8")


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
    """Write the trained weights."""
    _replace_tensors(folder / WEIGHTS, network.state_dict())


def save_best(folder: Path, network: nn.Module) -> None:
    """Write the weights of the best check on held-out steps."""
    _replace_tensors(folder / BEST, network.state_dict())


def load_best(folder: Path, network: nn.Module) -> None:
    """Load the weights of the best check into `network`.

    Raises:
        RunError: the weights are absent, or of another network.
    """
    try:
        network.load_state_dict(load_file(folder / BEST))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise RunError(f"{folder} has lost its best weights: {_one_line(error)}") from error


def save_skill(folder: Path, skill: tuple[Skill, ...]) -> None:
    """Write the scores on held-out cells."""
    _replace_text(folder / SKILL, json.dumps([row.model_dump() for row in skill], indent=1))


def save_calibration(folder: Path, calibration: Mapping[str, Calibration]) -> None:
    """Write the calibration of the uncertainty, by variable."""
    _replace_text(folder / CALIBRATION, json.dumps({n: c.model_dump() for n, c in calibration.items()}, indent=1))


def save_tuning(folder: Path, tuning: Tuning) -> None:
    """Write how the network was tuned."""
    _replace_text(folder / TUNING, tuning.model_dump_json(indent=1))


@dataclass
class TrainingState:
    """Everything that a training is continued from."""

    network: CrossMAE
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    means: list[float] = field(default_factory=list)  # running means of the loss and of each variable's loss
    checks: Checks = field(default_factory=Checks)

    @property
    def averaged(self) -> CrossMAE:
        """The network with the average of its weights so far."""
        module = self.average.module
        assert isinstance(module, CrossMAE)  # AveragedModel holds a copy of the network
        return module

    def save(self, folder: Path) -> None:
        """Write the state; if that is interrupted, the last state stays whole."""
        moments = {
            f"optimizer.{index}.{name}": value
            for index, values in self.optimizer.state_dict()["state"].items()
            for name, value in values.items()
        }
        tensors = {**_prefixed("network", self.network), **_prefixed("average", self.average), **moments}
        _replace_tensors(folder / STATE_TENSORS, {**tensors, "step": torch.tensor(self.step)})
        plain = {"step": self.step, "seconds": self.seconds, "means": self.means, "checks": asdict(self.checks)}
        _replace_text(folder / STATE, json.dumps(plain))

    def load(self, folder: Path) -> None:
        """Load the state that `save` wrote.

        Raises:
            RunError: the state is absent, damaged or of another network.
        """
        try:
            tensors, plain = load_file(folder / STATE_TENSORS), json.loads((folder / STATE).read_bytes())
            if int(tensors.pop("step")) != plain["step"]:
                raise ValueError("state.json and state.safetensors are of different steps")
            self.network.load_state_dict(_without_prefix("network", tensors))
            self.average.load_state_dict(_without_prefix("average", tensors))
            self.optimizer.load_state_dict(_optimizer_state(self.optimizer, tensors))
            self.step, self.seconds = int(plain["step"]), float(plain["seconds"])
            self.means, self.checks = list(plain["means"]), Checks(**plain["checks"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise RunError(f"{folder} cannot be resumed: {_one_line(error)}") from error


def _optimizer_state(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _without_prefix("optimizer", tensors).items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}


def _prefixed(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in module.state_dict().items()}


def _without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(prefix + ".")}


def _replace_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    with written_whole(path) as partial:
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, partial)


def _replace_text(path: Path, text: str) -> None:
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _one_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
