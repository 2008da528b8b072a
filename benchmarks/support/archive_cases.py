"""Files with gaps and their truth for the benchmark of archives: simulated ones of any size, and scores of fills.

Files are written and read a few frames at a time, so that their size is bounded by the disk alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import numpy.typing as npt
import xarray as xr

from benchmarks.support.fill_cases import names_of, write_gappy
from hydrofill.gaps.masks import whole_frames
from model.gaps.withhold import GapKind

Singles = npt.NDArray[np.float32]
Kinds = npt.NDArray[np.int8]

SIMULATED = {"sst": "degC", "precipitation": "mm d-1"}  # variables and units
STEPS_PER_SIDE = 2.0  # a record of n cells has about twice as many steps as rows and columns
MIN_SIDE = 16
CLOUD_LEVEL = 0.5  # standard deviations of the clouds' field above which cells are hidden: 31 % of them
LOST_FRAMES, LOST_RUN = 0.06, 2.0  # share of frames that are lost, and mean length of their runs
RAIN_LEVEL, RAIN_POWER, RAIN_SCALE = 0.5, 1.5, 8.0  # above 0.5 standard deviations it rains: in 31 % of the cells
SPACING_DEG = 0.05
FRAMES_AT_ONCE = 32


@dataclass(frozen=True)
class Case:
    """A file to fill, the file with its truth (V_truth and V_gap for each V of `names`), and the size of a variable."""

    name: str
    data: Path
    truth: Path
    names: tuple[str, ...]
    shape: tuple[int, int, int]

    @property
    def num_values(self) -> int:
        """Number of values of all variables to fill, observed ones included."""
        return math.prod(self.shape) * len(self.names)


@dataclass(frozen=True)
class Score:
    """RMSE over the withheld cells that a fill fills, that of another fill there, and the share left missing.

    RMSEs are NaN where no cell counts.
    """

    rmse: float
    other_rmse: float
    missing: float


def given_case(path: Path, folder: Path) -> Case | None:
    """Return a case file's gridded variables as a case, its gappy data written into `folder`; None if it has none."""
    data = folder / f"{path.stem}.nc"
    write_gappy(path, data)
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        names = tuple(name for name in names_of(opened) if opened[name].ndim == 3)
        if not names:
            return None
        steps, rows, columns = opened[names[0]].shape
    return Case(path.stem, data, path, names, (steps, rows, columns))


def shape_of(num_cells: int) -> tuple[int, int, int]:
    """Return steps, rows and columns of a record of about so many cells."""
    side = max(MIN_SIDE, round((num_cells / STEPS_PER_SIDE) ** (1 / 3)))
    return max(1, round(num_cells / side**2)), side, side


def simulated_case(folder: Path, num_cells: int, seed: int = 0) -> Case:
    """Simulate a record of two variables, each of about `num_cells` cells, with cloud gaps and lost frames.

    The temperature of the sea is smooth and slow, with seasons; rain is patchy, quick and often zero.
    """
    shape = shape_of(num_cells)
    case = Case("simulated", folder / "simulated.nc", folder / "simulated_truth.nc", tuple(SIMULATED), shape)
    folder.mkdir(parents=True, exist_ok=True)
    with h5netcdf.File(case.data, "w") as data, h5netcdf.File(case.truth, "w") as truth:
        for name in SIMULATED:
            _declare(data, name, shape, np.float32)
            _declare(truth, f"{name}_truth", shape, np.float32)
            _declare(truth, f"{name}_gap", shape, np.int8)
        first = 0
        for fields, kinds in _simulated(np.random.default_rng(seed), shape):
            part = slice(first, first + len(kinds[0]))
            for name, values, kind in zip(SIMULATED, fields, kinds, strict=True):
                data.variables[name][part] = np.where(kind == GapKind.OBSERVED, values, np.nan)
                truth.variables[f"{name}_truth"][part] = values
                truth.variables[f"{name}_gap"][part] = kind
            first = part.stop
    return case


def score(case: Case, filled: Path, other: Path | None, name: str, frames: Sequence[int] | None = None) -> Score:
    """Score a fill of one variable on withheld cells, and `other` on the cells that the fill fills.

    `frames`: of these only. Where there is no `other`, its RMSE is NaN.
    """
    squares, others, number, wanted = 0.0, 0.0, 0, 0
    with (
        xr.open_dataset(case.truth, engine="h5netcdf") as truth,
        xr.open_dataset(filled, engine="h5netcdf") as fill,
        xr.open_dataset(other or filled, engine="h5netcdf") as beside,
    ):
        for part in _parts(case.shape[0], frames):
            withheld = truth[f"{name}_gap"][part].values > GapKind.NATURAL
            right = truth[f"{name}_truth"][part].values.astype(np.float64)
            wanted += int(np.count_nonzero(withheld & ~np.isnan(right)))
            error = fill[name][part].values.reshape(right.shape) - right
            there = withheld & ~np.isnan(error)
            number += int(np.count_nonzero(there))
            squares += float(np.square(error[there]).sum())
            others += float(np.square((beside[name][part].values.reshape(right.shape) - right)[there]).sum())
    if number == 0:
        return Score(math.nan, math.nan, 1.0)
    other_rmse = math.nan if other is None else math.sqrt(others / number)
    return Score(math.sqrt(squares / number), other_rmse, 1 - number / wanted)


def some_frames(steps: int, number: int) -> list[int]:
    """Return the numbers of at most `number` frames, evenly spaced over a record of `steps`."""
    return sorted({int((i + 0.5) * steps / number) for i in range(number)})


def _parts(steps: int, frames: Sequence[int] | None) -> list[Any]:
    if frames is not None:
        return [list(frames)]
    return [slice(first, first + FRAMES_AT_ONCE) for first in range(0, steps, FRAMES_AT_ONCE)]


def _declare(file: Any, name: str, shape: tuple[int, int, int], dtype: Any) -> None:
    """Add a variable and, to a new file, the axes."""
    steps, rows, columns = shape
    if not file.dimensions:
        file.dimensions = {"time": steps, "lat": rows, "lon": columns}
        axes = (
            ("time", np.arange(steps, dtype=np.float64), "days since 2001-01-01", "time"),
            ("lat", 36 + SPACING_DEG * np.arange(rows), "degrees_north", "latitude"),
            ("lon", -6 + SPACING_DEG * np.arange(columns), "degrees_east", "longitude"),
        )
        for axis, values, units, standard_name in axes:
            made = file.create_variable(axis, (axis,), data=values)
            made.attrs.update(units=units, standard_name=standard_name)
    fill = {"fillvalue": np.float32(np.nan)} if dtype is np.float32 else {}
    chunks = (min(steps, FRAMES_AT_ONCE), rows, columns)
    made = file.create_variable(name, ("time", "lat", "lon"), dtype=dtype, chunks=chunks, **fill)
    if name in SIMULATED:
        made.attrs["units"] = SIMULATED[name]


def _simulated(
    rng: np.random.Generator, shape: tuple[int, int, int]
) -> Iterator[tuple[tuple[Singles, Singles], tuple[Kinds, Kinds]]]:
    """Yield the values of both variables and their kinds of gap, a few frames at a time."""
    steps, rows, columns = shape
    slow, quick, rain = (_Fields(rng, rows, columns, *of) for of in ((8.0, 0.95), (2.0, 0.6), (3.0, 0.5)))
    clouds = [_Fields(rng, rows, columns, 3.0, 0.7) for _ in SIMULATED]
    lost = [whole_frames(rng, steps, LOST_FRAMES, LOST_RUN) for _ in SIMULATED]
    north = np.linspace(1, -1, rows)[:, None]
    for first in range(0, steps, FRAMES_AT_ONCE):
        days = np.arange(first, min(first + FRAMES_AT_ONCE, steps))
        season = 17 - 5 * np.cos(2 * math.pi * days / 365.25)[:, None, None]
        sst = season - 2 * north + 1.2 * slow.draw(len(days)) + 0.4 * quick.draw(len(days))
        wet = RAIN_SCALE * np.maximum(rain.draw(len(days)) - RAIN_LEVEL, 0) ** RAIN_POWER
        kinds = []
        for cover, gone in zip(clouds, lost, strict=True):
            kind = np.where(cover.draw(len(days)) > CLOUD_LEVEL, GapKind.CLOUD, GapKind.OBSERVED).astype(np.int8)
            kind[gone[days]] = GapKind.FRAME
            kinds.append(kind)
        yield (sst.astype(np.float32), wet.astype(np.float32)), (kinds[0], kinds[1])


class _Fields:
    """Gaussian fields of zero mean and unit variance, smooth over `cells` cells and persistent from step to step."""

    def __init__(self, rng: np.random.Generator, rows: int, columns: int, cells: float, persistence: float) -> None:
        margin = math.ceil(4 * cells)  # opposite borders would be alike without
        self.rng, self.rows, self.columns = rng, rows, columns
        self.size = (rows + margin, columns + margin)
        y, x = np.fft.fftfreq(self.size[0])[:, None], np.fft.rfftfreq(self.size[1])
        transfer = np.exp(-2 * (math.pi * cells) ** 2 * (y**2 + x**2))
        whole = np.exp(-2 * (math.pi * cells) ** 2 * (y**2 + np.fft.fftfreq(self.size[1]) ** 2))
        self.transfer = transfer / math.sqrt(float(np.mean(whole**2)))
        self.persistence = persistence
        self.last = self._new()

    def draw(self, steps: int) -> npt.NDArray[np.float64]:
        """Return the next fields, (steps, rows, columns)."""
        drawn = np.empty((steps, self.rows, self.columns))
        for step in range(steps):
            self.last = self.persistence * self.last + math.sqrt(1 - self.persistence**2) * self._new()
            drawn[step] = self.last[: self.rows, : self.columns]
        return drawn

    def _new(self) -> npt.NDArray[np.float64]:
        noise = np.fft.rfft2(self.rng.standard_normal(self.size))
        return np.asarray(np.fft.irfft2(noise * self.transfer, self.size))
