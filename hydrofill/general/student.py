"""The 90 % interval of Student's t distribution."""

from __future__ import annotations

import math

import numpy as np

from hydrofill.conformal import COVERAGE
from hydrofill.constants import Z90

MAX_SUMMED = 200  # degrees of freedom up to which the exact series is summed; the expansion has 12 digits beyond
HALVINGS = 60


def t90(freedom: int) -> float:
    """Return the value t so that 90 % of Student's t distribution lies between -t and t.

    Sources: Abramowitz and Stegun 1964, equations 26.7.3 and 26.7.4 (series) and 26.7.5 (expansion).

    Args:
        freedom: degrees of freedom, 1 or more.
    """
    return _by_expansion(freedom) if freedom > MAX_SUMMED else _by_series(freedom)


def _by_series(freedom: int) -> float:
    """Find t = sqrt(freedom) tan(angle) by halving the interval of the angle; the share inside grows with the angle."""
    odd = freedom % 2
    k = np.arange(1 + odd, freedom - 1, 2)  # the coefficients are products of k / (k + 1)
    coefficients = np.cumprod(np.concatenate([np.ones(min(freedom - 1, 1)), k / (k + 1)]))
    powers = np.arange(len(coefficients)) * 2 + odd
    low, high = 0.0, math.pi / 2
    for _ in range(HALVINGS):
        angle = (low + high) / 2
        inside = math.sin(angle) * float(coefficients @ math.cos(angle) ** powers)
        if odd:
            inside = (inside + angle) * 2 / math.pi
        low, high = (angle, high) if inside < COVERAGE else (low, angle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def _by_expansion(freedom: int) -> float:
    """Expand t in powers of 1 / freedom around the value of the normal distribution."""
    x = Z90
    terms = (
        x,
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))
