"""Read the coordinates of the dimensions of a dataset: times, places of cells and of sites."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from hydrofill.cf.axes import UNITS, Axis, Dimension, coordinates_on, plane_coordinates
from hydrofill.cf.calendars import Times, as_microseconds, date_text, read_times
from hydrofill.cf.longitudes import are_longitudes, near, side_by_side, unwrapped
from hydrofill.errors import CoordinateError


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
    for name, on_axis in coordinates_on(dataset, dimension.name):
        if on_axis == axis and np.issubdtype(dataset.variables[name].dtype, np.number):
            return dataset.variables[name].values.astype(np.float64)
    number = dataset.sizes[dimension.name]
    return np.full(number, np.nan) if dimension.axis == "site" else np.arange(number, dtype=np.float64)


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
    for name, on_axis in coordinates_on(dataset, dim):
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
    on_sites = coordinates_on(dataset, site.name) if site is not None else []
    return any(axis == "x" and are_longitudes(dataset.variables[name], name) for name, axis in on_sites)


def site_units(dataset: xr.Dataset, dim: str) -> str:
    """Return the units of the x coordinates of sites that are no longitudes; "" if not given."""
    name = next((name for name, axis in coordinates_on(dataset, dim) if axis == "x"), None)
    return "" if name is None else str(dataset.variables[name].attrs.get("units", ""))


def site_names(dataset: xr.Dataset, dimension: Dimension) -> np.ndarray:
    """Return the identifiers of the sites, (N,) strings; their numbers if the dataset has no identifiers."""
    if dimension.coordinate is None:
        return np.arange(dataset.sizes[dimension.name]).astype(str)
    return dataset.variables[dimension.coordinate].values.astype(str)


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


def _is_monotonic(values: np.ndarray) -> bool:
    steps = np.diff(values)
    return bool((steps > 0).all() or (steps < 0).all())
