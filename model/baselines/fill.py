"""The result of a baseline, and the steps that several baselines share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hydrofill.guesses.interpolation import harmonic
from hydrofill.summary import summary_of
from model.baselines.in_time import linear_in_time

Floats = npt.NDArray[np.floating[Any]]
Times = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class BaselineFill:
    """A filled copy, (T, H, W) or (T, N) in the variable's units, and its standard deviation if the method has one.

    Observed values keep their bits. `std` has the shape of `values`; it is 0 where observed and NaN where unknown.
    """

    values: Floats
    std: Floats | None = None


Baseline = Callable[[Floats, Times], BaselineFill]


def completed(filled: Floats, time: Times) -> Floats:
    """Fill what a method left missing, so that all methods are scored on the same cells.

    Missing values are put on the line in time, then (in grids) on the harmonic surface of their frame, then at the mean
    of all values. A record without any value stays missing.
    """
    if not np.isnan(filled).any() or np.isnan(filled).all():
        return filled
    filled = linear_in_time(filled, time)
    if filled.ndim == 3 and np.isnan(filled).any():
        filled = np.where(np.isnan(filled), harmonic(filled.astype(np.float32)), filled).astype(filled.dtype)
    return np.where(np.isnan(filled), np.nanmean(filled), filled).astype(filled.dtype)


def is_rain_like(values: Floats) -> bool:
    """Return whether the values (T, ...), NaN = missing, are worked on as square roots, by the rule of training."""
    return summary_of(values).suits_square_root
