"""Fills of each cell from the cell's other values: means, seasonal means, lines in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hydrofill.constants import YEAR_DAYS
from hydrofill.guesses.interpolation import nearest_seen

Floats = npt.NDArray[np.floating[Any]]
Times = npt.NDArray[Any]

BINS = 24  # of a year, half a month each: fewer bins blur the seasons, more hold too few values
PRIOR_VALUES = 4.0  # the cell's mean counts as that many values of every bin
MIN_YEARS = 1.5  # a shorter record cannot tell season from weather


def cell_mean(values: Floats) -> Floats:
    """Return a copy with each cell's gaps at the mean of its observed values.

    Args:
        values: (T, ...), NaN = missing. A cell with nothing observed stays NaN.
    """
    observed = ~np.isnan(values)
    return np.where(observed, values, _means(values, observed).astype(values.dtype))


def seasonal_mean(values: Floats, time: Times) -> Floats:
    """Return a copy with each cell's gaps at the cell's mean at that time of the year.

    The cycle is linear between half-monthly means, which are smoothed by 1-2-1 round the year and drawn towards the
    cell's mean where they rest on few values. Where `time` holds no dates, or spans less than a year and a half, gaps
    are at the cell's mean.

    Args:
        values: (T, ...), NaN = missing. A cell with nothing observed stays NaN.
        time: (T,), ascending datetimes, or numbers.
    """
    clock = np.asarray(time)
    if not np.issubdtype(clock.dtype, np.datetime64) or len(clock) < 2:
        return cell_mean(values)
    days = (clock - clock[0]) / np.timedelta64(1, "D")
    if float(days[-1]) < MIN_YEARS * YEAR_DAYS:
        return cell_mean(values)
    observed = ~np.isnan(values)
    place = days / YEAR_DAYS * BINS  # in bins, whose centres are whole numbers
    total, number = np.zeros((2, BINS, *values.shape[1:]))
    nearest = np.round(place).astype(int) % BINS
    np.add.at(total, nearest, np.where(observed, values, 0.0))
    np.add.at(number, nearest, observed)
    total, number = (np.roll(a, 1, axis=0) + 2 * a + np.roll(a, -1, axis=0) for a in (total, number))
    climate = (total + PRIOR_VALUES * _means(values, observed)) / (number + PRIOR_VALUES)  # (BINS, ...)
    low = np.floor(place).astype(int)
    share = (place - low).reshape(-1, *(1 for _ in values.shape[1:]))  # (T, 1, ...)
    line = (1 - share) * climate[low % BINS] + share * climate[(low + 1) % BINS]
    return np.where(observed, values, line.astype(values.dtype))


def linear_in_time(values: Floats, time: Times) -> Floats:
    """Return a copy with each cell's gaps on the straight line between the observed values before and after.

    Gaps before the first and after the last observed value are at the nearest one. A cell with nothing observed stays
    NaN.

    Args:
        values: (T, ...), NaN = missing.
        time: (T,), ascending datetimes or numbers; need not be regular.
    """
    observed = ~np.isnan(values)
    before, after = nearest_seen(observed)  # (T, ...) row of the nearest observed value; -1 and T where none
    has_before, has_after = before >= 0, after < len(values)
    left = np.where(has_before, before, after).clip(max=max(len(values) - 1, 0))
    right = np.where(has_after, after, left)
    hours = (np.asarray(time) - np.asarray(time)[:1]).astype(np.float64)  # any unit: only its ratios matter
    span = hours[right] - hours[left]
    now = hours.reshape(-1, *(1 for _ in values.shape[1:]))  # (T, 1, ...)
    weight = np.where(span > 0, (now - hours[left]) / np.where(span > 0, span, 1.0), 0.0)
    start, end = (np.take_along_axis(values, rows, axis=0) for rows in (left, right))
    line = start + weight * (end.astype(np.float64) - start)
    fillable = has_before | has_after
    return np.where(observed, values, np.where(fillable, line, np.nan).astype(values.dtype))


def _means(values: Floats, observed: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return each cell's mean over time, (...); NaN where nothing is observed."""
    n = observed.sum(axis=0)
    total = np.where(observed, values, 0.0).sum(axis=0, dtype=np.float64)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)
