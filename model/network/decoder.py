"""Decoders: one query for each patch with a missing cell reads the memory of the visible tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hydrofill.general.context import DESCRIPTORS, KINDS
from model.config import NetworkConfig
from model.network.context import ContextTensors, of_type
from model.network.fusion import Memory, keys_of
from model.network.layers import NORM_EPS, CrossBlock, EncoderBlock, KeySelection, Projected, padding_of, real_tokens
from model.network.positions import PlaceEncoding


class DecoderInputs(NamedTuple):
    """Queries as tensors.

    Attributes:
        variable: (B, Q) index of the variable.
        place: (B, Q, C) place and time.
        length: (B,) number of real queries.
        guess: (B, Q, P, G) first guesses of the cells; empty, as the next two, in a network without guesses.
        guessed: (B, Q, P, G) bool, which first guesses exist.
        distance: (B, Q, P, D) distances to observed cells.
    """

    variable: Tensor
    place: Tensor
    length: Tensor
    guess: Tensor
    guessed: Tensor
    distance: Tensor


class QueryEmbedding(nn.Module):
    """Embeds queries (B, Q, D): mask token, variable and place, with features of the first guesses."""

    def __init__(self, num_variables: int, cell_features: int, dim: int, general: bool = False) -> None:
        super().__init__()
        self.mask_token = nn.Embedding(num_variables, dim)  # mask token + variable
        self.place = PlaceEncoding(dim, relative=general)
        self.cells = nn.Linear(cell_features, dim) if cell_features else None
        self.kind = nn.Embedding(len(KINDS), dim) if general else None
        self.describe = nn.Linear(len(DESCRIPTORS), dim) if general else None

    def forward(self, requested: DecoderInputs, cells: Tensor | None, context: ContextTensors | None = None) -> Tensor:
        x = self.mask_token(requested.variable) + self.place(requested.place)
        if self.kind is not None and self.describe is not None and context is not None:
            x = x + self.kind(of_type(context.kind, requested.variable))
            x = x + self.describe(of_type(context.descriptor, requested.variable))
        return x if self.cells is None or cells is None else x + self.cells(cells)


class CrossDecoder(nn.Module):
    """Queries read the memory of their own sample by cross-attention, layer by layer, (B, Q, D).

    They do not read each other, so that a prediction does not depend on the other queries, unless the configuration
    sets `decoder_self_attention`.
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
        real: KeySelection = padding_of(memory.length, memory.tokens.shape[1])
        if self.fusion != "joint":
            real = keys_of(requested.variable, memory.variable, memory.length, self.num_variables)
        return self.read(x, self.project(memory.tokens), real, requested.length)

    def project(self, tokens: Tensor) -> list[Projected]:
        """Return keys and values of the memory's tokens (B, M, W) for each layer, for any number of queries."""
        depth = len(self.blocks)
        own = tokens.chunk(depth, -1) if self.has_layer_memories else [tokens] * depth
        return [block.project(one) for block, one in zip(self._layers, own, strict=True)]

    def read(self, x: Tensor, projected: Sequence[Projected], real: KeySelection, length: Tensor) -> Tensor:
        """Return the outputs of queries (B, Q, D), of which `length` (B,) are real, from a projected memory."""
        real_queries = padding_of(length, x.shape[1])
        for block, one in zip(self._layers, projected, strict=True):
            x = block.read(x, one, real, real_queries)
        return self.norm(x)

    @property
    def _layers(self) -> list[CrossBlock]:
        return [block for block in self.blocks if isinstance(block, CrossBlock)]


class Canvas(nn.Module):
    """The pooled vector repeated over the visible positions: (B, 1, D) -> (B, L, decoder width)."""

    def __init__(self, config: NetworkConfig, token_types: int) -> None:
        super().__init__()
        self.proj = nn.Linear(config.embed_dim, config.decoder_dim)
        self.kind = nn.Embedding(token_types, config.decoder_dim)
        self.place = PlaceEncoding(config.decoder_dim)

    def forward(self, pooled: Tensor, variable: Tensor, place: Tensor) -> Tensor:
        return self.proj(pooled) + self.kind(variable) + self.place(place)


class FullDecoder(nn.Module):
    """Self-attention over visible and hidden positions together; the outputs of the hidden positions, (B, Q, D).

    The decoder of `water_fm_small`; its cost grows with (visible + hidden)^2.
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
