"""Read the files of one hydro-smash sample: rasters named by date, gauge series, descriptors and the mesh."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import h5py
import numpy as np
import numpy.typing as npt

from model.datasets.rasters import Floats, Grid, Raster, read_raster

Times = npt.NDArray[np.datetime64]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Gauges:
    """N gauges: `codes`, surveyed positions `y` and `x` (metres, Lambert-93) and drained area `area_km2`, each (N,)."""

    codes: npt.NDArray[np.str_]
    y: npt.NDArray[np.float64]
    x: npt.NDArray[np.float64]
    area_km2: npt.NDArray[np.float64]


class SampleFiles:
    """The folder of one sample in the open wheel."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        self._archive = archive
        self._folder = folder

    def dated(self, subfolder: str) -> dict[str, str]:
        """Return the rasters below `subfolder` in the order of their dates, as a mapping from date to file."""
        below = re.compile(rf"{re.escape(self._folder)}/{subfolder}/(?:[^/]+/)*\D*(\d+)[^/]*\.tif")
        found = [(match[1], match[0]) for name in self._archive.namelist() if (match := below.fullmatch(name))]
        return dict(sorted(found))

    def raster(self, name: str) -> Raster:
        """Read a raster from a file of the archive."""
        return read_raster(self._archive.read(name))

    def frames(self, subfolder: str, dates: Sequence[str], grid: Grid, progress: Progress) -> Floats:
        """Read one frame for each date, (T, H, W), NaN where a date has no file. Dates may be repeated.

        Raises:
            ValueError: a raster's cells do not coincide with the grid's.
        """
        files = self.dated(subfolder)
        wanted = [date for date in dict.fromkeys(dates) if date in files]
        stack = np.full((len(wanted) + 1, grid.rows, grid.columns), np.nan, np.float32)  # the last frame stays missing
        for done, date in enumerate(wanted):
            stack[done] = self.raster(files[date]).on(grid)
            progress(f"read {subfolder}", done + 1, len(wanted))
        place = {date: index for index, date in enumerate(wanted)}
        return stack[[place.get(date, -1) for date in dates]]  # (T, H, W)

    def gauges(self) -> Gauges:
        """Read the gauges of the sample, in the order of the file."""
        rows = list(csv.DictReader(self._text("gauge_attributes.csv").splitlines()))
        y, x, area = (np.array([row[key] for row in rows], np.float64) for key in ("y", "x", "area"))
        return Gauges(np.array([row["code"] for row in rows]), y, x, area)

    def flow(self, code: str, time: Times) -> Floats:
        """Read the river flow of a gauge, (T,), m3 s-1; NaN where negative (smash's "no data") or not recorded.

        The file has one value for each step; its header is the date of the first.
        """
        first, *values = self._text(f"qobs/{code}.csv").split()
        recorded = np.array(values, np.float64).astype(np.float32)
        recorded[recorded < 0] = np.nan
        step = time[1] - time[0]
        index = ((time - read_date(first)) // step).astype(np.int64)
        inside = (index >= 0) & (index < len(recorded))
        flow = np.full(len(time), np.nan, np.float32)
        flow[inside] = recorded[index[inside]]
        return flow

    def descriptors(self, stems: Mapping[str, str], grid: Grid) -> dict[str, Floats]:
        """Read descriptors (H, W) by variable name, from {file stem: variable}."""
        return {name: self.raster(f"{self._folder}/descriptor/{stem}.tif").on(grid) for stem, name in stems.items()}

    def catchment(self, grid: Grid) -> dict[str, Floats]:
        """Read `catchment` (1 inside, 0 outside) and `flow_accumulation` (km2, NaN outside) from the mesh, (H, W)."""
        name = f"{self._folder}/mesh_{PurePosixPath(self._folder).name}.hdf5"
        with h5py.File(io.BytesIO(self._archive.read(name)), "r") as file:
            mesh = file["mesh"]
            active = np.asarray(mesh["active_cell"]) == 1
            upstream_km2 = np.asarray(mesh["flwacc"], np.float32) / np.float32(1e6)
            place = float(mesh.attrs["xmin"]), float(mesh.attrs["ymax"]), float(mesh.attrs["xres"])
        own = Grid(*place, *active.shape)
        inside = Raster(np.where(active, np.float32(1), np.float32(np.nan)), own).on(grid)
        return {
            "catchment": np.nan_to_num(inside, nan=0.0),
            "flow_accumulation": Raster(np.where(active, upstream_km2, np.float32(np.nan)), own).on(grid),
        }

    def _text(self, name: str) -> str:
        return self._archive.read(f"{self._folder}/{name}").decode("utf-8")


def read_date(digits: str) -> np.datetime64:
    """Read a date written as YYYYMMDD or YYYYMMDDhhmm, to the minute."""
    day, minute = digits[:8], digits[8:].ljust(4, "0")
    return np.datetime64(f"{day[:4]}-{day[4:6]}-{day[6:]}T{minute[:2]}:{minute[2:]}", "m")


def write_date(time: np.datetime64) -> str:
    """Return a time as YYYYMMDDhhmm."""
    return re.sub(r"\D", "", np.datetime_as_string(time, unit="m"))
