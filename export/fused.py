"""The network's layers as ONNX Runtime runs them best, weights and results the same.

Attention is its fused operator, which is fastest without a mask. What is padding is told by one more coordinate of
every head instead: 1 in each query, 0 in the keys to read, BARRED in the others. Their weight in the softmax is
then nothing, and keys that are made ready once need no lengths beside them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import NetworkConfig
from model.network.layers import CrossAttention, Keys, Ready, SelfAttention, WeightedFeatureMaps
from model.network.mae import CrossMAE

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
        """What tokens (B, L, D) read of the real ones, (B, L, D)."""
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
        """(..., in) to (..., out)."""
        rows = self.linear(x.flatten(0, -2))
        return rows.reshape(*x.shape[:-1], rows.shape[-1])


def fuse(network: CrossMAE) -> None:
    """Changes `network`, in place: fused attention wherever lengths alone say what is read, linear layers over rows."""
    apart = set() if network.config.fusion == "joint" else set(network.encoder.modules())

    def attention(module: nn.Module) -> nn.Module:
        if isinstance(module, SelfAttention) and module not in apart:
            return FusedSelfAttention(module)
        if isinstance(module, CrossAttention) and bars_keys(network.config):
            return FusedCrossAttention(module)
        return module

    _replace(network, attention)
    mixes = {module.linear for module in network.modules() if isinstance(module, WeightedFeatureMaps)}
    _replace(network, lambda m: RowsLinear(m) if isinstance(m, nn.Linear) and m not in mixes else m)


def _replace(module: nn.Module, made_of: Callable[[nn.Module], nn.Module]) -> None:
    """Puts `made_of` each module below `module` in its place; what it changes is not looked into."""
    for name, child in list(module.named_children()):
        made = made_of(child)
        if made is child:
            _replace(child, made_of)
        else:
            setattr(module, name, made)


def bars_keys(config: NetworkConfig) -> bool:
    """Whether the keys of the memory themselves tell what is padding."""
    return config.decoder == "cross" and config.fusion == "joint"


def barred(key: Tensor, real: Tensor, num_heads: int) -> Tensor:
    """Keys (B, L, heads * (width + 1)), whose last coordinate is 0, with BARRED there where not `real` (B, L)."""
    last = F.pad(key.new_full((1,), BARRED), (key.shape[-1] // num_heads - 1, 0)).repeat(num_heads)
    return key + torch.where(real, 0.0, 1.0).to(key.dtype).unsqueeze(-1) * last


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
