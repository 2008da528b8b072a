"""Pieces of a fill: what one block filled of one variable, and how overlapping pieces are mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hydrofill.blocks import Block, Box
from hydrofill.cube import WaterCube, nearest_cells
from hydrofill.gaps.refusals import Refuser
from hydrofill.reconstruct import FILLED, OBSERVED, OUTSIDE, FilledVariable
from hydrofill.survey import Source, Survey, read_part


@dataclass(frozen=True, eq=False)
class Piece:
    """The fill of one variable in the core of one block.

    box: the core. sites: (N,) int, the sites of the piece; None for a grid. flag: int8, (T, H, W) or (T, N). mean, std:
    float32, values of the cells with the flag FILLED, in their order. ends: (T + 1,) int, number of those cells before
    each step. steps: (T,) float64, weights of the steps. place: (H, W) or (N,) float64, weights of the cells or sites.
    """

    box: Box
    sites: np.ndarray | None
    flag: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    ends: np.ndarray
    steps: np.ndarray
    place: np.ndarray

    def part(self, steps: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return flag, mean and standard deviation, float64 and NaN where not filled, of some steps of the piece."""
        flag = np.asarray(self.flag[steps])
        filled = flag == FILLED
        first, last = self.ends[steps.start], self.ends[steps.stop]
        mean, std = (np.full(flag.shape, np.nan) for _ in range(2))
        mean[filled], std[filled] = self.mean[first:last], self.std[first:last]
        return flag, mean, std


def cut_piece(filled: FilledVariable, block: Block, axes: WaterCube) -> Piece:
    """Return the core of the fill of what a block reads.

    Args:
        filled: the fill of what the block reads.
        block: the block.
        axes: the axes of the whole record.
    """
    cut = _core_index(block, axes, filled.flag.ndim)
    flag = np.ascontiguousarray(filled.flag[cut])
    at = flag == FILLED
    return make_piece(block, axes, flag, filled.mean[cut][at], filled.std[cut][at])


def make_piece(
    block: Block,
    axes: WaterCube,
    flag: np.ndarray,
    mean: np.ndarray,
    std: np.ndarray,
    ends: np.ndarray | None = None,
) -> Piece:
    """Return the piece of a block with these flags and with these values of its filled cells; see `Piece`."""
    steps, y, x = block.weights()
    if flag.ndim == 3:
        sites, place = None, y[:, None] * x[None, :]
    else:
        sites = np.flatnonzero(axes.sites_in(block.core.y, block.core.x))
        place = np.ones(len(sites))
        weighted = ((y, axes.y, axes.sites.y, block.core.y), (x, axes.x, axes.sites.x, block.core.x))
        for weight, axis, where, core in weighted:
            if len(axis):
                place = place * weight[nearest_cells(axis, where[sites]) - core.start]
    if ends is None:
        of_steps = np.array([np.count_nonzero(of_step == FILLED) for of_step in flag], np.int64)
        ends = np.concatenate([[0], np.cumsum(of_steps)])
    return Piece(block.core, sites, flag, mean, std, ends, steps, place)


def mix_pieces(pieces: Sequence[Piece], box: Box, num_sites: int | None) -> FilledVariable:
    """Return the fill of one variable in a box: where pieces overlap, the moments of their weighted mixture.

    The pieces count in their order, so that the same pieces give the same bits.

    Args:
        pieces: all pieces that overlap the box, perhaps among others.
        box: a part of the record; of a series, its steps alone count.
        num_sites: number of sites of the record for a series, None for a grid.
    """
    shape = box.shape if num_sites is None else (box.shape[0], num_sites)
    flag, weight, mean = np.full(shape, OUTSIDE), np.zeros(shape), np.zeros(shape)
    parts = []
    for piece in pieces:
        cells = _meeting(piece, box)
        if cells is None:
            continue
        into, steps, place = cells
        of_piece, means, stds = (values[(slice(None), *place)] for values in piece.part(steps))
        share = piece.steps[steps].reshape(-1, *[1] * piece.place.ndim) * piece.place[place]
        share = np.where(of_piece == FILLED, share, 0.0)
        flag[into] = np.where(flag[into] == FILLED, FILLED, of_piece)
        weight[into] += share
        mean[into] += share * np.nan_to_num(means)
        parts.append((into, share, means, stds))
    filled = weight > 0
    mean = np.where(filled, mean / np.where(filled, weight, 1.0), np.nan)
    variance = np.zeros(shape)
    for into, share, means, stds in parts:
        apart = np.where(share > 0, stds**2 + (means - mean[into]) ** 2, 0.0)
        variance[into] += share * apart
    std = np.sqrt(variance / np.where(filled, weight, 1.0))
    std = np.where(filled, std, np.where(flag == OBSERVED, 0.0, np.nan))
    return FilledVariable(mean.astype(np.float32), std.astype(np.float32), flag)


def _meeting(
    piece: Piece, box: Box
) -> tuple[tuple[slice | np.ndarray, ...], slice, tuple[slice | np.ndarray, ...]] | None:
    """Return where a piece lies in a box: index in the box, steps of the piece, cells or sites of the piece.

    None where they do not meet.
    """
    axes = 3 if piece.sites is None else 1
    shared = [
        slice(max(p.start, b.start), min(p.stop, b.stop)) for p, b in zip(piece.box[:axes], box[:axes], strict=True)
    ]
    if any(s.start >= s.stop for s in shared):
        return None
    in_box, in_piece = (
        tuple(slice(s.start - o.start, s.stop - o.start) for s, o in zip(shared, outer[:axes], strict=True))
        for outer in (box, piece.box)
    )
    if piece.sites is None:
        return in_box, in_piece[0], in_piece[1:]
    return (in_box[0], piece.sites), in_piece[0], (slice(None),)


def requested_in_core(block: Block, axes: WaterCube, part: WaterCube, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return which cells of what a block reads are to be filled: the gaps of the core, bool.

    Args:
        block: the block.
        axes: the axes of the whole record.
        part: what the block reads.
        names: the variables to fill.
    """
    return {name: in_core(part.gaps(name), block, axes) for name in names}


def in_core(cells: np.ndarray, block: Block, axes: WaterCube) -> np.ndarray:
    """Return cells of what a block reads, (T, H, W) or (T, N), with zeros or False outside the core."""
    kept, at = np.zeros_like(cells), _core_index(block, axes, cells.ndim)
    kept[at] = cells[at]
    return kept


def refused_in_core(
    source: Source, found: Survey, block: Block, names: Sequence[str], refuser: Refuser
) -> dict[str, np.ndarray]:
    """Return the flags of the refused gaps of a core, int8 of the shape of what the block reads, 0 elsewhere.

    Args:
        source: the record, of which more is read than the block where more decides what is refused.
        found: the survey of the record, with spans if cells without a value before or after are refused.
        block: the block.
        names: the variables to fill.
        refuser: says what is refused.
    """
    axes = source.axes
    of_sites = any(found.variables[name].inside.ndim == 1 for name in names)
    reach = refuser.reach(axes, block.core, of_sites)
    box = Box(*(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(reach, block.around, strict=True)))
    wide, codes = read_part(source, box, found), {}
    seen = replace(block, around=box)  # the block as if it read all of this
    for name in names:
        wanted = in_core(wide.gaps(name), seen, axes)
        of_wide = refuser.codes(wide, name, wanted, axes=axes, box=box, span=found.variables[name].span)
        codes[name] = of_wide[_index(block.around, box, axes, of_wide.ndim)]
    return codes


def _core_index(block: Block, axes: WaterCube, ndim: int) -> tuple[slice | np.ndarray, ...]:
    """Return the index of the core in what a block reads, of a grid (T, H, W) or of series (T, N)."""
    return _index(block.core, block.around, axes, ndim)


def _index(inner: Box, outer: Box, axes: WaterCube, ndim: int) -> tuple[slice | np.ndarray, ...]:
    """Return the index of a box in an outer box, of a grid (T, H, W) or of series (T, N)."""
    within = inner.within(outer)
    if ndim == 3:
        return tuple(within)
    read, sites = (np.flatnonzero(axes.sites_in(box.y, box.x)) for box in (outer, inner))
    return within.time, np.searchsorted(read, sites)
