"""Whole fills: a large file, or grids of many windows; each case in a process of its own, for its peak memory."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks.support.contenders import COLUMNS, QUERIES, ROWS, SIDE, STEPS, VISIBLE, design_network
from benchmarks.support.harness import BUNDLE, THREADS, median_s, memory_mib
from benchmarks.support.window import full_window
from export.bundle import write_bundle
from hydrofill.bundle import TrainingData, read_bundle
from hydrofill.cf.dataset import read_dataset
from hydrofill.cf.netcdf import read_netcdf
from hydrofill.cf.writing import netcdf_bytes
from hydrofill.filling import FillOptions, prepare_fill
from hydrofill.inference.graphs import Runtime
from hydrofill.inference.model import Model, load_model
from hydrofill.layout import Domain
from hydrofill.reconstruct import plan_windows
from hydrofill.tokens import tokenise
from model.config import RunConfig
from model.run_folder import Run

LAND = 94  # patches of a frame, of 29 x 18
WINDOWS = (2, 4, 8, 16)  # in one row; each overlaps half of the one before
START = datetime(2000, 1, 1, tzinfo=UTC)


def tiles(number: int) -> dict[str, float]:
    """Fill a grid of `number` windows, half of it missing; return seconds, seconds in the graphs and memory."""
    model = load_model(read_bundle(BUNDLE), Runtime("cpu", THREADS))
    window = model.layout.window
    cube = full_window(model.layout, columns=window.columns + (number - 1) * (window.columns // 2))
    assert sum(1 for _ in plan_windows(cube, window, model.layout.overlap)) == number
    before = memory_mib("VmHWM")
    times, graphs = [], []
    for _ in range(3):
        started = time.perf_counter()
        outcome = model.run(cube)
        times.append(time.perf_counter() - started)
        graphs.append(outcome.encode_s + outcome.decode_s)
    own = sum(v.values.nbytes for v in cube.variables.values()) / 2**20
    peak = memory_mib("VmHWM")
    return {
        "windows": number,
        "seconds": float(np.median(times)),
        "graphs_s": float(np.median(graphs)),
        "cube_mib": own,
        "peak_mib": peak,
        "more_mib": peak - before,
    }


def whole_fill() -> dict[str, float]:
    """Fill a NetCDF file of the design's size; return its seconds and those of the graphs."""
    network = design_network()
    with tempfile.TemporaryDirectory() as folder:
        source, target, bundle = (Path(folder) / name for name in ("gappy.nc", "filled.nc", "design"))
        domain = {spec.name: Domain.from_array(land()) for spec in network.layout.variables}
        layout = network.layout.model_copy(update={"domain": domain})
        data = TrainingData(title="none", source="none", licence="none", start=START, end=START, frames=1)
        run = Run(Path(folder), RunConfig(), layout, data, network, (), {})
        model = load_model(write_bundle(run, bundle, "1.0.0"), Runtime("cpu", THREADS))
        design_file().to_netcdf(source, engine="h5netcdf")
        times, graphs = [], []
        for _ in range(5):
            target.unlink(missing_ok=True)
            started = time.perf_counter()
            graphs.append(_graph_seconds(model, source, target))
            times.append(time.perf_counter() - started)
        cube = read_dataset(design_file(), layout).cube
        cut = tokenise(cube, layout)
        answers = np.zeros(cut.queries.requested.shape, np.float32)
        tokens_s = median_s(lambda: tokenise(cube, layout)) + 2 * median_s(lambda: cut.join(answers))
        with xr.open_dataset(target, engine="h5netcdf") as filled:
            assert int((filled["temperature_flag"] == 1).sum()) == QUERIES * SIDE * SIDE
    ratios = [whole / inside for whole, inside in zip(times, graphs, strict=True)]
    return {
        "seconds": float(np.median(times)),
        "graphs_s": float(np.median(graphs)),
        "tokens_s": tokens_s,  # joined twice: means and standard deviations
        "ratio": float(np.median(ratios)),
        "peak_mib": memory_mib("VmHWM"),
    }


def land() -> np.ndarray:
    """Return the design's land patches at random positions of its grid, (H, W) bool."""
    chosen = np.zeros(ROWS // SIDE * COLUMNS // SIDE, bool)
    chosen[np.random.default_rng(1).choice(len(chosen), LAND, replace=False)] = True
    return np.kron(chosen.reshape(ROWS // SIDE, COLUMNS // SIDE), np.ones((SIDE, SIDE), bool))


def design_file() -> xr.Dataset:
    """Return 90 days of one variable on 290 x 180 cells with 94 land patches, of which 75 % are hidden."""
    rng = np.random.default_rng(0)
    inside, cells = land(), np.ones((SIDE, SIDE), bool)
    patches = inside[::SIDE, ::SIDE]
    where = np.flatnonzero(np.broadcast_to(patches, (STEPS, *patches.shape)))
    seen = np.zeros((STEPS, *patches.shape), bool)
    seen.flat[rng.choice(where, VISIBLE, replace=False)] = True
    values = rng.normal(0, 1, (STEPS, ROWS, COLUMNS)).astype(np.float32)
    values[~np.stack([np.kron(frame, cells) for frame in seen])] = np.nan
    return xr.Dataset(
        {
            "temperature": (("time", "y", "x"), values, {"units": "degC"}),
            "temperature_domain": (("y", "x"), inside.astype(np.int8)),
        },
        {
            "time": np.datetime64("2000-01-01", "ns") + np.arange(STEPS) * np.timedelta64(1, "D"),
            "y": np.arange(ROWS, dtype=np.float64),
            "x": np.arange(COLUMNS, dtype=np.float64),
        },
    )


def _graph_seconds(model: Model, source: Path, target: Path) -> float:
    """Fill a file, and return the seconds in the graphs."""
    prepared = prepare_fill(read_netcdf(source), model.layout, FillOptions())
    outcome = model.run(prepared.reading.cube, prepared.names)
    target.write_bytes(netcdf_bytes(prepared.write(outcome.filled, model.provenance(outcome))))
    return outcome.encode_s + outcome.decode_s


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    print(json.dumps(tiles(int(rest[0])) if kind == "tiles" else whole_fill()))
