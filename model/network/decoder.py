"""Queries -> answers: one query a patch with a missing cell, read from the memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.config import NetworkConfig
from model.network.fusion import Memory, keys_of
from model.network.layers import NORM_EPS, CrossBlock, EncoderBlock, Keys, Projected, padding_of, real_tokens
from model.network.positions import PlaceEncoding


class DecoderInputs(NamedTuple):
    """Queries as tensors: `variable` (B, Q), `place` (B, Q, C), `length` (B,) real ones, first guesses of their cells.

    `guess` (B, Q, P, G), `guessed` and `distance` (B, Q, P, .) are empty in a network without guesses.
    """

    variable: Tensor
    place: Tensor
    length: Tensor
    guess: Tensor
    guessed: Tensor
    distance: Tensor


class QueryEmbedding(nn.Module):
    """Mask token, variable and place of each query, with what is known of its cells -> (B, Q, D)."""

    def __init__(self, num_variables: int, cell_features: int, dim: int) -> None:
        super().__init__()
        self.mask_token = nn.Embedding(num_variables, dim)  # one a variable: mask token + variable
        self.place = PlaceEncoding(dim)
        self.cells = nn.Linear(cell_features, dim) if cell_features else None

    def forward(self, requested: DecoderInputs, cells: Tensor | None) -> Tensor:
        x = self.mask_token(requested.variable) + self.place(requested.place)
        return x if self.cells is None or cells is None else x + self.cells(cells)


class CrossDecoder(nn.Module):
    """Queries read the memory of their own sample by cross-attention, layer by layer, (B, Q, D).

    Unless told to (`decoder_self_attention`), they do not read each other, so that an answer does not
    depend on what else is asked.
    """

    def __init__(self, config: NetworkConfig, num_variables: int) -> None:
        super().__init__()
        self.num_variables, self.fusion = num_variables, config.fusion
        self.has_layer_memories = config.mixes_layers
        dim, heads, ratio = config.decoder_dim, config.decoder_num_heads, config.mlp_ratio
        self.blocks = nn.ModuleList(
            CrossBlock(dim, config.embed_dim, heads, ratio, config.decoder_self_attention)
            for _ in range(config.decoder_depth)
        )
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, x: Tensor, memory: Memory, requested: DecoderInputs) -> Tensor:
        real: Keys = padding_of(memory.length, memory.tokens.shape[1])
        if self.fusion != "joint":
            real = keys_of(requested.variable, memory.variable, memory.length, self.num_variables)
        return self.read(x, self.project(memory.tokens), real, requested.length)

    def project(self, tokens: Tensor) -> list[Projected]:
        """Keys and values of the memory's tokens (B, M, W) for each layer: made once, read by any number of queries."""
        depth = len(self.blocks)
        own = tokens.chunk(depth, -1) if self.has_layer_memories else [tokens] * depth
        return [block.project(one) for block, one in zip(self._layers, own, strict=True)]

    def read(self, x: Tensor, projected: Sequence[Projected], real: Keys, length: Tensor) -> Tensor:
        """The answers of queries (B, Q, D), of which `length` (B,) are real, from a memory made ready."""
        real_queries = padding_of(length, x.shape[1])
        for block, one in zip(self._layers, projected, strict=True):
            x = block.read(x, one, real, real_queries)
        return self.norm(x)

    @property
    def _layers(self) -> list[CrossBlock]:
        return [block for block in self.blocks if isinstance(block, CrossBlock)]


class Canvas(nn.Module):
    """The pooled vector laid out again over the visible positions: (B, 1, D) -> (B, L, decoder width)."""

    def __init__(self, config: NetworkConfig, token_types: int) -> None:
        super().__init__()
        self.proj = nn.Linear(config.embed_dim, config.decoder_dim)
        self.kind = nn.Embedding(token_types, config.decoder_dim)
        self.place = PlaceEncoding(config.decoder_dim)

    def forward(self, pooled: Tensor, variable: Tensor, place: Tensor) -> Tensor:
        return self.proj(pooled) + self.kind(variable) + self.place(place)


class FullDecoder(nn.Module):
    """Self-attention over visible and hidden positions together; the answers of the hidden ones, (B, Q, D).

    What `water_fm_small` does: its cost grows with (visible + hidden)^2.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        dim, heads, ratio = config.decoder_dim, config.decoder_num_heads, config.mlp_ratio
        self.blocks = nn.ModuleList(EncoderBlock(dim, heads, ratio) for _ in range(config.decoder_depth))
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, x: Tensor, memory: Memory, requested: DecoderInputs) -> Tensor:
        n_visible = memory.tokens.shape[1]
        whole = all(
            padding_of(n, size) is None for n, size in ((memory.length, n_visible), (requested.length, x.shape[1]))
        )
        real = torch.cat([real_tokens(memory.length, n_visible), real_tokens(requested.length, x.shape[1])], 1)
        both = torch.cat([memory.tokens, x], 1)
        for block in self.blocks:
            both = block(both, None if whole else real)
        return self.norm(both[:, n_visible:])
