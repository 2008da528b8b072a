"""Measuring side by side in one run: medians of several, with the machine and versions beside them."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

RESULTS = Path("docs/results")
REPEATS = 7
REST_S = 0.3  # before each work: threads of the libraries before go on spinning for a while, on the cores of the next
PACKAGES = ("numpy", "onnxruntime", "openvino", "scipy", "torch", "xarray")


def median_s(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median wall-clock seconds of `work`, after one run that does not count."""
    work()
    return statistics.median(_once(work) for _ in range(repeats))


def in_turns(works: Mapping[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, list[float]]:
    """Wall-clock seconds of each work in each of `repeats` rounds, after one that does not count.

    Works take turns, so that what disturbs the machine for a while disturbs all of them: compare within a round.
    """
    for work in works.values():
        work()
    rounds = [{name: _once(work, REST_S) for name, work in works.items()} for _ in range(repeats)]
    return {name: [one[name] for one in rounds] for name in works}


def ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Median over rounds of one work's seconds over another's."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def straight_line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Intercept, slope and share of the variance explained by a least-squares line."""
    slope, intercept = np.polyfit(x, y, 1)
    rest = np.asarray(y) - (intercept + slope * np.asarray(x))
    return float(intercept), float(slope), float(1 - np.var(rest) / np.var(y))


def percentiles_ms(seconds: Sequence[float]) -> dict[str, str]:
    """p50, p95 and p99 in milliseconds, as text; a dash where there are none."""
    ordered = sorted(seconds)
    of = {f"p{share}": min(len(ordered) - 1, len(ordered) * share // 100) for share in (50, 95, 99)}
    return {name: f"{1000 * ordered[at]:.1f}" if ordered else "-" for name, at in of.items()}


def write_json(name: str, figures: Mapping[str, object]) -> None:
    """The figures behind a page, into docs/results/NAME.json."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def machine() -> str:
    """Processor, cores and the versions of what does the arithmetic."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name)))
    return f"{_processor()}, {cores} cores, Python {platform.python_version()}, {versions}"


def markdown_table(head: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    """A table of `rows` with the columns of `head`."""
    lines = [head, ["---"] * len(head), *([row[column] for column in head] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _once(work: Callable[[], object], rest_s: float = 0.0) -> float:
    time.sleep(rest_s)
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 (a device, not a file of ours)
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
