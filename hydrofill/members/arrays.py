"""Arrays of members (member, ...): in memory, or drawn pair by pair and part by part when they are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hydrofill.members.fields import PAIR

if TYPE_CHECKING:
    import dask.array as da

Cells = Mapping[str, slice]  # a part of a variable, by its dimensions
Pairs = Callable[[int, Cells], np.ndarray]  # two members of a part of a variable, (2, ...), by number of the pair


def members_now(
    draw: Pairs, number: int, dims: Sequence[str], shape: Sequence[int], dtype: np.dtype[Any]
) -> np.ndarray:
    """Return so many members of a variable."""
    made = np.empty((number, *shape), dtype)
    everything = {dim: slice(0, n) for dim, n in zip(dims, shape, strict=True)}
    for first in range(0, number, PAIR):
        made[first : first + PAIR] = draw(first // PAIR, everything)[: number - first]
    return made


def members_later(
    draw: Pairs, number: int, dims: Sequence[str], parts: Sequence[Sequence[int]], dtype: np.dtype[Any]
) -> da.Array:
    """Return so many members of a variable, drawn in these parts of the variable when they are computed."""
    import dask.array as da

    def of_part(block_info: Any = None) -> np.ndarray:
        (first, last), *place = block_info[None]["array-location"]
        cells = {dim: slice(*ends) for dim, ends in zip(dims, place, strict=True)}
        return draw(first // PAIR, cells)[: last - first]

    pairs = tuple(min(PAIR, number - first) for first in range(0, number, PAIR))
    meta = np.empty((0,) * (len(dims) + 1), dtype)
    return da.map_blocks(of_part, chunks=(pairs, *map(tuple, parts)), dtype=dtype, meta=meta)
