"""Estimate the seasonal and the daily cycle at every cell of a record with gaps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hydrofill.constants import DAY_S, YEAR_S
from hydrofill.guesses.time_axis import Seconds

Floats = npt.NDArray[np.float32]

HARMONICS = 2  # of each period: one wave of the period and one of half the period
STEPS_PER_PERIOD = 4.0  # a period with fewer steps is not fitted
PRIOR_STEPS = 40.0  # seen steps at which a cell's own cycle counts as much as the cycle of all cells


def seasonal(values: Floats, mean: Floats, seconds: Seconds, year_s: float = YEAR_S) -> Floats | None:
    """Return the mean of each cell plus its yearly and daily cycle, (T, ...).

    Waves are fitted by least squares to the seen values of each cell, and drawn towards the waves of all cells. None
    if the record holds no whole year and no whole day.

    Args:
        values: (T, H, W) or (T, N), NaN where nothing is seen.
        mean: (1, ...) mean of each cell.
        seconds: (T,) time of each step in seconds.
        year_s: length of a year in the calendar of the record.
    """
    waves = _waves(seconds, year_s)
    if waves.shape[1] == 0:
        return None
    anomaly = (values - mean).reshape(len(values), -1)
    seen = ~np.isnan(anomaly)
    known, weight = np.where(seen, anomaly, 0).astype(np.float32), seen.astype(np.float32)
    common = _fit(waves, known.sum(axis=1, keepdims=True), weight.sum(axis=1, keepdims=True))
    residual = np.where(seen, known - (waves @ common).astype(np.float32), 0)
    cycle = waves @ (common + _fit(waves, residual, weight))
    return (cycle.reshape(values.shape) + mean).astype(np.float32)


def _waves(seconds: Seconds, year_s: float) -> npt.NDArray[np.float64]:
    """Return a constant and the waves of each period that fits into the record, (T, K); K is 0 if none fits."""
    time_s = seconds - seconds[:1]
    step_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else np.inf
    extent = float(time_s[-1]) + step_s
    periods = [p for p in (year_s, DAY_S) if extent >= 0.99 * p and p / step_s >= STEPS_PER_PERIOD]
    turns = [2 * np.pi * k * time_s / p for p in periods for k in range(1, HARMONICS + 1)]
    if not turns:
        return np.zeros((len(time_s), 0))
    return np.stack([np.ones(len(time_s)), *(wave(t) for t in turns for wave in (np.sin, np.cos))], axis=1)


def _fit(waves: npt.NDArray[np.float64], total: Floats, weight: Floats) -> npt.NDArray[np.float64]:
    """Fit the waves to `total` (T, N), sums of `weight` (T, N) values each; return the coefficients, (K, N)."""
    number = waves.shape[1]
    outer = np.einsum("ti,tj->tij", waves, waves).reshape(len(waves), -1)
    gram = (weight.T @ outer).reshape(-1, number, number) + PRIOR_STEPS / 2 * np.eye(number)
    right = total.T @ waves
    return np.asarray(np.linalg.solve(gram, right[..., None])[..., 0].T)
