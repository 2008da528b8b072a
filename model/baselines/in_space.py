"""Fills of each frame from its own seen cells: inverse distance, harmonic and biharmonic surfaces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from hydrofill.guesses.interpolation import biharmonic, harmonic

Floats = npt.NDArray[np.floating[Any]]

NEAREST = 16  # seen cells that a gap is interpolated from
POWER = 2.0  # of the distance, as Shepard 1968


@dataclass(frozen=True, eq=False)
class Near:
    """A frame's missing cells and the seen cells nearest to each, in cells.

    frame: its number. missing: (M, 2) rows and columns. places: (M, K, 2) those of its neighbours. distance: (M, K).
    values: (M, K) float64.
    """

    frame: int
    missing: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    distance: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]


def nearest_cells(values: Floats, number: int = NEAREST) -> Iterator[Near]:
    """The `number` seen cells nearest to each missing cell of (T, H, W), frame by frame; none of empty frames."""
    seen = ~np.isnan(values)
    for frame in np.flatnonzero(seen.any(axis=(1, 2)) & ~seen.all(axis=(1, 2))):
        there, missing = np.argwhere(seen[frame]), np.argwhere(~seen[frame])
        k = min(number, len(there))
        distance, index = KDTree(there).query(missing, k=np.arange(1, k + 1))
        known = values[frame][seen[frame]].astype(np.float64)
        yield Near(int(frame), missing, there[index], np.asarray(distance), known[index])


def inverse_distance(values: Floats, number: int = NEAREST, power: float = POWER) -> Floats:
    """A copy of (T, H, W) with gaps at the mean of the nearest seen cells weighted by distance; NaN in empty frames.

    Source: Shepard 1968, with cells as the unit of distance.
    """
    filled = values.copy()
    for near in nearest_cells(values, number):
        weight = near.distance**-power
        filled[near.frame][tuple(near.missing.T)] = (weight * near.values).sum(axis=1) / weight.sum(axis=1)
    return filled


def harmonic_in_space(values: Floats) -> Floats:
    """A copy of (T, H, W) with each frame's gaps on the solution of Laplace's equation; NaN in empty frames."""
    return np.where(np.isnan(values), harmonic(values.astype(np.float32)), values).astype(values.dtype)


def biharmonic_in_space(values: Floats) -> Floats:
    """A copy of (T, H, W) with each frame's gaps on the smoothest surface; NaN in empty frames."""
    return np.where(np.isnan(values), biharmonic(values.astype(np.float32)), values).astype(values.dtype)
