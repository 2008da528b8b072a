"""When to stop: the loss on held-out blocks of time, looked at again and again, has not improved for long."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from hydrofill.layout import Layout
from model.config import RunConfig
from model.data.cubes import Cube
from model.data.windows import Batch, WindowSampler

logger = logging.getLogger(__name__)
CHECKS = 20  # in a budget
STEPS_BETWEEN = 25  # at least; a check costs about as much as two steps
BATCHES = 4
MIN_GAIN = 1e-3  # of the loss: less is no improvement
MIN_CELLS = 100  # observed in the held-out blocks; with fewer there is nothing to go by
MIN_STEPS = 10  # held out; what a frame or two say is chance, and would stop a training that still gains


@dataclass
class Checks:
    """The held-out losses so far; shares are of the budget, and `loss` is of the last check."""

    best: float = float("inf")
    best_share: float = 0.0
    share: float = 0.0
    step: int = 0
    loss: float = float("nan")

    def due(self, share: float, step: int) -> bool:
        """Whether it is time to look again."""
        return share >= self.share + 1 / CHECKS and step >= self.step + STEPS_BETWEEN

    def add(self, loss: float, share: float, step: int) -> bool:
        """Take in a check; whether it is the best so far."""
        self.loss, self.share, self.step = loss, share, step
        if not loss < self.best * (1 - MIN_GAIN):
            return False
        self.best, self.best_share = loss, share
        return True

    def exhausted(self, patience: float) -> bool:
        """Whether the best check lies `patience` of the budget back."""
        return self.share - self.best_share >= patience


def held_out_batches(cube: Cube, held: np.ndarray, layout: Layout, config: RunConfig, rank: int) -> list[Batch]:
    """Batches that score the held-out steps (T,) bool alone, always the same; none where the blocks hold too little.

    Args:
        cube: everything there is.
        held: the blocks kept from training.
        layout: the model's.
        config: masks are drawn as in training.
        rank: of the process among those that share every batch.
    """
    if not held.any() or config.training.patience >= 1:
        return []
    alone = cube.without_steps(~held)
    observed = sum(alone.summary(name).number for name in alone.of_kind("grid", "series"))
    if observed < MIN_CELLS:
        logger.warning("%d cells are observed in the held-out blocks: too few to stop early by", observed)
        return []
    if held.sum() < MIN_STEPS:
        logger.warning("%d steps are held out: too few to stop early by", held.sum())
        return []
    settings = config.training
    masking = replace(config.masking, untouched=0.0)
    share = settings.batch_size // settings.devices
    sampler = WindowSampler(cube, layout, masking, share, settings.seed + 1, rank, only=held)
    return [sampler.batch(number) for number in range(BATCHES)]
