"""Drainage: every land cell drains to a lower neighbour, down to the sea; and the choice of gauges."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from model.config import ConfigError

MIN_FALL_M = 0.05  # from a cell to the next, so that filled depressions drain
NEIGHBOURS = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]
SEA = -1


@dataclass(frozen=True, eq=False)
class Drainage:
    """The n land cells from the highest to the lowest.

    Attributes:
        cells: (n,) flat indices into the grid.
        downstream: (n,) position in `cells` of the cell that each drains to, always a later one, or `SEA`.
        reach: (n,) metres to that cell.
    """

    cells: np.ndarray
    downstream: np.ndarray
    reach: np.ndarray

    @property
    def inflow(self) -> sparse.csr_array:
        """Sparse matrix (n, n) that turns outflows (n,) into the inflows of each cell from upstream."""
        above = np.flatnonzero(self.downstream != SEA)
        ones = np.ones(len(above))
        return sparse.csr_array((ones, (self.downstream[above], above)), shape=(len(self.cells),) * 2)

    def upstream_cells(self) -> np.ndarray:
        """Return the number of cells that drain through each cell, including itself, (n,) int."""
        count = np.ones(len(self.cells), np.int64)
        for cell, below in enumerate(
            self.downstream
        ):  # from the highest cell down: all cells upstream have been counted
            if below != SEA:
                count[below] += count[cell]
        return count

    def catchments(self, gauges: np.ndarray) -> sparse.csr_array:
        """Return the catchments (N, n), 1 where a cell drains through a gauge.

        Args:
            gauges: (N,) positions in `cells`, all different.
        """
        number = np.full(len(self.cells), -1)
        number[gauges] = np.arange(len(gauges))
        rows, columns = [], []
        cell = at = np.arange(len(self.cells))
        while len(cell):  # follow all cells downstream to the sea at once
            met = number[at] >= 0
            rows.append(number[at[met]])
            columns.append(cell[met])
            onward = self.downstream[at] != SEA
            cell, at = cell[onward], self.downstream[at[onward]]
        index = (np.concatenate(rows), np.concatenate(columns))
        return sparse.csr_array((np.ones(len(index[0])), index), shape=(len(gauges), len(self.cells)))


def fill_depressions(elevation: np.ndarray) -> np.ndarray:
    """Return the elevation (H, W) raised so that every cell has a lower neighbour; NaN is sea, at 0 m.

    Source: Barnes et al. 2014, Comput. Geosci. 62:117, algorithm 3 (priority-flood with a minimum fall).
    """
    rows, columns = elevation.shape
    filled = np.where(np.isnan(elevation), 0.0, np.inf)
    shore = [(0.0, int(r), int(c)) for r, c in np.argwhere(np.isnan(elevation))]
    heapq.heapify(shore)
    while shore:
        level, row, column = heapq.heappop(shore)
        for down, right in NEIGHBOURS:
            r, c = row + down, column + right
            if 0 <= r < rows and 0 <= c < columns and filled[r, c] == np.inf:
                filled[r, c] = max(elevation[r, c], level + MIN_FALL_M)
                heapq.heappush(shore, (filled[r, c], r, c))
    return np.where(np.isnan(elevation), np.nan, filled)


def drain(filled: np.ndarray, cell_m: float) -> Drainage:
    """Return the drainage along the steepest descent.

    Args:
        filled: (H, W) elevation without depressions, metres; NaN at sea and on all edges.
        cell_m: side of a cell, metres.
    """
    columns = filled.shape[1]
    level = np.nan_to_num(filled)
    steps = [(a * columns + b, np.hypot(a, b) * cell_m) for a, b in NEIGHBOURS]
    land = np.flatnonzero(~np.isnan(filled))
    fall = np.stack([(level.flat[land] - level.flat[land + offset]) / away for offset, away in steps])  # (8, n)
    way = fall.argmax(axis=0)
    offsets, lengths = (np.array(values) for values in zip(*steps, strict=True))
    order = np.argsort(-level.flat[land], kind="stable")
    place = np.full(filled.size, SEA)
    place[land[order]] = np.arange(len(land))
    return Drainage(land[order], place[(land + offsets[way])[order]], lengths[way][order])


def choose_gauges(drainage: Drainage, number: int, smallest: int, rng: np.random.Generator) -> np.ndarray:
    """Choose gauges at random, positions in `drainage.cells` (N,), from the largest catchment to the smallest.

    Larger catchments are more likely.

    Raises:
        ConfigError: there are fewer catchments of at least `smallest` cells.
    """
    size = drainage.upstream_cells()
    possible = np.flatnonzero(size >= smallest)
    if len(possible) < number:
        raise ConfigError(
            f"the land has {len(possible)} catchments of {smallest} cells or more, {number} sites requested"
        )
    weight = np.sqrt(size[possible])
    chosen = rng.choice(possible, number, replace=False, p=weight / weight.sum())
    return chosen[np.argsort(-size[chosen], kind="stable")]
