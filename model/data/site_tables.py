"""Tables of gauges, CSV or Parquet: attributes (a row for each gauge) and series (for each gauge and day), by id."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from hydrofill.errors import CoordinateError, StructureError, UnknownVariableError, UnreadableError

TABLES = (".csv", ".parquet")
ID = re.compile(r"^(gauge|gage|site|station|basin|catchment)s?(_?(id|code))?$|^id$", re.IGNORECASE)
DATE = re.compile(r"^(date|time|datetime|day)$", re.IGNORECASE)
ID_IN_NAME = re.compile(r"_([0-9A-Za-z]+)_\d{8}-\d{8}$|_([0-9A-Za-z]+)$")  # of a file that holds one gauge's series
UNIT_IN_NAME = re.compile(r"^(?P<name>.*?)\s*\[(?P<units>[^\]]*)\]$")  # "river_flow [m3 s-1]"
PLACES = {  # columns with a gauge's place, y and x, by the units of the grid
    "m": (r"^(.*_)?(northing|y|y_m)$", r"^(.*_)?(easting|x|x_m)$"),
    "degrees": (r"^(.*_)?(lat|latitude)$", r"^(.*_)?(lon|long|longitude)$"),
}


@dataclass(frozen=True)
class Column:
    """Name and units in the dataset of a known column; other columns of a series need `[units]` in their name."""

    name: str
    units: str
    standard_name: str = ""


# Source: CAMELS-GB (Coxon et al. 2020, Earth Syst. Sci. Data 12:2459), tables 1 and 2. Catchment means of rain and
# temperature are left out: the grids hold them.
CAMELS_GB: Mapping[str, Column] = {
    "discharge_vol": Column("river_flow", "m3 s-1", "water_volume_transport_in_river_channel"),
    "pet": Column("pet", "mm day-1", "water_potential_evaporation_flux"),
    "area": Column("area", "km2"),
    "elev_mean": Column("elev_mean", "m"),
    "dpsbar": Column("dpsbar", "m km-1"),
    "p_mean": Column("p_mean", "mm day-1"),
    "pet_mean": Column("pet_mean", "mm day-1"),
}


def read_tables(paths: Sequence[Path], grid_units: str, columns: Mapping[str, Column] = CAMELS_GB) -> xr.Dataset:
    """Read series (time, site) and attributes (site) from tables of gauges, joined by gauge id, with their places.

    A table with a date column holds series; the gauge is in its id column or else in the file's name. A table without
    a date column holds attributes; all its numeric columns are taken. If any gauge has series, gauges without series
    are left out.

    Args:
        paths: .csv or .parquet.
        grid_units: units of the gauges' coordinates, "m" or "degrees"; with "", metres are preferred.
        columns: names and units of known columns.

    Raises:
        UnreadableError, StructureError, CoordinateError, UnknownVariableError: names the file, column or gauge.
    """
    attributes: list[tuple[Path, pd.DataFrame]] = []
    series: list[tuple[Path, pd.DataFrame]] = []
    for path in paths:
        table = _read(path)
        (series if _column(table, DATE) else attributes).append((path, table))
    if not attributes:
        raise CoordinateError(
            "no table gives the places of the gauges", where="site", expected="one row for each gauge, no dates"
        )
    known = _join_attributes(attributes)
    dataset = _series(series, columns)
    if series:
        known = _of_gauges(known, dataset["site"].values)
    place_y, place_x = _places(known, grid_units)
    dataset = dataset.assign_coords(site=known.index.to_numpy(str))
    dataset = dataset.assign_coords(site_y=("site", known[place_y]), site_x=("site", known[place_x]))
    for name, units in (("site_y", place_y), ("site_x", place_x)):
        dataset[name].attrs["units"] = "m" if re.match("|".join(PLACES["m"]), units) else "degrees"
    numeric = known.drop(columns=[c for pair in PLACES.values() for c in _matching(known, pair)])
    for label in numeric.select_dtypes("number").columns:
        column = _named(label, columns)
        attrs = {"units": column.units} if column.units else {}
        dataset[column.name] = ("site", known[label].to_numpy(np.float32), attrs)
    dataset["site"].attrs["cf_role"] = "timeseries_id"
    return dataset


def _read(path: Path) -> pd.DataFrame:
    """Read the table, gauge ids as text."""
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            head = pd.read_csv(path, nrows=0)
            table = pd.read_csv(path, dtype={c: str for c in head.columns if ID.match(c)})
    except ImportError as error:
        raise UnreadableError("Parquet needs the package pyarrow", where=path.name) from error
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise UnreadableError("cannot be read as a table", where=path.name) from error
    if (gauge := _column(table, ID)) is not None:
        table[gauge] = table[gauge].astype(str)
    return table


def _join_attributes(tables: Sequence[tuple[Path, pd.DataFrame]]) -> pd.DataFrame:
    """Join all attributes by gauge id, in the order of the first table."""
    joined: pd.DataFrame | None = None
    for path, table in tables:
        gauge = _column(table, ID)
        if gauge is None:
            raise StructureError("has no column of gauge ids", where=path.name, got=list(table.columns)[:8])
        twice = table[gauge][table[gauge].duplicated()]
        if len(twice):
            raise StructureError("a gauge has two rows", where=path.name, got=str(twice.iloc[0]))
        table = table.set_index(gauge)
        new = [c for c in table.columns if joined is None or c not in joined.columns]
        joined = table if joined is None else joined.join(table[new], how="outer")
    assert joined is not None
    return joined


def _series(tables: Sequence[tuple[Path, pd.DataFrame]], columns: Mapping[str, Column]) -> xr.Dataset:
    """Return every known column of the series as (time, site) float32, sites in ascending order of id."""
    parts: dict[Column, list[pd.DataFrame]] = {}
    for path, table in tables:
        gauge, date = _column(table, ID), _column(table, DATE)
        assert date is not None
        ids = table[gauge] if gauge is not None else _id_in_name(path)
        times = pd.to_datetime(table[date], errors="coerce")
        if times.isna().any():
            raise CoordinateError("a date cannot be read", where=path.name)
        for label in table.columns.drop([c for c in (gauge, date) if c is not None]):
            column = _named(label, columns)
            if not column.units:
                continue  # a number without units is not a measurement
            values = pd.to_numeric(table[label], errors="coerce")
            parts.setdefault(column, []).append(pd.DataFrame({"site": ids, "time": times, "value": values}))
    if tables and not parts:
        raise UnknownVariableError(
            "no column is known, and none has units in its name",
            where=tables[0][0].name,
            got=list(tables[0][1].columns),
            expected=f"some of {sorted(columns)}, or a name such as 'level [m]'",
        )
    return xr.merge([_pivoted(column, part) for column, part in parts.items()], join="outer", compat="no_conflicts")


def _pivoted(column: Column, parts: Sequence[pd.DataFrame]) -> xr.Dataset:
    table = pd.concat(parts, ignore_index=True)
    twice = table[table.duplicated(["site", "time"])]
    if len(twice):
        raise StructureError(
            "a gauge has two values at one time",
            where=column.name,
            got=f"{twice['site'].iloc[0]} at {twice['time'].iloc[0]:%Y-%m-%d}",
        )
    wide = table.pivot(index="time", columns="site", values="value").astype(np.float32)
    attrs = {"units": column.units} | ({"standard_name": column.standard_name} if column.standard_name else {})
    time = wide.index.to_numpy().astype("datetime64[ns]")
    return xr.Dataset(
        {column.name: (("time", "site"), wide.to_numpy(), attrs)}, {"time": time, "site": wide.columns.to_numpy(str)}
    )


def _of_gauges(known: pd.DataFrame, ids: np.ndarray) -> pd.DataFrame:
    missing = [str(gauge) for gauge in ids if gauge not in known.index]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise CoordinateError(f"{len(missing)} gauges have a series but no row of attributes", where="site", got=shown)
    return known.loc[ids]


def _places(known: pd.DataFrame, grid_units: str) -> tuple[str, str]:
    """Return the columns of the gauges' y and x."""
    for units in (grid_units,) if grid_units in PLACES else ("m", "degrees"):
        y, x = (next(iter(_matching(known, (pattern,))), None) for pattern in PLACES[units])
        if y is None or x is None:
            continue
        for column in (y, x):
            if not np.isfinite(pd.to_numeric(known[column], errors="coerce")).all():
                gauge = known.index[~np.isfinite(pd.to_numeric(known[column], errors="coerce"))][0]
                raise CoordinateError("a gauge has no place", where=f"{gauge}/{column}")
        return y, x
    expected = "columns such as gauge_northing and gauge_easting" if grid_units != "degrees" else "lat and lon"
    raise CoordinateError("the tables do not give the places of the gauges", where="site", expected=expected)


def _matching(table: pd.DataFrame, patterns: Sequence[str]) -> list[str]:
    return [str(c) for c in table.columns if any(re.match(p, str(c), re.IGNORECASE) for p in patterns)]


def _column(table: pd.DataFrame, pattern: re.Pattern[str]) -> str | None:
    return next((str(c) for c in table.columns if pattern.match(str(c))), None)


def _id_in_name(path: Path) -> str:
    found = ID_IN_NAME.search(path.stem)
    if found is None:
        raise StructureError("neither a column nor the file's name gives the gauge", where=path.name)
    return str(found[1] or found[2])


def _named(label: str, columns: Mapping[str, Column]) -> Column:
    """Return the known column, or a column with the units in its name, or one without units.

    Characters that a variable's name cannot have become _.
    """
    if label in columns:
        return columns[label]
    found = UNIT_IN_NAME.match(label)
    name, units = (found["name"], found["units"]) if found else (label, "")
    return Column(re.sub(r"[^A-Za-z0-9_.\-]+|^(?=[^A-Za-z_])", "_", name), units)
