"""Any number of files as one dataset, opened and not loaded: grids by their coordinates, tables of gauges by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from hydrofill.cf.axes import Dimension, one_of, recognise
from hydrofill.cf.calendars import with_dates
from hydrofill.cf.coordinates import coordinate_units
from hydrofill.cf.groups import choose_group
from hydrofill.cf.missing import Declared, hide_declared
from hydrofill.cf.netcdf import AS_STORED, decode_lazily, engine_of, open_groups
from hydrofill.errors import ContractError, CoordinateError, StructureError, UnreadableError
from model.data.site_tables import TABLES, read_tables

DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, eq=False)
class _Part:
    """A dataset to be joined to others, with its recognised dimensions by name."""

    dataset: xr.Dataset
    dimensions: Mapping[str, Dimension]

    @classmethod
    def of(cls, dataset: xr.Dataset) -> _Part:
        return cls(dataset, recognise(dataset))

    @property
    def time(self) -> tuple[str, str] | None:
        """Names of the time dimension and of its coordinate; None without either."""
        time = one_of(self.dimensions.values(), "time")
        return None if time is None or time.coordinate is None else (time.name, time.coordinate)


def open_sources(paths: Sequence[Path], missing: Sequence[str] = ()) -> xr.Dataset:
    """Open NetCDF files, Zarr stores and tables of gauges (CSV, Parquet) as one dataset.

    A folder stands for the files in it. Values of grids are not loaded. Where several sources are daily, their times
    become dates, since one file's day may be stamped at noon and another's at midnight.

    Args:
        paths: files, stores and folders.
        missing: values that stand for missing values, as `Declared.of` reads them.

    Raises:
        FileNotFoundError: a path does not exist. ContractError: a file cannot be read or joined; names the file.
    """
    return hide_declared(_opened(paths), Declared.of(missing), lazily=True)


def _opened(paths: Sequence[Path]) -> xr.Dataset:
    files = [file for path in paths for file in _listed(path)]
    tables = [file for file in files if file.suffix in TABLES]
    grids_in = [file for file in files if file.suffix not in TABLES]
    opened = [_open(file, by_chunks=len(files) > 1) for file in grids_in]
    if not files:
        raise UnreadableError("no file is given", expected=".nc, .zarr, .csv or .parquet")
    if len(opened) == 1 and not tables:
        return opened[0]
    parts = [_Part.of(dataset) for dataset in opened]
    grid_units = _grid_units(parts[0]) if parts else ""
    if len(parts) + bool(tables) > 1:
        parts = [_on_dates(part) for part in parts]
    grids = _combined(parts) if len(parts) > 1 else parts[0] if parts else None
    if not tables:
        assert grids is not None
        return grids.dataset
    gauges = _on_dates(_Part.of(read_tables(tables, grid_units))).dataset
    return gauges if grids is None else _joined(grids, gauges)


def _listed(path: Path) -> list[Path]:
    """Return the path itself, or the files in a folder that is not a Zarr store, in order of name."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if not path.is_dir() or (path / ".zgroup").exists() or (path / "zarr.json").exists():
        return [path]
    inside = sorted(p for p in path.iterdir() if p.suffix in (".nc", ".nc4", ".zarr", *TABLES))
    if not inside:
        raise UnreadableError("holds no data", where=path.name, expected=".nc, .zarr, .csv or .parquet files")
    return inside


def _open(path: Path, by_chunks: bool) -> xr.Dataset:
    """Open the file, not loaded; in dask's chunks if it will be joined to others, since chunks slow every window."""
    chunks: dict[str, int] | None = {} if by_chunks else None
    try:
        if path.is_dir():
            groups = dict(xr.open_groups(path, engine="zarr", chunks=chunks, cache=False, **AS_STORED))
        else:
            groups = open_groups(path, engine_of(path), chunks=chunks, cache=False)
        dataset = decode_lazily(choose_group(groups))
        return with_dates(dataset) if by_chunks else dataset
    except ContractError as error:
        raise error.at(error.where or path.name) from error
    except (OSError, ValueError, KeyError) as error:
        raise UnreadableError("cannot be read as NetCDF or Zarr", where=path.name) from error


def _combined(parts: Sequence[_Part]) -> _Part:
    try:
        combined: xr.Dataset = xr.combine_by_coords(  # type: ignore[assignment]  # a Dataset, when made of Datasets
            [_without_bounds(part.dataset) for part in parts],
            data_vars="minimal",
            coords="minimal",
            compat="override",
            join="outer",
            combine_attrs="override",
        )
    except ValueError as error:
        raise StructureError(f"the files do not make one dataset: {str(error).splitlines()[0]}") from error
    for part in parts:
        _check_same_cells(combined, part)
    return _Part.of(combined)


def _check_same_cells(combined: xr.Dataset, part: _Part) -> None:
    """Raise CoordinateError if the cells of files do not coincide: the joined axis is then finer than the files'."""
    for dimension in part.dimensions.values():
        if dimension.axis not in ("y", "x") or dimension.coordinate != dimension.name:
            continue
        ours, all_of_them = (np.sort(d[dimension.name].values) for d in (part.dataset, combined))
        if len(ours) > 1 and np.diff(all_of_them).min() < 0.99 * np.diff(ours).min():
            raise CoordinateError("the files lie on grids that do not coincide", where=dimension.name)


def _without_bounds(part: xr.Dataset) -> xr.Dataset:
    """Return the dataset without variables that only describe its coordinates; files may disagree on them."""
    bounds = {v.attrs.get("bounds") or v.encoding.get("bounds") for v in part.variables.values()}
    descriptive = [n for n in part.coords if n not in part.dims and len(part[n].dims) != 1]
    descriptive += [n for n in part.coords if n not in part.dims and part[n].dims == ("time",)]
    return part.drop_vars([*descriptive, *(b for b in bounds if b in part)], errors="ignore")


def _on_dates(part: _Part) -> _Part:
    """Return the part with its times at midnight if it is daily, and unchanged otherwise."""
    if part.time is None:
        return part
    dim, coordinate = part.time
    stamps = part.dataset[coordinate].values
    if stamps.dtype.kind != "M" or (len(stamps) > 1 and np.median(np.diff(stamps)) != DAY):
        return part
    dates = stamps.astype("datetime64[D]").astype("datetime64[ns]")
    if len(np.unique(dates)) != len(dates):
        raise CoordinateError("has two frames on one day", where=coordinate)
    dated = part.dataset.assign_coords({coordinate: (dim, dates, part.dataset[coordinate].attrs)})
    return replace(part, dataset=dated)


def _grid_units(part: _Part) -> str:
    y = next((d for d in part.dimensions.values() if d.axis == "y"), None)
    return coordinate_units(part.dataset, y) if y is not None else ""


def _joined(grids: _Part, gauges: xr.Dataset) -> xr.Dataset:
    """Join grids and gauges on the grids' times; a day on which only gauges have values is left out."""
    if taken := sorted(set(map(str, grids.dataset.data_vars)) & set(map(str, gauges.data_vars))):
        raise StructureError("a grid and a table both hold a variable of this name", where=taken[0])
    if "time" not in gauges.dims:
        return xr.merge([grids.dataset, gauges], compat="no_conflicts", join="exact")
    if grids.time is None:
        raise CoordinateError("the grids have no time to join series to", where="time")
    dim, coordinate = grids.time
    gauges = gauges.rename(time=dim) if dim != "time" else gauges
    times = grids.dataset[coordinate].values
    if not np.isin(times, gauges[dim].values).any():
        ends = [f"{v[0]:.10} to {v[-1]:.10}" for v in (gauges[dim].values.astype(str), times.astype(str))]
        raise CoordinateError("series and grids share no time", where="time", got=ends[0], expected=ends[1])
    return xr.merge([grids.dataset, gauges.reindex({dim: times})], compat="no_conflicts", join="exact")
