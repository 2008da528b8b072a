"""Cut a record into blocks that are filled one at a time, so that a fill of any size needs the memory of one block.

Tiles divide the grid and the time steps. A block fills its core, which is a tile and a little of the tiles beside it:
where cores overlap, the fills of neighbouring blocks are mixed by weights that fall towards the border of each core.
Around its core a block reads a halo of cells and margins of steps, so that first guesses and windows know their
neighbours. Blocks follow from the shape of the record alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

BLOCK_VALUES = 3_000_000  # of all filled variables together, that a block reads at most where its shape allows
HALO_CELLS, MARGIN_STEPS = 8, 32  # that a block reads on each side of its tile
OVERLAP_CELLS, OVERLAP_STEPS = 4, 8  # by which a core reaches beyond its tile, on each side
MIN_TILE_CELLS = 32  # rows or columns of a tile, where the grid has as many
LARGE_CHUNKS = 4  # times the values that are read at a time: chunks of more are cut along time
LONG_RUN = 256  # steps that a run has where the record has as many: patterns and courses need time


class Box(NamedTuple):
    """A part of a record: slices of its time steps, rows and columns."""

    time: slice
    y: slice
    x: slice

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of steps, rows and columns."""
        time, y, x = (part.stop - part.start for part in self)
        return time, y, x

    def within(self, outer: Box) -> Box:
        """Return the box by its place in `outer`, which contains the box."""
        return Box(*(slice(p.start - o.start, p.stop - o.start) for p, o in zip(self, outer, strict=True)))

    def overlaps(self, other: Box) -> bool:
        """Return whether the boxes have a cell in common."""
        return all((a.start < b.stop and b.start < a.stop) or a == b for a, b in zip(self, other, strict=True))


@dataclass(frozen=True)
class Block:
    """One block: its tile, the core that it fills, and what it reads around the core."""

    number: int
    tile: Box
    core: Box
    around: Box

    def values_read(self, num_grids: int, num_series_sites: int) -> int:
        """Return how many values the block reads of a record; see `plan_blocks` for the arguments."""
        steps, rows, columns = self.around.shape
        return steps * (rows * columns * num_grids + num_series_sites)

    def weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the weights of the core's steps, rows and columns, float64: at each cell those of all blocks are 1."""
        overlaps = (OVERLAP_STEPS, OVERLAP_CELLS, OVERLAP_CELLS)
        time, y, x = (_ramp(c, t, o) for c, t, o in zip(self.core, self.tile, overlaps, strict=True))
        return time, y, x


def plan_blocks(shape: tuple[int, int, int], num_grids: int, num_series_sites: int) -> tuple[Block, ...]:
    """Return the blocks of a record.

    Args:
        shape: numbers of time steps, rows and columns, (T, H, W); no rows and columns without a grid.
        num_grids: number of gridded variables.
        num_series_sites: number of values of series in each step.
    """
    runs, rows, columns = _lengths(shape, num_grids, num_series_sites)
    parts = (
        _cut(shape[0], runs, OVERLAP_STEPS, MARGIN_STEPS),
        _cut(shape[1], rows, OVERLAP_CELLS, HALO_CELLS),
        _cut(shape[2], columns, OVERLAP_CELLS, HALO_CELLS),
    )
    blocks = []
    for number, (time, y, x) in enumerate(product(*parts)):
        tile, core, around = (Box(*part) for part in zip(time, y, x, strict=True))
        blocks.append(Block(number, tile, core, around))
    return tuple(blocks)


def _lengths(shape: tuple[int, int, int], num_grids: int, num_series_sites: int) -> tuple[int, int, int]:
    """Return the numbers of runs, of rows of tiles and of columns of tiles."""
    n_time, height, width = shape
    if n_time * (height * width * num_grids + num_series_sites) <= BLOCK_VALUES:
        return 1, 1, 1
    if not num_grids:
        return _runs(n_time, num_series_sites), 1, 1
    found = []
    for side in range(MIN_TILE_CELLS, max(height, width) + MIN_TILE_CELLS, 8):
        rows, columns = -(-height // side), -(-width // side)
        cells = _read(height, rows) * _read(width, columns)
        per_step = cells * num_grids
        if side > MIN_TILE_CELLS and per_step * min(n_time, LONG_RUN) > BLOCK_VALUES:
            break
        runs = _runs(n_time, per_step)
        found.append((_read_steps(n_time, runs) * runs * cells * rows * columns, runs, rows, columns))
    return min(found)[1:]


def _runs(n_time: int, values_per_step: int) -> int:
    """Return the number of runs, so that no block reads more than BLOCK_VALUES; a run is never very short."""
    longest = max(BLOCK_VALUES // max(values_per_step, 1), 4 * MARGIN_STEPS)
    return 1 if n_time <= longest else -(-n_time // (longest - 2 * MARGIN_STEPS))


def _read(length: int, parts: int) -> int:
    """Return how many cells of an axis a tile reads."""
    return length if parts == 1 else min(length, -(-length // parts) + 2 * HALO_CELLS)


def _read_steps(n_time: int, runs: int) -> int:
    return n_time if runs == 1 else min(n_time, -(-n_time // runs) + 2 * MARGIN_STEPS)


def _cut(length: int, parts: int, overlap: int, margin: int) -> list[tuple[slice, slice, slice]]:
    """Cut an axis into parts of near equal length; return each part, its core, and what is read around the core."""
    ends = np.round(np.linspace(0, length, parts + 1)).astype(int).tolist()
    found = []
    for start, stop in pairwise(ends):
        core = slice(max(0, start - overlap), min(length, stop + overlap))
        around = slice(max(0, start - margin), min(length, stop + margin))
        found.append((slice(start, stop), core, around))
    return found


def _ramp(core: slice, tile: slice, overlap: int) -> np.ndarray:
    """Return weights along a core, which fall to zero across the overlap with the next core on either side."""
    at = np.arange(core.start, core.stop) + 0.5
    weight = np.ones(len(at))
    if core.start < tile.start:
        weight = np.minimum(weight, (at - (tile.start - overlap)) / (2 * overlap))
    if core.stop > tile.stop:
        weight = np.minimum(weight, ((tile.stop + overlap) - at) / (2 * overlap))
    return weight


def whole(shape: tuple[int, int, int]) -> Box:
    """Return the box of a whole record of this shape."""
    return Box(*(slice(0, n) for n in shape))


def chunked_boxes(shape: tuple[int, int, int], chunk: tuple[int, int, int], values: int) -> Iterator[Box]:
    """Yield boxes that together cover a record, in the order of steps, rows and columns.

    A box has whole chunks, of about `values` together, whole rows first. A chunk of more than LARGE_CHUNKS times as
    many is cut along time.
    """
    size = whole_chunks(shape, chunk, values)
    size[0] = min(size[0], max(1, LARGE_CHUNKS * values // max(size[1] * size[2], 1)))
    cuts = (
        [slice(at, min(at + n, length)) for at in range(0, max(length, 1), n)]
        for length, n in zip(shape, size, strict=True)
    )
    for time, y, x in product(*cuts):
        yield Box(time, y, x)


def whole_chunks(shape: Sequence[int], chunk: Sequence[int], values: int) -> list[int]:
    """Return the lengths of a part of an array that has whole chunks, at least one, of about `values` together.

    The part grows along the last axis first.
    """
    size = [max(1, min(n, part)) for n, part in zip(shape, chunk, strict=True)]
    for axis in reversed(range(len(size))):
        number = max(1, values // math.prod(size))
        size[axis] = max(1, min(shape[axis], size[axis] * number))
    return size
