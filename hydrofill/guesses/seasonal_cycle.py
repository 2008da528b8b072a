"""The usual course of the year and of the day at every cell of a gappy record."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hydrofill.constants import DAY_S, YEAR_S
from hydrofill.guesses.time_axis import Seconds

Floats = npt.NDArray[np.float32]

HARMONICS = 2  # of each period: a wave and one twice as fast
STEPS_PER_PERIOD = 4.0  # fewer, and a period cannot be told
PRIOR_STEPS = 40.0  # how many steps a cell needs before its own course outweighs that of all cells


def seasonal(values: Floats, mean: Floats, seconds: Seconds) -> Floats | None:
    """`mean` (1, ...) with the usual course of year and day added, (T, ...); None where the record holds neither.

    Waves are fitted by least squares to what each cell (T, ...) sees, drawn towards those of all cells together.

    Args:
        values: (T, H, W) or (T, N), NaN where nothing is seen.
        mean: of each cell.
        seconds: (T,) when each step is.
    """
    waves = _waves(seconds)
    if waves.shape[1] == 0:
        return None
    anomaly = (values - mean).reshape(len(values), -1)
    seen = ~np.isnan(anomaly)
    known, weight = np.where(seen, anomaly, 0).astype(np.float32), seen.astype(np.float32)
    common = _fit(waves, known.sum(axis=1, keepdims=True), weight.sum(axis=1, keepdims=True))
    rest = np.where(seen, known - (waves @ common).astype(np.float32), 0)
    course = waves @ (common + _fit(waves, rest, weight))
    return (course.reshape(values.shape) + mean).astype(np.float32)


def _waves(seconds: Seconds) -> npt.NDArray[np.float64]:
    """(T, K): ones, sines and cosines of the periods that the record holds whole and sees often enough, if any."""
    time_s = seconds - seconds[:1]
    step_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else np.inf
    extent = float(time_s[-1]) + step_s
    periods = [p for p in (YEAR_S, DAY_S) if extent >= 0.99 * p and p / step_s >= STEPS_PER_PERIOD]
    turns = [2 * np.pi * k * time_s / p for p in periods for k in range(1, HARMONICS + 1)]
    if not turns:
        return np.zeros((len(time_s), 0))
    return np.stack([np.ones(len(time_s)), *(wave(t) for t in turns for wave in (np.sin, np.cos))], axis=1)


def _fit(waves: npt.NDArray[np.float64], total: Floats, weight: Floats) -> npt.NDArray[np.float64]:
    """(K, N): coefficients of the waves for `total` (T, N), sums of `weight` (T, N) values each."""
    number = waves.shape[1]
    outer = np.einsum("ti,tj->tij", waves, waves).reshape(len(waves), -1)
    gram = (weight.T @ outer).reshape(-1, number, number) + PRIOR_STEPS / 2 * np.eye(number)
    right = total.T @ waves
    return np.asarray(np.linalg.solve(gram, right[..., None])[..., 0].T)
