"""The context of a record as tensors, for a network that knows no variable by name."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hydrofill.general.context import CONTEXT_FIELDS, Context


class ContextTensors(NamedTuple):
    """A batch of contexts; rows are token types, as in `hydrofill.general.context.Context`.

    Attributes:
        center: (B, N, P).
        std: (B, N, P).
        square_root: (B, N) bool.
        kind: (B, N) int64.
        descriptor: (B, N, F).
        error: (B, N, R, G).
    """

    center: Tensor
    std: Tensor
    square_root: Tensor
    kind: Tensor
    descriptor: Tensor
    error: Tensor

    @classmethod
    def of(cls, batch: Context, device: torch.device | str = "cpu") -> ContextTensors:
        """Return the tensors of a batch made by `stack_contexts`."""
        return cls(*(torch.from_numpy(getattr(batch, name)).to(device) for name in CONTEXT_FIELDS))


def of_type(table: Tensor, variable: Tensor) -> Tensor:
    """Return the rows of each sample's table (B, N, ...) for token types (B, L), (B, L, ...)."""
    n_samples, n_types = table.shape[0], table.shape[1]
    start = torch.arange(n_samples, device=variable.device).unsqueeze(-1) * n_types
    return table.flatten(0, 1)[variable + start]
