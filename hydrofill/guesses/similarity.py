"""Estimate values from the cells or sites whose past values are most similar.

Arrays are (T, H, W) or (T, N) float32, NaN where nothing is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from hydrofill.cancellation import checkpoint
from hydrofill.guesses.arrays import BLOCK_VALUES, blocks, contiguous, largest_exponent

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

REACH = 4  # cells: largest offset of a similar neighbour
PRIOR_PAIRS = 3.0  # common steps at which a pair's own difference counts as much as that of all pairs
SHARPNESS = 3  # the weight of a neighbour is its difference to the power of minus SHARPNESS
MIN_DIFFERENCE = 1e-3  # share of the usual difference that is added to all, so that none is zero
WEIGHT_UNIT = 2.0**-16  # unit of differences in which the weights of all possible differences are far from zero
MIN_USUAL = 1e-14  # smallest usual difference, as a share of the largest value squared
MEDIAN_PAIRS = 2000  # so many pairs of an offset give the median
MAX_LAG = 8  # steps by which one site may follow another, as when a flood wave arrives downstream
BLOCK_PAIRS = 2**20  # pairs of sites that are compared at a time
LAG_GAIN = 0.9  # a lag is used if it leaves less than this share of the difference without a lag


def similar_neighbours(values: Floats, *, with_std: bool = True) -> tuple[Floats, Floats]:
    """Estimate each value from similar cells nearby; return estimates and standard deviations, (T, H, W) each.

    The difference of two cells is their mean squared difference over the steps at which both are seen, drawn towards
    that of all pairs at the same offset. The standard deviation is the root of the weighted mean of these differences.
    NaN where no neighbour within REACH is seen, and in frames without a gap.

    Args:
        values: (T, H, W), NaN where nothing is seen.
        with_std: whether standard deviations are wanted; without, they are NaN.
    """
    from hydrofill.guesses.kernels.similar import BLOCK, lay_out, weighted_means

    values = contiguous(values)
    value, std = (np.full(values.shape, np.nan, np.float32) for _ in range(2))
    offsets = _offsets(values.shape)
    gappy = np.isnan(values).any(axis=(1, 2))
    if not offsets or not gappy.any():
        return value, std
    n_time, height, width = values.shape
    row = width + REACH
    front = REACH * row + REACH
    exponent = largest_exponent(values)
    flat = np.empty((n_time + 1, 2 * front + -(-height * row // BLOCK) * BLOCK), np.float32)
    lay_out(values, exponent, front, REACH, flat)
    shifts = np.array([down * row + across for down, across in offsets])
    difference = _differences(flat, front, shifts)
    cells = [_first_cells(o, height, width) for o in offsets]
    usual = _usual(difference[:, front : front + height * row].reshape(-1, height, row), cells)
    similarity = ((difference / usual + np.float32(MIN_DIFFERENCE)) * np.float32(WEIGHT_UNIT)) ** -SHARPNESS
    if len(shifts) % 2:  # pairs are added two at a time
        shifts = np.append(shifts, 0)
        similarity, difference = (np.concatenate([a, np.zeros_like(a[:1])]) for a in (similarity, difference))
    weighted = similarity * difference if with_std else similarity
    chosen = flat[:-1] if gappy.all() else flat[:-1][gappy]
    means, expected = np.empty_like(chosen), np.empty_like(chosen) if with_std else chosen
    for first, last in blocks(len(chosen), BLOCK_VALUES // flat.shape[1]):
        checkpoint()
        weighted_means(chosen, front, shifts, similarity, weighted, first, last, means, expected, with_std)
    inside = (slice(None), slice(front, front + height * row))
    unit = 2.0**exponent
    value[gappy] = means[inside].reshape(-1, height, row)[:, :, :width] * unit
    if with_std:
        std[gappy] = np.sqrt(expected[inside].reshape(-1, height, row)[:, :, :width]) * unit
    return value, std


def _differences(flat: Floats, front: int, shifts: npt.NDArray[np.int64]) -> Floats:
    """Return the mean squared difference of each pair of cells at its first cell, (P, n)."""
    from hydrofill.guesses.kernels.similar import BLOCK, add_squares

    sums = np.zeros((len(shifts), (flat.shape[1] - 2 * front) // BLOCK, 2 * BLOCK), np.float32)
    for first, last in blocks(len(flat) - 1, BLOCK_VALUES // flat.shape[1]):
        checkpoint()
        add_squares(flat, front, shifts, first, last, sums)
    squares, number = (sums[:, :, half].reshape(len(shifts), -1) for half in (slice(BLOCK), slice(BLOCK, None)))
    every = np.maximum(number.sum(axis=1, dtype=np.float64), 1.0)
    usual = (squares.sum(axis=1, dtype=np.float64) / every).astype(np.float32)[:, None]
    difference = np.zeros((len(shifts), flat.shape[1]), np.float32)
    prior = np.float32(PRIOR_PAIRS)
    difference[:, front:-front] = (squares + prior * usual) / (number + prior)
    return difference


def _usual(difference: Floats, cells: list[tuple[slice, slice]]) -> np.float32:
    """Return the least over the offsets of the median difference of their pairs, of at most MEDIAN_PAIRS pairs each."""
    medians = []
    for number, (down, across) in enumerate(cells):
        own = difference[number, down, across].ravel()
        ordered = np.sort(own[:: -(-own.size // MEDIAN_PAIRS)])
        medians.append((float(ordered[(len(ordered) - 1) // 2]) + float(ordered[len(ordered) // 2])) / 2)
    return np.float32(max(min(medians), MIN_USUAL))


def _offsets(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return every offset in rows and columns within REACH that two cells can have; each pair of cells has one."""
    every = product(range(REACH + 1), range(-REACH, REACH + 1))
    return [
        (down, across)
        for down, across in every
        if (down, across) > (0, 0) and down < shape[1] and abs(across) < shape[2]
    ]


def _first_cells(offset: tuple[int, int], height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and columns of the first cells of all pairs at an offset."""
    down, across = offset
    return slice(0, height - down), slice(max(0, -across), width - max(0, across))


def similar_sites(values: Floats) -> tuple[Floats, Floats]:
    """Estimate each value from similar sites; return estimates and standard deviations, (T, N) each.

    As `similar_neighbours`, but any two sites are compared, each with the lag in time at which they are most similar.
    Sites that are never seen say nothing, and all are told the same: one of them stands for all.
    """
    seen = ~np.isnan(values)
    kept: npt.NDArray[np.bool_] = np.asarray(seen.any(axis=0))
    never = np.flatnonzero(~kept)
    if len(never) < 2:
        return _from_similar(values, seen)
    kept[never[0]] = True
    place = np.cumsum(kept) - 1  # of each site in the sites that are kept
    place[never] = place[never[0]]
    value, std = _from_similar(np.compress(kept, values, axis=1), np.compress(kept, seen, axis=1))
    return np.take(value, place, axis=1), np.take(std, place, axis=1)


def _from_similar(values: Floats, seen: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return `similar_sites`, of BLOCK_PAIRS pairs of sites at a time; the work grows with the square of N."""
    n_time, n_sites = values.shape
    known, number = np.where(seen, values, 0).astype(np.float64), seen.astype(np.float64)
    if n_sites < 2:
        return np.full(values.shape, np.nan, np.float32), np.full(values.shape, np.nan, np.float32)
    rows = max(1, BLOCK_PAIRS // n_sites)
    targets = [slice(first, last) for first, last in blocks(n_sites, rows)]
    prior = _usual_lag_free(known, number, targets)
    sampled = slice(0, n_sites, -(-n_sites // rows))  # all sites, where one block holds them
    lag, difference = _best_lags(known, number, sampled, prior)
    usual = max(float(np.median(difference[_others(n_sites, sampled)])), 1e-12)
    total, weight, expected = (np.zeros(values.shape) for _ in range(3))
    for block in targets:
        if len(targets) > 1:
            lag, difference = _best_lags(known, number, block, prior)
        similarity = np.where(_others(n_sites, block), (difference / usual + MIN_DIFFERENCE) ** -SHARPNESS, 0)
        for steps in np.unique(lag):
            checkpoint()
            share = np.where(lag == steps, similarity, 0).T
            here, there = _shifted(n_time, int(steps))
            total[here, block] += known[there] @ share
            weight[here, block] += number[there] @ share
            expected[here, block] += number[there] @ (share * difference.T)
    some, weight = weight > 0, np.maximum(weight, 1e-300)
    value, std = (np.where(some, a, np.nan).astype(np.float32) for a in (total / weight, np.sqrt(expected / weight)))
    return value, std


def _others(n_sites: int, targets: slice) -> npt.NDArray[np.bool_]:
    """Return whether site i of `targets` and site j are two sites, (n, N)."""
    numbers = np.arange(n_sites)
    two: npt.NDArray[np.bool_] = numbers[targets, None] != numbers
    return two


def _usual_lag_free(known: Doubles, number: Doubles, targets: Sequence[slice]) -> float:
    """Return the mean squared difference over all pairs of sites, without a lag."""
    total = pairs = 0.0
    for block in targets:
        checkpoint()
        squares, common = _squared_differences(known, number, 0, block)
        others = _others(known.shape[1], block)
        total, pairs = total + squares[others].sum(), pairs + common[others].sum()
    return float(total / max(pairs, 1.0))


def _best_lags(known: Doubles, number: Doubles, targets: slice, usual: float) -> tuple[npt.NDArray[np.int64], Doubles]:
    """Return by how many steps site i of `targets` follows site j, and the mean squared difference at that lag.

    (n, N) each, of n targets and N sites. Differences are drawn towards the `usual` one.
    """
    squares, common = _squared_differences(known, number, 0, targets)
    without_lag = (squares + PRIOR_PAIRS * usual) / (common + PRIOR_PAIRS)
    lag, least = np.zeros(common.shape, np.int64), LAG_GAIN * without_lag
    for steps in sorted(range(-MAX_LAG, MAX_LAG + 1), key=abs)[1:]:
        checkpoint()
        if abs(steps) < len(known):
            squares, common = _squared_differences(known, number, steps, targets)
            left = (squares + PRIOR_PAIRS * usual) / (common + PRIOR_PAIRS)
            lag, least = np.where(left < least, steps, lag), np.minimum(left, least)
    return lag, np.where(lag == 0, without_lag, least)


def _squared_differences(known: Doubles, number: Doubles, lag: int, targets: slice) -> tuple[Doubles, Doubles]:
    """Return the sum of squared differences of site i from site j `lag` steps before, and the number of steps.

    (n, N) each, of n targets and N sites.
    """
    here, there = _shifted(len(known), lag)
    left, right = (known[here, targets], number[here, targets]), (known[there], number[there])
    squares = np.square(left[0]).T @ right[1] + left[1].T @ np.square(right[0]) - 2 * left[0].T @ right[0]
    return np.maximum(squares, 0), left[1].T @ right[1]


def _shifted(steps: int, lag: int) -> tuple[slice, slice]:
    """Return the slice of all steps that have a step `lag` before them, and the slice of those earlier steps."""
    return slice(max(0, lag), steps + min(0, lag)), slice(max(0, -lag), steps - max(0, lag))
