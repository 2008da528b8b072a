"""Fills of each frame from its own observed cells: inverse distance, harmonic and biharmonic surfaces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from hydrofill.guesses.interpolation import biharmonic, harmonic

Floats = npt.NDArray[np.floating[Any]]

NEAREST = 16  # observed cells that a gap is interpolated from
MAX_GAPS = 20_000  # whose neighbours are held at once: 10 MB with 16 neighbours, and 46 MB of systems to krige
POWER = 2.0  # of the distance. Source: Shepard 1968


@dataclass(frozen=True, eq=False)
class Near:
    """At most MAX_GAPS missing cells of a frame and the K observed cells nearest to each.

    frame: its number. missing: (M, 2) rows and columns. places: (M, K, 2) rows and columns of the neighbours. distance:
    (M, K) in cells. values: (M, K) float64 of the neighbours.
    """

    frame: int
    missing: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    distance: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]


def nearest_cells(values: Floats, number: int = NEAREST) -> Iterator[Near]:
    """Yield the `number` observed cells nearest to each missing cell of (T, H, W); skip empty frames.

    Each frame's missing cells come in parts, so that a large frame takes no more memory than a small one.
    """
    seen = ~np.isnan(values)
    for frame in np.flatnonzero(seen.any(axis=(1, 2)) & ~seen.all(axis=(1, 2))):
        there, missing = np.argwhere(seen[frame]), np.argwhere(~seen[frame])
        k = min(number, len(there))
        tree, known = KDTree(there), values[frame][seen[frame]].astype(np.float64)
        for first in range(0, len(missing), MAX_GAPS):
            part = missing[first : first + MAX_GAPS]
            distance, index = tree.query(part, k=np.arange(1, k + 1))
            yield Near(int(frame), part, there[index], np.asarray(distance), known[index])


def inverse_distance(values: Floats) -> Floats:
    """Return a copy of (T, H, W) with gaps at the mean of the nearest observed cells, weighted by distance.

    Empty frames stay NaN.

    Source: Shepard 1968, with cells as the unit of distance.
    """
    filled = values.copy()
    for near in nearest_cells(values):
        weight = near.distance**-POWER
        filled[near.frame][tuple(near.missing.T)] = (weight * near.values).sum(axis=1) / weight.sum(axis=1)
    return filled


def harmonic_in_space(values: Floats) -> Floats:
    """Return a copy of (T, H, W), each frame's gaps on the solution of Laplace's equation; NaN in empty frames."""
    return np.where(np.isnan(values), harmonic(values.astype(np.float32)), values).astype(values.dtype)


def biharmonic_in_space(values: Floats) -> Floats:
    """Return a copy of (T, H, W), each frame's gaps on the smoothest surface; NaN in empty frames."""
    return np.where(np.isnan(values), biharmonic(values.astype(np.float32)), values).astype(values.dtype)
