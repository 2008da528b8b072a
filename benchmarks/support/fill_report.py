"""The report of the fill benchmark as Markdown: scores of all methods, ratios to the best, calibration, seconds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.support.fill_cases import Measures, figure, rows_of
from export.markdown import markdown_table

MAX_RATIO = 1.05  # ratio to the best method above which a row is listed
COVERAGE = (0.87, 0.93)
WET_BIAS = (0.9, 1.1)
KRIGING = "kriging"
STACKED = "stacked"


@dataclass(frozen=True)
class Run:
    """One training: its seed, the seconds of each command, and the measures of the fill."""

    seed: int
    seconds: Mapping[str, float]
    scores: Measures


@dataclass(frozen=True)
class CaseResult:
    """A case: runs of hydrofill, baselines by name ({seconds, scores}), and listed scores of other methods."""

    name: str
    runs: Sequence[Run]
    baselines: Mapping[str, Mapping[str, Any]]
    listed: Mapping[str, Measures]

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Pairs of variable and kind of gap."""
        return rows_of(self.runs[0].scores)

    def ours(self, variable: str, kind: str, measure: str = "rmse") -> list[float]:
        """Return a measure of every run that has it."""
        found = (figure(run.scores, variable, kind, measure) for run in self.runs)
        return [value for value in found if value is not None]

    def best(self, variable: str, kind: str) -> tuple[str, float]:
        """Return the method with the smallest RMSE, of the listed methods, or of the baselines where none is listed."""
        known = self.listed or {name: of["scores"] for name, of in self.baselines.items()}
        found = {name: figure(scores, variable, kind) for name, scores in known.items()}
        name, value = min(((n, v) for n, v in found.items() if v is not None), key=lambda item: item[1])
        return name, value

    def ratio(self, variable: str, kind: str) -> float:
        """Return the mean RMSE of the runs over that of the best method."""
        return statistics.fmean(self.ours(variable, kind)) / self.best(variable, kind)[1]

    def baseline(self, name: str, variable: str, kind: str, measure: str = "rmse") -> float | None:
        """Return one figure of a baseline, None where there is none."""
        return figure(self.baselines[name]["scores"], variable, kind, measure) if name in self.baselines else None


def report(cases: Sequence[CaseResult], minutes: float, seeds: int, where: str) -> str:
    """Return the whole page."""
    parts = [
        "# Fill quality",
        f"Written by `make bench-fill`: {minutes:g} minutes of training a case, {seeds} seeds; ours is the mean over "
        f"seeds and, after ±, their standard deviation. {where}.",
        "The best method is the one of the smallest RMSE in `results.json` in the folder of the cases, chosen row "
        "by row with hindsight; where there is no such file, it is one of the baselines. [recipe.md](recipe.md) says "
        "what was tried.",
        "## In all",
        _summary(cases),
    ]
    for case in cases:
        parts += [f"## {case.name}", _rmse_table(case), _measures_table(case), _seconds(case)]
    return "\n\n".join(parts) + "\n"


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive numbers."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def _summary(cases: Sequence[CaseResult]) -> str:
    ratios = {(c.name, v, k): c.ratio(v, k) for c in cases for v, k in c.rows}
    lines = [f"- Geometric mean of the ratios of RMSE to the best method: {geometric_mean(list(ratios.values())):.3f}."]
    high = [f"{' '.join(row)} {ratio:.2f}" for row, ratio in ratios.items() if ratio > MAX_RATIO]
    lines.append(f"- Rows above {MAX_RATIO}: {', '.join(high) or 'none'}.")
    behind = [
        f"{c.name} {v} {k} {statistics.fmean(c.ours(v, k)) / other:.2f}"
        for c in cases
        for v, k in c.rows
        if (other := c.baseline(STACKED, v, k)) and statistics.fmean(c.ours(v, k)) > other
    ]
    lines.append(f"- Rows behind `{STACKED}`, with the ratio: {', '.join(behind) or 'none'}.")
    lines.append(f"- Coverage of the 90 % interval outside {COVERAGE}: {_outside(cases, 'coverage90', COVERAGE)}.")
    lines.append(f"- Wet-cell frequency bias outside {WET_BIAS}: {_outside(cases, 'wet_bias', WET_BIAS)}.")
    lines.append(f"- CRPS not below kriging's: {', '.join(_not_sharper(cases)) or 'none'}.")
    for what in ("observed_changed", "unfilled"):
        number = sum(of[what] for c in cases for run in c.runs for of in run.scores.values())
        lines.append(f"- `{what}`: {number} in all runs together.")
    return "\n".join(lines)


def _outside(cases: Sequence[CaseResult], measure: str, bounds: tuple[float, float]) -> str:
    found = ((c.name, v, k, c.ours(v, k, measure)) for c in cases for v, k in c.rows)
    means = [(name, v, k, statistics.fmean(values)) for name, v, k, values in found if values]
    wrong = [f"{n} {v} {k} {m:.2f}" for n, v, k, m in means if not bounds[0] <= m <= bounds[1]]
    return f"{', '.join(wrong)} ({len(wrong)} of {len(means)} rows)" if wrong else f"none of {len(means)} rows"


def _not_sharper(cases: Sequence[CaseResult]) -> list[str]:
    """Return the rows whose CRPS is not below that of kriging, listed or measured."""
    rows = []
    for c in cases:
        kriged = [of for name, of in c.listed.items() if "kriging" in name]
        for v, k in c.rows:
            theirs = [f for of in kriged if (f := figure(of, v, k, "crps")) is not None]
            here = c.baseline(KRIGING, v, k, "crps")
            least = min([*theirs, *([] if here is None else [here])], default=None)
            own = c.ours(v, k, "crps")
            if least is not None and own and statistics.fmean(own) >= least:
                rows.append(f"{c.name} {v} {k} {statistics.fmean(own):.3g} to {least:.3g}")
    return rows


def _rmse_table(case: CaseResult) -> str:
    heads = ["RMSE", *(f"{v} {k}" for v, k in case.rows)]
    rows = [[f"`{name}`", *(_number(case.baseline(name, v, k)) for v, k in case.rows)] for name in case.baselines]
    rows.append(["**hydrofill**", *(f"**{_mean_and_std(case.ours(v, k))}**" for v, k in case.rows)])
    best = [case.best(v, k) for v, k in case.rows]
    rows.append(["best method", *(f"{value:.4g} ({name})" for name, value in best)])
    rows.append(["ratio to it", *(f"{case.ratio(v, k):.2f}" for v, k in case.rows)])
    return markdown_table(heads, rows)


def _measures_table(case: CaseResult) -> str:
    heads = ["ours", "bias", "in 90 % interval", "CRPS", "CRPS of kriging", "spread/skill", "wet bias", "totals"]
    rows = []
    for v, k in case.rows:
        values = [_mean_and_std(case.ours(v, k, m)) for m in ("bias", "coverage90", "crps")]
        rest = [_mean_and_std(case.ours(v, k, m)) for m in ("spread_skill", "wet_bias", "totals_ratio")]
        rows.append([f"{v} {k}", *values, _number(case.baseline(KRIGING, v, k, "crps")), *rest])
    return markdown_table(heads, rows)


def _seconds(case: CaseResult) -> str:
    ours = {label: statistics.fmean(run.seconds[label] for run in case.runs) for label in case.runs[0].seconds}
    others = {name: of["seconds"] for name, of in case.baselines.items()}
    text = "; ".join(f"{name} {seconds:.1f}" for name, seconds in {**ours, **others}.items())
    return f"Seconds: {text}."


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _mean_and_std(values: Sequence[float]) -> str:
    if not values:
        return ""
    text = f"{statistics.fmean(values):.4g}"
    return f"{text} ± {statistics.stdev(values):.2g}" if len(values) > 1 else text
