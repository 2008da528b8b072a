"""Random crops of the real files in a folder, changed in ways that keep their structure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from hydrofill.cf.dataset import read_dataset
from hydrofill.cube import Variable, WaterCube
from hydrofill.errors import ContractError
from model.pretraining.gaussian_fields import log_uniform
from model.pretraining.patterns import block_means

MAX_VALUES = 200_000  # of all variables of a draw
MIN_VALUES = 2_000  # a draw has more, where the file has
MIN_OBSERVED = 0.2  # share of values that a crop must have, in every variable
MASKS = "masks.nc"  # the library of gaps, which holds no data
MAX_TRIES = 30

# Words in names and standard names of variables, by the kind of data that they tell.
KIND_WORDS: Mapping[str, tuple[str, ...]] = {
    "rain": ("rain", "precip"),
    "humidity": ("humidity", "dew"),
    "temperature": ("temperature", "sst", "tmax", "tmin", "tas"),
    "wind": ("wind",),
    "soil moisture": ("swvl", "soil"),
    "pressure": ("slp", "pressure", "height"),
}


def kind_of_data(variable: Variable) -> str:
    """Return the kind of data that a variable holds: a key of KIND_WORDS, or "other"."""
    text = f"{variable.name} {variable.standard_name}".lower()
    return next((kind for kind, words in KIND_WORDS.items() if any(word in text for word in words)), "other")


class RealData:
    """The NetCDF files of a folder, all in memory.

    Args:
        folder: holds the files; masks.nc is left out.
        exclude: names of files (without .nc) and kinds of data (keys of KIND_WORDS) that are never drawn. A variable
            of an excluded kind is left out of its file.

    Raises:
        FileNotFoundError: the folder has no file with data that is not excluded.
        ValueError: a name in `exclude` is neither a file's nor a kind's.
    """

    def __init__(self, folder: Path | str, exclude: Collection[str] = ()) -> None:
        files = sorted(p for p in Path(folder).glob("*.nc") if p.name != MASKS)
        unknown = set(exclude) - {p.stem for p in files} - set(KIND_WORDS)
        if unknown:
            raise ValueError(f"exclude names neither a file nor a kind of data: {sorted(unknown)}")
        cubes = {p.stem: _without_kinds(_open(p), exclude) for p in files if p.stem not in exclude}
        self._cubes = {name: cube for name, cube in cubes.items() if cube.of_kind("grid", "series")}
        if not self._cubes:
            raise FileNotFoundError(f"{folder}: no data is left to draw from")

    def names(self) -> list[str]:
        """Return the names of the files that are drawn from, without .nc."""
        return list(self._cubes)

    def kinds(self) -> dict[str, list[str]]:
        """Return the kinds of data of each file's variables that vary in time."""
        return {n: [kind_of_data(v) for v in c.of_kind("grid", "series").values()] for n, c in self._cubes.items()}

    def draw(self, rng: np.random.Generator) -> WaterCube:
        """Draw a part of one file: at most MAX_VALUES values, one or several variables, sometimes changed.

        A file is drawn with a chance that grows with the square root of its number of values. Natural gaps stay NaN.
        """
        names = self.names()
        sizes = np.array([_count(self._cubes[name]) for name in names], float)
        cube = self._cubes[names[rng.choice(len(names), p=np.sqrt(sizes) / np.sqrt(sizes).sum())]]
        for _ in range(MAX_TRIES):
            drawn = _changed(rng, _some_variables(rng, cube))
            if _is_observed(drawn):
                return drawn
        return _cropped(rng, cube)


def _open(path: Path) -> WaterCube:
    """Read a file as a cube; a variable of the coordinates `elevation` becomes a static one.

    Raises:
        ContractError: the file holds no variable that can be used.
    """
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        dataset = opened.load()
    if dataset["time"].dtype == object:  # a calendar that has other days than the standard one
        dataset = dataset.assign_coords(time=_even_times(dataset["time"].values))
    if "elevation" in dataset.coords:
        dataset = dataset.reset_coords("elevation")
    try:
        return read_dataset(dataset).cube
    except ContractError as error:
        error.add_note(f"in {path.name}")
        raise


def _without_kinds(cube: WaterCube, kinds: Collection[str]) -> WaterCube:
    """Return the cube without the variables of these kinds of data."""
    kept = {n: v for n, v in cube.variables.items() if kind_of_data(v) not in kinds}
    return replace(cube, variables=kept, domain={n: d for n, d in cube.domain.items() if n in kept})


def _even_times(dates: np.ndarray) -> np.ndarray:
    """Return even steps, (T,) datetime64[ns], from the first date on, as long as the mean step of other calendars."""
    first = np.datetime64(f"{dates[0].year:04}-{dates[0].month:02}-{min(dates[0].day, 28):02}", "s")
    last = np.datetime64(f"{dates[-1].year:04}-{dates[-1].month:02}-{min(dates[-1].day, 28):02}", "s")
    step = (last - first) // max(1, len(dates) - 1)
    return np.asarray(first + step * np.arange(len(dates)), dtype="datetime64[ns]")


def _count(cube: WaterCube) -> int:
    return sum(v.values.size for v in cube.of_kind("grid", "series").values())


def _is_observed(cube: WaterCube) -> bool:
    """Return whether every variable that varies in time has enough values, and not all the same."""
    variables = cube.of_kind("grid", "series").values()
    return all(v.values.size and v.valid.mean() >= MIN_OBSERVED and _varies(v.values) for v in variables)


def _varies(values: np.ndarray) -> bool:
    return bool(np.nanmin(values) < np.nanmax(values))


def _some_variables(rng: np.random.Generator, cube: WaterCube) -> WaterCube:
    """Return the cube with one of its variables, or with several, and statics at times."""
    dynamic = list(cube.of_kind("grid", "series"))
    count = 1 if rng.random() < 0.5 else int(rng.integers(1, min(4, len(dynamic)) + 1))
    chosen = [dynamic[n] for n in rng.permutation(len(dynamic))[:count]]
    if rng.random() < 0.5:
        chosen += list(cube.of_kind("static_grid", "static_site"))
    return replace(
        cube,
        variables={n: cube.variables[n] for n in chosen},
        domain={n: d for n, d in cube.domain.items() if n in chosen},
    )


def _changed(rng: np.random.Generator, cube: WaterCube) -> WaterCube:
    """Return a part of the cube: thinned, coarsened, cut, copied to finer cells, flipped and turned, each at times."""
    if len(cube.time) > 12 and rng.random() < 0.25:
        cube = _at_times(cube, np.arange(0, len(cube.time), rng.integers(2, 6)))
    if not cube.of_kind("grid"):
        return _cropped(rng, cube)
    if min(cube.shape[1:]) >= 16 and rng.random() < 0.25:
        cube = _coarsened(cube, int(rng.integers(2, 1 + min(6, min(cube.shape[1:]) // 8))))
    finer = int(rng.integers(2, 7)) if rng.random() < 0.12 else 1
    cube = _cropped(rng, cube, MAX_VALUES // finer**2)
    return _turned(rng, _copied(cube, finer) if finer > 1 else cube)


def _cropped(rng: np.random.Generator, cube: WaterCube, most: int = MAX_VALUES) -> WaterCube:
    """Cut a random part of at most `most` values: single maps, few frames, or long and narrow."""
    per_cell = max(1, len(cube.of_kind("grid", "series")))
    values = log_uniform(rng, min(MIN_VALUES, most / 2), most) / per_cell
    steps, rows, columns = cube.shape
    if not cube.of_kind("grid"):
        return _cropped_sites(rng, cube, values)
    frames = int(min(steps, log_uniform(rng, 2, steps + 1))) if steps > 1 and rng.random() > 0.07 else 1
    cells = max(values / frames, 20.0)
    ratio = log_uniform(rng, 1.0, 3.0) ** rng.choice([-1.0, 1.0])
    height = int(np.clip(round(np.sqrt(cells * ratio)), min(4, rows), rows))
    width = int(np.clip(cells / height, min(4, columns), columns))
    frames = max(1, min(frames, int(most / per_cell / (height * width))))
    time, y, x = (_part(rng, n, part) for n, part in zip(cube.shape, (frames, height, width), strict=True))
    return cube.window(time, y, x)


def _cropped_sites(rng: np.random.Generator, cube: WaterCube, values: float) -> WaterCube:
    """Cut a run of steps, at 5 to all of the sites, at random or around one of them."""
    count = int(log_uniform(rng, 5, len(cube.sites) + 1))
    steps = int(np.clip(values / count, min(60, len(cube.time)), len(cube.time)))
    order = rng.permutation(len(cube.sites))
    if rng.random() < 0.5:
        centre = order[0]
        order = np.argsort(np.hypot(cube.sites.y - cube.sites.y[centre], cube.sites.x - cube.sites.x[centre]))
    return _at_sites(_at_times(cube, np.arange(len(cube.time))[_part(rng, len(cube.time), steps)]), order[:count])


def _part(rng: np.random.Generator, length: int, part: int) -> slice:
    start = int(rng.integers(0, length - part + 1))
    return slice(start, start + part)


def _at_times(cube: WaterCube, index: np.ndarray) -> WaterCube:
    variables = {
        n: replace(v, values=v.values[index]) if v.kind in ("grid", "series") else v for n, v in cube.variables.items()
    }
    return replace(cube, time=cube.time[index], variables=variables)


def _at_sites(cube: WaterCube, index: np.ndarray) -> WaterCube:
    variables = {
        n: replace(v, values=v.values[..., index]) if v.kind in ("series", "static_site") else v
        for n, v in cube.variables.items()
    }
    return replace(cube, sites=cube.sites.take(index), variables=variables)


def _coarsened(cube: WaterCube, width: int) -> WaterCube:
    """Return the means of whole blocks of `width` x `width` cells."""
    rows, columns = (n // width * width for n in cube.shape[1:])
    numbers = np.arange(rows) // width, np.arange(columns) // width
    variables = {}
    for name, variable in _grids(cube).items():
        means = block_means(variable.values.reshape(-1, *cube.shape[1:])[:, :rows, :columns], *numbers)
        variables[name] = replace(variable, values=means if variable.kind == "grid" else means[0])
    y, x = cube.y[:rows].reshape(-1, width).mean(axis=1), cube.x[:columns].reshape(-1, width).mean(axis=1)
    return WaterCube(cube.time, y, x, variables=variables)


def _copied(cube: WaterCube, finer: int) -> WaterCube:
    """Return every cell copied to `finer` x `finer` cells: exact copies, as on a grid that is finer than its data."""
    variables = {
        n: replace(v, values=np.repeat(np.repeat(v.values, finer, axis=-2), finer, axis=-1))
        for n, v in _grids(cube).items()
    }
    return WaterCube(cube.time, _finer(cube.y, finer), _finer(cube.x, finer), variables=variables)


def _finer(axis: np.ndarray, finer: int) -> np.ndarray:
    step = float(np.diff(axis).mean()) if len(axis) > 1 else 1.0
    inside = (np.arange(finer) - (finer - 1) / 2.0) * step / finer
    return np.asarray((axis.mean() + (np.arange(len(axis)) - (len(axis) - 1) / 2.0) * step)[:, None] + inside).ravel()


def _turned(rng: np.random.Generator, cube: WaterCube) -> WaterCube:
    """Return the cube flipped north to south, flipped east to west, and with rows and columns exchanged, at times.

    Coordinates are not flipped, so that the axes keep their order; exchanged axes go with their cells.
    """
    flipped = tuple(axis for axis in (-2, -1) if rng.random() < 0.5)
    variables = {n: replace(v, values=np.flip(v.values, flipped)) for n, v in _grids(cube).items()}
    y, x = cube.y, cube.x
    if rng.random() < 0.5:
        variables = {n: replace(v, values=np.swapaxes(v.values, -1, -2)) for n, v in variables.items()}
        y, x = x, y
    variables = {n: replace(v, values=np.ascontiguousarray(v.values)) for n, v in variables.items()}
    return WaterCube(cube.time, y, x, variables=variables)


def _grids(cube: WaterCube) -> dict[str, Variable]:
    return cube.of_kind("grid", "static_grid")
