"""`python -m benchmarks long_fill`: minutes of the fill of an archive of 20 GB; docs/results/long_fill.md.

The archive is a Zarr store of a periodic field. Its chunks are links to a few files with different gaps, so that the
archive takes the disk of these few. The fill is ended after the minutes given. The page reports the memory over time,
and how well the time of all blocks was known after a quarter of the minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr

from benchmarks.support.harness import machine, table_of
from benchmarks.support.measured_command import family, resident_mib
from hydrofill.archives.parts import JOURNAL
from hydrofill.blocks import plan_blocks

CHUNK = (50, 250, 280)  # steps, rows, columns: 14 MB of float32
SHAPE = (3650, 1000, 1400)
VARIANTS = 24
CLOUDY, LOST = 0.9, 0.04  # level of the clouds' waves above which cells are hidden; share of frames that are lost
SAMPLE_S = 2.0
EARLY = 0.25  # share of the filling after which the rest is predicted


@dataclass(frozen=True)
class Sample:
    """State of a fill: seconds since it began, blocks that are complete, and memory of its processes in MiB."""

    seconds: float
    blocks: int
    mib: float


def main(arguments: Sequence[str]) -> str:
    """Measure, and return the page docs/results/long_fill.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks long_fill", description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of filling blocks, after survey and measurement")
    parser.add_argument("--memory", default="2GiB")
    parser.add_argument("--workers", default="1")
    parser.add_argument("--chunks", type=int, nargs=3, default=[-(-n // c) for n, c in zip(SHAPE, CHUNK, strict=True)])
    parser.add_argument("--work", type=Path, default=Path("out/bench-long-fill"))
    given = parser.parse_args(arguments)
    shape = tuple(n * c for n, c in zip(given.chunks, CHUNK, strict=True))
    source, target = given.work / "archive.zarr", given.work / "filled.zarr"
    make_archive(source, tuple(given.chunks))
    for old in (target, target.with_name(target.name + ".parts")):
        shutil.rmtree(old, ignore_errors=True)
    samples = watch(source, target, given.minutes * 60, given.memory, given.workers)
    return page(shape, samples, given.memory, given.workers)


def make_archive(store: Path, numbers: tuple[int, int, int]) -> None:
    """Make a Zarr store of so many chunks along each axis, links to VARIANTS files."""
    shutil.rmtree(store, ignore_errors=True)
    first = store.with_name("variants.zarr")
    shutil.rmtree(first, ignore_errors=True)
    rng = np.random.default_rng(0)
    shape = tuple(n * c for n, c in zip(numbers, CHUNK, strict=True))
    fields = np.concatenate([_variant(rng) for _ in range(VARIANTS)])
    _dataset(fields, (len(fields), *CHUNK[1:])).to_zarr(first, zarr_format=2, encoding={"sst": _stored()})
    empty = _dataset(da.empty(shape, chunks=CHUNK, dtype=np.float32), shape)
    empty.to_zarr(store, zarr_format=2, encoding={"sst": _stored()}, compute=False)
    for place in product(*map(range, numbers)):
        name = ".".join(map(str, place))
        os.link(first / "sst" / f"{int(rng.integers(VARIANTS))}.0.0", store / "sst" / name)


def _stored() -> dict[str, object]:
    return {"chunks": CHUNK, "compressors": None}


def _dataset(values: np.ndarray | da.Array, shape: tuple[int, ...]) -> xr.Dataset:
    days = np.datetime64("2001-01-01", "ns") + np.arange(shape[0]) * np.timedelta64(1, "D")
    lat, lon = (-25 + 0.05 * np.arange(shape[1]), 0.05 * np.arange(shape[2]))
    coords = {
        "time": days,
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }
    return xr.Dataset({"sst": (("time", "lat", "lon"), values, {"units": "degC"})}, coords)


def _variant(rng: np.random.Generator) -> np.ndarray:
    """Return a chunk of the field, CHUNK float32, with gaps of its own; field and clouds are periodic in the chunk."""
    t, y, x = (2 * math.pi * np.arange(n) / n for n in CHUNK)
    t, y, x = t[:, None, None], y[None, :, None], x[None, None, :]
    field = 18 + 4 * np.cos(y) + 2 * np.sin(t + 3 * x) + np.sin(2 * t + 5 * y - 2 * x) + 0.3 * np.sin(9 * y + 11 * x)
    waves = np.zeros(CHUNK)
    for _ in range(6):
        k, phase = rng.integers(1, 9, 3), rng.uniform(0, 2 * math.pi)
        waves = waves + np.sin(k[0] * t + k[1] * y + k[2] * x + phase)
    hidden = waves / math.sqrt(3) > CLOUDY
    hidden[rng.random(CHUNK[0]) < LOST] = True
    return np.where(hidden, np.float32(np.nan), field.astype(np.float32))


def watch(source: Path, target: Path, fill_s: float, memory: str, workers: str) -> list[Sample]:
    """Fill until blocks were filled for `fill_s` seconds, end the fill by SIGTERM, and return what was seen."""
    words = ["-m", "hydrofill.cli", "fill", str(source), str(target), "--memory", memory, "--workers", workers]
    journal = target.with_name(target.name + ".parts") / JOURNAL
    samples: list[Sample] = []
    with subprocess.Popen([sys.executable, *words], start_new_session=True) as running:
        begun, first = time.monotonic(), None
        try:
            while running.poll() is None and (first is None or time.monotonic() - first < fill_s):
                time.sleep(SAMPLE_S)
                blocks = len(journal.read_text(encoding="utf-8").splitlines()) if journal.exists() else 0
                if blocks and first is None:
                    first = time.monotonic()
                mib = sum(map(resident_mib, family(running.pid)))
                samples.append(Sample(time.monotonic() - begun, blocks, mib))
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGTERM)
            try:
                running.wait(60)
            finally:
                if running.poll() is None:
                    os.killpg(running.pid, signal.SIGKILL)
    return samples


def page(shape: tuple[int, ...], samples: Sequence[Sample], memory: str, workers: str) -> str:
    """Return the page: memory by minute, speed, and how well the time of the blocks was predicted."""
    steps, rows, columns = shape
    plan = plan_blocks((steps, rows, columns), 1, 0)
    begun = next(s for s in samples if s.blocks)
    filling = [s for s in samples if s.blocks]
    last = filling[-1]
    early = next(s for s in filling if s.seconds - begun.seconds >= EARLY * (last.seconds - begun.seconds))
    rate = (early.blocks - begun.blocks) / max(early.seconds - begun.seconds, SAMPLE_S)
    predicted = begun.seconds + (last.blocks - begun.blocks) / rate if rate else math.nan
    speed = (last.blocks - begun.blocks) * math.prod(shape) / len(plan) / (last.seconds - begun.seconds)
    rows_of = []
    for minute in range(int(last.seconds // 60) + 1):
        of = [s for s in samples if 60 * minute <= s.seconds < 60 * (minute + 1)]
        if of:
            rows_of.append(
                {"minute": str(minute), "blocks": str(of[-1].blocks), "MiB": f"{max(s.mib for s in of):,.0f}"}
            )
    halves = [max(s.mib for s in part) for part in (filling[: len(filling) // 2], filling[len(filling) // 2 :])]
    figures = {
        "values": math.prod(shape),
        "blocks": len(plan),
        "seconds before the first block": round(begun.seconds),
        "values a second while blocks are filled": round(speed, -3),
        "peak MiB, first and second half of the filling": [round(h) for h in halves],
        "time of the blocks predicted after a quarter, over the time that they took": round(
            (predicted - begun.seconds) / (last.seconds - begun.seconds), 3
        ),
        "hours for the whole archive": round(math.prod(shape) / speed / 3600, 1),
    }
    size, minutes = 4 * math.prod(shape) / 1e9, (last.seconds - begun.seconds) / 60
    command = f"hydrofill fill --memory {memory} --workers {workers}"
    head = (
        f"Written by `python -m benchmarks long_fill`. {machine()}. The command `{command}` filled a Zarr store of "
        f"{' x '.join(map(str, shape))} values, {size:.1f} GB. It was ended by SIGTERM after {minutes:.0f} minutes "
        "of filling. Memory is that of all processes together."
    )
    found = "\n".join(f"- {name}: {json.dumps(value)}" for name, value in figures.items())
    return "\n\n".join(["# A long fill", head, found, table_of(rows_of)]) + "\n"
