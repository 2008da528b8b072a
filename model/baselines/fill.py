"""What a baseline returns, and the steps that several of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hydrofill.guesses.interpolation import harmonic
from model.baselines.in_time import linear_in_time

Floats = npt.NDArray[np.floating[Any]]
Times = npt.NDArray[Any]

SKEWED = 1.5  # skewness from which a non-negative variable is worked on as its square root; as in training
OFTEN_ZERO = 0.02  # share of zeros that tells a variable with dry spells
NEAR_ZERO = 0.5  # standard deviations: a minimum closer to zero than this makes zero its floor


@dataclass(frozen=True, eq=False)
class BaselineFill:
    """A filled copy, (T, H, W) or (T, N) in the variable's units, and its standard deviation where a method has one.

    Observed values keep their bits. `std` has the shape of `values`, is 0 where observed and NaN where unknown.
    """

    values: Floats
    std: Floats | None = None


Baseline = Callable[[Floats, Times], BaselineFill]


def then_time(filled: Floats, time: Times) -> Floats:
    """What is still missing, on the line in time between completed frames; a cell that stays empty stays NaN."""
    return linear_in_time(filled, time)


def completed(filled: Floats, time: Times) -> Floats:
    """`filled` without missing values, so that all methods are scored on the same cells.

    What a method left goes to the line in time, then (grids) to the harmonic surface of its frame, then to the mean
    of all. A record without any value stays missing.
    """
    if not np.isnan(filled).any() or np.isnan(filled).all():
        return filled
    filled = linear_in_time(filled, time)
    if filled.ndim == 3 and np.isnan(filled).any():
        filled = np.where(np.isnan(filled), harmonic(filled.astype(np.float32)), filled).astype(filled.dtype)
    return np.where(np.isnan(filled), np.nanmean(filled), filled).astype(filled.dtype)


def is_rain_like(values: Floats) -> bool:
    """Whether zero is the floor of the values (any shape, NaN = missing) and they are skewed or often zero."""
    seen = values[~np.isnan(values)].astype(np.float64)
    if seen.size == 0 or seen.min() < 0 or seen.min() > NEAR_ZERO * seen.std():
        return False
    anomaly = seen - seen.mean()
    skewness = float(np.mean(anomaly**3)) / max(float(np.mean(anomaly**2)) ** 1.5, 1e-30)
    return skewness > SKEWED or float(np.mean(seen == 0)) > OFTEN_ZERO
