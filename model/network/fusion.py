"""Fusion: which tokens of which variables may be read.

`joint`: every token reads every other token, and every query reads the whole memory. `none` (option A): tokens and
queries read their own variable and the static attributes only, so that each variable costs what it costs alone.
`pooled` (option B): as `none`, and in addition the mean token of each variable is put into the memory, where queries of
all variables read it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.network.layers import Group, KeySelection, real_tokens


class Memory(NamedTuple):
    """The encoder's output: tokens (B, M, W), the number of real tokens (B,), and the type of each token (B, M)."""

    tokens: Tensor
    length: Tensor
    variable: Tensor


def may_read(readers: Tensor, read: Tensor, num_variables: int) -> Tensor:
    """Return which tokens (B, L) each reader (B, R) may read, (B, R, L) bool: its own variable's and static tokens."""
    return (readers.unsqueeze(-1) == read.unsqueeze(-2)) | (read >= num_variables).unsqueeze(-2)


def keys_of(readers: Tensor, read: Tensor, length: Tensor, num_variables: int) -> KeySelection:
    """Return the keys that each reader reads without joint fusion, as groups of one variable each.

    Args:
        readers: (B, R) types of the readers.
        read: (B, L) types of the tokens that can be read.
        length: (B,) number of real tokens among those.
        num_variables: V; tokens of types from V on are read by all.
    """
    real = real_tokens(length, read.shape[1])
    if torch.compiler.is_exporting():  # sizes of groups are not known in a graph: use a mask
        return may_read(readers, read, num_variables) & real.unsqueeze(1)
    groups = []
    for variable in range(num_variables + 1):
        own = readers.clamp(max=num_variables) == variable
        keys = ((read == variable) | (read >= num_variables)) & real
        group = Group(*chosen_first(own), *chosen_first(keys))
        if group.reader.shape[1] and group.key.shape[1]:
            groups.append(group)
    return groups


def chosen_first(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices (B, K) of the chosen tokens (B, L) and which of them are chosen.

    K is the largest number of chosen tokens in a sample; in an exported graph, where that is not known, K is L.
    """
    if torch.compiler.is_exporting():
        return torch.arange(chosen.shape[1], device=chosen.device).expand_as(chosen), chosen
    largest = int(chosen.sum(1).max()) if chosen.numel() else 0
    index = chosen.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :largest]
    return index, chosen.gather(1, index)


def mean_token(tokens: Tensor, real: Tensor) -> Tensor:
    """Return the mean of each sample's real tokens, (B, 1, D)."""
    weight = real.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)


class PooledVariables(nn.Module):
    """Puts the mean token of each variable before the memory; a variable that is absent has a learnt token."""

    def __init__(self, num_variables: int, token_types: int, dim: int) -> None:
        super().__init__()
        self.num_variables, self.token_types = num_variables, token_types
        self.absent = nn.Embedding(num_variables, dim)

    def forward(self, memory: Memory, real: Tensor) -> Memory:
        kinds = F.one_hot(memory.variable, self.token_types)[..., : self.num_variables]
        weight = kinds.to(memory.tokens.dtype) * real.unsqueeze(-1)  # (B, L, V)
        count = weight.sum(1).unsqueeze(-1)  # (B, V, 1)
        mean = torch.einsum("blv,bld->bvd", weight, memory.tokens) / count.clamp(min=1)
        tokens = torch.where(count > 0, mean, self.absent.weight.to(mean.dtype))
        for_all = memory.variable.new_full((1, 1), self.num_variables).expand(tokens.shape[0], self.num_variables)
        return Memory(
            torch.cat([tokens, memory.tokens], 1),
            memory.length + self.num_variables,
            torch.cat([for_all, memory.variable], 1),
        )
