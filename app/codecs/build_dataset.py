"""Builds a dataset from named arrays and axes, for the formats without dimensions of their own (JSON, NPZ)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hydrofill.cf.variables import COMPANIONS
from hydrofill.cube import DIMS, Kind
from hydrofill.errors import CoordinateError, StructureError
from hydrofill.general.layout import check_name

Y_NAMES, X_NAMES = ("y", "lat"), ("x", "lon")
GRID_NAMES = (frozenset({"y", "x"}), frozenset({"lat", "lon"}))
SITE_PLACES = tuple(f"site_{name}" for name in (*Y_NAMES, *X_NAMES))
COORDINATES = frozenset({"time", *Y_NAMES, *X_NAMES, "site", *SITE_PLACES})
AXIS_UNITS = {"lat": "degrees_north", "lon": "degrees_east"}


@dataclass(frozen=True, eq=False)
class NamedArray:
    """A variable by the name in the body; `where` is its place in the body, for error messages."""

    name: str
    kind: Kind
    values: np.ndarray
    units: str
    where: str


@dataclass(frozen=True, eq=False)
class SiteArrays:
    """The sites of a request: identifiers (N,), and coordinates (N,) by the names of the grid's axes."""

    ids: np.ndarray
    place: Mapping[str, np.ndarray]


def build_dataset(
    time: np.ndarray, grid: Mapping[str, np.ndarray], sites: SiteArrays | None, variables: Iterable[NamedArray]
) -> xr.Dataset:
    """Return a dataset on the dimensions time, y and x (or lat and lon), and site.

    Args:
        time: (T,) datetime64.
        grid: the axes by their names in the request, y or lat first; empty for data without a grid.
        sites: None for data without sites.
        variables: in the order of the reply.

    Raises:
        StructureError: the shape of a variable does not match the axes.
    """
    sent_as = dict(zip(("y", "x"), grid, strict=False))
    lengths = {"time": len(time), **{axis: len(grid[name]) for axis, name in sent_as.items()}}
    if sites is not None:
        lengths["site"] = len(sites.ids)
    data = {}
    for variable in variables:
        dims = DIMS[variable.kind]
        _check_shape(variable, dims, lengths)
        data[variable.name] = ([sent_as.get(d, d) for d in dims], variable.values, {"units": variable.units})
    coordinates = {name: (name, axis, _axis_attributes(name)) for name, axis in grid.items()}
    dataset = xr.Dataset(data, {"time": time, **coordinates})
    if sites is None:
        return dataset
    places = {f"site_{name}": ("site", values) for name, values in sites.place.items()}
    return dataset.assign_coords({"site": ("site", sites.ids), **places})


def check_grid(grid: Mapping[str, np.ndarray], needed: bool) -> dict[str, np.ndarray]:
    """Return the axes, y or lat first; empty if there are none and none are `needed`.

    Raises:
        CoordinateError: the axes are not y and x or lat and lon, or an axis is empty or not one-dimensional.
    """
    if not grid and not needed:
        return {}
    if frozenset(grid) not in GRID_NAMES:
        raise CoordinateError(
            "the grid's axes must be y and x, or lat and lon", where=next(iter(grid), "y"), got=sorted(grid)
        )
    for name, axis in grid.items():
        if axis.ndim != 1 or len(axis) == 0:
            raise CoordinateError("must hold at least one coordinate in one dimension", where=name, got=axis.shape)
    return {name: grid[name] for name in (*Y_NAMES, *X_NAMES) if name in grid}


def check_any_name(name: str, where: str) -> None:
    """Check the name of a variable that no bundle knows by name.

    Raises:
        StructureError: the name is that of a coordinate, ends like a companion of another variable, or is impossible.
    """
    check_name(name, where)
    if name in COORDINATES:
        raise StructureError("is the name of a coordinate; rename the variable", where=where)
    end = next((end for end in COMPANIONS if name.endswith(end)), None)
    if end is not None:
        raise StructureError(f"a name that ends in {end} belongs to another variable; rename the variable", where=where)


def _check_shape(variable: NamedArray, dims: tuple[str, ...], lengths: Mapping[str, int]) -> None:
    missing = [d for d in dims if d not in lengths]
    if missing:
        raise StructureError(f"needs the dimension {', '.join(missing)}", where=variable.where, expected=f"dims {dims}")
    expected = tuple(lengths[d] for d in dims)
    if variable.values.shape != expected:
        raise StructureError(
            f"the shape does not match the dimensions {dims}",
            where=variable.where,
            got=variable.values.shape,
            expected=expected,
        )


def _axis_attributes(name: str) -> dict[str, str]:
    return {"units": AXIS_UNITS[name]} if name in AXIS_UNITS else {}
