"""Replace layers of the network by equivalent layers that ONNX Runtime computes faster, with the same weights.

Attention becomes ONNX Runtime's fused operator, which is fastest without a mask. Padding is marked in the keys instead:
every head gets one more coordinate, which is 1 in each query, 0 in the keys of real tokens and BARRED in the keys of
padding. The weight of padding in the softmax is then zero, and projected keys need no lengths.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import NetworkConfig
from model.network.layers import CrossAttention, KeySelection, Projected, SelfAttention, WeightedFeatureMaps
from model.network.mae import CrossMAE

BARRED = -1e4  # far below any attention score, and within the range of half precision
OPERATOR = "com.microsoft::MultiHeadAttention"


class FusedSelfAttention(nn.Module):
    """`SelfAttention` as a fused operator: tokens read the `real` tokens (B, L)."""

    def __init__(self, plain: SelfAttention) -> None:
        super().__init__()
        self.num_heads, self.width = plain.num_heads, plain.proj.in_features // plain.num_heads
        query, key, value = zip(plain.qkv.weight.chunk(3), plain.qkv.bias.chunk(3), strict=True)
        self.query = _widened(*query, self.num_heads, 1.0)
        self.key = _widened(*key, self.num_heads, 0.0)
        self.value = _linear(*value)
        self.proj = plain.proj

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """Return what tokens (B, L, D) read from the real tokens, (B, L, D)."""
        key = barred(self.key(x), real, self.num_heads)
        return self.proj(_fused(self.query(x), key, self.value(x), self.num_heads, self.width))


class FusedCrossAttention(nn.Module):
    """`CrossAttention` as a fused operator: queries read a projected memory whose keys mark padding."""

    def __init__(self, plain: CrossAttention) -> None:
        super().__init__()
        self.num_heads, self.width = plain.num_heads, plain.proj.in_features // plain.num_heads
        key, value = zip(plain.kv.weight.chunk(2), plain.kv.bias.chunk(2), strict=True)
        self.query = _widened(plain.q.weight, plain.q.bias, self.num_heads, 1.0)
        self.key = _widened(*key, self.num_heads, 0.0)
        self.value = _linear(*value)
        self.proj = plain.proj

    def project(self, memory: Tensor) -> Projected:
        """Return the memory's keys, one coordinate wider per head, and its values."""
        return Projected(self.key(memory), self.value(memory))

    def read(self, x: Tensor, projected: Projected, real: KeySelection) -> Tensor:
        """Return what queries read from a projected memory; `real` must be None, for the keys mark padding."""
        assert real is None
        return self.proj(_fused(self.query(x), projected.key, projected.value, self.num_heads, self.width))


class RowsLinear(nn.Module):
    """A linear layer over the rows of a matrix: one ONNX operator that multiplies and adds the bias."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.linear = plain

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's outputs (..., out) for inputs (..., in)."""
        rows = self.linear(x.flatten(0, -2))
        return rows.reshape(*x.shape[:-1], rows.shape[-1])


def fuse(network: CrossMAE) -> None:
    """Replace layers of `network`, in place: attention that masks padding alone is fused, linear layers act on rows."""
    masked = set() if network.config.fusion == "joint" else set(network.encoder.modules())

    def fused(module: nn.Module) -> nn.Module:
        if isinstance(module, SelfAttention) and module not in masked:
            return FusedSelfAttention(module)
        if isinstance(module, CrossAttention) and bars_keys(network.config):
            return FusedCrossAttention(module)
        return module

    _replace(network, fused)
    mixes = {module.linear for module in network.modules() if isinstance(module, WeightedFeatureMaps)}
    _replace(network, lambda m: RowsLinear(m) if isinstance(m, nn.Linear) and m not in mixes else m)


def _replace(module: nn.Module, replacement: Callable[[nn.Module], nn.Module]) -> None:
    """Replace every module below `module` by its `replacement`; a replaced module is not searched further."""
    for name, child in list(module.named_children()):
        new = replacement(child)
        if new is child:
            _replace(child, replacement)
        else:
            setattr(module, name, new)


def bars_keys(config: NetworkConfig) -> bool:
    """Return whether the keys of the memory mark padding themselves."""
    return config.decoder == "cross" and config.fusion == "joint"


def barred(key: Tensor, real: Tensor, num_heads: int) -> Tensor:
    """Return keys (B, L, heads * (width + 1)) with each head's last coordinate BARRED where not `real` (B, L)."""
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
    """Return a linear layer whose heads have one more coordinate, which is always `last`."""
    rows = F.pad(weight.unflatten(0, (num_heads, -1)), (0, 0, 0, 1))  # (heads, width + 1, D)
    return _linear(rows.flatten(0, 1), F.pad(bias.unflatten(0, (num_heads, -1)), (0, 1), value=last).flatten())


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())
    return layer
