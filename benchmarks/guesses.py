"""Speed of the first guesses, of each and of all together, on simulated records.

Run with OMP_NUM_THREADS=1: processor time of all threads counts.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.support.harness import machine, table_of
from hydrofill.constants import DAY_S
from hydrofill.guesses.advection import advected
from hydrofill.guesses.eof import eof_fills
from hydrofill.guesses.extra_guesses import extra_guesses
from hydrofill.guesses.first_guesses import FEW_EOFS, MANY_EOFS, STEPS_PER_EOF, Guesses, completed_by, guess
from hydrofill.guesses.interpolation import (
    between,
    biharmonic,
    cell_means,
    distance_in_space,
    harmonic,
    local_mean,
    neighbours_in_time,
)
from hydrofill.guesses.other_variables import from_other_variables
from hydrofill.guesses.patterns_in_time import plain_eofs, smoothed_patterns
from hydrofill.guesses.seasonal_cycle import seasonal
from hydrofill.guesses.similarity import similar_neighbours, similar_sites
from hydrofill.guesses.space_time import autoregressive, from_neighbours, space_time
from hydrofill.layout import VariableSpec

CLOUD_SHARE, LOST_SHARE = 0.3, 0.1  # of cells under clouds, and of frames that are lost
ROOT = Path(__file__).parents[1]
GOAL = 1_000_000  # cells a second of all guesses together


@dataclass(frozen=True)
class Record:
    """A simulated record: visible values (T, H, W) or (T, N), and whether they are of rain."""

    visible: np.ndarray
    rain: bool

    @property
    def spec(self) -> VariableSpec:
        """The variable."""
        kind = "grid" if self.visible.ndim == 3 else "series"
        if self.rain:
            return VariableSpec(name="rain", kind=kind, units="mm", lower=0.0, transform="sqrt")
        return VariableSpec(name="temperature", kind=kind, units="degC")

    @property
    def seconds(self) -> np.ndarray:
        """The time of each step, (T,); steps are days."""
        return np.arange(len(self.visible)) * float(DAY_S)


def simulated() -> dict[str, Record]:
    """Return the records by name."""
    return {
        "rain, 720 x 40 x 40": rain((720, 40, 40)),
        "smooth, 720 x 40 x 40": smooth((720, 40, 40)),
        "smooth, 365 x 96 x 96": smooth((365, 96, 96)),
        "gauges, 3650 x 40": gauges(3650, 40),
        "one frame, 300 x 300": smooth((1, 300, 300)),
    }


def smooth(shape: tuple[int, int, int]) -> Record:
    """Return a smooth field with a yearly cycle, under moving clouds and with lost frames."""
    rng = np.random.default_rng(0)
    field = _correlated(rng, shape, (3, 6, 6)) + 2 * np.sin(np.arange(shape[0]) * 2 * np.pi / 365.25)[:, None, None]
    return Record(_gappy(rng, 10 + 3 * field), rain=False)


def rain(shape: tuple[int, int, int]) -> Record:
    """Return rain that moves by one cell a step, dry in most places, under moving clouds and with lost frames."""
    rng = np.random.default_rng(1)
    storms = _correlated(rng, shape, (2, 3, 3))
    moving = np.stack([np.roll(frame, step, axis=1) for step, frame in enumerate(storms)])
    return Record(_gappy(rng, np.square(np.maximum(moving - 0.5, 0)) * 10), rain=True)


def gauges(steps: int, number: int) -> Record:
    """Return gauges that share a signal, each with outages of some weeks."""
    rng = np.random.default_rng(2)
    shared = _correlated(rng, (steps, 1, 1), (4, 0, 0))[:, 0]
    values = shared + 0.5 * _correlated(rng, (steps, number, 1), (4, 0, 0))[:, :, 0]
    outage = _correlated(rng, (steps, number, 1), (15, 0, 0))[:, :, 0]
    return Record(np.where(outage > np.quantile(outage, 0.8), np.nan, values).astype(np.float32), rain=False)


def _correlated(rng: np.random.Generator, shape: tuple[int, ...], std: tuple[float, ...]) -> np.ndarray:
    field = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), std, mode="wrap")
    return np.asarray(field / field.std())


def _gappy(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    clouds = _correlated(rng, values.shape, (1, 4, 4))
    gappy = np.where(clouds > np.quantile(clouds, 1 - CLOUD_SHARE), np.nan, values).astype(np.float32)
    if len(values) > 1:
        gappy[rng.random(len(values)) < LOST_SHARE] = np.nan
    return gappy


def everything(record: Record) -> Guesses:
    """Make all guesses of a record."""
    made = guess(record.visible, square_root=record.rain, seconds=record.seconds)
    return Guesses(extra_guesses(record.visible, record.spec, record.seconds, [], made), made.distances)


def parts(record: Record) -> dict[str, Callable[[], object]]:
    """Return the methods that guesses are made of, each ready to run on a record."""
    values = record.visible
    mean, neighbours = cell_means(values), neighbours_in_time(values)
    anomaly = np.asarray(values - mean)
    flat = anomaly.reshape(len(values), -1)
    works: dict[str, Callable[[], object]] = {
        "neighbours in time and the line between": lambda: between(*neighbours_in_time(values)),
        "mean": lambda: cell_means(values),
        "seasonal cycle": lambda: seasonal(values, mean, record.seconds),
        "local mean": lambda: local_mean(values),
    }
    if values.ndim == 2:
        return works | {
            "similar sites": lambda: similar_sites(values),
            "autoregressive": lambda: autoregressive(anomaly),
            "patterns of series": lambda: plain_eofs(values, np.broadcast_to(mean, values.shape)),
            "regression on other estimates": lambda: from_other_variables(anomaly, [], [from_neighbours(anomaly)]),
        }
    surface = biharmonic(values)
    line = between(*neighbours)
    completed = completed_by(values, surface, line, surface)
    known = np.where(np.isnan(completed), np.float32(np.nan), completed).reshape(len(values), -1)
    usual = np.broadcast_to(mean, values.shape).reshape(len(values), -1)
    share = (~np.isnan(values)).mean(axis=(1, 2)).astype(np.float32)
    ranks = [min(rank, max(len(values) // STEPS_PER_EOF, 1)) for rank in (FEW_EOFS, MANY_EOFS)]
    nothing = np.zeros(flat.shape[1], np.float32)
    return works | {
        "harmonic": lambda: harmonic(values),
        "biharmonic": lambda: biharmonic(values),
        "similar neighbours": lambda: similar_neighbours(values),
        "few and many EOFs": lambda: eof_fills(flat, nothing, ranks),
        "space and time": lambda: space_time(anomaly),
        "advected": lambda: advected(values, completed, square_root=record.rain),
        "smoothed patterns": lambda: smoothed_patterns(known, usual, share),
        "regression on other estimates": lambda: from_other_variables(anomaly, [], [line - mean, surface - mean]),
        "distance in space": lambda: distance_in_space(~np.isnan(values)),
    }


def compile_seconds() -> tuple[float, float]:
    """Return the processor time of a fresh process that compiles all kernels, and of one that finds machine code."""
    command, seconds = [sys.executable, "-m", "hydrofill.guesses.compile"], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, env=os.environ | {"NUMBA_CACHE_DIR": folder}, cwd=ROOT)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return seconds[0], seconds[1]


def main(arguments: Sequence[str]) -> str:
    """Measure the records and return the page."""
    options = argparse.ArgumentParser(prog="python -m benchmarks guesses")
    options.add_argument("--repeats", type=int, default=3, help="runs of each method; their median counts")
    repeats = options.parse_args(arguments).repeats
    records = simulated()
    together = [
        {"record": name, "thousand cells a second": _rate(record, lambda r=record: everything(r), repeats)}  # type: ignore[misc]
        for name, record in records.items()
    ]
    every = {name: parts(record) for name, record in records.items()}
    methods = dict.fromkeys(method for works in every.values() for method in works)
    single = [
        {"method": method}
        | {
            name: _rate(records[name], works[method], repeats) if method in works else "-"
            for name, works in every.items()
        }
        for method in methods
    ]
    compiling, loading = compile_seconds()
    return f"""# Speed of the first guesses

Cells per second of processor time, of simulated records: {CLOUD_SHARE:.0%} of the cells are under clouds, and
{LOST_SHARE:.0%} of the frames are lost; the gauges have outages. Medians of {repeats} runs. Written by
`OMP_NUM_THREADS=1 python -m benchmarks guesses`.

{machine()}

## All guesses together

The goal is {GOAL // 1000} thousand cells a second.

{table_of(together)}

## Each method, in thousand cells a second

All guesses together run some methods more than once.

{table_of(single)}

## Compiling

A process that compiles all kernels takes {compiling:.1f} s of processor time, once. A later process loads them in
{loading:.1f} s, the start of Python included.
"""


def _rate(record: Record, work: Callable[[], object], repeats: int) -> str:
    """Return the cells per second of processor time, in thousands, after one run that does not count."""
    work()
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return f"{record.visible.size / statistics.median(seconds) / 1000:,.0f}"
