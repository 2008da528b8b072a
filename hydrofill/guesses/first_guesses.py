"""Classical first guesses of every cell of a record, which the network weighs and corrects.

Near the edge of a small gap an interpolation is nearly exact, while a network that works on patches blurs. Each query
therefore carries the estimates of classical methods for its cells, made from visible values alone, and the distances
to those values. Guesses are made over a whole record, because a single window is too short for a climatology or for
spatial patterns. Training and serving both use this module.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hydrofill.cancellation import checkpoint
from hydrofill.guesses.eof import eof_fill
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


def guess_variable(seen: Floats, spec: VariableSpec, time: np.ndarray) -> Guesses:
    """Return first guesses of every cell of a record of one variable.

    Args:
        seen: (T, H, W) or (T, N) in the variable's units, NaN where nothing is seen.
        spec: the variable.
        time: (T,) datetime64, increasing.
    """
    return guess(seen, square_root=spec.transform == "sqrt", seconds=seconds_since_1970(time))


def guess(visible: Floats, *, square_root: bool = False, seconds: Seconds | None = None) -> Guesses:
    """Return first guesses of every cell of `visible`.

    Args:
        visible: (T, H, W) or (T, N), NaN where nothing is seen.
        square_root: whether similarity and patterns are found in the square roots of the values.
        seconds: (T,) the time of each step, increasing. None if the times are unknown: the steps then count as even,
            and there is no seasonal cycle.
    """
    visible = np.ascontiguousarray(visible)  # sums round differently in another order of memory
    if seconds is None:
        return _guess_even(visible, square_root, None)
    frames = even_steps(seconds)
    even = on_even_axis(visible, frames)
    if even is visible:
        return _guess_even(visible, square_root, seconds)
    return _guess_even(even, square_root, np.interp(np.arange(len(even)), frames, seconds)).part((frames,))


@np.errstate(invalid="ignore", divide="ignore", over="ignore")  # by matrix products, as in eof_fill
def _guess_even(visible: Floats, square_root: bool, seconds: Seconds | None) -> Guesses:
    """Return first guesses of a record whose steps are even in time."""
    seen = ~np.isnan(visible)
    if not seen.any():
        values = np.full((*visible.shape, len(GUESSES)), np.nan, np.float32)
        return Guesses(values, np.ones((*visible.shape, len(DISTANCES)), np.float32))
    made: dict[str, Floats] = {}
    made["before"], made["after"], *steps = neighbours_in_time(visible, seen)
    made["in_time"] = between(made["before"], made["after"], *steps)
    mean = cell_means(visible, seen)
    cycle = None if seconds is None else seasonal(visible, mean, seconds)
    made["mean"] = np.broadcast_to(mean, visible.shape)
    made["seasonal"] = np.full(visible.shape, np.nan, np.float32) if cycle is None else cycle
    stds = (_grid if visible.ndim == 3 else _series)(visible, seen, made, square_root)
    checkpoint()
    surface = made["biharmonic"] if visible.ndim == 3 else made["similar"]
    completed = np.where(seen, visible, median_of_three(surface, made["anomaly"], made["few_eofs"]))
    completed[~seen.reshape(len(seen), -1).any(axis=1)] = np.nan
    checkpoint()
    made["completed_before"], made["completed_after"], *away = neighbours_in_time(completed, ~np.isnan(completed))
    made["completed_in_time"] = between(made["completed_before"], made["completed_after"], *away)
    checkpoint()
    made["local_mean"] = local_mean(completed)
    checkpoint()
    values = np.stack([made[name] for name in GUESSES], axis=-1).astype(np.float32, copy=False)
    return Guesses(values, _distances(seen, steps, stds))


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
    record_std, eof_std = float(np.nanstd(roots)) or 1.0, np.ones_like(visible)
    flat = roots.reshape(len(roots), -1)
    for name, rank in (("few_eofs", FEW_EOFS), ("many_eofs", MANY_EOFS)):
        if (found := _eofs(flat, rank)) is None:
            made[name] = made["anomaly"]
            continue
        fitted, eof_std = (a.reshape(visible.shape) for a in found)
        residual = roots - fitted
        similar_residual, _ = similar_neighbours(residual)
        completed = fitted + np.where(np.isnan(similar_residual), harmonic(residual), similar_residual)
        made[name] = _squared(np.clip(completed, np.nanmin(roots), np.nanmax(roots)), square_root)
        made[name][~seen.any(axis=(1, 2))] = np.nan
    return _share(eof_std, record_std), _share(similar_std, record_std)


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
    for name, rank in (("few_eofs", 1), ("many_eofs", FEW_EOFS)):
        found = _eofs(scores, min(rank, visible.shape[1] - 1))
        made[name] = missing if found is None else _squared(found[0] * scale + center, square_root)
        eof_std = eof_std if found is None else found[1]
        made[name] = np.where(seen.any(axis=1, keepdims=True), made[name], np.nan)
    return _share(eof_std, 1.0), _share(similar_std, 1.0)


def _eofs(flat: Floats, rank: int) -> tuple[Floats, Floats] | None:
    """Return mean and std (T, N) by at most `rank` patterns; None if the record is too short for one pattern."""
    rank = min(rank, len(flat) // STEPS_PER_EOF, flat.shape[1])
    if rank < 1:
        return None
    mean = cell_means(flat, ~np.isnan(flat))[0]
    overall = float(np.nanmean(flat))
    found = eof_fill(flat, np.where(np.isnan(mean), overall, mean).astype(np.float32), rank)
    # Where little is seen, patterns can give values far outside the observed range.
    return np.clip(found.mean, np.nanmin(flat), np.nanmax(flat)), found.std


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
    center = cell_means(values, ~np.isnan(values))
    scale = np.sqrt(cell_means(np.square(values - center), ~np.isnan(values)))
    scale = np.where(scale > 0, scale, 1)
    scores = ((values - center) / scale).astype(np.float32)
    return _SimilarSites(scores, center, scale, *similar_sites(scores))


def _corrected_in_time(similar: _SimilarSites) -> Floats:
    """Return the estimates from similar sites, (T, N), plus their errors interpolated linearly in time."""
    error = similar.scores - similar.value
    return (similar.value + between(*neighbours_in_time(error, ~np.isnan(error)))) * similar.scale + similar.center


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
    low, mid, high = np.sort(np.stack(fills), axis=0)  # NaN last
    return np.where(np.isnan(high), np.where(np.isnan(mid), low, (low + mid) / 2), mid).astype(np.float32)


def _distances(seen: Seen, steps: list[Floats], stds: tuple[Floats, Floats]) -> Floats:
    """Return the distances of every cell, (..., D); `steps` are steps to the seen values before and after."""
    space = tuple(range(1, seen.ndim))
    frame = seen.mean(axis=space, keepdims=True)
    if seen.ndim == 3:
        cells = distance_in_space(seen)
    else:
        cells = np.where(seen.sum(axis=1, keepdims=True) - seen > 0, 1.0, np.inf)
    far = [_scaled(d) for d in (*steps, cells)]
    return np.stack([*far, np.broadcast_to(frame, seen.shape), *stds], axis=-1).astype(np.float32)


def _scaled(distance: Floats) -> Floats:
    """Return a distance in steps or cells on a scale from 0 to 1."""
    return np.sqrt(np.minimum(distance, MAX_DISTANCE) / MAX_DISTANCE)


def _share(std: Floats, record_std: float) -> Floats:
    """Return `std` as a share of the record's, from 0 to 1; 1 where unknown."""
    return np.minimum(np.nan_to_num(std / record_std, nan=1.0), 1.0).astype(np.float32)


def _squared(values: Floats, square_root: bool) -> Floats:
    """Undo the square root, if there was one."""
    return np.square(np.maximum(values, 0)) if square_root else values
