"""Queries -> answers: one query a patch with a missing cell, read from the memory alone."""

from __future__ import annotations

from torch import Tensor, nn

from model.layers import NORM_EPS, CrossBlock, real_tokens
from model.positions import PlaceEncoding


class Decoder(nn.Module):
    """Mask token, place and variable of each query, with what is known of its cells -> its answer (B, Q, D).

    Queries read the memory of their own sample and never each other, so that an answer does not
    depend on what else is asked.
    """

    def __init__(
        self,
        num_variables: int,
        cell_features: int,
        memory_dim: int,
        dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float,
    ) -> None:
        super().__init__()
        self.mask_token = nn.Embedding(num_variables, dim)  # one a variable: mask token + variable
        self.place = PlaceEncoding(dim)
        self.cells = nn.Linear(cell_features, dim) if cell_features else None
        self.blocks = nn.ModuleList(CrossBlock(dim, memory_dim, num_heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(
        self, memory: Tensor, length: Tensor, variable: Tensor, place: Tensor, cells: Tensor | None = None
    ) -> Tensor:
        """`cells` (B, Q, F) are the first guesses of a query's cells as standard scores, in a network with guesses."""
        real = real_tokens(length, memory.shape[1])
        x = self.mask_token(variable) + self.place(place)
        if self.cells is not None and cells is not None:
            x = x + self.cells(cells)
        for block in self.blocks:
            x = block(x, memory, real)
        return self.norm(x)
