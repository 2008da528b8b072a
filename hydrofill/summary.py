"""Moments of a variable's observed values, from sums that can be added up step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

# Columns of a variable's sums over one step: z are its observed values, r = sqrt(max(z, 0)).
SUMS = ("number", "z", "z2", "z3", "dry", "r", "r2", "ones", "hundreds")
N_SUMS = len(SUMS)

SKEWED = 1.5  # skewness from which a non-negative variable is worked on as its square root
OFTEN_ZERO = 0.02  # share of zeros that marks a variable with dry spells
NEAR_ZERO = 0.5  # standard deviations: a minimum closer to zero than this makes zero its floor
NOISE = 1e-3  # standard deviations: values so little below zero are zeros with noise of rounding or interpolation
PILED_UP = 0.01  # share of values that are exactly 1 or 100, from which this is their ceiling


@dataclass(frozen=True)
class Summary:
    """Moments of `number` observed values; `root_*` are those of their square roots.

    `std` and `root_std` are population standard deviations. `zero_share` is the share of values that are zero or below,
    `one_share` and `hundred_share` those of values that are exactly 1 and 100. Without any observed value all but
    `number` are NaN.
    """

    number: int
    mean: float
    std: float
    lowest: float
    highest: float
    skewness: float
    zero_share: float
    one_share: float
    hundred_share: float
    root_mean: float
    root_std: float

    @property
    def has_zero_floor(self) -> bool:
        """True if zero is the floor of the values: none is negative but for noise, and the lowest is near zero."""
        return self.is_negative_by_noise_at_most and self.lowest <= NEAR_ZERO * self.std

    @property
    def is_negative_by_noise_at_most(self) -> bool:
        """True if no value is below zero by more than noise."""
        return self.lowest >= -NOISE * self.std

    def stays_below(self, ceiling: float) -> bool:
        """Return whether no value is above `ceiling` by more than noise."""
        return self.highest <= ceiling + NOISE * self.std

    def scaled(self, factor: float) -> Summary:
        """Return the summary of the values times a positive factor, without the shares of ones and hundreds."""
        root = math.sqrt(factor)
        return replace(
            self,
            mean=self.mean * factor,
            std=self.std * factor,
            lowest=self.lowest * factor,
            highest=self.highest * factor,
            one_share=math.nan,
            hundred_share=math.nan,
            root_mean=self.root_mean * root,
            root_std=self.root_std * root,
        )

    @property
    def suits_square_root(self) -> bool:
        """True if the values are worked on as square roots: zero is their floor, and they are skewed or often zero."""
        return self.has_zero_floor and (self.skewness > SKEWED or self.zero_share > OFTEN_ZERO)


def sums_of_steps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sums (T, N_SUMS) float64, columns `SUMS`, and lowest and highest values (T, 2) at each step of (T, ...).

    NaN is left out; at a step without any value the lowest is infinite, and the highest negative infinite.
    """
    z = values.reshape(len(values), -1).astype(np.float64)  # (T, cells)
    seen = ~np.isnan(z)
    lowest = np.where(seen, z, np.inf).min(axis=1, initial=np.inf)
    highest = np.where(seen, z, -np.inf).max(axis=1, initial=-np.inf)
    z = np.where(seen, z, 0.0)
    positive, square = np.maximum(z, 0), z * z
    # z * z * z, because z**3 would be a slow power
    columns = (seen, z, square, square * z, seen & (z <= 0), np.sqrt(positive), positive, z == 1, z == 100)
    sums = np.stack([np.sum(column, axis=1, dtype=np.float64) for column in columns], axis=1)
    return sums, np.stack([lowest, highest], axis=1)


def summarise(sums: np.ndarray, extremes: np.ndarray) -> Summary:
    """Return the summary of all steps whose sums (T, N_SUMS) and lowest and highest values (T, 2) are given."""
    number, *totals = sums.sum(axis=0)
    if number == 0:
        return Summary(0, *[float("nan")] * 10)
    mean, square, cube, zeros, root, root_square, ones, hundreds = (float(total / number) for total in totals)
    std = _root(square - mean**2)
    skewness = (cube - 3 * mean * square + 2 * mean**3) / std**3 if std > 0 else 0.0
    return Summary(
        number=int(number),
        mean=mean,
        std=std,
        lowest=float(extremes[:, 0].min()),
        highest=float(extremes[:, 1].max()),
        skewness=skewness,
        zero_share=zeros,
        one_share=ones,
        hundred_share=hundreds,
        root_mean=root,
        root_std=_root(root_square - root**2),
    )


def summary_of(values: np.ndarray) -> Summary:
    """Return the summary of an array, (T, ...) or (cells,), NaN = missing."""
    return summarise(*sums_of_steps(values.reshape(len(values), -1)))


def _root(variance: float) -> float:
    return float(np.sqrt(max(variance, 0.0)))
