"""The optimiser, the average of the weights, and the learning rate over the budget."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from model.config import TrainingConfig
from model.network.mae import CrossMAE
from model.run_folder import TrainingState

ADAM_BETAS = (0.9, 0.95)  # as MAE pre-trains (He et al. 2022, appendix A.1)
FINAL_RATE = 0.01  # share of the learning rate at the end of the cosine


def start_state(network: CrossMAE, settings: TrainingConfig) -> TrainingState:
    """Return the state of a new training: AdamW, which decays matrices only, and an average of the weights.

    The decay of the average grows to `ema_decay`.
    """
    matrices = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=ADAM_BETAS,
    )

    def follow(average: Tensor, current: Tensor, seen: Tensor | int) -> Tensor:
        decay = min(
            settings.ema_decay, (1 + int(seen)) / (10 + int(seen))
        )  # short memory while the weights still change fast
        return average + (1 - decay) * (current - average)

    return TrainingState(network, AveragedModel(network, avg_fn=follow), optimizer)


def schedule(share: float, warmup: float) -> float:
    """Return the learning rate as a share of its peak: linear warm-up, then a cosine to FINAL_RATE."""
    if share < warmup:
        return (share + 1e-3) / (warmup + 1e-3)
    progress = (share - warmup) / (1 - warmup)
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
