"""The page docs/results/archives.md: its figures and tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from benchmarks.support.archive_cases import Case, Score
from benchmarks.support.archive_tools import FRAMES_KRIGED, HYDROFILL, MAX_KRIGED, WINDOW, Tool
from benchmarks.support.fill_report import geometric_mean
from benchmarks.support.harness import machine, straight_line, table_of

DINEOF = "DINEOF, 10 sites"


@dataclass(frozen=True)
class Measured:
    """A fill of a file: seconds and MiB, or why there are none."""

    seconds: float = math.nan
    tree_mib: float = math.nan
    failed: str = ""


@dataclass(frozen=True)
class Result:
    """A tool's fills of a case: median seconds, largest memory, and scores by variable."""

    case: Case
    tool: Tool
    measured: Measured
    scores: Mapping[str, Score] = field(default_factory=dict)

    @property
    def speed(self) -> float:
        """Values a second, observed ones included."""
        return self.case.num_values / self.measured.seconds


@dataclass(frozen=True)
class Sized:
    """A row of the table of sizes: what was run, and over how many values."""

    what: str
    num_values: int
    measured: Measured


def tool_section(results: Sequence[Result]) -> str:
    """Return the table of tools over all files, and a table for each file."""
    names = list(dict.fromkeys(result.tool.name for result in results))
    rows = [_summary([r for r in results if r.tool.name == name]) for name in names]
    parts = ["## Tools", table_of(rows), f"RMSE, memory and speed of each file:\n\n{table_of(_details(results))}"]
    return "\n\n".join(parts)


def size_section(rows: Sequence[Sized]) -> str:
    """Return the table of sizes, and how the seconds grow with the values."""
    cells = [
        {
            "what": row.what,
            "values": f"{row.num_values:,}",
            "seconds": row.measured.failed or _short(row.measured.seconds),
            "µs a value": _short(1e6 * row.measured.seconds / row.num_values),
            "peak MiB": _short(row.measured.tree_mib),
        }
        for row in rows
    ]
    notes = [_growth(name, [row for row in rows if row.what == name]) for name in (HYDROFILL, DINEOF)]
    head = (
        "Fills of simulated records of different sizes, each by `hydrofill fill` in processes of its own, and series "
        "filled by DINEOF within a process, whose memory is that of all arrays."
    )
    return "\n\n".join(["## Size", head, table_of(cells), *notes])


def _growth(name: str, rows: Sequence[Sized]) -> str:
    """Return how seconds grow with values: a straight line, and the cost of each doubling."""
    values, seconds = [row.num_values for row in rows], [row.measured.seconds for row in rows]
    if any(map(math.isnan, seconds)):
        return f"{name}: a size was not filled."
    start, slope, r2 = straight_line(values, seconds)
    text = ", ".join(f"{ratio:.2f}" for ratio in doublings(values, seconds))
    line = f"{start:.2f} s and {1e6 * slope:.3g} µs a value, r² {r2:.4f}"
    return f"{name}: {line}; twice the values take {text} times the time."


def doublings(values: Sequence[int], seconds: Sequence[float]) -> list[float]:
    """Return by how much the seconds grow when the values double, between each size and the next."""
    steps = zip(pairwise(values), pairwise(seconds), strict=True)
    return [(later / before) ** (1 / math.log2(more / fewer)) for (fewer, more), (before, later) in steps]


def _summary(results: Sequence[Result]) -> dict[str, str]:
    """Return a tool's row over all files."""
    good = [r for r in results if not r.measured.failed]
    pairs = [s for r in good for s in r.scores.values() if s.rmse > 0 and s.other_rmse > 0]
    missing = [s.missing for r in good for s in r.scores.values()]
    return {
        "tool": results[0].tool.name,
        "files": f"{len(good)} of {len(results)}",
        "values a second": _thousands(geometric_mean([r.speed for r in good]) if good else math.nan),
        "peak MiB": _short(max((r.measured.tree_mib for r in good), default=math.nan)),
        "RMSE / hydrofill's": _short(geometric_mean([s.rmse / s.other_rmse for s in pairs]) if pairs else math.nan),
        "left missing": f"{100 * statistics.fmean(missing):.1f} %" if missing else "",
    }


def _details(results: Sequence[Result]) -> list[dict[str, str]]:
    return [
        {
            "file": r.case.name,
            "tool": r.tool.name,
            "values a second": r.measured.failed or _thousands(r.speed),
            "peak MiB": _short(r.measured.tree_mib),
            "RMSE (hydrofill's on the same cells)": ", ".join(
                f"{name} {_short(s.rmse)} ({_short(s.other_rmse)})" for name, s in r.scores.items()
            ),
        }
        for r in results
    ]


def page_head(cases: Sequence[Case], absent: Sequence[str], repeats: int) -> str:
    """Return the title of the page and what was measured how."""
    sizes = "; ".join(f"{c.name} {' x '.join(map(str, c.shape))} of {', '.join(c.names)}" for c in cases)
    lines = [
        "# Archives: whole files",
        f"Written by `python -m benchmarks archives`. {machine()}; every library on one thread, hydrofill with "
        "`--workers 1`. Each fill is a process of its own, from file to file, with the start of the process; medians "
        f"of {repeats}. Values are all values of the gridded variables, observed ones included. Peak memory is that of "
        "all processes of a fill together. hydrofill also writes a standard deviation and a flag for each value.",
        f"Files (steps, rows, columns): {sizes}.",
        "RMSE is over the withheld cells that a tool fills. The ratio to hydrofill is taken on the same cells: a tool "
        "that leaves cells missing, lost frames for instance, is compared on the easier ones. Speeds and ratios over "
        "files are geometric means.",
        f"PyKrige fills {FRAMES_KRIGED} frames with a window of {WINDOW} cells, from at most {MAX_KRIGED:,} observed "
        "cells of each frame, because PyKrige forms all pairs of the cells that it is given. Its time is extrapolated "
        "to all frames, and its RMSE is that of those frames.",
    ]
    if absent:
        lines.append(f"Left out, because they are not installed: {', '.join(absent)}.")
    return "\n\n".join(lines)


def _short(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _thousands(value: float) -> str:
    return "" if math.isnan(value) else f"{float(f'{value:.3g}'):,.0f}"
