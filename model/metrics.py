"""How good a fill is: errors, calibration and counts over withheld cells, with the baselines beside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.special import ndtr

from export.contract.errors import StructureError, UnknownVariableError
from model.baselines import BASELINES
from model.withhold import GapKind

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]

Z90 = 1.6448536269514722  # 95th percentile of N(0, 1): 90 % lie between -Z90 and Z90
ALL_KINDS = "all"


@dataclass(frozen=True)
class Scores:
    """Measures over `n` cells, in the variable's units; None where they are not defined.

    `bias` is filled minus truth; `correlation` needs both to vary; `coverage90` (share of truths inside the central
    90 % interval) and `crps` need standard deviations.
    """

    n: int
    rmse: float | None = None
    mae: float | None = None
    bias: float | None = None
    correlation: float | None = None
    coverage90: float | None = None
    crps: float | None = None


@dataclass(frozen=True)
class Row:
    """One variable under one kind of gap (`ALL_KINDS`: all withheld cells): the fill and the baselines.

    Each method is scored over the withheld cells that it fills; `unfilled` counts those the fill left missing.
    """

    variable: str
    kind: str
    scores: Scores
    unfilled: int
    baselines: Mapping[str, Scores]


@dataclass(frozen=True)
class CaseScores:
    """Rows by variable and kind of gap; `observed_changed` counts observed values whose bits differ, by variable."""

    rows: tuple[Row, ...]
    observed_changed: Mapping[str, int]

    @property
    def unfilled(self) -> Mapping[str, int]:
        """Withheld cells left missing, by variable."""
        return {row.variable: row.unfilled for row in self.rows if row.kind == ALL_KINDS}


def scores(truth: Floats, filled: Floats, std: Floats | None = None) -> Scores:
    """Measures over pairs of values, any shape, none of them missing.

    Args:
        truth: what was withheld.
        filled: what was put there.
        std: predictive standard deviations; values that are missing or negative take no part.
    """
    truth64, filled64 = truth.astype(np.float64).ravel(), filled.astype(np.float64).ravel()
    error = filled64 - truth64
    if error.size == 0:
        return Scores(n=0)
    varies = error.size > 1 and truth64.std() > 0 and filled64.std() > 0
    coverage, crps = (None, None) if std is None else _calibration(error, std.astype(np.float64).ravel())
    return Scores(
        n=error.size,
        rmse=float(np.sqrt(np.mean(error**2))),
        mae=float(np.mean(np.abs(error))),
        bias=float(error.mean()),
        correlation=float(np.corrcoef(truth64, filled64)[0, 1]) if varies else None,
        coverage90=coverage,
        crps=crps,
    )


def crps_gaussian(error: Floats, std: Floats) -> Doubles:
    """Continuous ranked probability score of N(mean, std) at error = mean - truth; the absolute error where std is 0.

    Source: Gneiting & Raftery 2007, J. Am. Stat. Assoc. 102:359, eq. 21 (with the sign turned: small is good).
    """
    spread = np.where(std > 0, std, 1.0)
    z = error / spread
    density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    crps = spread * (z * (2.0 * ndtr(z) - 1.0) + 2.0 * density - 1.0 / math.sqrt(math.pi))
    return np.where(std > 0, crps, np.abs(error)).astype(np.float64)


def score_case(case: xr.Dataset, filled: xr.Dataset) -> CaseScores:
    """The fill of a case from `model.withhold`, by variable and kind of gap.

    Args:
        case: V, V_truth and V_gap for each variable V, and the coordinate `time`.
        filled: V in the same shape, and V_std where it has one.

    Raises:
        StructureError: `case` is no case, or a shape differs from its own.
        UnknownVariableError: a variable is missing.
    """
    names = [str(name).removesuffix("_gap") for name in case.data_vars if str(name).endswith("_gap")]
    if not names:
        raise StructureError("is not a case", expected="variables V, V_truth and V_gap")
    rows: list[Row] = []
    changed = {}
    for name in names:
        gap = case[f"{name}_gap"].values
        truth = _values(case, f"{name}_truth", gap.shape)
        fill = _values(filled, name, gap.shape)
        std = _values(filled, f"{name}_std", gap.shape) if f"{name}_std" in filled else None
        gappy = _values(case, name, gap.shape)
        others = {label: method(gappy, case["time"].values) for label, method in BASELINES.items()}
        rows.extend(_rows(name, gap, truth, fill, std, others))
        changed[name] = count_changed(truth, fill, gap == GapKind.OBSERVED)
    return CaseScores(tuple(rows), changed)


def count_changed(truth: Floats, filled: Floats, observed: npt.NDArray[np.bool_]) -> int:
    """How many observed values differ in any bit."""
    there, here = (np.ascontiguousarray(values[observed]).astype(truth.dtype) for values in (truth, filled))
    bits = np.dtype(f"u{truth.dtype.itemsize}")
    return int((there.view(bits) != here.view(bits)).sum())


def _rows(
    name: str,
    gap: npt.NDArray[np.int8],
    truth: Floats,
    fill: Floats,
    std: Floats | None,
    others: Mapping[str, Floats],
) -> list[Row]:
    withheld = gap >= GapKind.CLOUD
    kinds = {kind.name.lower(): gap == kind for kind in GapKind if kind >= GapKind.CLOUD and (gap == kind).any()}
    rows = []
    for kind, cells in {**kinds, ALL_KINDS: withheld}.items():
        done = cells & np.isfinite(fill)
        baselines = {
            label: scores(truth[at], other[at])
            for label, other in others.items()
            for at in [cells & np.isfinite(other)]
        }
        own = scores(truth[done], fill[done], None if std is None else std[done])
        rows.append(Row(name, kind, own, int((cells & ~done).sum()), baselines))
    return rows


def _calibration(error: Doubles, std: Doubles) -> tuple[float | None, float | None]:
    """Coverage of the 90 % interval and mean CRPS, over the cells that have a standard deviation."""
    known = np.isfinite(std) & (std >= 0)
    if not known.any():
        return None, None
    error, std = error[known], std[known]
    return float(np.mean(np.abs(error) <= Z90 * std)), float(crps_gaussian(error, std).mean())


def _values(dataset: xr.Dataset, name: str, shape: tuple[int, ...]) -> Floats:
    if name not in dataset:
        raise UnknownVariableError("is missing", where=name, got=sorted(map(str, dataset.data_vars)))
    values = dataset[name].values
    if values.shape != shape:
        raise StructureError("has another shape than the case", where=name, got=values.shape, expected=shape)
    return np.asarray(values)
