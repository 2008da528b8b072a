"""Moments of a variable's observed values, from sums that can be added up step by step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Columns of a variable's sums over one step: z are its observed values, r = sqrt(max(z, 0)).
SUMS = ("number", "z", "z2", "z3", "zeros", "r", "r2")
N_SUMS = len(SUMS)

SKEWED = 1.5  # skewness from which a non-negative variable is worked on as its square root
OFTEN_ZERO = 0.02  # share of zeros that marks a variable with dry spells
NEAR_ZERO = 0.5  # standard deviations: a minimum closer to zero than this makes zero its floor


@dataclass(frozen=True)
class Summary:
    """Moments of `number` observed values; `root_*` are those of their square roots.

    `std` and `root_std` are population standard deviations, `zero_share` is in [0, 1]. Without any observed value
    all but `number` are NaN.
    """

    number: int
    mean: float
    std: float
    lowest: float
    skewness: float
    zero_share: float
    root_mean: float
    root_std: float

    @property
    def has_zero_floor(self) -> bool:
        """True if zero is the floor of the values: none is negative, and the smallest is close to zero."""
        return 0 <= self.lowest <= NEAR_ZERO * self.std

    @property
    def suits_square_root(self) -> bool:
        """True if the values are worked on as square roots: zero is their floor, and they are skewed or often zero."""
        return self.has_zero_floor and (self.skewness > SKEWED or self.zero_share > OFTEN_ZERO)


def sums_of_steps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sums (T, 7) float64, columns `SUMS`, and minima (T,) of the values (T, ...) at each step.

    NaN is left out; the minimum of a step without any value is infinite.
    """
    z = values.reshape(len(values), -1).astype(np.float64)  # (T, cells)
    seen = ~np.isnan(z)
    lowest = np.where(seen, z, np.inf).min(axis=1, initial=np.inf)
    z = np.where(seen, z, 0.0)
    positive, square = np.maximum(z, 0), z * z
    columns = (seen, z, square, square * z, seen & (z == 0), np.sqrt(positive), positive)  # z**3 would be a slow power
    return np.stack([np.sum(column, axis=1, dtype=np.float64) for column in columns], axis=1), lowest


def summarise(sums: np.ndarray, lowest: np.ndarray) -> Summary:
    """Return the summary of all steps whose sums (T, 7) and minima (T,) are given."""
    number, *totals = sums.sum(axis=0)
    if number == 0:
        return Summary(0, *[float("nan")] * 7)
    mean, square, cube, zeros, root, root_square = (float(total / number) for total in totals)
    std = _root(square - mean**2)
    skewness = (cube - 3 * mean * square + 2 * mean**3) / std**3 if std > 0 else 0.0
    return Summary(
        number=int(number),
        mean=mean,
        std=std,
        lowest=float(lowest.min()),
        skewness=skewness,
        zero_share=zeros,
        root_mean=root,
        root_std=_root(root_square - root**2),
    )


def summary_of(values: np.ndarray) -> Summary:
    """Return the summary of an array, (T, ...) or (cells,), NaN = missing."""
    return summarise(*sums_of_steps(values.reshape(len(values), -1)))


def _root(variance: float) -> float:
    return float(np.sqrt(max(variance, 0.0)))
