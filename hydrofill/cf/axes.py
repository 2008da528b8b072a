"""Recognise the dimensions of a dataset: time, y and x of the grid, and sites. Read their coordinates."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from hydrofill.errors import CoordinateError, StructureError

Axis = Literal["time", "y", "x", "site"]

# Names and units that identify an axis, by the CF conventions 1.11, sections 4.1 to 4.4 and appendix C.
STANDARD_NAMES: dict[str, Axis] = {
    "time": "time",
    "latitude": "y",
    "grid_latitude": "y",
    "projection_y_coordinate": "y",
    "longitude": "x",
    "grid_longitude": "x",
    "projection_x_coordinate": "x",
}
PLANE: tuple[Axis, Axis] = ("y", "x")
AXIS_ATTRIBUTE: dict[str, Axis] = {"T": "time", "Y": "y", "X": "x"}
UNITS = re.compile(r"^degrees?_?(?P<side>north|n|east|e)$", re.IGNORECASE)
USUAL_NAMES: tuple[tuple[str, Axis], ...] = (
    (r"^(time|t|date|datetime|valid_time)$", "time"),
    (r"^(y|yc|r?lat|latitude|nav_lat|northing|projection_y_coordinate|(.*_)(y|lat|latitude|northing))$", "y"),
    (r"^(x|xc|r?lon|longitude|nav_lon|easting|projection_x_coordinate|(.*_)(x|lon|longitude|easting))$", "x"),
    (r"^(n?j|n_?y|n_?lat|rows?|south_north)$", "y"),
    (r"^(n?i|n_?x|n_?lon|col(umn)?s?|west_east)$", "x"),
)
SITE_NAMES = re.compile(
    r"^(n_?)?(site|station|gauge|gage|basin|catchment|location|point)s?(_?(id|code))?$", re.IGNORECASE
)
FIRST_YEAR, LAST_YEAR = 1678, 2261  # the whole years that 64-bit nanoseconds can represent


@dataclass(frozen=True)
class Dimension:
    """A recognised dimension: its axis, and the variable that holds its coordinate; None if there is none."""

    name: str
    axis: Axis
    coordinate: str | None


def recognise(dataset: xr.Dataset) -> dict[str, Dimension]:
    """Return the dimensions whose axis is recognised, by their names in `dataset`."""
    found: dict[str, Dimension] = {}
    curvilinear = _curvilinear(dataset)
    for dim in map(str, dataset.sizes):
        axes = {axis: name for name, axis in _coordinates_on(dataset, dim)}
        if _is_site(dataset, dim) or {"y", "x"} <= axes.keys():
            found[dim] = Dimension(dim, "site", _site_ids(dataset, dim))
        elif axes:
            axis = min(axes, key=["time", "y", "x"].index)
            found[dim] = Dimension(dim, axis, axes[axis])
        elif (guess := curvilinear.get(dim) or _axis_by_name(dim)) is not None:
            found[dim] = Dimension(dim, guess, dim if dim in dataset.variables else None)
    return found


def coordinate_values(dataset: xr.Dataset, dimension: Dimension) -> np.ndarray:
    """Return the coordinate of a grid axis as float64; cell numbers if the dataset has no coordinate.

    Raises:
        CoordinateError: the coordinate is not numeric.
    """
    if dimension.coordinate is None:
        return np.arange(dataset.sizes[dimension.name], dtype=np.float64)
    values = dataset.variables[dimension.coordinate].values
    if not np.issubdtype(values.dtype, np.number):
        raise CoordinateError("the coordinate is not numeric", where=dimension.coordinate, got=values.dtype)
    return values.astype(np.float64)


def coordinate_units(dataset: xr.Dataset, dimension: Dimension) -> str:
    """Return the units of a grid axis, with `degrees` for all spellings of degrees north or east; "" if not given."""
    if dimension.coordinate is None:
        return ""
    units = str(dataset.variables[dimension.coordinate].attrs.get("units", ""))
    return "degrees" if UNITS.match(units) else units


def time_values(dataset: xr.Dataset, name: str) -> np.ndarray:
    """Return the time axis as datetime64[ns], (T,).

    Raises:
        CoordinateError: the variable is not a CF time axis, a time is outside the supported range of years, or a date
            does not exist in the standard calendar.
    """
    times = dataset.variables[name]
    if np.issubdtype(times.dtype, np.datetime64):
        return check_times(times.values, name)
    if times.dtype == object and len(times):
        try:
            dates = np.array([np.datetime64(t.isoformat()) for t in times.values], dtype="datetime64[us]")
        except (AttributeError, ValueError) as error:
            raise CoordinateError("has dates that do not exist in the standard calendar", where=name) from error
        return check_times(dates, name)
    raise CoordinateError(
        "is not a CF time axis",
        where=name,
        got=times.dtype,
        expected="numbers with units such as 'days since 2000-01-01'",
    )


def check_times(times: np.ndarray, where: str = "time") -> np.ndarray:
    """Return `times`, (T,) datetime64 of any unit, as datetime64[ns].

    Raises:
        CoordinateError: there is no time, or a time is outside the supported range of years; names its number.
    """
    if len(times) == 0:
        raise CoordinateError("must have at least one time", where=where)
    missing = np.isnat(times)
    check_years(np.where(missing, FIRST_YEAR, times.astype("datetime64[Y]").astype(np.int64) + 1970), where)
    return times.astype("datetime64[ns]")


def check_years(years: np.ndarray, where: str) -> None:
    """Raise CoordinateError if a year, (T,) int, cannot be represented in 64-bit nanoseconds; names its number."""
    outside = (years < FIRST_YEAR) | (years > LAST_YEAR)
    if outside.any():
        number = int(np.argmax(outside))
        raise CoordinateError(
            "is outside the supported range of years",
            where=f"{where}/{number}",
            got=f"year {years[number]}",
            expected=f"years {FIRST_YEAR} to {LAST_YEAR}",
        )


def site_place(dataset: xr.Dataset, dim: str, axis: Literal["y", "x"]) -> np.ndarray:
    """Return the coordinate of each site along one grid axis, (N,) float64.

    Raises:
        CoordinateError: the dataset has no such coordinate along `dim`.
    """
    for name, on_axis in _coordinates_on(dataset, dim):
        if on_axis == axis and np.issubdtype(dataset.variables[name].dtype, np.number):
            return dataset.variables[name].values.astype(np.float64)
    raise CoordinateError(
        f"the sites have no {axis} coordinate", where=dim, expected=f"a coordinate such as site_{axis}({dim})"
    )


def site_names(dataset: xr.Dataset, dimension: Dimension) -> np.ndarray:
    """Return the identifiers of the sites, (N,) strings; their numbers if the dataset has no identifiers."""
    if dimension.coordinate is None:
        return np.arange(dataset.sizes[dimension.name]).astype(str)
    return dataset.variables[dimension.coordinate].values.astype(str)


def one_of(dimensions: Iterable[Dimension], axis: Axis) -> Dimension | None:
    """Return the only dimension on `axis`; None if there is none.

    Raises:
        StructureError: several dimensions are on this axis.
    """
    found = [d for d in dimensions if d.axis == axis]
    if len(found) > 1:
        raise StructureError(f"several dimensions are recognised as {axis}", got=sorted(d.name for d in found))
    return found[0] if found else None


def find_time(dataset: xr.Dataset, dimensions: Iterable[Dimension]) -> tuple[str, str]:
    """Return the names of the time dimension and of the coordinate on it.

    Raises:
        CoordinateError: there is no time dimension, or no coordinate on it.
        StructureError: several dimensions look like time.
    """
    time = one_of(dimensions, "time")
    if time is None or time.coordinate is None:
        raise CoordinateError("the dataset has no time coordinate", where="time", got=sorted(map(str, dataset.sizes)))
    return time.name, time.coordinate


def _coordinates_on(dataset: xr.Dataset, dim: str) -> list[tuple[str, Axis]]:
    """Return the 1-D variables along `dim` whose axis is recognised; the variable named as `dim` comes first."""
    names = [str(n) for n, v in dataset.variables.items() if v.dims == (dim,)]
    names.sort(key=lambda n: n != dim)
    axes = [(n, _axis_of(dataset, n, coordinate=n in dataset.coords)) for n in names]
    return [(n, axis) for n, axis in axes if axis is not None]


def _curvilinear(dataset: xr.Dataset) -> dict[str, Axis]:
    """Return the dimensions of two-dimensional y and x coordinates; the first is the y axis, the second the x axis.

    Two-dimensional bounds of a one-dimensional coordinate do not count.
    """
    straight = {dim for dim in map(str, dataset.sizes) if _coordinates_on(dataset, dim)}
    plane = [(n, v.dims) for n, v in dataset.variables.items() if v.ndim == 2 and straight.isdisjoint(v.dims)]
    grids = [dims for n, dims in plane if _axis_of(dataset, str(n), coordinate=n in dataset.coords) in ("y", "x")]
    return {str(dim): axis for dims in grids for dim, axis in zip(dims, PLANE, strict=True)}


def _axis_of(dataset: xr.Dataset, name: str, coordinate: bool) -> Axis | None:
    """Return the axis of a variable by its attributes, or by its type and name if the variable is a coordinate."""
    attrs = dataset.variables[name].attrs
    if (standard := str(attrs.get("standard_name", ""))) in STANDARD_NAMES:
        return STANDARD_NAMES[standard]
    if (letter := str(attrs.get("axis", "")).upper()) in AXIS_ATTRIBUTE:
        return AXIS_ATTRIBUTE[letter]
    if side := UNITS.match(str(attrs.get("units", ""))):
        return "y" if side["side"].lower().startswith("n") else "x"
    if np.issubdtype(dataset.variables[name].dtype, np.datetime64):
        return "time" if coordinate else None
    return _axis_by_name(name) if coordinate else None


def _axis_by_name(name: str) -> Axis | None:
    return next((axis for pattern, axis in USUAL_NAMES if re.match(pattern, name, re.IGNORECASE)), None)


def _is_site(dataset: xr.Dataset, dim: str) -> bool:
    return SITE_NAMES.match(dim) is not None or _site_role(dataset, dim) is not None


def _site_role(dataset: xr.Dataset, dim: str) -> str | None:
    """Return the variable that is marked as the identifier of the sites (CF section 9.5); None if there is none."""
    for name, variable in dataset.variables.items():
        if variable.attrs.get("cf_role") == "timeseries_id" and variable.dims[:1] == (dim,):
            return str(name)
    return None


def _site_ids(dataset: xr.Dataset, dim: str) -> str | None:
    if (role := _site_role(dataset, dim)) is not None:
        return role
    if dim in dataset.variables:
        return dim
    texts = [str(n) for n, v in dataset.variables.items() if v.dims == (dim,) and v.dtype.kind in "OUS"]
    return texts[0] if texts else None
