"""Files of any number as one dataset, opened and not loaded: grids by their coordinates, tables of gauges by id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from hydrofill.cf.axes import coordinate_units, one_of, recognise
from hydrofill.errors import CoordinateError, StructureError, UnreadableError
from model.data.tables import TABLES, read_tables

DAY = np.timedelta64(1, "D")


def open_sources(paths: Sequence[Path]) -> xr.Dataset:
    """NetCDF files, Zarr stores and tables of gauges (CSV, Parquet) as one dataset; folders stand for what they hold.

    Values of grids are not loaded. Where several sources are daily, their times become dates, for one file's day may
    be stamped at noon and another's at midnight.

    Raises:
        FileNotFoundError: a path does not exist. ContractError: what cannot be read or joined, by name.
    """
    files = [file for path in paths for file in _listed(path)]
    tables = [file for file in files if file.suffix in TABLES]
    grids_in = [file for file in files if file.suffix not in TABLES]
    parts = [_open(file, by_chunks=len(grids_in) > 1) for file in grids_in]
    if not files:
        raise UnreadableError("no file is given", expected=".nc, .zarr, .csv or .parquet")
    grid_units = _grid_units(parts[0]) if parts else ""
    if len(parts) + bool(tables) > 1:
        parts = [_on_dates(part) for part in parts]
    grids = _combined(parts) if len(parts) > 1 else parts[0] if parts else None
    if not tables:
        assert grids is not None
        return grids
    gauges = _on_dates(read_tables(tables, grid_units))
    return gauges if grids is None else _joined(grids, gauges)


def _listed(path: Path) -> list[Path]:
    """The path itself, or the files in a folder that is no Zarr store, in order of name."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if not path.is_dir() or (path / ".zgroup").exists() or (path / "zarr.json").exists():
        return [path]
    inside = sorted(p for p in path.iterdir() if p.suffix in (".nc", ".nc4", ".zarr", *TABLES))
    if not inside:
        raise UnreadableError("holds no data", where=path.name, expected=".nc, .zarr, .csv or .parquet files")
    return inside


def _open(path: Path, by_chunks: bool) -> xr.Dataset:
    """The file, not loaded; by dask's chunks where it will be joined to others, for that costs time in every window."""
    try:
        return xr.open_dataset(path, engine=_engine(path), chunks={} if by_chunks else None, cache=False)
    except (OSError, ValueError, KeyError) as error:
        raise UnreadableError("cannot be read as NetCDF or Zarr", where=path.name) from error


def _engine(path: Path) -> str:
    if path.is_dir():
        return "zarr"
    with path.open("rb") as file:
        return "scipy" if file.read(3) == b"CDF" else "h5netcdf"  # classic NetCDF, else NetCDF 4


def _combined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    try:
        combined: xr.Dataset = xr.combine_by_coords(  # type: ignore[assignment]  # a Dataset, when made of Datasets
            [_without_bounds(part) for part in parts],
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
    return combined


def _check_same_cells(combined: xr.Dataset, part: xr.Dataset) -> None:
    """Files may be tiles of one grid; where their cells do not coincide, the joined axis is finer than theirs."""
    for dimension in recognise(part).values():
        if dimension.axis not in ("y", "x") or dimension.coordinate != dimension.name:
            continue
        ours, all_of_them = (np.sort(d[dimension.name].values) for d in (part, combined))
        if len(ours) > 1 and np.diff(all_of_them).min() < 0.99 * np.diff(ours).min():
            raise CoordinateError("the files lie on grids that do not coincide", where=dimension.name)


def _without_bounds(part: xr.Dataset) -> xr.Dataset:
    """The dataset without what only describes its coordinates; files disagree on it, and nobody reads it here."""
    bounds = {v.attrs.get("bounds") or v.encoding.get("bounds") for v in part.variables.values()}
    beside = [n for n in part.coords if n not in part.dims and len(part[n].dims) != 1]
    beside += [n for n in part.coords if n not in part.dims and part[n].dims == ("time",)]
    return part.drop_vars([*beside, *(b for b in bounds if b in part)], errors="ignore")


def _on_dates(part: xr.Dataset) -> xr.Dataset:
    """The dataset with its times at midnight where it is daily, and as it is otherwise."""
    time = one_of(recognise(part).values(), "time")
    if time is None or time.coordinate is None:
        return part
    stamps = part[time.coordinate].values
    if stamps.dtype.kind != "M" or (len(stamps) > 1 and np.median(np.diff(stamps)) != DAY):
        return part
    dates = stamps.astype("datetime64[D]").astype("datetime64[ns]")
    if len(np.unique(dates)) != len(dates):
        raise CoordinateError("has two frames on one day", where=time.coordinate)
    return part.assign_coords({time.coordinate: (time.name, dates, part[time.coordinate].attrs)})


def _grid_units(part: xr.Dataset) -> str:
    dimensions = recognise(part)
    y = next((d for d in dimensions.values() if d.axis == "y"), None)
    return coordinate_units(part, y) if y is not None else ""


def _joined(grids: xr.Dataset, gauges: xr.Dataset) -> xr.Dataset:
    """Grids with gauges beside them, on the grids' times; a day on which gauges alone have values is left out."""
    if taken := sorted(set(map(str, grids.data_vars)) & set(map(str, gauges.data_vars))):
        raise StructureError("a grid and a table both hold a variable of this name", where=taken[0])
    time = one_of(recognise(grids).values(), "time")
    if "time" not in gauges.dims:
        return xr.merge([grids, gauges], compat="no_conflicts", join="exact")
    if time is None or time.coordinate is None:
        raise CoordinateError("the grids have no time to join series to", where="time")
    gauges = gauges.rename(time=time.name) if time.name != "time" else gauges
    if not np.isin(grids[time.coordinate].values, gauges[time.name].values).any():
        ends = [
            f"{v[0]:.10} to {v[-1]:.10}"
            for v in (gauges[time.name].values.astype(str), grids[time.coordinate].values.astype(str))
        ]
        raise CoordinateError("series and grids share no time", where="time", got=ends[0], expected=ends[1])
    return xr.merge(
        [grids, gauges.reindex({time.name: grids[time.coordinate].values})], compat="no_conflicts", join="exact"
    )
