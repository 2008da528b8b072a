"""The fill of a case, scored by kind of gap over withheld cells, with baselines to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from hydrofill.cf.calendars import holds_times
from hydrofill.cf.coordinates import time_values
from hydrofill.errors import StructureError, UnknownVariableError
from model.baselines.fill import Baseline, is_rain_like
from model.baselines.library import ANYWHERE, CHEAP
from model.evaluation.metrics.measures import Scores, scores, wet_threshold
from model.gaps.withhold import GapKind

Floats = npt.NDArray[np.floating[Any]]

CHEAPEST = {name: ANYWHERE[name] for name in CHEAP}
ALL_KINDS = "all"


@dataclass(frozen=True)
class Row:
    """Scores of the fill and of the baselines for one variable and one kind of gap (`ALL_KINDS`: all withheld cells).

    Each method is scored over the withheld cells that it fills; `unfilled` counts those that the fill left missing.
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
        """Number of withheld cells that the fill left missing, by variable."""
        return {row.variable: row.unfilled for row in self.rows if row.kind == ALL_KINDS}


def score_case(case: xr.Dataset, filled: xr.Dataset, baselines: Mapping[str, Baseline] = CHEAPEST) -> CaseScores:
    """Score the fill of a case from `model.gaps.withhold`, by variable and kind of gap.

    Args:
        case: V, V_truth and V_gap for each variable V, and the coordinate `time`.
        filled: V in the same shape, and V_std where it has one.
        baselines: methods to run and score as well.

    Raises:
        StructureError: `case` is not a case, or a shape of `filled` differs from the case's.
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
        others = {label: method(gappy, times_of(case, name)).values for label, method in baselines.items()}
        wet = wet_threshold(gappy) if is_rain_like(gappy) else None
        rows.extend(_rows(name, gap, truth, fill, std, others, wet))
        changed[name] = count_changed(truth, fill, gap == GapKind.OBSERVED)
    return CaseScores(tuple(rows), changed)


def times_of(case: xr.Dataset, name: str) -> npt.NDArray[Any]:
    """Return when each step of a variable is, (T,): values that can be subtracted, whatever the calendar."""
    axis = str(case[name].dims[0])
    return time_values(case, axis).elapsed if holds_times(case.variables[axis]) else case[axis].values


def count_changed(truth: Floats, filled: Floats, observed: npt.NDArray[np.bool_]) -> int:
    """Return how many observed values differ in any bit."""
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
    wet: float | None,
) -> list[Row]:
    withheld = gap >= GapKind.CLOUD
    kinds = {kind.name.lower(): gap == kind for kind in GapKind if kind >= GapKind.CLOUD and (gap == kind).any()}
    rows = []
    for kind, cells in {**kinds, ALL_KINDS: withheld}.items():
        done = cells & np.isfinite(fill)
        baselines = {
            label: scores(truth[at], other[at], wet_above=wet)
            for label, other in others.items()
            for at in [cells & np.isfinite(other)]
        }
        own = scores(truth[done], fill[done], None if std is None else std[done], wet)
        rows.append(Row(name, kind, own, int((cells & ~done).sum()), baselines))
    return rows


def _values(dataset: xr.Dataset, name: str, shape: tuple[int, ...]) -> Floats:
    if name not in dataset:
        raise UnknownVariableError("is missing", where=name, got=sorted(map(str, dataset.data_vars)))
    values = dataset[name].values
    if values.shape != shape:
        raise StructureError("shape differs from the case's", where=name, got=values.shape, expected=shape)
    return np.asarray(values)
