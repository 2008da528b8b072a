"""The whole: physical units in, a distribution in physical units out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.contract.guesses import DISTANCES, GUESSES
from export.contract.layout import Layout
from export.contract.tokens import Queries, Tokens
from model.config import NetworkConfig
from model.decoder import Decoder
from model.encoder import Encoder
from model.heads import GuessHead, PatchHead, Predictive

SMALLEST_SCALE = 1e-3  # of a variable's own spread: no cell is known better than that from its neighbours
UNIT_SOFTPLUS = 0.541324854612918  # log(e - 1): softplus of it is 1, so a new network starts at the data's spread


class Statistics(NamedTuple):
    """Of each token type's values in the network's space, over observed training cells: (types, P) float32."""

    center: np.ndarray
    spread: np.ndarray


class CrossMAE(nn.Module):
    """Multimodal masked autoencoder with a cross-attention decoder over the unpooled memory (plan B).

    Every token of every variable is in one memory, which all queries read. Source: Fu et al. 2024;
    with `layout.guesses`, queries also carry classical first guesses, which the answer corrects.
    """

    def __init__(self, layout: Layout, config: NetworkConfig) -> None:
        super().__init__()
        self.layout, self.config = layout, config
        types, cells, ratio = layout.token_types, layout.token_size, config.mlp_ratio
        self.encoder = Encoder(types, cells, config.embed_dim, config.depth, config.num_heads, ratio)
        features = cells * (2 * len(GUESSES) + len(DISTANCES)) if layout.guesses else 0
        num_variables, dim = len(layout.variables), config.decoder_dim
        self.decoder = Decoder(
            num_variables, features, config.embed_dim, dim, config.decoder_depth, config.decoder_num_heads, ratio
        )
        self.head = (
            GuessHead(dim, cells, len(GUESSES), len(DISTANCES))
            if layout.guesses
            else PatchHead(dim, num_variables, cells)
        )
        roots = [v.transform == "sqrt" for v in layout.variables]
        self.encoder.embedding.square_root[: len(roots)] = torch.tensor(roots)
        self.apply(_initialise)

    def set_statistics(self, statistics: Statistics) -> None:
        """Tell the network what is usual, so that physical units go in and come out."""
        self.encoder.embedding.center.copy_(torch.from_numpy(statistics.center))
        self.encoder.embedding.spread.copy_(torch.from_numpy(statistics.spread))

    def encode(self, values: Tensor, valid: Tensor, variable: Tensor, place: Tensor, length: Tensor) -> Tensor:
        """Visible tokens -> memory (B, L, D)."""
        return self.encoder(values, valid, variable, place, length)

    def decode(self, memory: Tensor, length: Tensor, variable: Tensor, place: Tensor, *known: Tensor) -> Predictive:
        """Memory and queries -> the distribution of every cell of every query, (B, Q, P).

        `known` is guess, guessed and distance of the queries, in a layout with guesses.
        """
        raw = (
            self._answer_from_guesses(memory, length, variable, place, *known)
            if known
            else self.head(self.decoder(memory, length, variable, place), variable)
        )
        embedding = self.encoder.embedding
        center, spread = embedding.center[variable], embedding.spread[variable]  # (B, Q, P)
        scale = F.softplus(raw[..., 1] + UNIT_SOFTPLUS) + SMALLEST_SCALE
        censored = embedding.square_root[variable].unsqueeze(-1)
        return Predictive(center + spread * raw[..., 0], spread * scale, censored)

    def forward(self, tokens: Tokens, queries: Queries) -> Predictive:
        """A batch as `stack_tokens` and `stack_queries` make it -> the distribution of every query's cells."""
        memory = self.encode(*self.tensors(tokens.values, tokens.valid, tokens.variable, tokens.place, tokens.length))
        known = (queries.guess, queries.guessed, queries.distance) if self.layout.guesses else ()
        return self.decode(memory, *self.tensors(tokens.length, queries.variable, queries.place, *known))

    def tensors(self, *arrays: np.ndarray) -> list[Tensor]:
        """Arrays as tensors beside the weights."""
        device = self.decoder.norm.weight.device
        return [torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in arrays]

    def _answer_from_guesses(
        self, memory: Tensor, length: Tensor, variable: Tensor, place: Tensor, *known: Tensor
    ) -> Tensor:
        guess, guessed, distance = known
        scores = self.encoder.embedding.standardise(guess.movedim(-1, -2), variable.unsqueeze(-1)).movedim(-2, -1)
        scores = torch.where(guessed, scores, torch.zeros_like(scores))  # (B, Q, P, G)
        cells = torch.cat([scores, guessed.to(scores.dtype), distance], dim=-1).flatten(-2)
        answer = self.decoder(memory, length, variable, place, cells)
        return self.head(answer, scores, guessed, distance)


def _initialise(module: nn.Module) -> None:
    """Linear layers as MAE has them: Xavier uniform, no bias; mask tokens N(0, 0.02)."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
