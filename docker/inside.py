"""Checks inside a container, for .ci/containers.

python -c "$(cat docker/inside.py)"             kernels and formats
python -c "$(cat docker/inside.py)" formats     formats alone

The machine code of every kernel is read from the image, none is compiled. A small record is filled in each format that
hydrofill reads and writes, at last block by block in two processes; the fill is the same in all formats.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import xarray as xr

import hydrofill
from hydrofill import blocks
from hydrofill.general import self_check
from hydrofill.guesses.compile import compile_kernels

STEPS, SIDE = 100, 30
BLOCK_VALUES, MIN_TILE_CELLS = 60_000, 15  # the record has several blocks
FORMATS = (
    ("netcdf4", "in.nc", "out.zarr"),
    ("classic", "classic.nc", "classic-out.nc"),
    ("zarr2", "two.zarr", "two-out.nc"),
    ("zarr3", "three.zarr", "three-out.zarr"),
)


def check_kernels() -> None:
    """Load every kernel; exit with an error if one was compiled."""
    started = time.monotonic()
    modules = [importlib.import_module(name) for name in compile_kernels()]
    took = time.monotonic() - started
    named = [(f"{module.__name__}.{name}", found) for module in modules for name, found in vars(module).items()]
    kernels = [(name, found) for name, found in named if not getattr(found, "_can_compile", True)]
    compiled = sorted(name for name, kernel in kernels if kernel.stats.cache_misses or not kernel.stats.cache_hits)
    if compiled or not kernels:
        raise SystemExit(f"{len(compiled)} of {len(kernels)} kernels were compiled: {', '.join(compiled)}")
    print(f"  {len(kernels)} kernels loaded in {took:.1f} s, none compiled")


def record() -> xr.Dataset:
    """Return smooth values (T, H, W) with gaps, and a lost frame."""
    t, y, x = (np.arange(n, dtype=np.float64) for n in (STEPS, SIDE, SIDE))
    phase = t[:, None, None] / 9 + y[None, :, None] / 11 + x[None, None, :] / 13
    values = (280 + 5 * np.sin(phase)).astype(np.float32)
    values[np.sin(phase * 2.7 + 5 * np.cos(t[:, None, None] / 3)) > 0.7] = np.nan
    values[70] = np.nan
    times = np.datetime64("2020-01-01", "ns") + np.arange(STEPS) * np.timedelta64(1, "D")
    level = (("time", "y", "x"), values, {"units": "K"})
    return xr.Dataset({"level": level}, {"time": times, "y": y * 1000, "x": x * 1000})


def write(form: str, path: Path) -> None:
    """Write the record in one of the formats."""
    if form == "netcdf4":
        record().to_netcdf(path, engine="h5netcdf")
    elif form == "classic":
        record().to_netcdf(path, engine="scipy", format="NETCDF3_CLASSIC")
    else:
        record().to_zarr(path, zarr_format=2 if form == "zarr2" else 3)


def filled(source: Path, target: Path, workers: int) -> np.ndarray:
    """Fill a file or store; return the filled values, which are checked against the record."""
    started = time.monotonic()
    hydrofill.fill_archive(source, target, workers=workers)
    with xr.open_dataset(target, engine="zarr" if target.is_dir() else "h5netcdf") as out:
        values = out["level"].values
    before = record()["level"].values
    seen = ~np.isnan(before)
    if np.isnan(values).any() or not np.array_equal(values[seen], before[seen]):
        raise SystemExit(f"{source.name}: a gap was left, or an observed value has changed")
    print(f"  {source.name} to {target.name}: {(~seen).sum()} values filled in {time.monotonic() - started:.1f} s")
    return values


def check_formats(folder: Path) -> None:
    """Fill the record in each format, then in several blocks; exit with an error if the fills differ."""
    fills = []
    for form, source, target in FORMATS:
        write(form, folder / source)
        fills.append(filled(folder / source, folder / target, workers=1).tobytes())
    if len(set(fills)) > 1:
        raise SystemExit("the fill depends on the format")
    blocks.BLOCK_VALUES, blocks.MIN_TILE_CELLS = BLOCK_VALUES, MIN_TILE_CELLS
    self_check.SOURCE_DRAWS = 2
    filled(folder / "three.zarr", folder / "blocks.zarr", workers=2)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # Zarr version 3 has no standard for the types of some values yet
    if sys.argv[1:] != ["formats"]:
        check_kernels()
    with tempfile.TemporaryDirectory() as name:
        check_formats(Path(name))
