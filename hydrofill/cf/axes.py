"""Recognise the dimensions of a dataset: time, y and x of the grid, and sites. Read their coordinates."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from hydrofill.cf.calendars import Times, as_microseconds, date_text, holds_times, read_times
from hydrofill.cf.longitudes import are_longitudes, near, side_by_side, unwrapped
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
EXPERIMENTS = "expver"  # the dimension of preliminary and final values in files of ERA5


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
    for dim, part in _by_first_dim(dataset).items():
        axes = {axis: name for name, axis in _coordinates_on(part, dim)}
        if _is_site(part, dim) or {"y", "x"} <= axes.keys():
            found[dim] = Dimension(dim, "site", _site_ids(part, dim))
        elif axes:
            axis = min(axes, key=["time", "y", "x"].index)
            found[dim] = Dimension(dim, axis, axes[axis])
        elif (guess := curvilinear.get(dim) or _axis_by_name(dim)) is not None:
            found[dim] = Dimension(dim, guess, dim if _has_own_coordinate(dataset, dim) else None)
    return found | _unnamed_sites(dataset, found)


def _unnamed_sites(dataset: xr.Dataset, found: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """Return the dimension of sites under another name: in data without fields, numbers lie on time and on it alone."""
    time = [d.name for d in found.values() if d.axis == "time"]
    if len(time) != 1 or len(found) > 1:
        return {}
    described = bounds_of(dataset)
    numbers = [v for n, v in dataset.data_vars.items() if v.dtype.kind == "f" and n not in described]
    beside = {str(dim) for v in numbers if v.ndim == 2 and time[0] in v.dims for dim in v.dims if v.sizes[dim] > 1}
    names = sorted(beside - {time[0], EXPERIMENTS} - {str(dim) for v in numbers if v.ndim > 2 for dim in v.dims})
    return {names[0]: Dimension(names[0], "site", _site_ids(dataset, names[0]))} if len(names) == 1 else {}


def bounds_of(dataset: xr.Dataset) -> set[str]:
    """Return the names of the variables that hold the bounds of coordinates (CF 1.11, section 7.1)."""
    texts = (v.attrs.get(k) or v.encoding.get(k) for v in dataset.variables.values() for k in ("bounds", "climatology"))
    return {str(text) for text in texts if text}


def coordinate_values(dataset: xr.Dataset, dimension: Dimension) -> np.ndarray:
    """Return the coordinate of a grid axis as float64; cell numbers if the dataset has no coordinate.

    Longitudes continue beyond a cut at Greenwich or at the date line. A two-dimensional coordinate counts if it varies
    along this dimension alone.

    Raises:
        CoordinateError: the coordinate is not numeric, not finite or not monotonic; names it.
    """
    if dimension.coordinate is None:
        found = _profile(dataset, dimension)
        return np.arange(dataset.sizes[dimension.name], dtype=np.float64) if found is None else found
    variable, name = dataset.variables[dimension.coordinate], dimension.coordinate
    if not np.issubdtype(variable.dtype, np.number):
        raise CoordinateError("the coordinate is not numeric", where=name, got=variable.dtype)
    values = variable.values.astype(np.float64)
    if not np.isfinite(values).all():
        raise CoordinateError("the coordinate is not finite", where=name, got=values[~np.isfinite(values)][0])
    if not _is_monotonic(values) and are_longitudes(variable, name):
        values = unwrapped(values)
    if not _is_monotonic(values):
        steps = np.sign(np.diff(variable.values.astype(np.float64)))
        turn = int(np.argmax(steps != steps[0])) if steps[0] else 0
        raise CoordinateError(
            "must be strictly monotonic",
            where=name,
            got=f"{variable.values[turn + 1]:g} after {variable.values[turn]:g}",
            expected="values that only increase or only decrease; sort the data and leave out repeated ones",
        )
    return values


def stored_coordinate(dataset: xr.Dataset, dimension: Dimension, axis: Axis) -> np.ndarray:
    """Return the coordinate along a dimension on an axis as it is stored, (n,) float64.

    Without a coordinate, cells have numbers, and the places of sites are unknown: NaN.
    """
    for name, on_axis in _coordinates_on(dataset, dimension.name):
        if on_axis == axis and np.issubdtype(dataset.variables[name].dtype, np.number):
            return dataset.variables[name].values.astype(np.float64)
    number = dataset.sizes[dimension.name]
    return np.full(number, np.nan) if dimension.axis == "site" else np.arange(number, dtype=np.float64)


def _is_monotonic(values: np.ndarray) -> bool:
    steps = np.diff(values)
    return bool((steps > 0).all() or (steps < 0).all())


def _profile(dataset: xr.Dataset, dimension: Dimension) -> np.ndarray | None:
    """Return the two-dimensional coordinate of a grid axis along it, if it varies along this dimension alone."""
    name = plane_coordinates(dataset).get(dimension.axis)
    if name is None or dimension.name not in dataset.variables[name].dims:
        return None
    variable = dataset.variables[name]
    values = variable.values.astype(np.float64)
    other = 1 - variable.dims.index(dimension.name)
    along: np.ndarray = np.asarray(values.take(0, axis=other))
    if not (np.isfinite(values).all() and (np.ptp(values, axis=other) == 0).all()):
        return None
    along = along if _is_monotonic(along) or not are_longitudes(variable, name) else unwrapped(along)
    return along if _is_monotonic(along) else None


def plane_coordinates(dataset: xr.Dataset) -> dict[Axis, str]:
    """Return the names of the two-dimensional y and x coordinates of a curvilinear grid, by axis."""
    return {axis: name for name, axis, _ in _plane(dataset)}


def coordinate_units(dataset: xr.Dataset, dimension: Dimension) -> str:
    """Return the units of a grid axis, with `degrees` for all spellings of degrees north or east; "" if not given."""
    if dimension.coordinate is None:
        return ""
    units = str(dataset.variables[dimension.coordinate].attrs.get("units", ""))
    return "degrees" if UNITS.match(units) else units


def time_values(dataset: xr.Dataset, name: str) -> Times:
    """Return the time axis, (T,), and its calendar.

    Raises:
        CoordinateError: the variable is not a CF time axis, a time is missing or outside the supported range of years,
            or times do not increase.
    """
    times = read_times(dataset.variables[name], name)
    check_times(times.elapsed, name)
    if np.isnat(times.elapsed).any():
        missing = int(np.argmax(np.isnat(times.elapsed)))
        raise CoordinateError("has a missing time", where=name, got=f"none at step {missing}")
    late = np.diff(times.elapsed) <= np.timedelta64(0)
    if late.any():
        at = int(np.argmax(late))
        before, after = (date_text(t, times.calendar) for t in times.elapsed[at : at + 2])
        raise CoordinateError(
            "must increase",
            where=name,
            got=f"{after} after {before}",
            expected="each time once, in order; sort the data and leave out repeated times",
        )
    return times


def check_times(times: np.ndarray, where: str = "time") -> np.ndarray:
    """Return `times`, (T,) datetime64 of any unit, as datetime64[us].

    Raises:
        CoordinateError: there is no time, or a time is outside the supported range of years; names its number.
    """
    if len(times) == 0:
        raise CoordinateError("must have at least one time", where=where)
    return as_microseconds(times, where)


def site_place(dataset: xr.Dataset, dim: str, axis: Literal["y", "x"], grid: np.ndarray) -> np.ndarray:
    """Return the coordinate of each site along one grid axis, (N,) float64; longitudes near those of the grid.

    Unknown places are NaN.

    Args:
        dataset: with the sites.
        dim: the dimension of the sites.
        axis: the axis of the grid.
        grid: the coordinate of the grid's cells along the axis; empty without a grid.
    """
    for name, on_axis in _coordinates_on(dataset, dim):
        variable = dataset.variables[name]
        if on_axis == axis and np.issubdtype(variable.dtype, np.number):
            place = variable.values.astype(np.float64)
            known = np.isfinite(place)
            if known.any() and are_longitudes(variable, name):
                place[known] = near(place[known], grid) if len(grid) else side_by_side(place[known])
            return place
    return np.full(dataset.sizes[dim], np.nan)


def has_longitudes(dataset: xr.Dataset, x: Dimension | None, site: Dimension | None) -> bool:
    """Return whether the x axis of the grid, or of the sites where there is no grid, is of longitudes."""
    if x is not None:
        name = x.coordinate or plane_coordinates(dataset).get("x")
        return name is not None and are_longitudes(dataset.variables[name], name)
    on_sites = _coordinates_on(dataset, site.name) if site is not None else []
    return any(axis == "x" and are_longitudes(dataset.variables[name], name) for name, axis in on_sites)


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
        check_names_of_dimensions(dataset)
        raise CoordinateError("the dataset has no time coordinate", where="time", got=sorted(map(str, dataset.sizes)))
    return time.name, time.coordinate


def check_names_of_dimensions(dataset: xr.Dataset) -> None:
    """Check that no variable has dimensions without names, as plain HDF5 files have.

    Raises:
        StructureError: a variable has; names the largest one.
    """
    by_size = sorted(dataset.data_vars.items(), key=lambda item: -item[1].size)
    for name, variable in by_size:
        nameless = [size for dim, size in variable.sizes.items() if str(dim).startswith("phony_dim_")]
        if variable.ndim > 1 and nameless:
            raise StructureError(
                "the file does not say which dimension is time, y or x: it is HDF5 without dimension scales",
                where=str(name),
                got=f"dimensions without names, of length {', '.join(map(str, variable.shape))}",
                expected="dimension scales such as time, lat and lon with units, as NetCDF-4 files have",
            )


@dataclass
class _Part:
    """The variables of a dataset whose first dimension is one and the same."""

    variables: dict[str, xr.Variable]
    coords: Container[str]


def _by_first_dim(dataset: xr.Dataset) -> dict[str, _Part]:
    """Return the part of each dimension: looking at all variables for each would take the square of their number."""
    names = frozenset(map(str, dataset.coords))
    parts = {str(dim): _Part({}, names) for dim in dataset.sizes}
    for name, variable in dataset.variables.items():
        if variable.dims:
            parts[str(variable.dims[0])].variables[str(name)] = variable
    return parts


def _coordinates_on(dataset: xr.Dataset | _Part, dim: str) -> list[tuple[str, Axis]]:
    """Return the 1-D variables along `dim` whose axis is recognised; the variable named as `dim` comes first."""
    names = [str(n) for n, v in dataset.variables.items() if v.dims == (dim,)]
    names.sort(key=lambda n: n != dim)
    axes = [(n, _axis_of(dataset, n, coordinate=n in dataset.coords)) for n in names]
    return [(n, axis) for n, axis in axes if axis is not None]


def _curvilinear(dataset: xr.Dataset) -> dict[str, Axis]:
    """Return the dimensions of two-dimensional y and x coordinates; the first is the y axis, the second the x axis."""
    return {str(dim): axis for _, _, dims in _plane(dataset) for dim, axis in zip(dims, PLANE, strict=True)}


def _plane(dataset: xr.Dataset) -> list[tuple[str, Axis, tuple[str, ...]]]:
    """Return name, axis and dimensions of each two-dimensional y or x coordinate.

    Two-dimensional bounds of a one-dimensional coordinate do not count.
    """
    straight = {dim for dim, part in _by_first_dim(dataset).items() if _coordinates_on(part, dim)}
    found = []
    for name, variable in dataset.variables.items():
        if variable.ndim == 2 and straight.isdisjoint(variable.dims):
            axis = _axis_of(dataset, str(name), coordinate=name in dataset.coords)
            if axis in PLANE:
                found.append((str(name), axis, tuple(map(str, variable.dims))))
    return found


def _has_own_coordinate(dataset: xr.Dataset | _Part, dim: str) -> bool:
    """Return whether a dimension has a coordinate of its name; a two-dimensional one of that name does not count."""
    return dim in dataset.variables and dataset.variables[dim].dims == (dim,)


def _axis_of(dataset: xr.Dataset | _Part, name: str, coordinate: bool) -> Axis | None:
    """Return the axis of a variable by its attributes, or by its type and name if the variable is a coordinate."""
    attrs = dataset.variables[name].attrs
    if (standard := str(attrs.get("standard_name", ""))) in STANDARD_NAMES:
        return STANDARD_NAMES[standard]
    if (letter := str(attrs.get("axis", "")).upper()) in AXIS_ATTRIBUTE:
        return AXIS_ATTRIBUTE[letter]
    if side := UNITS.match(str(attrs.get("units", ""))):
        return "y" if side["side"].lower().startswith("n") else "x"
    if holds_times(dataset.variables[name]):
        return "time" if coordinate else None
    return _axis_by_name(name) if coordinate else None


def _axis_by_name(name: str) -> Axis | None:
    return next((axis for pattern, axis in USUAL_NAMES if re.match(pattern, name, re.IGNORECASE)), None)


def _is_site(dataset: xr.Dataset | _Part, dim: str) -> bool:
    return SITE_NAMES.match(dim) is not None or _site_role(dataset, dim) is not None


def _site_role(dataset: xr.Dataset | _Part, dim: str) -> str | None:
    """Return the variable that is marked as the identifier of the sites (CF section 9.5); None if there is none."""
    for name, variable in dataset.variables.items():
        if variable.attrs.get("cf_role") == "timeseries_id" and variable.dims[:1] == (dim,):
            return str(name)
    return None


def _site_ids(dataset: xr.Dataset | _Part, dim: str) -> str | None:
    if (role := _site_role(dataset, dim)) is not None:
        return role
    if _has_own_coordinate(dataset, dim):
        return dim
    texts = [str(n) for n, v in dataset.variables.items() if v.dims == (dim,) and v.dtype.kind in "OUS"]
    return texts[0] if texts else None
