"""Tables of trainings: errors by kind of gap, and differences between systems against those between seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.skill import BASE, Result
from benchmarks.support.harness import table_of

GAPS = ("clouds", "squares", "swaths", "frames", "outages")
ALL = "all"
Measure = Callable[[dict[str, Any]], float]


def rmse(row: dict[str, Any]) -> float:
    """Return the RMSE over that of the cell's mean, so that variables can be averaged."""
    return float(row["rmse"]) / float(row["mean_rmse"])


def crps(row: dict[str, Any]) -> float:
    """Return the CRPS over the RMSE of the cell's mean."""
    return float(row["crps"]) / float(row["mean_rmse"])


def by_gap(results: Sequence[Result]) -> str:
    """Return a table with a row for each system: RMSE / CRPS by kind of gap, means over variables and seeds."""
    rows = []
    for system in dict.fromkeys(r.run.system for r in results):
        own = [r for r in results if r.run.system == system]
        row = {"system": system, "seeds": str(len(own))}
        row["steps"] = f"{statistics.mean(r.steps for r in own):.0f}"
        row["CPU s"] = f"{statistics.mean(r.seconds for r in own):.0f}"
        for gap in (*GAPS, ALL):
            means = [statistics.mean(_of(r, gap, m) for r in own) for m in (rmse, crps)]
            row[gap] = " / ".join(f"{value:.3f}" for value in means)
        rows.append(row)
    return table_of(rows) if rows else "No run is finished."


def against_base(results: Sequence[Result]) -> str:
    """Return a table of each system's error against crossmae with the same seed, in per cent: mean and range."""
    rows = []
    base = {r.run.seed: r for r in results if r.run.system == BASE}
    for system in dict.fromkeys(r.run.system for r in results):
        own = [r for r in results if r.run.system == system and r.run.seed in base]
        if system == BASE or not own:
            continue
        row = {"system": system}
        for name, measure in (("RMSE", rmse), ("CRPS", crps)):
            more = [100 * (_of(r, ALL, measure) / _of(base[r.run.seed], ALL, measure) - 1) for r in own]
            row[name] = f"{statistics.mean(more):+.1f} % ({min(more):+.1f} to {max(more):+.1f})"
        rows.append(row)
    return table_of(rows) if rows else "No pair is finished."


def _of(result: Result, gap: str, measure: Measure) -> float:
    """Return the mean of a measure over variables (for ALL, also over kinds of gap) that have a baseline."""
    rows = [r for r in result.skill if gap in (ALL, r["gap"]) and r["mean_rmse"]]
    return statistics.mean(measure(r) for r in rows) if rows else math.nan
