"""The report of the fill benchmark as Markdown: scores of all methods, ratios to the best, calibration, seconds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.support.coverage_range import CoverageRange, Events, coverage_range, mean_events
from benchmarks.support.fill_cases import Measures, figure, rows_of
from benchmarks.support.fill_systems import MAX_RATIOS, MEANINGS, MIX, System
from export.markdown import markdown_table

COVERAGE = (0.87, 0.93)
WET_BIAS = (0.9, 1.1)
KRIGING = "kriging"
STACKED = "stacked"


BEST = "best method"
RATIO = "ratio to best: "  # the beginning of the rows that hold the ratios of a system


@dataclass(frozen=True)
class Run:
    """One run: its seed, the seconds of each command, the measures of the fill, and the fill's peak memory (MiB).

    events: by variable and kind of gap, the cells of each event and how many are in the 90 % interval.
    """

    seed: int
    seconds: Mapping[str, float]
    scores: Measures
    peak_mib: float | None = None
    events: Mapping[str, Events] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseResult:
    """A case: runs of each system, baselines by name ({seconds, scores}), and listed scores of other methods."""

    name: str
    runs: Mapping[str, Sequence[Run]]
    baselines: Mapping[str, Mapping[str, Any]]
    listed: Mapping[str, Measures]

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Pairs of variable and kind of gap."""
        return rows_of(next(iter(self.runs.values()))[0].scores)

    def ours(self, system: str, variable: str, kind: str, measure: str = "rmse") -> list[float]:
        """Return a measure of every run of a system that has it."""
        found = (figure(run.scores, variable, kind, measure) for run in self.runs[system])
        return [value for value in found if value is not None]

    def mean(self, system: str, variable: str, kind: str, measure: str = "rmse") -> float:
        """Return the mean of a measure over the runs of a system."""
        return statistics.fmean(self.ours(system, variable, kind, measure))

    def best(self, variable: str, kind: str) -> tuple[str, float]:
        """Return the method with the smallest RMSE, of the listed methods, or of the baselines where none is listed."""
        known = self.listed or {name: of["scores"] for name, of in self.baselines.items()}
        found = {name: figure(scores, variable, kind) for name, scores in known.items()}
        name, value = min(((n, v) for n, v in found.items() if v is not None), key=lambda item: item[1])
        return name, value

    def ratio(self, system: str, variable: str, kind: str) -> float:
        """Return the mean RMSE of the runs of a system over that of the best method."""
        return self.mean(system, variable, kind) / self.best(variable, kind)[1]

    def coverage(self, system: str, variable: str, kind: str) -> CoverageRange | None:
        """Return the coverage of the 90 % interval of a system, mean over its runs, with its sampling range."""
        found = mean_events([run.events for run in self.runs[system]], variable, kind)
        return None if found is None else coverage_range(*found)

    def baseline(self, name: str, variable: str, kind: str, measure: str = "rmse") -> float | None:
        """Return one figure of a baseline, None where there is none."""
        return figure(self.baselines[name]["scores"], variable, kind, measure) if name in self.baselines else None


def report(cases: Sequence[CaseResult], systems: Sequence[System], where: str) -> str:
    """Return the whole page."""
    parts = [
        "# Fill quality",
        f"Written by `make bench-fill`. {where}. Where a system has several seeds, figures are the mean over seeds "
        "and, after ±, their standard deviation.",
        "\n".join(f"- **{system.name}**: {_described(system)}." for system in systems),
        "The best method is the one of the smallest RMSE in `results.json` in the folder of the cases, chosen row "
        "by row with hindsight; where there is no such file, it is one of the baselines. [recipe.md](recipe.md) says "
        "what was tried.",
        "Cells of one event are wrong together, so that few events leave the coverage of an interval to chance. An "
        "event is a connected cloud or square, a run of lost frames, or an outage of a gauge. The range of a coverage "
        "is that of 2000 resamples of whole events (5 to 95 %). The range of 0.90 is how far a row with as many events "
        "would stray if its intervals were right; a single event has no range.",
        "## In all",
        _overview(cases, systems),
    ]
    for system in systems:
        parts += [f"### {system.name}", _summary(cases, system.name)]
    for case in cases:
        parts += [f"## {case.name}", _rmse_table(case), _measures_table(case), _coverage_table(case), _seconds(case)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _described(system: System) -> str:
    if system.minutes is None:
        return f"{MEANINGS[system.name]}; one run, since the same data give the same fill"
    seeds = len(system.seeds)
    return f"{MEANINGS[system.name]}; {system.minutes:g} min a case, {seeds} seed{'s' if seeds > 1 else ''}"


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive numbers."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def _overview(cases: Sequence[CaseResult], systems: Sequence[System]) -> str:
    """Return a table of one line for each system: RMSE over that of the best method and of `stacked`, and coverage."""
    heads = ["", "rows", "RMSE over best", "worst row", f"over `{STACKED}`", f"rows behind `{STACKED}`"]
    heads += ["in 90 % interval", "rows that chance does not explain"]
    rows = []
    for name in (system.name for system in systems):
        ratios = {(c.name, v, k): c.ratio(name, v, k) for c in cases for v, k in c.rows}
        worst = max(ratios, key=lambda row: ratios[row])
        stacked = _over_stacked(cases, name)
        found = [of for c in cases for v, k in c.rows if (of := c.coverage(name, v, k)) is not None]
        held = [of.coverage for of in found]
        rows.append(
            [
                name,
                str(len(ratios)),
                f"{geometric_mean(list(ratios.values())):.3f}",
                f"{ratios[worst]:.2f} ({' '.join(worst)})",
                f"{geometric_mean(list(stacked.values())):.3f}" if stacked else "",
                f"{sum(ratio > 1 for ratio in stacked.values())} of {len(stacked)}",
                f"{statistics.fmean(held):.3f} ({min(held):.2f} to {max(held):.2f})" if held else "",
                f"{sum(not of.by_chance for of in found)} of {len(found)}",
            ]
        )
    return markdown_table(heads, rows)


def _summary(cases: Sequence[CaseResult], system: str) -> str:
    ratios = {(c.name, v, k): c.ratio(system, v, k) for c in cases for v, k in c.rows}
    limit = MAX_RATIOS[system]
    high = [f"{' '.join(row)} {ratio:.2f}" for row, ratio in ratios.items() if ratio > limit]
    lines = [
        f"- Geometric mean of the ratios of RMSE to the best method: {geometric_mean(list(ratios.values())):.3f}.",
        f"- Rows above {limit:.2f}: {', '.join(high) or 'none'}.",
        f"- Rows behind `{STACKED}`, with the ratio: {', '.join(_behind_stacked(cases, system)) or 'none'}.",
    ]
    if system != MIX and all(MIX in c.runs for c in cases):
        behind = ", ".join(_behind_mix(cases, system)) or "none"
        lines.append(f"- Rows behind the mix of guesses, with the ratio: {behind}.")
    coverage, wet = (_outside(cases, system, *m) for m in (("coverage90", COVERAGE), ("wet_bias", WET_BIAS)))
    lines.append(f"- Coverage of the 90 % interval outside {COVERAGE}: {coverage}.")
    lines.append(f"- The same, where chance with so few events does not explain it: {_not_by_chance(cases, system)}.")
    lines.append(f"- Wet-cell frequency bias outside {WET_BIAS}: {wet}.")
    lines.append(f"- CRPS not below kriging's: {', '.join(_not_sharper(cases, system)) or 'none'}.")
    for what in ("observed_changed", "unfilled"):
        number = sum(of[what] for c in cases for run in c.runs[system] for of in run.scores.values())
        lines.append(f"- `{what}`: {number} in all runs together.")
    return "\n".join(lines)


def _behind_stacked(cases: Sequence[CaseResult], system: str) -> list[str]:
    return [f"{' '.join(row)} {ratio:.2f}" for row, ratio in _over_stacked(cases, system).items() if ratio > 1]


def _over_stacked(cases: Sequence[CaseResult], system: str) -> dict[tuple[str, str, str], float]:
    """Return the ratio of a system's RMSE to that of the stacked guess, by case, variable and kind of gap."""
    pairs = ((c, v, k, c.baseline(STACKED, v, k)) for c in cases for v, k in c.rows)
    return {(c.name, v, k): c.mean(system, v, k) / other for c, v, k, other in pairs if other}


def _behind_mix(cases: Sequence[CaseResult], system: str) -> list[str]:
    ratios = ((c.name, v, k, c.mean(system, v, k) / c.mean(MIX, v, k)) for c in cases for v, k in c.rows)
    return [f"{name} {v} {k} {ratio:.2f}" for name, v, k, ratio in ratios if ratio > 1]


def _outside(cases: Sequence[CaseResult], system: str, measure: str, bounds: tuple[float, float]) -> str:
    found = ((c.name, v, k, c.ours(system, v, k, measure)) for c in cases for v, k in c.rows)
    means = [(name, v, k, statistics.fmean(values)) for name, v, k, values in found if values]
    wrong = [f"{n} {v} {k} {m:.2f}" for n, v, k, m in means if not bounds[0] <= m <= bounds[1]]
    return f"{', '.join(wrong)} ({len(wrong)} of {len(means)} rows)" if wrong else f"none of {len(means)} rows"


def _not_by_chance(cases: Sequence[CaseResult], system: str) -> str:
    """Return the rows whose coverage is outside the range that 0.90 would have with as many events."""
    found = [(c.name, v, k, of) for c in cases for v, k in c.rows if (of := c.coverage(system, v, k)) is not None]
    wrong = [f"{name} {v} {k} {of.coverage:.2f}" for name, v, k, of in found if not of.by_chance]
    return f"{', '.join(wrong) or 'none'} ({len(wrong)} of {len(found)} rows)"


def _not_sharper(cases: Sequence[CaseResult], system: str) -> list[str]:
    """Return the rows whose CRPS is not below that of kriging, listed or measured."""
    rows = []
    for c in cases:
        kriged = [of for name, of in c.listed.items() if "kriging" in name]
        for v, k in c.rows:
            theirs = [f for of in kriged if (f := figure(of, v, k, "crps")) is not None]
            here = c.baseline(KRIGING, v, k, "crps")
            least = min([*theirs, *([] if here is None else [here])], default=None)
            own = c.ours(system, v, k, "crps")
            if least is not None and own and statistics.fmean(own) >= least:
                rows.append(f"{c.name} {v} {k} {statistics.fmean(own):.3g} to {least:.3g}")
    return rows


def _rmse_table(case: CaseResult) -> str:
    heads = ["RMSE", *(f"{v} {k}" for v, k in case.rows)]
    rows = [[f"`{name}`", *(_number(case.baseline(name, v, k)) for v, k in case.rows)] for name in case.baselines]
    rows += [
        [f"**{system}**", *(f"**{_mean_and_std(case.ours(system, v, k))}**" for v, k in case.rows)]
        for system in case.runs
    ]
    best = [case.best(v, k) for v, k in case.rows]
    rows.append([BEST, *(f"{value:.4g} ({name})" for name, value in best)])
    rows += [[f"{RATIO}{system}", *(f"{case.ratio(system, v, k):.2f}" for v, k in case.rows)] for system in case.runs]
    return markdown_table(heads, rows)


def _measures_table(case: CaseResult) -> str:
    measures = ("bias", "coverage90", "crps", "spread_skill", "wet_bias", "totals_ratio")
    heads = [
        "row",
        "system",
        "bias",
        "in 90 % interval",
        "CRPS",
        "spread/skill",
        "wet bias",
        "totals",
        "CRPS of kriging",
    ]
    rows = []
    for v, k in case.rows:
        for system in case.runs:
            values = [_mean_and_std(case.ours(system, v, k, m)) for m in measures]
            rows.append([f"{v} {k}", system, *values, _number(case.baseline(KRIGING, v, k, "crps"))])
    return markdown_table(heads, rows)


def _coverage_table(case: CaseResult) -> str:
    """Return the coverage of each row with its sampling range, and the range of 0.90 with as many events."""
    heads = ["row", "system", "in 90 % interval", "its range", "events", "range of 0.90"]
    rows = []
    for v, k in case.rows:
        for system in case.runs:
            of = case.coverage(system, v, k)
            if of is None:
                continue
            ranges = ["" if one is None else f"{one[0]:.2f} to {one[1]:.2f}" for one in (of.own, of.of_target)]
            rows.append([f"{v} {k}", system, f"{of.coverage:.3f}", ranges[0], str(of.events), ranges[1]])
    return markdown_table(heads, rows) if rows else ""


def _seconds(case: CaseResult) -> str:
    """Return the seconds of every command and baseline, and the peak memory of each system's fill."""
    commands = [
        f"{system} {', '.join(f'{c} {statistics.fmean(r.seconds[c] for r in runs):.1f}' for c in runs[0].seconds)}"
        for system, runs in case.runs.items()
    ]
    others = [f"{name} {of['seconds']:.1f}" for name, of in case.baselines.items()]
    peaks = {s: [r.peak_mib for r in runs if r.peak_mib is not None] for s, runs in case.runs.items()}
    memory = "; ".join(f"{system} {max(found):.0f}" for system, found in peaks.items() if found)
    text = f"Seconds: {'; '.join([*commands, *others])}."
    return f"{text}\n\nPeak memory of the fill, MiB: {memory}." if memory else text


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _mean_and_std(values: Sequence[float]) -> str:
    if not values:
        return ""
    text = f"{statistics.fmean(values):.4g}"
    return f"{text} ± {statistics.stdev(values):.2g}" if len(values) > 1 else text
