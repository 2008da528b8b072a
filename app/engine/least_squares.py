"""Least squares with weights that are not negative."""

from __future__ import annotations

from itertools import combinations

import numpy as np


def non_negative_weights(matrix: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return weights (K,), none negative, whose sums of the columns of `matrix` (n, K) are nearest to `wanted` (n,).

    Every subset of the columns is solved without a bound, which suits a dozen columns at most: the columns that the
    best weights use have their unbounded solution there too. Source: Lawson and Hanson 1974, chapter 23.
    """
    best, least = np.zeros(matrix.shape[1]), float(np.square(wanted).sum())
    lengths = np.linalg.norm(matrix, axis=0)
    used = np.flatnonzero(lengths)
    for number in range(1, len(used) + 1):
        for columns in map(list, combinations(used, number)):
            found = np.linalg.lstsq(matrix[:, columns] / lengths[columns], wanted, rcond=None)[0] / lengths[columns]
            error = float(np.square(matrix[:, columns] @ found - wanted).sum())
            if (found >= 0).all() and error < least:
                best, least = np.zeros(matrix.shape[1]), error
                best[columns] = found
    return best
