"""What training lowers: a proper score over the cells that are hidden and observed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from model.network.heads import Predictive


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
        num_variables: V.

    Raises:
        NothingToScoreError: every target is NaN.
    """
    total, count = crps_sums(predicted, target, variable, spread, num_variables)
    return balance(total, count), means(total, count).detach()


def crps_sums(
    predicted: Predictive, target: Tensor, variable: Tensor, spread: Tensor, num_variables: int
) -> tuple[Tensor, Tensor]:
    """Each variable's sum of CRPS over its scored cells and the number of those cells, (V,) each; as `balanced_crps`.

    Sums of several processes add up, as their means do not.
    """
    scored = ~torch.isnan(target)
    crps = predicted.crps(torch.where(scored, target, torch.zeros_like(target)))
    crps = torch.where(scored, crps / spread[variable].unsqueeze(-1), torch.zeros_like(crps))
    which = F.one_hot(variable, num_variables).to(crps.dtype)  # (B, Q, V)
    total = torch.einsum("bq,bqv->v", crps.sum(-1), which)
    return total, torch.einsum("bq,bqv->v", scored.sum(-1).to(crps.dtype), which)


def balance(total: Tensor, count: Tensor) -> Tensor:
    """The mean over the variables present of each one's mean.

    Raises:
        NothingToScoreError: no variable has a scored cell.
    """
    present = count > 0
    if not bool(present.any()):
        raise NothingToScoreError("no cell is both hidden and observed")
    return (total / count.clamp(min=1)).sum() / present.sum()


def means(total: Tensor, count: Tensor) -> Tensor:
    """Each variable's mean (V,); NaN where nothing was scored."""
    return torch.where(count > 0, total / count.clamp(min=1), torch.full_like(total, float("nan")))
