"""Visible tokens -> memory: the whole sequence, never pooled."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.layers import NORM_EPS, EncoderBlock, real_tokens
from model.positions import PlaceEncoding


class TokenEmbedding(nn.Module):
    """Values (B, L, P) in physical units with their validity -> (B, L, D); each token type has its own weights.

    An unseen cell enters as 0 with its flag at 0, so its stored value cannot matter.
    """

    def __init__(self, token_types: int, token_size: int, dim: int) -> None:
        super().__init__()
        self.token_types = token_types
        self.center: Tensor
        self.spread: Tensor
        self.square_root: Tensor
        self.proj = nn.Linear(token_types * (2 * token_size + 1), dim, bias=False)
        self.place = PlaceEncoding(dim)
        self.register_buffer("center", torch.zeros(token_types, token_size))
        self.register_buffer("spread", torch.ones(token_types, token_size))
        self.register_buffer("square_root", torch.zeros(token_types, dtype=torch.bool))

    def forward(self, values: Tensor, valid: Tensor, variable: Tensor, place: Tensor) -> Tensor:
        scores = self.standardise(values, variable)
        seen = valid.to(scores.dtype)
        scores = torch.where(valid, scores, torch.zeros_like(scores))
        content = torch.cat([scores, seen, torch.ones_like(seen[..., :1])], dim=-1)  # (B, L, 2P + 1)
        kind = F.one_hot(variable, self.token_types).to(scores.dtype)  # (B, L, types)
        by_type = (kind.unsqueeze(-1) * content.unsqueeze(-2)).flatten(-2)  # (B, L, types * (2P + 1))
        return self.proj(by_type) + self.place(place)

    def standardise(self, values: Tensor, variable: Tensor) -> Tensor:
        """Physical values as standard scores of their token type, in the network's space."""
        root = self.square_root[variable].unsqueeze(-1)
        z = torch.where(root, values.clamp(min=0).sqrt(), values)
        return (z - self.center[variable]) / self.spread[variable]


class Encoder(nn.Module):
    """Embedding, transformer blocks, final norm: tokens (B, L, ...) -> memory (B, L, D)."""

    def __init__(
        self, token_types: int, token_size: int, dim: int, depth: int, num_heads: int, mlp_ratio: float
    ) -> None:
        super().__init__()
        self.embedding = TokenEmbedding(token_types, token_size, dim)
        self.blocks = nn.ModuleList(EncoderBlock(dim, num_heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, values: Tensor, valid: Tensor, variable: Tensor, place: Tensor, length: Tensor) -> Tensor:
        real = real_tokens(length, values.shape[1])
        x = self.embedding(values, valid, variable, place)
        for block in self.blocks:
            x = block(x, real)
        return self.norm(x)
