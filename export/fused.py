"""The network's layers as ONNX Runtime runs them best, weights and results the same.

Attention is its fused operator, which is fastest without a mask. What is padding is told by one more coordinate of every head instead: 1 in each query, 0 in the keys to read, BARRED in
the others. Their weight in the softmax is then nothing, and keys that are made ready once need no lengths beside them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import NetworkConfig
from model.layers import CrossAttention, Keys, Ready, SelfAttention, WeightedFeatureMaps
from model.mae import CrossMAE

BARRED = -1e4  # far below any score of a layer's norms, and within the range of half precision
OPERATOR = "com.microsoft::MultiHeadAttention"


class FusedSelfAttention(nn.Module):
    """`SelfAttention` with the same weights, of tokens to the `real` ones (B, L)."""

    def __init__(self, plain: SelfAttention) -> None:
        super().__init__()
        self.num_heads, self.width = plain.num_heads, plain.proj.in_features // plain.num_heads
        query, key, value = zip(plain.qkv.weight.chunk(3), plain.qkv.bias.chunk(3), strict=True)
        self.query = _widened(*query, self.num_heads, 1.0)
        self.key = _widened(*key, self.num_heads, 0.0)
        self.value = _linear(*value)
        self.proj = plain.proj

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        key = barred(self.key(x), real, self.num_heads)
        return self.proj(_fused(self.query(x), key, self.value(x), self.num_heads, self.width))


class FusedCrossAttention(nn.Module):
    """`CrossAttention` with the same weights, of queries to a memory made ready, whose keys tell what is padding."""

    def __init__(self, plain: CrossAttention) -> None:
        super().__init__()
        self.num_heads, self.width = plain.num_heads, plain.proj.in_features // plain.num_heads
        key, value = zip(plain.kv.weight.chunk(2), plain.kv.bias.chunk(2), strict=True)
        self.query = _widened(plain.q.weight, plain.q.bias, self.num_heads, 1.0)
        self.key = _widened(*key, self.num_heads, 0.0)
        self.value = _linear(*value)
        self.proj = plain.proj

    def ready(self, memory: Tensor) -> Ready:
        """The memory's keys, a coordinate wider, and its values."""
        return Ready(self.key(memory), self.value(memory))

    def read(self, x: Tensor, ready: Ready, real: Keys) -> Tensor:
        """What queries read of a memory made ready; `real` must say nothing."""
        assert real is None
        return self.proj(_fused(self.query(x), ready.key, ready.value, self.num_heads, self.width))


class RowsLinear(nn.Module):
    """A linear layer over the rows of a matrix: one operator, which adds the bias while it multiplies."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.linear = plain

    def forward(self, x: Tensor) -> Tensor:
        rows = self.linear(x.flatten(0, -2))
        return rows.reshape(*x.shape[:-1], rows.shape[-1])


def fuse(network: CrossMAE) -> None:
    """Changes `network`, in place: fused attention wherever lengths alone say what is read, linear layers over rows."""
    _fuse_attention(network)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear) and not isinstance(module, RowsLinear | WeightedFeatureMaps):
                setattr(module, name, RowsLinear(child))


def _fuse_attention(network: CrossMAE) -> None:
    config = network.config
    if config.fusion == "joint":
        for encoding in network.encoder.blocks:
            encoding.attn = FusedSelfAttention(encoding.attn)
    for block in network.decoder.blocks:
        if config.decoder == "full":
            block.attn = FusedSelfAttention(block.attn)
        elif config.decoder_self_attention:
            block.self_attn = FusedSelfAttention(block.self_attn)
        if bars_keys(config):
            block.cross_attn = FusedCrossAttention(block.cross_attn)


def bars_keys(config: NetworkConfig) -> bool:
    """Whether the keys of the memory themselves tell what is padding."""
    return config.decoder == "cross" and config.fusion == "joint"


def barred(key: Tensor, real: Tensor, num_heads: int) -> Tensor:
    """Keys (B, L, heads * (width + 1)), whose last coordinate is 0, with BARRED there where not `real` (B, L)."""
    last = F.pad(key.new_full((1,), BARRED), (key.shape[-1] // num_heads - 1, 0)).repeat(num_heads)
    return key + torch.where(real, 0.0, 1.0).unsqueeze(-1) * last


def _fused(query: Tensor, key: Tensor, value: Tensor, num_heads: int, width: int) -> Tensor:
    return torch.onnx.ops.symbolic(
        OPERATOR,
        (query, key, value),
        {"num_heads": num_heads, "scale": width**-0.5},
        dtype=query.dtype,
        shape=(*query.shape[:2], value.shape[-1]),
        version=1,
    )


def _widened(weight: Tensor, bias: Tensor, num_heads: int, last: float) -> nn.Linear:
    """A linear layer whose heads have one more coordinate, which is always `last`."""
    rows = F.pad(weight.unflatten(0, (num_heads, -1)), (0, 0, 0, 1))  # (heads, width + 1, D)
    return _linear(rows.flatten(0, 1), F.pad(bias.unflatten(0, (num_heads, -1)), (0, 1), value=last).flatten())


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0])
    made.weight, made.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())
    return made
