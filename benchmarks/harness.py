"""Measuring side by side in one run: medians of several, with the machine and versions beside them."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

REPEATS = 7
PACKAGES = ("numpy", "onnxruntime", "scipy", "torch", "xarray")


def median_s(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median wall-clock seconds of `work`, after one run that does not count."""
    work()
    return statistics.median(_once(work) for _ in range(repeats))


def percentiles_ms(seconds: Sequence[float]) -> dict[str, str]:
    """p50, p95 and p99 in milliseconds, as text; a dash where there are none."""
    ordered = sorted(seconds)
    of = {f"p{share}": min(len(ordered) - 1, len(ordered) * share // 100) for share in (50, 95, 99)}
    return {name: f"{1000 * ordered[at]:.1f}" if ordered else "-" for name, at in of.items()}


def machine() -> str:
    """Processor, cores and the versions of what does the arithmetic."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{_processor()}, {cores} cores, Python {platform.python_version()}, {versions}"


def markdown_table(head: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    """A table of `rows` with the columns of `head`."""
    lines = [head, ["---"] * len(head), *([row[column] for column in head] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _once(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 (a device, not a file of ours)
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
