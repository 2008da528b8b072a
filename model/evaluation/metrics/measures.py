"""How good a fill is, from pairs of what was withheld and what was put there: errors, calibration, water, flow.

Each function takes arrays of any shape without missing values and returns None where its measure is not defined.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from hydrofill.constants import Z90

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]

WET_QUANTILE = 0.2  # of the values above zero: what lies below counts as dry, in any unit


@dataclass(frozen=True)
class Scores:
    """Measures over `n` cells, in the variable's units; None where they are not defined.

    `bias` is filled minus truth; `correlation` needs both to vary. `coverage90` (share of truths inside the central
    90 % interval), `crps` and `spread_skill` need standard deviations. `totals_ratio` is all water filled over all
    water withheld. `wet_bias` and `csi` need a threshold above which a cell is wet. `nse` and `kge` are meant for flow.
    """

    n: int
    rmse: float | None = None
    mae: float | None = None
    bias: float | None = None
    correlation: float | None = None
    coverage90: float | None = None
    crps: float | None = None
    spread_skill: float | None = None
    totals_ratio: float | None = None
    wet_bias: float | None = None
    csi: float | None = None
    nse: float | None = None
    kge: float | None = None


def scores(truth: Floats, filled: Floats, std: Floats | None = None, wet_above: float | None = None) -> Scores:
    """All measures over pairs of values, any shape, none of them missing.

    Args:
        truth: what was withheld.
        filled: what was put there.
        std: predictive standard deviations; values that are missing or negative take no part.
        wet_above: a cell with more is wet; in the variable's units.
    """
    truth64, filled64 = truth.astype(np.float64).ravel(), filled.astype(np.float64).ravel()
    error = filled64 - truth64
    if error.size == 0:
        return Scores(n=0)
    known = std is not None and bool((at := np.isfinite(std.ravel()) & (std.ravel() >= 0)).any())
    spread = std.astype(np.float64).ravel()[at] if std is not None and known else None
    sure = error[at] if known else error
    return Scores(
        n=error.size,
        rmse=float(np.sqrt(np.mean(error**2))),
        mae=float(np.mean(np.abs(error))),
        bias=float(error.mean()),
        correlation=correlation(truth64, filled64),
        coverage90=None if spread is None else float(np.mean(np.abs(sure) <= Z90 * spread)),
        crps=None if spread is None else float(crps_gaussian(sure, spread).mean()),
        spread_skill=None if spread is None else spread_skill(sure, spread),
        totals_ratio=totals_ratio(truth64, filled64),
        wet_bias=None if wet_above is None else wet_frequency_bias(truth64, filled64, wet_above),
        csi=None if wet_above is None else csi(truth64, filled64, wet_above),
        nse=nse(truth64, filled64),
        kge=kge(truth64, filled64),
    )


def correlation(truth: Floats, filled: Floats) -> float | None:
    """Pearson's correlation; None unless both vary."""
    varies = truth.size > 1 and truth.std() > 0 and filled.std() > 0
    return float(np.corrcoef(truth.ravel(), filled.ravel())[0, 1]) if varies else None


def crps_gaussian(error: Floats, std: Floats) -> Doubles:
    """Continuous ranked probability score of N(mean, std) at error = mean - truth; the absolute error where std is 0.

    Source: Gneiting & Raftery 2007, J. Am. Stat. Assoc. 102:359, eq. 21 (with the sign turned: small is good).
    """
    spread = np.where(std > 0, std, 1.0)
    z = error / spread
    density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    crps = spread * (z * (2.0 * ndtr(z) - 1.0) + 2.0 * density - 1.0 / math.sqrt(math.pi))
    return np.where(std > 0, crps, np.abs(error)).astype(np.float64)


def spread_skill(error: Floats, std: Floats) -> float | None:
    """Root mean variance over root mean squared error: 1 is reliable, less too sure; None without any error.

    Source: Fortin et al. 2014, J. Hydrometeorol. 15:1708.
    """
    rmse = float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))
    return float(np.sqrt(np.mean(np.square(std, dtype=np.float64)))) / rmse if rmse > 0 else None


def totals_ratio(truth: Floats, filled: Floats) -> float | None:
    """Sum of the fill over the sum of the truth; None where values below zero or nothing make it meaningless."""
    total = float(truth.sum(dtype=np.float64))
    return float(filled.sum(dtype=np.float64)) / total if total > 0 and not (truth < 0).any() else None


def wet_threshold(values: Floats) -> float | None:
    """Above which a value counts as wet: the lowest fifth of what is above zero is drizzle; None if nothing is.

    `values` may have NaN.
    """
    above = values[values > 0]
    return float(np.quantile(above, WET_QUANTILE)) if above.size else None


def wet_frequency_bias(truth: Floats, filled: Floats, above: float) -> float | None:
    """Wet cells of the fill over wet cells of the truth: 1 is right; None if no truth is wet.

    Source: Wilks 2011, Statistical Methods in the Atmospheric Sciences, eq. 8.11 (bias ratio).
    """
    wet = int((truth > above).sum())
    return int((filled > above).sum()) / wet if wet else None


def csi(truth: Floats, filled: Floats, above: float) -> float | None:
    """Critical success index: hits over hits, misses and false alarms, in [0, 1]; None where nothing is wet.

    Source: Wilks 2011, eq. 8.9 (threat score).
    """
    wet, said = truth > above, filled > above
    either = int((wet | said).sum())
    return int((wet & said).sum()) / either if either else None


def nse(truth: Floats, filled: Floats) -> float | None:
    """Nash-Sutcliffe efficiency: 1 is right, 0 as good as the mean of the truth; None unless the truth varies.

    Source: Nash & Sutcliffe 1970, J. Hydrol. 10:282, eq. 3.
    """
    about_mean = float(np.square(truth - truth.mean()).sum()) if truth.size else 0.0
    return 1.0 - float(np.square(filled - truth).sum()) / about_mean if about_mean > 0 else None


def kge(truth: Floats, filled: Floats) -> float | None:
    """Kling-Gupta efficiency, 1 at best: correlation, ratio of spreads, ratio of means; None where one is not defined.

    Source: Gupta et al. 2009, J. Hydrol. 377:80, eqs. 9 and 10.
    """
    r, mean = correlation(truth, filled), float(truth.mean()) if truth.size else 0.0
    if r is None or mean == 0:
        return None
    alpha, beta = float(filled.std() / truth.std()), float(filled.mean()) / mean
    return 1.0 - math.sqrt((r - 1) ** 2 + (alpha - 1) ** 2 + (beta - 1) ** 2)
