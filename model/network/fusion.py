"""How variables meet: who may read whom, and what each tells the others.

`joint`: every token reads every other, every query the whole memory. `none` (option A): tokens and queries
keep to their own variable and the static attributes, so that each variable costs what it costs alone.
`pooled` (option B): the same, but each variable's mean token joins the memory, and queries read those of all
variables.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.network.layers import Group, Keys, real_tokens


class Memory(NamedTuple):
    """What the encoder hands on: tokens (B, M, W), how many are real (B,), the type of each (B, M)."""

    tokens: Tensor
    length: Tensor
    variable: Tensor


def may_read(readers: Tensor, read: Tensor, num_variables: int) -> Tensor:
    """(B, R, L) bool: readers of types (B, R) may read of types (B, L) their own variable's tokens and static ones."""
    return (readers.unsqueeze(-1) == read.unsqueeze(-2)) | (read >= num_variables).unsqueeze(-2)


def keys_of(readers: Tensor, read: Tensor, length: Tensor, num_variables: int) -> Keys:
    """What each reader reads where variables keep apart: groups, which cost what each variable costs alone.

    Args:
        readers: (B, R) types.
        read: (B, L) types of what there is to read.
        length: (B,) how many of those are real.
        num_variables: V; types from V on are for all to read.
    """
    real = real_tokens(length, read.shape[1])
    if torch.compiler.is_exporting():  # a graph knows no sizes of groups: it has a mask
        return may_read(readers, read, num_variables) & real.unsqueeze(1)
    groups = []
    for variable in range(num_variables + 1):
        own = readers.clamp(max=num_variables) == variable
        open_to_it = ((read == variable) | (read >= num_variables)) & real
        group = Group(*chosen_first(own), *chosen_first(open_to_it))
        if group.reader.shape[1] and group.key.shape[1]:
            groups.append(group)
    return groups


def chosen_first(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Indices (B, K) of the chosen (B, L), for the most that a sample has, and which of those are chosen.

    A graph that is exported knows no such number: K is L there.
    """
    if torch.compiler.is_exporting():
        return torch.arange(chosen.shape[1], device=chosen.device).expand_as(chosen), chosen
    most = int(chosen.sum(1).max()) if chosen.numel() else 0
    index = chosen.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
    return index, chosen.gather(1, index)


def mean_token(tokens: Tensor, real: Tensor) -> Tensor:
    """(B, 1, D): the mean of each sample's real tokens."""
    weight = real.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)


class PooledVariables(nn.Module):
    """Puts each variable's mean token before the memory, for every query to read; an absent one has a learnt token."""

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
