"""Cases of one kind of data: crops of real files with cells withheld by clouds, swaths, squares, frames, outages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks.support.fill_cases import read_case
from hydrofill.cf.axes import recognise
from hydrofill.cf.dataset import read_dataset
from model.gaps.withhold import Shares, gappy_variables, withhold
from model.pretraining.real_data import MASKS, kind_of_data

MAX_VALUES = 150_000  # of all variables of a crop
MAX_SITES = 40
FRAMES = 64  # of a crop of a large grid; a small grid has more
MIN_OBSERVED = 0.3  # share of values that every variable of a crop must have
MAX_TRIES = 30
SHARES = Shares(cloud=0.12, swath=0.08, square=0.05, frame=0.08)


def files_of_kinds(folder: Path) -> dict[str, dict[Path, list[str]]]:
    """Return by kind of data the files of a folder that hold it, each with the names of its variables of that kind.

    Raises:
        SystemExit: the folder holds no data.
    """
    found: dict[str, dict[Path, list[str]]] = {}
    for path in sorted(folder.glob("*.nc")):
        if path.name == MASKS:
            continue
        variables = read_dataset(read_case(path)).cube.of_kind("grid", "series")
        for name, variable in variables.items():
            found.setdefault(kind_of_data(variable), {}).setdefault(path, []).append(name)
    if not found:
        raise SystemExit(f"{folder}: no data")
    return found


def make_case(path: Path, names: Sequence[str], draw: int) -> xr.Dataset | None:
    """Return a case of a random crop of these variables of a file; None if no crop has enough values.

    Args:
        path: the file.
        names: its variables to keep.
        draw: the same number gives the same crop and the same withheld cells.
    """
    opened = read_case(path)
    dataset = opened.drop_vars([name for name in gappy_variables(opened) if name not in names])
    rng = np.random.default_rng((draw, *path.stem.encode()))
    for _ in range(MAX_TRIES):
        part = crop(rng, dataset, names)
        if all(_is_observed(part[name].values) for name in names):
            return withhold(part, draw, SHARES)
    return None


def crop(rng: np.random.Generator, dataset: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """Return a random part of at most MAX_VALUES values of these variables together."""
    sizes = _sizes_of_crop(dataset[names[0]].sizes, _axes(dataset), MAX_VALUES // len(names))
    starts = {dim: int(rng.integers(0, dataset.sizes[dim] - size + 1)) for dim, size in sizes.items()}
    return dataset.isel({dim: slice(starts[dim], starts[dim] + size) for dim, size in sizes.items()})


def _axes(dataset: xr.Dataset) -> Mapping[str, str]:
    return {str(name): str(dimension.axis) for name, dimension in recognise(dataset).items()}


def _sizes_of_crop(sizes: Mapping[object, int], axes: Mapping[str, str], values: int) -> dict[str, int]:
    """Return the size of a crop along each dimension: a part of the grid of the grid's shape, or some of the sites."""
    (time, steps), *space = [(str(dim), size) for dim, size in sizes.items()]
    if axes[space[0][0]] == "site":
        chosen = {dim: min(size, MAX_SITES) for dim, size in space}
    else:
        cells = int(np.prod([size for _, size in space]))
        scale = min(1.0, (values / min(steps, FRAMES) / cells) ** 0.5)
        chosen = {dim: max(1, int(size * scale)) for dim, size in space}
    return {time: max(1, min(steps, values // int(np.prod(list(chosen.values()))))), **chosen}


def _is_observed(values: np.ndarray) -> bool:
    seen = values[~np.isnan(values)]
    return seen.size >= MIN_OBSERVED * values.size and float(seen.min()) < float(seen.max())


def cases_of(files: Mapping[Path, Sequence[str]], draws: int, folder: Path) -> Iterator[tuple[str, int, Path]]:
    """Yield the file's name, the number of the draw, and the case, which is written into the folder once."""
    for path, names in files.items():
        for draw in range(draws):
            target = folder / f"{path.stem}-{draw}" / "case.nc"
            if not target.exists():
                case = make_case(path, names, draw)
                if case is None:
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                case.to_netcdf(target, engine="h5netcdf")
            yield path.stem, draw, target
