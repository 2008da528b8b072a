"""Helpers of all benchmarks: timing in turns, memory, processes of their own, tables and files of results."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from export.markdown import markdown_table
from hydrofill.paths import written_whole

RESULTS = Path("docs/results")
BUNDLE = Path("bundles/lez-daily")
THREADS = 2  # of ONNX Runtime and of the servers that are measured
REPEATS = 7
REST_S = 0.3  # pause before each work: threads of the library that ran before keep spinning on the cores for a while
PACKAGES = ("numpy", "onnxruntime", "openvino", "scipy", "torch", "xarray")


def median_s(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median wall-clock seconds of `work`, after one run that does not count."""
    work()
    return statistics.median(_once(work) for _ in range(repeats))


def in_turns(works: Mapping[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, list[float]]:
    """Return the wall-clock seconds of each work in each of `repeats` rounds, after one round that does not count.

    The works take turns, so that a disturbance of the machine affects all of them: compare figures within a round.
    """
    for work in works.values():
        work()
    rounds = [{name: _once(work, REST_S) for name, work in works.items()} for _ in range(repeats)]
    return {name: [one[name] for one in rounds] for name in works}


def ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Return the ratio of two works' seconds, as the median over the rounds."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def straight_line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Return intercept, slope and explained share of the variance of a least-squares line."""
    slope, intercept = np.polyfit(x, y, 1)
    rest = np.asarray(y) - (intercept + slope * np.asarray(x))
    return float(intercept), float(slope), float(1 - np.var(rest) / np.var(y))


def percentiles_ms(seconds: Sequence[float]) -> dict[str, str]:
    """Return p50, p95 and p99 in milliseconds as text, dashes where there are no values."""
    ordered = sorted(seconds)
    of = {f"p{share}": min(len(ordered) - 1, len(ordered) * share // 100) for share in (50, 95, 99)}
    return {name: f"{1000 * ordered[at]:.1f}" if ordered else "-" for name, at in of.items()}


def write_json(name: str, figures: Mapping[str, object]) -> None:
    """Write the figures behind a page of results into docs/results/NAME.json."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    save_json(RESULTS / f"{name}.json", figures)


def save_json(path: Path, content: object) -> None:
    """Write a JSON file that appears whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def run_module(module: str, *arguments: str) -> Any:
    """Run `python -m module` in a process of its own and return the JSON in its last line of output."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def memory_mib(field: str, pid: int | str = "self") -> float:
    """Return a field of a process's memory in MiB: `VmRSS` is what it holds now, `VmHWM` the most it has held.

    Raises:
        OSError: the system has no /proc, or the process has ended.
    """
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def machine() -> str:
    """Return the processor, the number of cores and the versions of the numerical packages."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name)))
    return f"{_processor()}, {cores} cores, Python {platform.python_version()}, {versions}"


def table_of(rows: Sequence[Mapping[str, str]], without: frozenset[str] = frozenset()) -> str:
    """Return a Markdown table of `rows`, whose keys name the columns, `without` some of them."""
    head = [name for name in rows[0] if name not in without]
    return markdown_table(head, ([row[name] for name in head] for row in rows))


def write_page(path: Path, text: str) -> None:
    """Write a page of results and print it; the page's folder is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text)


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
