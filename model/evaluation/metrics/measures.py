"""Measures of a fill, from pairs of withheld and filled values: errors, calibration, water balance, flow.

Each function takes arrays of any shape without missing values and returns None where its measure is not defined.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from hydrofill.conformal import WET_QUANTILE
from hydrofill.constants import Z90

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]


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
    """Return all measures over pairs of values, any shape, none of them missing.

    Args:
        truth: values that were withheld.
        filled: the fill.
        std: predictive standard deviations; cells in which they are missing or negative are left out of their measures.
        wet_above: a cell with a larger value is wet; in the variable's units.
    """
    truth64, filled64 = truth.astype(np.float64).ravel(), filled.astype(np.float64).ravel()
    error = filled64 - truth64
    if error.size == 0:
        return Scores(n=0)
    known = std is not None and bool((at := np.isfinite(std.ravel()) & (std.ravel() >= 0)).any())
    std64 = std.astype(np.float64).ravel()[at] if std is not None and known else None
    error_known = error[at] if known else error
    return Scores(
        n=error.size,
        rmse=float(np.sqrt(np.mean(error**2))),
        mae=float(np.mean(np.abs(error))),
        bias=float(error.mean()),
        correlation=correlation(truth64, filled64),
        coverage90=None if std64 is None else float(np.mean(np.abs(error_known) <= Z90 * std64)),
        crps=None if std64 is None else float(crps_gaussian(error_known, std64).mean()),
        spread_skill=None if std64 is None else spread_skill(error_known, std64),
        totals_ratio=totals_ratio(truth64, filled64),
        wet_bias=None if wet_above is None else wet_frequency_bias(truth64, filled64, wet_above),
        csi=None if wet_above is None else csi(truth64, filled64, wet_above),
        nse=nse(truth64, filled64),
        kge=kge(truth64, filled64),
    )


def correlation(truth: Floats, filled: Floats) -> float | None:
    """Return Pearson's correlation; None unless both vary."""
    varies = truth.size > 1 and truth.std() > 0 and filled.std() > 0
    return float(np.corrcoef(truth.ravel(), filled.ravel())[0, 1]) if varies else None


def crps_gaussian(error: Floats, std: Floats) -> Doubles:
    """Return the continuous ranked probability score of N(mean, std) at error = mean - truth.

    It is the absolute error where std is 0.

    Source: Gneiting & Raftery 2007, J. Am. Stat. Assoc. 102:359, eq. 21 (with the sign turned: small is good).
    """
    scale = np.where(std > 0, std, 1.0)
    z = error / scale
    density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    crps = scale * (z * (2.0 * ndtr(z) - 1.0) + 2.0 * density - 1.0 / math.sqrt(math.pi))
    return np.where(std > 0, crps, np.abs(error)).astype(np.float64)


def spread_skill(error: Floats, std: Floats) -> float | None:
    """Return root mean variance over root mean squared error: 1 is reliable, below 1 overconfident; None without error.

    Source: Fortin et al. 2014, J. Hydrometeorol. 15:1708.
    """
    rmse = float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))
    return float(np.sqrt(np.mean(np.square(std, dtype=np.float64)))) / rmse if rmse > 0 else None


def totals_ratio(truth: Floats, filled: Floats) -> float | None:
    """Return the sum of the fill over that of the truth; None if a truth is negative or their sum is not positive."""
    total = float(truth.sum(dtype=np.float64))
    return float(filled.sum(dtype=np.float64)) / total if total > 0 and not (truth < 0).any() else None


def wet_threshold(values: Floats) -> float | None:
    """Return the value above which a cell counts as wet; None if no value is above zero.

    The lowest fifth of the values above zero is drizzle, and counts as dry. `values` may have NaN.
    """
    above = values[values > 0]
    return float(np.quantile(above, WET_QUANTILE)) if above.size else None


def wet_frequency_bias(truth: Floats, filled: Floats, above: float) -> float | None:
    """Return wet cells of the fill over wet cells of the truth: 1 is right; None if no truth is wet.

    Source: Wilks 2011, Statistical Methods in the Atmospheric Sciences, eq. 8.11 (bias ratio).
    """
    wet = int((truth > above).sum())
    return int((filled > above).sum()) / wet if wet else None


def csi(truth: Floats, filled: Floats, above: float) -> float | None:
    """Return the critical success index, hits over hits, misses and false alarms, in [0, 1]; None if no cell is wet.

    Source: Wilks 2011, eq. 8.9 (threat score).
    """
    wet, filled_wet = truth > above, filled > above
    either = int((wet | filled_wet).sum())
    return int((wet & filled_wet).sum()) / either if either else None


def nse(truth: Floats, filled: Floats) -> float | None:
    """Return the Nash-Sutcliffe efficiency: 1 is right, 0 as good as the mean of the truth; None if that is constant.

    Source: Nash & Sutcliffe 1970, J. Hydrol. 10:282, eq. 3.
    """
    about_mean = float(np.square(truth - truth.mean()).sum()) if truth.size else 0.0
    return 1.0 - float(np.square(filled - truth).sum()) / about_mean if about_mean > 0 else None


def kge(truth: Floats, filled: Floats) -> float | None:
    """Return the Kling-Gupta efficiency, 1 at best, from correlation, ratio of standard deviations and ratio of means.

    None where one of them is not defined.

    Source: Gupta et al. 2009, J. Hydrol. 377:80, eqs. 9 and 10.
    """
    r, mean = correlation(truth, filled), float(truth.mean()) if truth.size else 0.0
    if r is None or mean == 0:
        return None
    alpha, beta = float(filled.std() / truth.std()), float(filled.mean()) / mean
    return 1.0 - math.sqrt((r - 1) ** 2 + (alpha - 1) ** 2 + (beta - 1) ** 2)
