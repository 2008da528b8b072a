"""Recognise the dimensions of a dataset: time, y and x of the grid, and sites."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import xarray as xr

from hydrofill.cf.calendars import holds_times
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
        axes = {axis: name for name, axis in coordinates_on(part, dim)}
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


def plane_coordinates(dataset: xr.Dataset) -> dict[Axis, str]:
    """Return the names of the two-dimensional y and x coordinates of a curvilinear grid, by axis."""
    return {axis: name for name, axis, _ in _plane(dataset)}


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


def coordinates_on(dataset: xr.Dataset | _Part, dim: str) -> list[tuple[str, Axis]]:
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
    straight = {dim for dim, part in _by_first_dim(dataset).items() if coordinates_on(part, dim)}
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
