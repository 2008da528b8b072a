"""Fills that need no training: what every method is measured against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Times = npt.NDArray[Any]
Baseline = Callable[[Floats, Times], Floats]


def cell_mean(values: Floats) -> Floats:
    """A copy with each cell's gaps at the mean of its observed values.

    Args:
        values: (T, ...), NaN = missing. A cell with nothing observed stays NaN.
    """
    observed = ~np.isnan(values)
    n = observed.sum(axis=0)
    total = np.where(observed, values, 0.0).sum(axis=0, dtype=np.float64)
    mean = np.where(n > 0, total / np.maximum(n, 1), np.nan)  # (...)
    return np.where(observed, values, mean.astype(values.dtype))


def linear_in_time(values: Floats, time: Times, max_gap: int | None = None) -> Floats:
    """A copy with each cell's gaps on the straight line between the observed values before and after.

    Before the first and after the last observed value it holds the nearest. A cell with nothing observed
    stays NaN.

    Args:
        values: (T, ...), NaN = missing.
        time: (T,), ascending datetimes or numbers; need not be regular.
        max_gap: gaps of more steps in a row stay missing; None fills all.
    """
    observed = ~np.isnan(values)
    before, after = _neighbours(observed)  # (T, ...) row of the nearest observed value; -1 and T where none
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
    if max_gap is not None:
        fillable &= after - before - 1 <= max_gap
    return np.where(observed, values, np.where(fillable, line, np.nan).astype(values.dtype))


def _neighbours(observed: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the last observed value up to each row (-1: none) and of the first from it on (T: none), (T, ...)."""
    n = len(observed)
    rows = np.arange(n).reshape(-1, *(1 for _ in observed.shape[1:]))  # (T, 1, ...)
    before = np.maximum.accumulate(np.where(observed, rows, -1), axis=0)
    after = np.minimum.accumulate(np.where(observed, rows, n)[::-1], axis=0)[::-1]
    return before, after


BASELINES: Mapping[str, Baseline] = {
    "cell_mean": lambda values, _time: cell_mean(values),
    "linear_in_time": linear_in_time,
}
