"""The share of each cell, or of each site, that belongs to each area."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hydrofill.errors import CoordinateError


@dataclass(frozen=True, eq=False)
class Areas:
    """Areas of N cells of a grid, or of N sites.

    names: of the areas. cells: for each area the numbers of its cells, (n,) int. shares: how much of each cell is in
    the area, (n,) float64, from 0 to 1. within: for each area, how much of it lies on the grid; 1 but for polygons.
    """

    names: Sequence[str]
    cells: Sequence[np.ndarray]
    shares: Sequence[np.ndarray]
    within: Sequence[float]

    @classmethod
    def of(cls, names: Sequence[str], shares: Sequence[np.ndarray], within: Sequence[float] = ()) -> Areas:
        """Return areas of which the shares of all cells are given, (N,) each.

        Raises:
            CoordinateError: an area has no cell.
        """
        empty = [name for name, share in zip(names, shares, strict=True) if not (share > 0).any()]
        if empty:
            raise CoordinateError("does not meet the grid of the data", where=", ".join(empty[:5]))
        cells = [np.flatnonzero(share) for share in shares]
        kept = [share[at].astype(np.float64) for share, at in zip(shares, cells, strict=True)]
        return cls(names, cells, kept, list(within) or [1.0] * len(names))

    def sums(self, values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Return the sums over each area (A, T) of values (T, N) of cells of these sizes (N,)."""
        parts = zip(self.cells, self.shares, strict=True)
        return np.stack([values[:, at].astype(np.float64) @ (share * sizes[at]) for at, share in parts])
