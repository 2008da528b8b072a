"""The sampling range of the coverage of an interval, from events: cells of one event are wrong together.

An event is a connected set of withheld cells of one kind of gap: a cloud through its steps, a run of lost frames, an
outage of a gauge. The coverage is resampled by events. Source: Efron and Tibshirani 1993, chapter 8 (units that are
resampled whole); Kish 1965 (effective number of observations).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.ndimage import generate_binary_structure, label
from scipy.stats import binom

from hydrofill.conformal import COVERAGE
from hydrofill.constants import Z90
from model.gaps.withhold import GapKind

RESAMPLES = 2000
RANGE = (0.05, 0.95)  # quantiles that a range goes from and to
Events = dict[
    str, dict[str, list[int]]
]  # by kind of gap: `cells` of each event, and how many are `inside` the interval


@dataclass(frozen=True)
class CoverageRange:
    """The coverage of one row, its own sampling range, and the range that 0.90 would have with these events.

    A single event has no ranges.
    The range of 0.90 is that of a binomial share of as many independent cells as the events are worth.
    """

    events: int
    coverage: float
    own: tuple[float, float] | None
    of_target: tuple[float, float] | None

    @property
    def by_chance(self) -> bool:
        """Whether chance explains the coverage: it is within the range of 0.90, or there is no range."""
        return self.of_target is None or self.of_target[0] <= self.coverage <= self.of_target[1]


def coverage_events(case: xr.Dataset, filled: xr.Dataset) -> dict[str, Events]:
    """Count the cells of each event that are inside the 90 % interval, by variable and kind of gap.

    Args:
        case: V_truth and V_gap of each variable V.
        filled: V, and V_std where there is one; variables without V_std are left out.
    """
    found: dict[str, Events] = {}
    for name in (str(n).removesuffix("_gap") for n in case.data_vars if str(n).endswith("_gap")):
        if f"{name}_std" not in filled:
            continue
        gap, truth = case[f"{name}_gap"].values, case[f"{name}_truth"].values.astype(np.float64)
        error = np.abs(filled[name].values - truth)
        inside = error <= Z90 * filled[f"{name}_std"].values
        found[name] = {}
        for kind in np.unique(gap[gap >= GapKind.CLOUD]):
            scored = (gap == kind) & ~np.isnan(error)
            numbers = _events(gap == kind, whole_frames=kind == GapKind.FRAME)[scored]
            _, at, cells = np.unique(numbers, return_inverse=True, return_counts=True)
            held = np.bincount(at, inside[scored], len(cells))
            found[name][GapKind(kind).name.lower()] = {"cells": cells.tolist(), "inside": held.astype(int).tolist()}
    return found


def _events(withheld: np.ndarray, *, whole_frames: bool) -> np.ndarray:
    """Return the number of the event of each True cell, 0 elsewhere; gauges are connected through time alone.

    Lost frames of a grid are one event as long as they follow each other, although land or seen cells part them.
    """
    structure = generate_binary_structure(withheld.ndim, 1)
    if withheld.ndim == 2:
        structure[:, [0, 2]] = False
    if whole_frames:
        runs, _ = label(withheld.any(axis=tuple(range(1, withheld.ndim))))
        return np.asarray(np.where(withheld, runs.reshape(-1, *[1] * (withheld.ndim - 1)), 0))
    return np.asarray(label(withheld, structure)[0])


def coverage_range(cells: Sequence[int], inside: Sequence[float], seed: int = 0) -> CoverageRange | None:
    """Return the coverage of events and its ranges; None where there is no event.

    Args:
        cells: number of cells of each event.
        inside: number of them in the interval; a mean over runs need not be whole.
        seed: of the resampling.
    """
    total, held = np.asarray(cells, np.float64), np.asarray(inside, np.float64)
    if not len(total):
        return None
    coverage = float(held.sum() / total.sum())
    if len(total) == 1:
        return CoverageRange(1, coverage, None, None)
    times = np.random.default_rng(seed).multinomial(len(total), np.full(len(total), 1 / len(total)), RESAMPLES)
    drawn = (times @ held) / (times @ total)
    variance = float(drawn.var()) * len(total) / (len(total) - 1)  # resamples of n stray as n - 1 do
    worth = coverage * (1 - coverage) / variance if variance > 0 else total.sum() ** 2 / (total**2).sum()
    number = max(1, round(min(float(worth), float(total.sum()))))
    low, high = (float(binom.ppf(q, number, COVERAGE)) / number for q in RANGE)
    own = np.quantile(drawn, RANGE)
    return CoverageRange(len(total), coverage, (float(own[0]), float(own[1])), (low, high))


def mean_events(runs: Sequence[Mapping[str, Events]], name: str, kind: str) -> tuple[list[int], list[float]] | None:
    """Return the cells of each event of a row, and the mean over runs of those inside; None where a run has none."""
    found = [run.get(name, {}).get(kind) for run in runs]
    if not found or any(of is None for of in found):
        return None
    return list(found[0]["cells"]), np.mean([of["inside"] for of in found if of], axis=0).tolist()  # type: ignore[index]
