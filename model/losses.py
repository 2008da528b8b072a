"""What training lowers: a proper score over the cells that are hidden and observed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from model.heads import Predictive


class NothingToScoreError(ValueError):
    """No cell of the batch is both hidden and observed."""


def balanced_crps(
    predicted: Predictive, target: Tensor, variable: Tensor, spread: Tensor, num_variables: int
) -> tuple[Tensor, Tensor]:
    """Mean over variables of each one's mean CRPS in units of its own spread, and those means (V,), NaN if unscored.

    Every variable present weighs the same, however many cells it has and whatever its units.

    Args:
        predicted: distributions of (B, Q, P) cells.
        target: (B, Q, P) physical values, NaN where not scored.
        variable: (B, Q) which variable each query asks.
        spread: (V,) each variable's standard deviation in the network's space.

    Raises:
        NothingToScoreError: every target is NaN.
    """
    scored = ~torch.isnan(target)
    if not bool(scored.any()):
        raise NothingToScoreError("no cell is both hidden and observed")
    crps = predicted.crps(torch.where(scored, target, torch.zeros_like(target)))
    crps = torch.where(scored, crps / spread[variable].unsqueeze(-1), torch.zeros_like(crps))
    which = F.one_hot(variable, num_variables).to(crps.dtype)  # (B, Q, V)
    total = torch.einsum("bq,bqv->v", crps.sum(-1), which)
    count = torch.einsum("bq,bqv->v", scored.sum(-1).to(crps.dtype), which)
    present = count > 0
    means = total / count.clamp(min=1)
    loss = (means * present).sum() / present.sum()
    return loss, torch.where(present, means, torch.full_like(means, float("nan"))).detach()
