"""Classical first guesses of every cell of a record, which the network weighs and corrects.

Near the edge of a small gap an interpolation is nearly exact, while a network that works on patches blurs. Each query
therefore carries the estimates of classical methods for its cells, made from visible values alone, and the distances
to those values. Guesses are made over a whole record, because a single window is too short for a climatology or for
spatial patterns. Training and serving both use this module.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hydrofill.cancellation import checkpoint
from hydrofill.constants import YEAR_S
from hydrofill.guesses.arrays import contiguous
from hydrofill.guesses.eof import eof_fills
from hydrofill.guesses.interpolation import (
    between,
    biharmonic,
    cell_means,
    distance_in_space,
    harmonic,
    local_mean,
    neighbours_in_time,
)
from hydrofill.guesses.seasonal_cycle import seasonal
from hydrofill.guesses.similarity import similar_neighbours, similar_sites
from hydrofill.guesses.space_time import autoregressive, space_time
from hydrofill.guesses.time_axis import Seconds, even_steps, on_even_axis, seconds_since_1970
from hydrofill.layout import VariableSpec

Floats = npt.NDArray[np.float32]
Seen = npt.NDArray[np.bool_]

# The methods, in the order of the last axis of `Guesses.values`. For gauges `harmonic` and `biharmonic` are missing;
# `anomaly` is estimated from all other gauges, and `in_time_corrected` and `space_time` from similar gauges, plus the
# error of that estimate interpolated in time.
GUESSES = (
    "before",
    "after",
    "in_time",
    "in_time_corrected",
    "local_mean",
    "mean",
    "seasonal",
    "harmonic",
    "biharmonic",
    "anomaly",
    "similar",
    "few_eofs",
    "many_eofs",
    "completed_before",
    "completed_after",
    "completed_in_time",
    "space_time",
)
# In the order of the last axis of `Guesses.distances`, each from 0 to 1.
DISTANCES = ("steps_before", "steps_after", "cells_in_space", "frame_seen", "eof_std", "similar_std")
# Where a cell is: at most MAX_NEAR_CELLS cells from a seen cell of its frame, further away, or in a frame where nothing
# is seen. For gauges: "near" while another gauge is seen, else "empty". The best guess differs between regions.
REGIONS = ("near", "inner", "empty")
MAX_NEAR_CELLS = 3.5
MAX_DISTANCE = 64.0  # steps or cells; greater distances all count as this one
INNER_FROM = math.sqrt(MAX_NEAR_CELLS / MAX_DISTANCE)  # MAX_NEAR_CELLS on the scale of `cells_in_space`
FEW_EOFS, MANY_EOFS = 4, 16  # numbers of patterns
STEPS_PER_EOF = 4  # a record has at most one pattern for every so many steps


@dataclass(frozen=True)
class Guesses:
    """First guesses and distances of the cells of a record.

    values: (..., G) float32 in physical units, columns as GUESSES; NaN where a method gives no estimate.
    distances: (..., D) float32 from 0 to 1, columns as DISTANCES: distances to the nearest seen values, the share of
    the frame that is seen, and the std to expect of two methods as a share of the record's.
    """

    values: Floats
    distances: Floats

    def part(self, cells: tuple[slice | np.ndarray, ...]) -> Guesses:
        """Return the guesses of a part of the record."""
        return Guesses(self.values[cells], self.distances[cells])


def regions(distances: Floats) -> npt.NDArray[np.int64]:
    """Return the index into REGIONS of each cell, (...), by its distances (..., D)."""
    empty = distances[..., DISTANCES.index("frame_seen")] == 0
    inner = distances[..., DISTANCES.index("cells_in_space")] > INNER_FROM
    return np.where(empty, 2, inner.astype(np.int64))


def guess_variable(seen: Floats, spec: VariableSpec, time: np.ndarray, year_s: float = YEAR_S) -> Guesses:
    """Return first guesses of every cell of a record of one variable.

    Args:
        seen: (T, H, W) or (T, N) in the variable's units, NaN where nothing is seen.
        spec: the variable.
        time: (T,) datetime64, increasing.
        year_s: length of a year in the calendar of the record.
    """
    return guess(seen, square_root=spec.transform == "sqrt", seconds=seconds_since_1970(time), year_s=year_s)


def guess(
    visible: Floats, *, square_root: bool = False, seconds: Seconds | None = None, year_s: float = YEAR_S
) -> Guesses:
    """Return first guesses of every cell of `visible`.

    Args:
        visible: (T, H, W) or (T, N), NaN where nothing is seen.
        square_root: whether similarity and patterns are found in the square roots of the values.
        seconds: (T,) the time of each step, increasing. None if the times are unknown: the steps then count as even,
            and there is no seasonal cycle.
        year_s: length of a year in the calendar of the record.
    """
    visible = contiguous(visible)  # sums round differently in another order of memory
    if seconds is None:
        return _guess_even(visible, square_root, None, year_s)
    frames = even_steps(seconds)
    even = on_even_axis(visible, frames)
    if even is visible:
        return _guess_even(visible, square_root, seconds, year_s)
    placed = np.interp(np.arange(len(even)), frames, seconds)
    return _guess_even(even, square_root, placed, year_s).part((frames,))


@np.errstate(invalid="ignore", divide="ignore", over="ignore")  # by matrix products, as in eof_fill
def _guess_even(visible: Floats, square_root: bool, seconds: Seconds | None, year_s: float) -> Guesses:
    """Return first guesses of a record whose steps are even in time."""
    seen = ~np.isnan(visible)
    if not seen.any():
        values = np.full((*visible.shape, len(GUESSES)), np.nan, np.float32)
        return Guesses(values, np.ones((*visible.shape, len(DISTANCES)), np.float32))
    made: dict[str, Floats] = {}
    made["before"], made["after"], *steps = neighbours_in_time(visible)
    made["in_time"] = between(made["before"], made["after"], *steps)
    mean = cell_means(visible)
    cycle = None if seconds is None else seasonal(visible, mean, seconds, year_s)
    made["mean"] = np.broadcast_to(mean, visible.shape)
    made["seasonal"] = np.full(visible.shape, np.nan, np.float32) if cycle is None else cycle
    stds = (_grid if visible.ndim == 3 else _series)(visible, seen, made, square_root)
    checkpoint()
    surface = made["biharmonic"] if visible.ndim == 3 else made["similar"]
    completed = completed_by(visible, surface, made["anomaly"], made["few_eofs"])
    checkpoint()
    made["completed_before"], made["completed_after"], *away = neighbours_in_time(completed)
    made["completed_in_time"] = between(made["completed_before"], made["completed_after"], *away)
    made["local_mean"] = local_mean(completed)
    checkpoint()
    return Guesses(side_by_side([made[name] for name in GUESSES]), _distances(seen, steps, stds))


def side_by_side(made: Sequence[Floats]) -> Floats:
    """Return arrays of one shape (...) as one, (..., G); each lies in one piece, for most are used one by one."""
    together = np.empty((len(made), *made[0].shape), np.float32)
    for own, values in zip(together, made, strict=True):
        own[...] = values
    return np.moveaxis(together, 0, -1)


def completed_by(visible: Floats, *fills: Floats) -> Floats:
    """Return `visible` with the median of three fills where missing; a frame where nothing is seen is all NaN."""
    missing = np.isnan(visible)
    completed = np.where(missing, median_of_three(*fills), visible)
    completed[missing.reshape(len(missing), -1).all(axis=1)] = np.nan
    return completed


def _grid(visible: Floats, seen: Seen, made: dict[str, Floats], square_root: bool) -> tuple[Floats, Floats]:
    """Add to `made` the guesses of grids; return the std to expect of patterns and of similar cells, from 0 to 1."""
    made["harmonic"], made["biharmonic"] = harmonic(visible), biharmonic(visible)
    made["anomaly"] = harmonic(visible - made["mean"]) + made["mean"]
    made["in_time_corrected"] = made["in_time"] + harmonic(visible - made["in_time"])
    usual = usual_values(made["seasonal"], made["mean"])
    made["space_time"] = space_time(visible - usual) + usual
    roots = np.sqrt(np.maximum(visible, 0)) if square_root else visible
    value, similar_std = similar_neighbours(roots)
    made["similar"] = _squared(value, square_root)
    of_record, eof_std = _Range.of(roots), np.ones_like(visible)
    empty = ~seen.any(axis=(1, 2))
    names = ("few_eofs", "many_eofs")
    for name, found in zip(names, _eofs(roots.reshape(len(roots), -1), (FEW_EOFS, MANY_EOFS)), strict=True):
        if found is None:
            made[name] = made["anomaly"]
            continue
        fitted, eof_std = (a.reshape(visible.shape) for a in found)
        residual = roots - fitted
        similar_residual, _ = similar_neighbours(residual, with_std=False)
        alone = np.isnan(similar_residual) & seen.any(axis=(1, 2), keepdims=True)
        if alone.any():
            np.copyto(similar_residual, harmonic(residual), where=alone)
        fitted += similar_residual
        made[name] = _squared(np.clip(fitted, of_record.low, of_record.high, out=fitted), square_root)
        made[name][empty] = np.nan
    return _share(eof_std, of_record.std), _share(similar_std, of_record.std)


class _Range(NamedTuple):
    """Least, largest, mean and standard deviation of the seen values of a record; the last is 1 if all are the same."""

    low: np.float32
    high: np.float32
    mean: float
    std: float

    @classmethod
    def of(cls, values: Floats) -> _Range:
        from hydrofill.guesses.kernels.records import moments

        low, high, mean, variance = moments(contiguous(values).reshape(-1))
        return cls(np.float32(low), np.float32(high), mean, math.sqrt(variance) or 1.0)


def _series(visible: Floats, seen: Seen, made: dict[str, Floats], square_root: bool) -> tuple[Floats, Floats]:
    """Add to `made` the guesses of series; return the std to expect of patterns and of similar sites, from 0 to 1."""
    missing = np.full(visible.shape, np.nan, np.float32)
    made |= dict.fromkeys(("harmonic", "biharmonic"), missing)
    made["anomaly"] = _from_other_sites(visible, seen, made["mean"])
    plain = _similar(visible)
    scores, center, scale, value, similar_std = _similar(np.sqrt(np.maximum(visible, 0))) if square_root else plain
    made["in_time_corrected"] = _corrected_in_time(plain)
    made["similar"] = _squared(value * scale + center, square_root)
    expected = np.where(np.isnan(value), 0, value)
    made["space_time"] = _squared((expected + autoregressive(scores - expected)) * scale + center, square_root)
    eof_std = np.ones_like(visible)
    ranks = [min(rank, visible.shape[1] - 1) for rank in (1, FEW_EOFS)]
    for name, found in zip(("few_eofs", "many_eofs"), _eofs(scores, ranks), strict=True):
        made[name] = missing if found is None else _squared(found[0] * scale + center, square_root)
        eof_std = eof_std if found is None else found[1]
        made[name] = np.where(seen.any(axis=1, keepdims=True), made[name], np.nan)
    return _share(eof_std, 1.0), _share(similar_std, 1.0)


def _eofs(flat: Floats, ranks: Sequence[int]) -> list[tuple[Floats, Floats] | None]:
    """Return mean and std (T, N) by at most so many patterns each; None if the record is too short for one pattern."""
    usable = [min(rank, len(flat) // STEPS_PER_EOF, flat.shape[1]) for rank in ranks]
    if min(usable) < 1:
        return [None] * len(usable)
    mean, of_record = cell_means(flat)[0], _Range.of(flat)
    found = eof_fills(flat, np.where(np.isnan(mean), of_record.mean, mean).astype(np.float32), usable)
    # Where little is seen, patterns can give values far outside the observed range.
    return [(np.clip(f.mean, of_record.low, of_record.high, out=f.mean), f.std) for f in found]


def usual_values(cycle: Floats, mean: Floats) -> Floats:
    """Return the usual value of each step: the seasonal cycle, or else the mean."""
    return np.where(np.isnan(cycle), mean, cycle)


class _SimilarSites(NamedTuple):
    """Estimates from similar sites, in standard scores.

    scores: (T, N) standard scores of the sites' values. center, scale: (1, N), so that values are scores * scale +
    center. value, std: (T, N), the estimate of each score from similar sites and its standard deviation.
    """

    scores: Floats
    center: Floats
    scale: Floats
    value: Floats
    std: Floats


def _similar(values: Floats) -> _SimilarSites:
    """Estimate each value (T, N) from similar sites."""
    center = cell_means(values)
    scale = np.sqrt(cell_means(np.square(values - center)))
    scale = np.where(scale > 0, scale, 1)
    scores = ((values - center) / scale).astype(np.float32)
    return _SimilarSites(scores, center, scale, *similar_sites(scores))


def _corrected_in_time(similar: _SimilarSites) -> Floats:
    """Return the estimates from similar sites, (T, N), plus their errors interpolated linearly in time."""
    error = similar.scores - similar.value
    return (similar.value + between(*neighbours_in_time(error))) * similar.scale + similar.center


def _from_other_sites(visible: Floats, seen: Seen, mean: Floats) -> Floats:
    """Return each site's mean times the mean ratio of the other sites to their own means at that step, (T, N).

    Where values can be negative a mean can be near zero: each site then gets its mean plus the mean difference of the
    other sites from theirs. NaN where no other site is seen.
    """
    mean, negative = mean[0], bool((visible < 0).any())
    usable = seen & (np.isfinite(mean) if negative else np.nan_to_num(mean) > 0)
    away = visible - mean if negative else visible / np.where(mean > 0, mean, 1)
    away = np.where(usable, away, 0)
    others = away.sum(axis=1, keepdims=True) - away
    number = usable.sum(axis=1, keepdims=True) - usable
    others = others / np.maximum(number, 1)
    return np.where(number > 0, mean + others if negative else mean * others, np.nan).astype(np.float32)


def median_of_three(*fills: Floats) -> Floats:
    """Return the median of the fills that are not missing; NaN where all are missing."""
    from hydrofill.guesses.kernels.records import median_of_three as median

    low, mid, high = (contiguous(fill) for fill in fills)
    made = np.empty_like(low)
    median(*(a.reshape(-1) for a in (low, mid, high, made)))
    return made


def _distances(seen: Seen, steps: list[Floats], stds: tuple[Floats, Floats]) -> Floats:
    """Return the distances of every cell, (..., D); `steps` are steps to the seen values before and after."""
    from hydrofill.guesses.kernels.records import scale_distances

    if seen.ndim == 3:
        cells = distance_in_space(seen)
    else:
        cells = np.where(seen.sum(axis=1, keepdims=True) - seen > 0, 1.0, np.inf)
    frame = seen.mean(axis=tuple(range(1, seen.ndim)), keepdims=True)
    far = [contiguous(np.broadcast_to(d, seen.shape)) for d in (*steps, cells)]
    for distance in far:
        scale_distances(distance.reshape(-1), np.float32(MAX_DISTANCE))
    return side_by_side([*far, np.broadcast_to(frame, seen.shape), *stds])


def _share(std: Floats, record_std: float) -> Floats:
    """Return `std` as a share of the record's, from 0 to 1; 1 where unknown."""
    share = std / np.float32(record_std)
    return np.where(share < 1, share, np.float32(1))


def _squared(values: Floats, square_root: bool) -> Floats:
    """Undo the square root, if there was one."""
    return np.square(np.maximum(values, 0)) if square_root else values
