"""Fill a file by other tools: commands, and `python -m benchmarks.support.archive_tools TOOL IN OUT A,B`.

Each tool reads and writes NetCDF files in a process of its own and has the parameters that it has by default. Packages
are imported only by the tool that needs them: `pip install hydrofill[compare]`, and CDO from the system's packages.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from benchmarks.support.archive_cases import some_frames

Floats = npt.NDArray[np.floating[Any]]
FrameFill = Callable[[Floats], Floats]

CDO = "cdo"
HYDROFILL = "hydrofill"
FILES = ("{data}", "{filled}", "{names}")  # stand for the paths and the variables in a command
WINDOW = 16  # observed cells that PyKrige estimates a cell from
MAX_KRIGED = 2000  # observed cells of a frame that PyKrige gets: PyKrige forms all their pairs, whatever the window
FRAMES_KRIGED = 8


@dataclass(frozen=True)
class Tool:
    """A way to fill a file.

    command: words that FILES are put into. needs: a package, or `cdo`. frames: number of frames that are filled, whose
    time is extrapolated to all; None for all.
    """

    name: str
    command: tuple[str, ...]
    needs: str = ""
    frames: int | None = None

    def words(self, data: Path, filled: Path, names: tuple[str, ...]) -> list[str]:
        """Return the command for a file."""
        return [word.format(data=data, filled=filled, names=",".join(names)) for word in self.command]

    def missing(self) -> str:
        """Return what is not installed; an empty text if nothing is missing."""
        if not self.needs:
            return ""
        found = shutil.which(CDO) if self.needs == CDO else importlib.util.find_spec(self.needs)
        return "" if found else self.needs


def hydrofill_tool(*options: str) -> Tool:
    """Return the command `hydrofill fill` with options."""
    data, filled, names = FILES
    words = (sys.executable, "-m", "hydrofill.cli", "fill", data, filled, "--variables", names, "--overwrite", *options)
    return Tool(HYDROFILL, words)


def tools() -> tuple[Tool, ...]:
    """Return all tools, hydrofill first."""
    data, filled, names = FILES
    cdo = (CDO, "-L", "-s", "-O", "-f", "nc4")
    here = (sys.executable, "-m", "benchmarks.support.archive_tools")
    return (
        hydrofill_tool("--workers", "1"),
        Tool("CDO setmisstodis", (*cdo, "setmisstodis", f"-selname,{names}", data, filled), CDO),
        Tool("CDO fillmiss2", (*cdo, "fillmiss2", f"-selname,{names}", data, filled), CDO),
        Tool("GDAL fillnodata", (*here, "gdal", *FILES), "rasterio"),
        Tool("pyinterp gauss_seidel", (*here, "pyinterp", *FILES), "pyinterp"),
        Tool("PyKrige", (*here, "pykrige", *FILES), "pykrige", FRAMES_KRIGED),
        Tool("DINEOF", (*here, "dineof", *FILES)),
    )


def main(tool: str, data: str, filled: str, names: str) -> None:
    """Fill a file by one tool; a tool that fills some frames only prints {fill_s: the seconds that they took}."""
    with xr.open_dataset(data, engine="h5netcdf") as opened:
        known = opened[names.split(",")].load()
    if tool == "dineof":
        made = _dineof(known)
    elif tool == "pykrige":
        started = time.perf_counter()
        made = fill_frames(known, _pykrige, FRAMES_KRIGED)
        print(json.dumps({"fill_s": time.perf_counter() - started}))
    else:
        made = fill_frames(known, FRAME_FILLS[tool])
    made.to_netcdf(filled, engine="h5netcdf")


def fill_frames(known: xr.Dataset, fill: FrameFill, number: int | None = None) -> xr.Dataset:
    """Fill every frame, or `number` of them, that has both observed and missing cells; leave the others as they are."""
    made = known.copy(deep=True)
    for variable in made.data_vars.values():
        values = variable.values
        frames = range(len(values)) if number is None else some_frames(len(values), number)
        for step in frames:
            missing = np.isnan(values[step])
            if missing.any() and not missing.all():
                values[step][missing] = fill(values[step])[missing]
    return made


def _gdal(frame: Floats) -> Floats:
    """Fill a frame; cells further from any value than GDAL searches stay missing."""
    from rasterio.fill import fillnodata  # type: ignore[import-not-found]

    return np.asarray(fillnodata(frame.astype(np.float32), mask=(~np.isnan(frame)).astype(np.uint8)))


def _pyinterp(frame: Floats) -> Floats:
    import pyinterp  # type: ignore[import-not-found]
    import pyinterp.fill  # type: ignore[import-not-found]

    turned = np.ascontiguousarray(frame.T, np.float64)  # (x, y)
    try:
        by_mesh = "mesh" in inspect.signature(pyinterp.fill.gauss_seidel).parameters
    except ValueError:  # a compiled function without a signature: the array itself is filled
        by_mesh = False
    if by_mesh:
        x, y = (pyinterp.Axis(np.arange(n, dtype=np.float64)) for n in turned.shape)
        _, filled = pyinterp.fill.gauss_seidel(pyinterp.Grid2D(x, y, turned), num_threads=1)
        return np.asarray(filled).T
    pyinterp.fill.gauss_seidel(turned, is_periodic=False, num_threads=1)
    return turned.T


def _pykrige(frame: Floats) -> Floats:
    from pykrige.ok import OrdinaryKriging  # type: ignore[import-not-found]

    there, missing = np.argwhere(~np.isnan(frame)), np.argwhere(np.isnan(frame))
    kept = np.random.default_rng(0).permutation(len(there))[:MAX_KRIGED]
    y, x = there[kept].T.astype(np.float64)
    known = frame[tuple(there[kept].T)].astype(np.float64)
    filled = frame.copy()
    if known.min() == known.max():  # PyKrige fits no variogram to a constant
        filled[tuple(missing.T)] = known[0]
        return filled
    model = OrdinaryKriging(x, y, known, variogram_model="exponential")
    rows, columns = missing.T.astype(np.float64)
    window = min(WINDOW, len(kept))
    mean, _ = model.execute("points", columns, rows, backend="loop", n_closest_points=window)
    filled[tuple(missing.T)] = mean
    return filled


def _dineof(known: xr.Dataset) -> xr.Dataset:
    """Return the fill by this project's DINEOF, which puts lost frames on lines in time."""
    from model.baselines.library import ANYWHERE
    from model.evaluation.metrics.cases import times_of

    made = known.copy(deep=True)
    for name, variable in known.data_vars.items():
        made[name].values = ANYWHERE["dineof_then_time"](variable.values, times_of(known, str(name))).values
    return made


FRAME_FILLS: Mapping[str, FrameFill] = {"gdal": _gdal, "pyinterp": _pyinterp}


if __name__ == "__main__":
    main(*sys.argv[1:])
