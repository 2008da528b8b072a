"""Estimate values from the cells or sites whose past values are most similar.

Arrays are (T, H, W) or (T, N) float32, NaN where nothing is seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import numpy.typing as npt

from hydrofill.cancellation import checkpoint

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Cut = tuple[slice, slice, slice]

REACH = 4  # cells: largest offset of a similar neighbour
PRIOR_PAIRS = 3.0  # common steps at which a pair's own difference counts as much as that of all pairs
SHARPNESS = 3  # the weight of a neighbour is its difference to the power of minus SHARPNESS
MIN_DIFFERENCE = 1e-3  # share of the usual difference that is added to all, so that none is zero
MAX_LAG = 8  # steps by which one site may follow another, as when a flood wave arrives downstream
LAG_GAIN = 0.9  # a lag is used if it leaves less than this share of the difference without a lag


def similar_neighbours(values: Floats) -> tuple[Floats, Floats]:
    """Estimate each value from similar cells nearby; return estimates and standard deviations, (T, H, W) each.

    The difference of two cells is their mean squared difference over the steps at which both are seen, drawn towards
    that of all pairs at the same offset. The standard deviation is the root of the weighted mean of these differences.
    NaN where no neighbour within REACH is seen, and in frames without a gap.
    """
    seen = ~np.isnan(values)
    known, number = np.where(seen, values, 0).astype(np.float32), seen.astype(np.float32)
    value, std = (np.full(values.shape, np.nan, np.float32) for _ in range(2))
    pairs = [(a, b, _difference(known, number, a, b)) for a, b in _pairs(values.shape)]
    gappy = ~seen.all(axis=(1, 2))
    if not pairs or not gappy.any():
        return value, std
    usual = max(min(float(np.median(d)) for _, _, d in pairs), 1e-12)
    known, number = known[gappy], number[gappy]
    total, weight, expected = (np.zeros(known.shape, np.float32) for _ in range(3))
    for a, b, difference in pairs:
        checkpoint()
        similarity = ((difference / usual + MIN_DIFFERENCE) ** -SHARPNESS).astype(np.float32)
        for here, there in ((a, b), (b, a)):
            share = similarity * number[there]
            total[here] += share * known[there]
            weight[here] += share
            expected[here] += share * difference
    some = weight > 0
    weight = np.where(some, weight, 1)
    value[gappy] = np.where(some, total / weight, np.nan)
    std[gappy] = np.where(some, np.sqrt(expected / weight), np.nan)
    return value, std


def similar_sites(values: Floats) -> tuple[Floats, Floats]:
    """Estimate each value from similar sites; return estimates and standard deviations, (T, N) each.

    As `similar_neighbours`, but any two sites are compared, each with the lag in time at which they are most similar.
    """
    seen = ~np.isnan(values)
    known, number = np.where(seen, values, 0).astype(np.float64), seen.astype(np.float64)
    others = ~np.eye(values.shape[1], dtype=bool)
    if not others.any():
        return np.full(values.shape, np.nan, np.float32), np.full(values.shape, np.nan, np.float32)
    lag, difference = _best_lags(known, number, others)
    usual = max(float(np.median(difference[others])), 1e-12)
    similarity = np.where(others, (difference / usual + MIN_DIFFERENCE) ** -SHARPNESS, 0)
    total, weight, expected = (np.zeros(values.shape) for _ in range(3))
    for steps in np.unique(lag):
        share = np.where(lag == steps, similarity, 0).T
        here, there = _shifted(len(values), int(steps))
        total[here] += known[there] @ share
        weight[here] += number[there] @ share
        expected[here] += number[there] @ (share * difference.T)
    some, weight = weight > 0, np.maximum(weight, 1e-300)
    value, std = (np.where(some, a, np.nan).astype(np.float32) for a in (total / weight, np.sqrt(expected / weight)))
    return value, std


def _best_lags(known: Doubles, number: Doubles, others: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], Doubles]:
    """Return by how many steps site i follows site j, and the mean squared difference at that lag, (N, N) each."""
    squares, common = _squared_differences(known, number, 0)
    usual = squares[others].sum() / max(common[others].sum(), 1.0)
    without_lag = (squares + PRIOR_PAIRS * usual) / (common + PRIOR_PAIRS)
    lag, least = np.zeros(common.shape, np.int64), LAG_GAIN * without_lag
    for steps in sorted(range(-MAX_LAG, MAX_LAG + 1), key=abs)[1:]:
        checkpoint()
        if abs(steps) < len(known):
            squares, common = _squared_differences(known, number, steps)
            left = (squares + PRIOR_PAIRS * usual) / (common + PRIOR_PAIRS)
            lag, least = np.where(left < least, steps, lag), np.minimum(left, least)
    return lag, np.where(lag == 0, without_lag, least)


def _squared_differences(known: Doubles, number: Doubles, lag: int) -> tuple[Doubles, Doubles]:
    """Return the sum of squared differences of site i from site j `lag` steps before, and the number of steps.

    (N, N) each.
    """
    here, there = _shifted(len(known), lag)
    left, right = (known[here], number[here]), (known[there], number[there])
    squares = np.square(left[0]).T @ right[1] + left[1].T @ np.square(right[0]) - 2 * left[0].T @ right[0]
    return np.maximum(squares, 0), left[1].T @ right[1]


def _shifted(steps: int, lag: int) -> tuple[slice, slice]:
    """Return the slice of all steps that have a step `lag` before them, and the slice of those earlier steps."""
    return slice(max(0, lag), steps + min(0, lag)), slice(max(0, -lag), steps - max(0, lag))


def _pairs(shape: tuple[int, ...]) -> Iterator[tuple[Cut, Cut]]:
    """Yield the slices of both cells of every pair, for every offset within REACH; each pair once."""
    _, height, width = shape
    every = slice(None)
    for down, across in product(range(REACH + 1), range(-REACH, REACH + 1)):
        if (down, across) <= (0, 0) or down >= height or abs(across) >= width:
            continue
        here = (every, slice(0, height - down), slice(max(0, -across), width - max(0, across)))
        there = (every, slice(down, height), slice(max(0, across), width + min(0, across)))
        yield here, there


def _difference(known: Floats, seen: Floats, here: Cut, there: Cut) -> Floats:
    """Return the mean squared difference of each pair of cells, drawn towards that of all pairs, (h, w)."""
    checkpoint()
    both = seen[here] * seen[there]
    squares = np.einsum("tyx,tyx->yx", np.square(known[here] - known[there]), both)
    number = both.sum(axis=0)
    usual = squares.sum() / max(float(number.sum()), 1.0)
    return ((squares + PRIOR_PAIRS * usual) / (number + PRIOR_PAIRS)).astype(np.float32)
