"""Classical first guesses of every cell of a record: what each query starts from.

A network that only knows patches blurs the rim of a small gap, where an interpolation is nearly
exact. So each query carries what the classical methods say of its cells, from visible values alone,
and how far those values are; the network weighs and corrects them. Guesses are made over a whole
record (a window of it knows neither its climatology nor its patterns), here, for training and serving.
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
from hydrofill.guesses.time_axis import Seconds, even_steps

Floats = npt.NDArray[np.float32]
Seen = npt.NDArray[np.bool_]

# In the order of the last axis of `Guesses.values`. Gauges know no surfaces; `anomaly` is there what the others say,
# `in_time_corrected` and `space_time` what similar ones say with the error of that carried through time.
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
DISTANCES = ("steps_before", "steps_after", "cells_in_space", "frame_seen", "eof_spread", "similar_spread")
# Where a cell is: few cells from one that is seen in its frame, further in, or in a frame that is empty (for gauges:
# while another one is seen, or none). Which guess is good is another matter in each.
REGIONS = ("near", "inner", "empty")
NEAR_CELLS = 3.5
FAR = 64.0  # steps or cells from which on a distance counts as unbounded
INNER_FROM = math.sqrt(NEAR_CELLS / FAR)  # NEAR_CELLS as `cells_in_space` tells them
FEW, MANY = 4, 16  # patterns
STEPS_PER_PATTERN = 4  # fewer steps than that support no further pattern


@dataclass(frozen=True)
class Guesses:
    """values (..., G) in physical units, NaN where a method has nothing to say; distances (..., D) in [0, 1]."""

    values: Floats
    distances: Floats

    def part(self, cells: tuple[slice | np.ndarray, ...]) -> Guesses:
        """The guesses of a part of the record."""
        return Guesses(self.values[cells], self.distances[cells])


def regions(distances: Floats) -> npt.NDArray[np.int64]:
    """Index into REGIONS of the cells that have these distances, (..., D)."""
    empty = distances[..., DISTANCES.index("frame_seen")] == 0
    inner = distances[..., DISTANCES.index("cells_in_space")] > INNER_FROM
    return np.where(empty, 2, inner.astype(np.int64))


def guess(visible: Floats, *, square_root: bool = False, seconds: Seconds | None = None) -> Guesses:
    """First guesses of every cell of `visible`, (T, H, W) or (T, N) with NaN where nothing is seen.

    Args:
        visible: the record.
        square_root: likeness and patterns are found in the space of square roots.
        seconds: (T,) when each step is, increasing; None where that is unknown: steps count as even, without seasons.
    """
    if seconds is None:
        return _guess(visible, square_root, None)
    at = even_steps(seconds)
    n_time = int(at[-1]) + 1 if len(at) else 0
    if n_time == len(visible):
        return _guess(visible, square_root, seconds)
    even = np.full((n_time, *visible.shape[1:]), np.nan, np.float32)
    even[at] = visible
    return _guess(even, square_root, np.interp(np.arange(n_time), at, seconds)).part((at,))


@np.errstate(invalid="ignore", divide="ignore", over="ignore")  # as in eof_fill: of matrix products, not of values
def _guess(visible: Floats, square_root: bool, seconds: Seconds | None) -> Guesses:
    """`guess` of a record of even steps."""
    seen = ~np.isnan(visible)
    if not seen.any():
        values = np.full((*visible.shape, len(GUESSES)), np.nan, np.float32)
        return Guesses(values, np.ones((*visible.shape, len(DISTANCES)), np.float32))
    made: dict[str, Floats] = {}
    made["before"], made["after"], *steps = neighbours_in_time(visible, seen)
    made["in_time"] = between(made["before"], made["after"], *steps)
    mean = cell_means(visible, seen)
    course = None if seconds is None else seasonal(visible, mean, seconds)
    made["mean"] = np.broadcast_to(mean, visible.shape)
    made["seasonal"] = np.full(visible.shape, np.nan, np.float32) if course is None else course
    spreads = (_grid if visible.ndim == 3 else _series)(visible, seen, made, square_root)
    checkpoint()
    surface = made["biharmonic"] if visible.ndim == 3 else made["similar"]
    completed = np.where(seen, visible, _middle(surface, made["anomaly"], made["few_eofs"]))
    completed[~seen.reshape(len(seen), -1).any(axis=1)] = np.nan
    checkpoint()
    made["completed_before"], made["completed_after"], *away = neighbours_in_time(completed, ~np.isnan(completed))
    made["completed_in_time"] = between(made["completed_before"], made["completed_after"], *away)
    checkpoint()
    made["local_mean"] = local_mean(completed)
    checkpoint()
    values = np.stack([made[name] for name in GUESSES], axis=-1).astype(np.float32, copy=False)
    return Guesses(values, _distances(seen, steps, spreads))


def _grid(visible: Floats, seen: Seen, made: dict[str, Floats], square_root: bool) -> tuple[Floats, Floats]:
    """Adds what neighbours in space and patterns say; returns the spread to expect of both, in [0, 1]."""
    made["harmonic"], made["biharmonic"] = harmonic(visible), biharmonic(visible)
    made["anomaly"] = harmonic(visible - made["mean"]) + made["mean"]
    made["in_time_corrected"] = made["in_time"] + harmonic(visible - made["in_time"])
    usually = _usually(made)
    made["space_time"] = space_time(visible - usually) + usually
    roots = np.sqrt(np.maximum(visible, 0)) if square_root else visible
    value, spread = similar_neighbours(roots)
    made["similar"] = _squared(value, square_root)
    usual, std = float(np.nanstd(roots)) or 1.0, np.ones_like(visible)
    flat = roots.reshape(len(roots), -1)
    for name, rank in (("few_eofs", FEW), ("many_eofs", MANY)):
        if (found := _eofs(flat, rank)) is None:
            made[name] = made["anomaly"]
            continue
        fitted, std = (a.reshape(visible.shape) for a in found)
        rest = roots - fitted
        near, _ = similar_neighbours(rest)
        completed = fitted + np.where(np.isnan(near), harmonic(rest), near)
        made[name] = _squared(np.clip(completed, np.nanmin(roots), np.nanmax(roots)), square_root)
        made[name][~seen.any(axis=(1, 2))] = np.nan
    return _share(std, usual), _share(spread, usual)


def _series(visible: Floats, seen: Seen, made: dict[str, Floats], square_root: bool) -> tuple[Floats, Floats]:
    """Adds what the other sites say; returns the spread to expect of them and of patterns, in [0, 1]."""
    nothing = np.full(visible.shape, np.nan, np.float32)
    made |= dict.fromkeys(("harmonic", "biharmonic"), nothing)
    made["anomaly"] = _from_other_sites(visible, seen, made["mean"])
    plain = _likeness(visible)
    scores, center, scale, value, spread = _likeness(np.sqrt(np.maximum(visible, 0))) if square_root else plain
    made["in_time_corrected"] = _carried(plain)
    made["similar"] = _squared(value * scale + center, square_root)
    usually = np.where(np.isnan(value), 0, value)
    made["space_time"] = _squared((usually + autoregressive(scores - usually)) * scale + center, square_root)
    std = np.ones_like(visible)
    for name, rank in (("few_eofs", 1), ("many_eofs", FEW)):
        found = _eofs(scores, min(rank, visible.shape[1] - 1))
        made[name] = nothing if found is None else _squared(found[0] * scale + center, square_root)
        std = std if found is None else found[1]
        made[name] = np.where(seen.any(axis=1, keepdims=True), made[name], np.nan)
    return _share(std, 1.0), _share(spread, 1.0)


def _eofs(flat: Floats, rank: int) -> tuple[Floats, Floats] | None:
    """Mean and spread (T, N) by at most `rank` patterns; None where the record supports none."""
    rank = min(rank, len(flat) // STEPS_PER_PATTERN, flat.shape[1])
    if rank < 1:
        return None
    mean = cell_means(flat, ~np.isnan(flat))[0]
    everywhere = float(np.nanmean(flat))
    found = eof_fill(flat, np.where(np.isnan(mean), everywhere, mean).astype(np.float32), rank)
    # Patterns may run away where little is seen.
    return np.clip(found.mean, np.nanmin(flat), np.nanmax(flat)), found.std


def _usually(made: dict[str, Floats]) -> Floats:
    """What is usual at each step: the season's, or else the mean."""
    return np.where(np.isnan(made["seasonal"]), made["mean"], made["seasonal"])


class _Likeness(NamedTuple):
    """Standard scores of sites (T, N), what turns them back (1, N), what similar sites say of each, and its spread."""

    scores: Floats
    center: Floats
    scale: Floats
    value: Floats
    spread: Floats


def _likeness(values: Floats) -> _Likeness:
    center = cell_means(values, ~np.isnan(values))
    scale = np.sqrt(cell_means(np.square(values - center), ~np.isnan(values)))
    scale = np.where(scale > 0, scale, 1)
    scores = ((values - center) / scale).astype(np.float32)
    return _Likeness(scores, center, scale, *similar_sites(scores))


def _carried(of: _Likeness) -> Floats:
    """(T, N): what similar sites say, corrected by the line in time between the errors of that."""
    error = of.scores - of.value
    return (of.value + between(*neighbours_in_time(error, ~np.isnan(error)))) * of.scale + of.center


def _from_other_sites(visible: Floats, seen: Seen, mean: Floats) -> Floats:
    """(T, N): each site's own mean times what the other sites are of theirs at that step; NaN where none is seen."""
    mean = mean[0]
    usable = np.abs(np.nan_to_num(mean)) > 0
    ratio = np.where(seen & usable, visible / np.where(usable, mean, 1), 0)
    others = ratio.sum(axis=1, keepdims=True) - ratio
    number = (seen & usable).sum(axis=1, keepdims=True) - (seen & usable)
    return np.where(number > 0, mean * others / np.maximum(number, 1), np.nan).astype(np.float32)


def _middle(*fills: Floats) -> Floats:
    """The median of the fills that there are; NaN where there is none."""
    low, mid, high = np.sort(np.stack(fills), axis=0)  # NaN last
    return np.where(np.isnan(high), np.where(np.isnan(mid), low, (low + mid) / 2), mid).astype(np.float32)


def _distances(seen: Seen, steps: list[Floats], spreads: tuple[Floats, Floats]) -> Floats:
    space = tuple(range(1, seen.ndim))
    frame = seen.mean(axis=space, keepdims=True)
    if seen.ndim == 3:
        cells = distance_in_space(seen)
    else:
        cells = np.where(seen.sum(axis=1, keepdims=True) - seen > 0, 1.0, np.inf)
    far = [_share_of_far(d) for d in (*steps, cells)]
    return np.stack([*far, np.broadcast_to(frame, seen.shape), *spreads], axis=-1).astype(np.float32)


def _share_of_far(distance: Floats) -> Floats:
    return np.sqrt(np.minimum(distance, FAR) / FAR)


def _share(spread: Floats, usual: float) -> Floats:
    """Spread as a share of the usual one, in [0, 1]; 1 where unknown."""
    return np.minimum(np.nan_to_num(spread / usual, nan=1.0), 1.0).astype(np.float32)


def _squared(values: Floats, square_root: bool) -> Floats:
    return np.square(np.maximum(values, 0)) if square_root else values
