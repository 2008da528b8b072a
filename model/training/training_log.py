"""The log of a training: running means of the losses, log.csv, and TensorBoard files where requested."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model.config import ConfigError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG_EVERY = 10  # steps
LOG, TENSORBOARD = "log.csv", "tensorboard"
MEAN_DECAY = 0.97  # weight of the old running mean, in each step


@dataclass(frozen=True)
class Progress:
    """The state of a training: the `share` of its budget used, the running loss, and that of each variable."""

    step: int
    seconds: float
    share: float
    loss: float
    by_variable: Mapping[str, float]


class Log:
    """Keeps running means of the losses and writes them to log.csv (and TensorBoard) every LOG_EVERY steps.

    Args:
        folder: the run's folder.
        names: names of the variables.
        step: the step at which the run continues; later lines of an interrupted training are dropped.
        means: running means to continue from, as the attribute `means` holds them.
        tensorboard: whether to write for TensorBoard as well, which must be installed.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], step: int, means: Sequence[float], tensorboard: bool = False
    ) -> None:
        self.board = _board(folder / TENSORBOARD, step) if tensorboard else None
        self.names, self.means = list(names), list(means) or [math.nan] * (1 + len(names))
        self.held_out = math.nan
        kept = _lines_up_to(folder / LOG, step)
        self.file = (folder / LOG).open("w", newline="", encoding="utf-8")
        self.writer = csv.writer(self.file)
        head = ["step", "seconds", "learning_rate", "loss", *names, "held_out"]
        self.writer.writerows([head, *kept])

    def add(self, step: int, seconds: float, losses: Sequence[float], rate: float) -> None:
        """Add the loss of one step and those of each variable."""
        self.means = [_running(mean, loss) for mean, loss in zip(self.means, losses, strict=True)]
        if step % LOG_EVERY:
            return
        shown = [f"{v:.5g}" for v in (rate, *self.means, self.held_out)]
        self.writer.writerow([step, f"{seconds:.1f}", *shown])
        self.file.flush()
        if self.board is not None:
            named = {"loss": self.means[0], "learning_rate": rate, "held_out": self.held_out}
            named |= {f"loss/{n}": m for n, m in zip(self.names, self.means[1:], strict=True)}
            for name, value in named.items():
                if not math.isnan(value):
                    self.board.add_scalar(name, value, step)

    def progress(self, step: int, seconds: float, share: float) -> Progress:
        """Return the progress that is reported to the caller."""
        return Progress(step, seconds, share, self.means[0], dict(zip(self.names, self.means[1:], strict=True)))

    def close(self) -> None:
        """Close the files."""
        self.file.close()
        if self.board is not None:
            self.board.close()


def require_tensorboard() -> None:
    """Check that TensorBoard is installed.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401 (an optional package stands behind it)
    except ImportError as error:
        raise ConfigError("tensorboard is not installed: pip install 'hydrofill[tensorboard]'") from error


def _board(folder: Path, step: int) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step)


def _lines_up_to(log: Path, step: int) -> list[list[str]]:
    if step == 0 or not log.exists():
        return []
    with log.open(newline="", encoding="utf-8") as file:
        return [line for line in csv.reader(file) if line and line[0].isdigit() and int(line[0]) <= step]


def _running(mean: float, value: float) -> float:
    if math.isnan(mean):
        return value
    return mean if math.isnan(value) else MEAN_DECAY * mean + (1 - MEAN_DECAY) * value
