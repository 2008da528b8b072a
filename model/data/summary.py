"""What a variable's observed values are like, in numbers that can be added up step by step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Columns of a variable's sums over one step: z are its observed values, r = sqrt(max(z, 0)).
SUMS = ("number", "z", "z2", "z3", "zeros", "r", "r2")
N_SUMS = len(SUMS)


@dataclass(frozen=True)
class Summary:
    """Of `number` observed values: moments, minimum, skewness, share of zeros; `root_*` of their square roots.

    Spreads are population standard deviations; without any value all are NaN.
    """

    number: int
    mean: float
    spread: float
    lowest: float
    skewness: float
    zero_share: float
    root_mean: float
    root_spread: float


def sums_of_steps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums (T, 7) float64, columns `SUMS`, and minima (T,) of the values (T, ...) at each step; NaN is left out."""
    z = values.reshape(len(values), -1).astype(np.float64)  # (T, cells)
    seen = ~np.isnan(z)
    lowest = np.where(seen, z, np.inf).min(axis=1, initial=np.inf)
    z = np.where(seen, z, 0.0)
    positive, square = np.maximum(z, 0), z * z
    columns = (seen, z, square, square * z, seen & (z == 0), np.sqrt(positive), positive)  # z**3 would be a slow power
    return np.stack([np.sum(column, axis=1, dtype=np.float64) for column in columns], axis=1), lowest


def summarise(sums: np.ndarray, lowest: np.ndarray) -> Summary:
    """The summary of all steps whose sums (T, 7) and minima (T,) are given."""
    number, *totals = sums.sum(axis=0)
    if number == 0:
        return Summary(0, *[float("nan")] * 7)
    mean, square, cube, zeros, root, root_square = (float(total / number) for total in totals)
    spread = _root(square - mean**2)
    skewness = (cube - 3 * mean * square + 2 * mean**3) / spread**3 if spread > 0 else 0.0
    return Summary(
        number=int(number),
        mean=mean,
        spread=spread,
        lowest=float(lowest.min()),
        skewness=skewness,
        zero_share=zeros,
        root_mean=root,
        root_spread=_root(root_square - root**2),
    )


def summary_of(values: np.ndarray) -> Summary:
    """The summary of an array, (T, ...) or (cells,), NaN = missing."""
    return summarise(*sums_of_steps(values.reshape(len(values), -1)))


def _root(variance: float) -> float:
    return float(np.sqrt(max(variance, 0.0)))
