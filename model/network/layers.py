"""Attention, cross-attention, transformer blocks and weighted feature maps, as published.

Source: Fu et al. 2024, Rethinking Patch Dependence for Masked Autoencoders (CrossMAE), sections 3.2
and 3.3; He et al. 2022 (MAE); Vaswani et al. 2017, eq. 1. Parameter names are the published ones, so
that published weights load.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORM_EPS = 1e-5  # as published; ViT code elsewhere uses 1e-6


def real_tokens(length: Tensor, size: int) -> Tensor:
    """Return which tokens of a padded batch are real, (B, size) bool, from their numbers (B,).

    A sample without tokens counts as having one (a token of zeros), so that no softmax is over padding alone.
    """
    return torch.arange(size, device=length.device)[None, :] < length.clamp(min=1)[:, None]


def padding_of(length: Tensor, size: int) -> Tensor | None:
    """Return `real_tokens`, or None where no token is padding, because attention is faster without a mask.

    An exported graph always has the mask, because it must work for batches of any lengths.
    """
    if size and not torch.compiler.is_exporting() and bool((length >= size).all()):
        return None
    return real_tokens(length, size)


class Group(NamedTuple):
    """Tokens that read the same keys: the readers (B, R) read the keys (B, K), both indices into their sequences.

    Samples with fewer tokens in the group are padded with other tokens; `is_reader` (B, R) and `is_key` (B, K) are
    False for those.
    """

    reader: Tensor
    is_reader: Tensor
    key: Tensor
    is_key: Tensor


# The keys that are read: all (None), the same for all readers (B, L), chosen by each reader (B, Q, L), or by groups of
# readers; each reader is in at most one group.
KeySelection = Tensor | Sequence[Group] | None


class Projected(NamedTuple):
    """Keys and values (B, L, D) of a memory, projected for one decoder layer."""

    key: Tensor
    value: Tensor


class SelfAttention(nn.Module):
    """Multi-head attention of tokens (B, L, D) to each other, or to the `real` ones."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, real: KeySelection = None) -> Tensor:
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        return self.proj(_attend(query, key, value, self.num_heads, real))


class CrossAttention(nn.Module):
    """Multi-head attention of queries (B, Q, D) to the tokens of a memory (B, L, M), or to the `real` ones."""

    def __init__(self, dim: int, memory_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(memory_dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, memory: Tensor, real: KeySelection = None) -> Tensor:
        return self.read(x, self.project(memory), real)

    def project(self, memory: Tensor) -> Projected:
        """Return the memory's keys and values, which any number of queries can read."""
        key, value = self.kv(memory).chunk(2, dim=-1)
        return Projected(key, value)

    def read(self, x: Tensor, projected: Projected, real: KeySelection) -> Tensor:
        """Return what queries (B, Q, D) read from a projected memory."""
        return self.proj(_attend(self.q(x), projected.key, projected.value, self.num_heads, real))


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class EncoderBlock(nn.Module):
    """Pre-norm self-attention and MLP, each added to its input."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = SelfAttention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, real: KeySelection = None) -> Tensor:
        x = x + self.attn(self.norm1(x), real)
        return x + self.mlp(self.norm2(x))


class CrossBlock(nn.Module):
    """Queries read the memory, then an MLP; with `self_attention` they first read each other."""

    def __init__(
        self, dim: int, memory_dim: int, num_heads: int, mlp_ratio: float = 4.0, self_attention: bool = False
    ) -> None:
        super().__init__()
        if self_attention:
            self.norm0 = nn.LayerNorm(dim, eps=NORM_EPS)
            self.self_attn = SelfAttention(dim, num_heads)
        self.reads_queries = self_attention
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.cross_attn = CrossAttention(dim, memory_dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(
        self, x: Tensor, memory: Tensor, real: KeySelection = None, real_queries: Tensor | None = None
    ) -> Tensor:
        return self.read(x, self.project(memory), real, real_queries)

    def project(self, memory: Tensor) -> Projected:
        """Return the memory's keys and values, which any number of queries can read."""
        return self.cross_attn.project(memory)

    def read(self, x: Tensor, projected: Projected, real: KeySelection, real_queries: Tensor | None) -> Tensor:
        """Return what `forward` gives, from a projected memory."""
        if self.reads_queries:
            x = x + self.self_attn(self.norm0(x), real_queries)
        x = x + self.cross_attn.read(self.norm1(x), projected, real)
        return x + self.mlp(self.norm2(x))


class WeightedFeatureMaps(nn.Module):
    """A learnt mix of k encoder maps for each decoder layer: (k, B, L, D) -> (B, L, D, decoder depth).

    Source: CrossMAE section 3.3 (inter-block attention); weights start as N(0, 1 / sqrt(k)).
    """

    def __init__(self, num_maps: int, decoder_depth: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_maps, decoder_depth, bias=False)
        nn.init.normal_(self.linear.weight, std=num_maps**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features.permute(1, 2, 3, 0))  # (B, L, D, k) -> (B, L, D, depth)


class LayerMemories(nn.Module):
    """One memory for each decoder layer, mixed from k encoder maps and normed; concatenated to (B, L, depth * D)."""

    def __init__(self, num_maps: int, decoder_depth: int, dim: int) -> None:
        super().__init__()
        self.wfm = WeightedFeatureMaps(num_maps, decoder_depth)
        self.dec_norms = nn.ModuleList(nn.LayerNorm(dim, eps=NORM_EPS) for _ in range(decoder_depth))

    def forward(self, maps: list[Tensor]) -> Tensor:
        mixed = self.wfm(torch.stack(maps)).unbind(-1)
        return torch.cat([norm(one) for norm, one in zip(self.dec_norms, mixed, strict=True)], dim=-1)


def _attend(query: Tensor, key: Tensor, value: Tensor, num_heads: int, real: KeySelection) -> Tensor:
    if real is None or (isinstance(real, Tensor) and real.ndim == 2):
        return _by_heads(query, key, value, num_heads, None if real is None else real[:, None, None, :])
    if isinstance(real, Tensor):
        blind = ~real.any(-1, keepdim=True)  # (B, Q, 1): a reader without keys gets zeros, not NaN
        out = _by_heads(query, key, value, num_heads, (real | blind)[:, None])
        return torch.where(blind, torch.zeros_like(out), out)
    out = torch.zeros_like(query)
    for group in real:
        read = _of_group(query, key, value, num_heads, group)
        out = out.scatter_add(1, _wide(group.reader, query), read.to(out.dtype))
    return out


def _of_group(query: Tensor, key: Tensor, value: Tensor, num_heads: int, group: Group) -> Tensor:
    """Return what the readers of a group read, (B, R, D); zeros where `is_reader` is False or there is no key."""
    queries, keys, values = (
        x.gather(1, _wide(index, x)) for x, index in ((query, group.reader), (key, group.key), (value, group.key))
    )
    blind = ~group.is_key.any(1, keepdim=True)  # (B, 1)
    mask = None if bool(group.is_key.all()) else (group.is_key | blind)[:, None, None, :]
    out = _by_heads(queries, keys, values, num_heads, mask)
    return torch.where((group.is_reader & ~blind).unsqueeze(-1), out, torch.zeros_like(out))


def _by_heads(query: Tensor, key: Tensor, value: Tensor, num_heads: int, mask: Tensor | None) -> Tensor:
    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)  # (B, L, D) -> (B, heads, L, D / heads)

    out = F.scaled_dot_product_attention(heads(query), heads(key), heads(value), attn_mask=mask)
    return out.transpose(1, 2).flatten(2)  # (B, L, D)


def _wide(index: Tensor, x: Tensor) -> Tensor:
    """Expand indices of tokens (B, K) over the width of `x` (B, L, D)."""
    return index.unsqueeze(-1).expand(-1, -1, x.shape[-1])
