"""Stop a training when the loss on held-out steps, checked regularly, stops improving."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from hydrofill.layout import Layout
from model.config import RunConfig
from model.data.cubes import Cube
from model.data.windows import Batch, WindowSampler

logger = logging.getLogger(__name__)
CHECKS = 20  # in the whole budget
MIN_STEPS_BETWEEN = 25  # from one check to the next; a check costs about as much as two steps
BATCHES = 4
MIN_GAIN = 1e-3  # relative decrease of the loss that counts as an improvement
MIN_CELLS = 100  # observed cells in the held-out steps; with fewer the loss says too little
MIN_STEPS = 10  # held-out steps; the loss on fewer is mostly chance and would stop a training that still improves


@dataclass
class Checks:
    """The best and the last held-out loss, with the shares of the budget at which they were measured."""

    best: float = float("inf")
    best_share: float = 0.0
    share: float = 0.0
    step: int = 0
    loss: float = float("nan")

    def due(self, share: float, step: int) -> bool:
        """Return whether the next check is due."""
        return share >= self.share + 1 / CHECKS and step >= self.step + MIN_STEPS_BETWEEN

    def add(self, loss: float, share: float, step: int) -> bool:
        """Add a check and return whether it is the best so far."""
        self.loss, self.share, self.step = loss, share, step
        if not loss < self.best * (1 - MIN_GAIN):
            return False
        self.best, self.best_share = loss, share
        return True

    def exhausted(self, patience: float) -> bool:
        """Return whether there was no improvement for the share `patience` of the budget."""
        return self.share - self.best_share >= patience


def held_out_batches(cube: Cube, held: np.ndarray, layout: Layout, config: RunConfig, rank: int) -> list[Batch]:
    """Return the batches in which only held-out steps are scored, always the same; none where too little is held out.

    Args:
        cube: all the data.
        held: (T,) bool, the held-out steps.
        layout: the model's layout.
        config: the settings; masks are drawn as in training.
        rank: number of this process among those that share every batch.
    """
    if not held.any() or config.training.patience >= 1:
        return []
    alone = cube.without_steps(~held)
    observed = sum(alone.summary(name).number for name in alone.of_kind("grid", "series"))
    if observed < MIN_CELLS:
        logger.warning("only %d cells are observed in the held-out steps: too few for early stopping", observed)
        return []
    if held.sum() < MIN_STEPS:
        logger.warning("only %d steps are held out: too few for early stopping", held.sum())
        return []
    settings = config.training
    masking = config.masking.updated(untouched=0.0)
    share = settings.batch_size // settings.devices
    sampler = WindowSampler(cube, layout, masking, share, settings.seed + 1, rank, only=held)
    return [sampler.batch(number) for number in range(BATCHES)]
