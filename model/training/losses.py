"""The training loss: a proper score over the cells that are hidden from the network and observed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from model.network.heads import Predictive


class NothingToScoreError(ValueError):
    """No cell of the batch is both hidden and observed."""


def balanced_crps(
    predicted: Predictive, target: Tensor, variable: Tensor, std: Tensor, num_variables: int
) -> tuple[Tensor, Tensor]:
    """Return the mean over variables of each variable's mean CRPS, and those means (V,), NaN without scored cells.

    The CRPS is in units of the variable's standard deviation. Every variable that is present has the same weight,
    whatever its number of cells and its units.

    Args:
        predicted: distributions of (B, Q, P) cells.
        target: (B, Q, P) physical values, NaN where not scored.
        variable: (B, Q) index of each query's variable.
        std: (V,) each variable's standard deviation in the network's space.
        num_variables: V.

    Raises:
        NothingToScoreError: every target is NaN.
    """
    total, count = crps_sums(predicted, target, variable, std, num_variables)
    return balance(total, count), means(total, count).detach()


def crps_sums(
    predicted: Predictive, target: Tensor, variable: Tensor, std: Tensor, num_variables: int
) -> tuple[Tensor, Tensor]:
    """Return each variable's sum of CRPS over its scored cells, (V,), and the number of those cells, (V,).

    The arguments are those of `balanced_crps`. Sums of several processes can be added, their means cannot.
    """
    scored = ~torch.isnan(target)
    crps = predicted.crps(torch.where(scored, target, torch.zeros_like(target)))
    crps = torch.where(scored, crps / std[variable].unsqueeze(-1), torch.zeros_like(crps))
    which = F.one_hot(variable, num_variables).to(crps.dtype)  # (B, Q, V)
    total = torch.einsum("bq,bqv->v", crps.sum(-1), which)
    return total, torch.einsum("bq,bqv->v", scored.sum(-1).to(crps.dtype), which)


def balance(total: Tensor, count: Tensor) -> Tensor:
    """Return the mean, over the variables that are present, of each variable's mean.

    Raises:
        NothingToScoreError: no variable has a scored cell.
    """
    present = count > 0
    if not bool(present.any()):
        raise NothingToScoreError("no cell is both hidden and observed")
    return (total / count.clamp(min=1)).sum() / present.sum()


def means(total: Tensor, count: Tensor) -> Tensor:
    """Return each variable's mean (V,); NaN where nothing was scored."""
    return torch.where(count > 0, total / count.clamp(min=1), torch.full_like(total, float("nan")))
