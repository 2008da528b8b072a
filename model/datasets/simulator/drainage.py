"""Where water runs: every land cell to a lower neighbour, down to the sea; and the gauges on the way."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from model.config import ConfigError

MIN_FALL_M = 0.05  # from a cell to the next, so that filled hollows drain
NEIGHBOURS = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]
SEA = -1


@dataclass(frozen=True, eq=False)
class Drainage:
    """Land cells from the highest to the lowest, (n,): `cells` flat grid indices, `reach` metres to the next cell.

    `downstream` (n,) is the place in `cells` that each drains to, always further on, or `SEA`.
    """

    cells: np.ndarray
    downstream: np.ndarray
    reach: np.ndarray

    @property
    def inflow(self) -> sparse.csr_array:
        """(n, n): times outflows (n,) gives what runs into each cell from above."""
        above = np.flatnonzero(self.downstream != SEA)
        ones = np.ones(len(above))
        return sparse.csr_array((ones, (self.downstream[above], above)), shape=(len(self.cells),) * 2)

    def upstream_cells(self) -> np.ndarray:
        """How many cells drain through each one, itself among them, (n,) int."""
        count = np.ones(len(self.cells), np.int64)
        for cell, below in enumerate(self.downstream):  # from the top down: what comes later is complete
            if below != SEA:
                count[below] += count[cell]
        return count

    def catchments(self, gauges: np.ndarray) -> sparse.csr_array:
        """(N, n): 1 where a cell drains through a gauge; `gauges` (N,) are places in `cells`, all different."""
        number = np.full(len(self.cells), -1)
        number[gauges] = np.arange(len(gauges))
        rows, columns = [], []
        cell = at = np.arange(len(self.cells))
        while len(cell):  # every cell walks down to the sea, all at once
            met = number[at] >= 0
            rows.append(number[at[met]])
            columns.append(cell[met])
            onward = self.downstream[at] != SEA
            cell, at = cell[onward], self.downstream[at[onward]]
        index = (np.concatenate(rows), np.concatenate(columns))
        return sparse.csr_array((np.ones(len(index[0])), index), shape=(len(gauges), len(self.cells)))


def fill_hollows(elevation: np.ndarray) -> np.ndarray:
    """The relief (H, W) raised so that every cell has a lower neighbour; NaN is sea, at 0 m.

    Source: Barnes et al. 2014, Comput. Geosci. 62:117, algorithm 3 (priority-flood with a least fall).
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
    """Each land cell's steepest way down over a relief without hollows, (H, W) m, NaN at sea and on all edges."""
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
    """Places of gauges in `drainage.cells`, (N,), from the largest catchment to the smallest; larger ones are likelier.

    Raises:
        ConfigError: there are fewer catchments of at least `smallest` cells.
    """
    size = drainage.upstream_cells()
    possible = np.flatnonzero(size >= smallest)
    if len(possible) < number:
        raise ConfigError(
            f"the land has {len(possible)} catchments of {smallest} cells or more, {number} sites asked for"
        )
    weight = np.sqrt(size[possible])
    chosen = rng.choice(possible, number, replace=False, p=weight / weight.sum())
    return chosen[np.argsort(-size[chosen], kind="stable")]
