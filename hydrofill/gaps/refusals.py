"""Find the gaps that are not to be filled, each with its reason.

What is refused follows from the data alone. Everything is filled first and refused afterwards, so that no option
changes a value that is filled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hydrofill.blocks import Box, whole
from hydrofill.cube import WaterCube
from hydrofill.gaps.control import Distance, GapControl
from hydrofill.gaps.distances import box_near, check_distance, near_cells, near_sites
from hydrofill.gaps.selection import Selection
from hydrofill.guesses.interpolation import gap_lengths, nearest_seen
from hydrofill.reconstruct import LOW_SUPPORT, NOT_INTERIOR, NOT_SELECTED, REFUSED, TOO_FAR, FilledVariable
from hydrofill.survey import span_of

SUPPORT_RADIUS = 5  # steps, rows and columns to each side that count for the support of a cell


@dataclass(frozen=True, eq=False)
class Refuser:
    """Finds the refused gaps of a record.

    control: the options. units: of the record's places, `DEGREES` for longitudes and latitudes, "" where unknown.
    selected: by variable, where its gaps may be filled; everywhere if it is not named.
    """

    control: GapControl = field(default_factory=GapControl)
    units: str = ""
    selected: Mapping[str, Selection] = field(default_factory=dict)

    def codes(
        self,
        cube: WaterCube,
        name: str,
        wanted: np.ndarray | None = None,
        *,
        axes: WaterCube | None = None,
        box: Box | None = None,
        span: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the flag of each gap that is refused, int8 of the shape of a variable; 0 elsewhere.

        Of several reasons, the first counts in the order: not selected, too long, not interior, too far, low support.

        Args:
            cube: the record, or a part of it that reaches as far as `reach` says.
            name: the variable.
            wanted: the gaps in question; by default all.
            axes: the axes of the record; by default those of `cube`.
            box: the part of the record that `cube` is; by default the whole.
            span: (2, H, W) or (2, N), the first and the last step of the record with a value; by default as in `cube`.

        Raises:
            OptionError: the distance has no meaning for these places.
        """
        control, gaps, axes, box = self.control, cube.gaps(name), axes or cube, box or whole(cube.shape)
        wanted = gaps if wanted is None else wanted
        reasons: list[tuple[np.int8, np.ndarray]] = []
        if name in self.selected:
            reasons.append((NOT_SELECTED, ~_of_sites(self.selected[name].cells(box), axes, box)))
        if control.max_gap is not None:
            reasons.append((REFUSED, _too_long(cube, gaps, control.max_gap)))
        if control.interior_only:
            reasons.append((NOT_INTERIOR, _outside_span(cube.variables[name].valid, _span_in(span, axes, box), box)))
        if control.max_distance is not None:
            reasons.append((TOO_FAR, _too_far(cube, name, axes, control.max_distance, self.units)))
        if control.support > 0:
            reasons.append((LOW_SUPPORT, support(cube, name) < control.support))
        codes = np.zeros(gaps.shape, np.int8)
        for flag, refused in reversed(reasons):
            codes[np.broadcast_to(refused, gaps.shape) & wanted] = flag
        return codes

    def check(self, cube: WaterCube, names: Sequence[str]) -> None:
        """Check that the options have a meaning for these variables of a record.

        Raises:
            OptionError: the distance has none for their places.
        """
        limit = self.control.max_distance
        if limit is None:
            return
        for kind in {cube.variables[name].kind for name in names}:
            check_distance(cube, limit, self.units, of_sites=kind == "series")

    def reach(self, axes: WaterCube, core: Box, of_sites: bool) -> Box:
        """Return the part of a record on whose values it depends what is refused in a part.

        Args:
            axes: the axes of the record.
            core: the part.
            of_sites: whether a series is filled, and not only grids.
        """
        control = self.control
        box = core
        if isinstance(control.max_gap, np.timedelta64):
            first, last = axes.time[[core.time.start, core.time.stop - 1]]
            start = int(np.searchsorted(axes.time, first - control.max_gap)) - 1
            stop = int(np.searchsorted(axes.time, last + control.max_gap, "right")) + 1
            box = _hull(box, box._replace(time=slice(start, stop)))
        elif control.max_gap is not None:
            box = _widened(box, control.max_gap, 0)
        if control.support > 0:
            box = _hull(box, _widened(core, SUPPORT_RADIUS, SUPPORT_RADIUS))
        if control.max_distance is not None:
            box = _hull(box, box_near(axes, core, control.max_distance, self.units, of_sites=of_sites))
        return Box(*(slice(max(s.start, 0), min(s.stop, n)) for s, n in zip(box, axes.shape, strict=True)))


def refuse(filled: FilledVariable, codes: np.ndarray) -> FilledVariable:
    """Return a fill without the cells that are refused, which get the flag in `codes`."""
    refused = codes != 0
    if not refused.any():
        return filled
    missing = np.float32(np.nan)
    mean, std = (np.where(refused, missing, values) for values in (filled.mean, filled.std))
    return replace(filled, mean=mean, std=std, flag=np.where(refused, codes, filled.flag))


def _too_long(cube: WaterCube, gaps: np.ndarray, limit: int | np.timedelta64) -> np.ndarray:
    if isinstance(limit, np.timedelta64):
        return np.asarray(gap_durations(gaps, cube.time) > limit)
    return np.asarray(gap_lengths(gaps) > limit)


def _too_far(cube: WaterCube, name: str, axes: WaterCube, limit: Distance, units: str) -> np.ndarray:
    variable = cube.variables[name]
    if variable.kind == "series":
        return ~near_sites(variable.valid, cube, axes, limit, units)
    return ~near_cells(variable.valid, cube.y, cube.x, limit, units)


def gap_durations(gaps: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Return the time between the values before and after each gap, (T, ...) timedelta64; 0 where there is no gap.

    A gap at an end of the record counts from that end, as in `interpolate_na(max_gap)` of xarray.
    """
    before, after = nearest_seen(~gaps)
    first, last = np.clip(before, 0, None), np.clip(after, None, len(time) - 1)
    return np.where(gaps, time[last] - time[first], np.timedelta64(0))


def support(cube: WaterCube, name: str) -> np.ndarray:
    """Return the share of observed cells around each cell, (T, H, W) or (T, N) float64.

    Cells within SUPPORT_RADIUS steps, rows and columns count if they are inside the domain and the record; of a series
    its own values alone.
    """
    inside = cube.inside(name)
    seen = cube.variables[name].valid & inside
    possible = np.broadcast_to(inside, seen.shape)
    for axis in range(seen.ndim if seen.ndim == 3 else 1):
        seen, possible = _sums_around(seen, axis), _sums_around(possible, axis)
    return seen / np.maximum(possible, 1)


def _sums_around(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the sums of the values within SUPPORT_RADIUS along an axis, int32."""
    length = values.shape[axis]
    sums = np.concatenate(
        [np.zeros_like(values.take([0], axis), np.int32), np.cumsum(values, axis, dtype=np.int32)], axis
    )
    at = np.arange(length)
    stop, start = np.minimum(at + SUPPORT_RADIUS + 1, length), np.maximum(at - SUPPORT_RADIUS, 0)
    return np.asarray(sums.take(stop, axis) - sums.take(start, axis))


def _of_sites(cells: np.ndarray, axes: WaterCube, box: Box) -> np.ndarray:
    """Return cells (..., N) of the sites in a box; those of a grid (T, H, W) or of length 1 stay."""
    return cells[:, axes.sites_in(box.y, box.x)] if cells.ndim == 2 and cells.shape[1] > 1 else cells


def _span_in(span: np.ndarray | None, axes: WaterCube, box: Box) -> np.ndarray | None:
    return span if span is None else span[:, box.y, box.x] if span.ndim == 3 else _of_sites(span, axes, box)


def _outside_span(valid: np.ndarray, span: np.ndarray | None, box: Box) -> np.ndarray:
    if span is None:
        span = span_of(valid, len(valid))
    first, last = span
    step = np.arange(box.time.start, box.time.stop).reshape(-1, *[1] * (valid.ndim - 1))
    return np.asarray((step < first) | (step > last))


def _widened(box: Box, steps: int, cells: int) -> Box:
    wide = (slice(s.start - n, s.stop + n) for s, n in zip(box, (steps, cells, cells), strict=True))
    return Box(*wide)


def _hull(one: Box, other: Box) -> Box:
    return Box(*(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True)))
