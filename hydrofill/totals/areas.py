"""Areas over which totals are taken: the share of each cell of a grid, or the sites, that each area has."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from hydrofill.cf.axes import Dimension, one_of, recognise
from hydrofill.errors import CoordinateError, StructureError
from hydrofill.totals.grid import Grid, grid_of
from hydrofill.totals.polygons import features_of, of_polygons, read_geojson, sites_in_polygons
from hydrofill.totals.shares import Areas

Over = str | os.PathLike[str] | xr.Dataset | xr.DataArray | Mapping[str, Any] | None


def whole_grid(grid: Grid) -> Areas:
    """Return the whole grid as one area."""
    return Areas.of(["all"], [np.ones(int(np.prod(grid.shape)))])


def areas_of(over: Over, grid: Grid, mapping: Mapping[str, Any] | None, name_property: str | None = None) -> Areas:
    """Return areas of a grid.

    Args:
        over: polygons, as GeoJSON or the path of a GeoJSON file; or a map on the same grid, as NetCDF, Zarr or in
            memory; None for the whole grid. See `of_map` for maps.
        grid: the grid.
        mapping: the attributes of the grid mapping of a projected grid, None without.
        name_property: the property that names a polygon; by default the first of USUAL_NAMES.

    Raises:
        FileRefusedError: the file cannot be read.
        StructureError, UnreadableError: these are no areas.
        CoordinateError: an area does not meet the grid, or its coordinates cannot be brought to those of the grid.
    """
    if over is None:
        return whole_grid(grid)
    if isinstance(over, Mapping) and not isinstance(over, xr.Dataset):
        return of_polygons(features_of(over), grid, mapping, name_property)
    if isinstance(over, xr.Dataset | xr.DataArray):
        return of_map(over.rename("area").to_dataset() if isinstance(over, xr.DataArray) else over, grid)
    if (content := read_geojson(over)) is not None:
        return of_polygons(features_of(content), grid, mapping, name_property)
    from hydrofill.archives.inputs import find_input
    from hydrofill.archives.opening import open_input

    with open_input(find_input(str(over))) as dataset:
        return of_map(dataset, grid)


def sites_in(over: Over, dataset: xr.Dataset, site: Dimension, name_property: str | None = None) -> Areas:
    """Return which sites lie in each polygon.

    Raises:
        CoordinateError: the sites have no places, or no site lies in a polygon.
        StructureError, UnreadableError, FileRefusedError: as of `areas_of`.
    """
    content = over if isinstance(over, Mapping) and not isinstance(over, xr.Dataset) else None
    if isinstance(over, str | os.PathLike):
        content = read_geojson(over)
    if content is None:
        raise StructureError("gauges are chosen by polygons", where="over", got=type(over).__name__, expected="GeoJSON")
    return sites_in_polygons(content, dataset, site, name_property)


def of_map(dataset: xr.Dataset, grid: Grid) -> Areas:
    """Return the areas of a map: of numbers (y, x), 0 or missing for none, or of shares (area, y, x).

    Names are those of the attributes `flag_meanings` and `flag_values`, or of a coordinate of the areas.

    Raises:
        StructureError: there is no such map on this grid, or several.
    """
    dimensions = recognise(dataset)
    y, x = (one_of(dimensions.values(), axis) for axis in ("y", "x"))
    suited = {
        str(name): variable
        for name, variable in dataset.data_vars.items()
        if y
        and x
        and {y.name, x.name} <= set(variable.dims)
        and variable.ndim in (2, 3)
        and variable.dtype.kind in "iufb"
    }
    if len(suited) != 1 or y is None or x is None:
        raise StructureError(
            "a map of areas needs one variable on (y, x) or (area, y, x)",
            got=f"{sorted(suited) or 'none'} of {sorted(map(str, dataset.data_vars))}",
        )
    ((name, variable),) = suited.items()
    variable = variable.transpose(..., y.name, x.name)
    values = _like_grid(np.asarray(variable.values), grid_of(dataset, y, x), grid, name)
    if variable.ndim == 3:
        shares = np.nan_to_num(values.astype(np.float64)).reshape(len(values), -1)
        if shares.min() < 0 or shares.max() > 1 + 1e-6:
            raise StructureError("shares of cells must be from 0 to 1", where=name, got=float(np.abs(shares).max()))
        dim = str(variable.dims[0])
        names = dataset[dim].values if dim in dataset.coords else np.arange(1, len(values) + 1)
        return Areas.of([str(n) for n in names], list(shares))
    numbers = np.nan_to_num(values.astype(np.float64)).reshape(-1)
    of_areas = [number for number in np.unique(numbers) if number != 0]
    if not of_areas:
        raise StructureError("no cell belongs to an area", where=name)
    return Areas.of(_names_of_flags(variable.attrs, of_areas), [numbers == number for number in of_areas])


def _like_grid(values: np.ndarray, own: Grid, grid: Grid, name: str) -> np.ndarray:
    """Return a map with the rows and columns in the order of those of the data.

    Raises:
        CoordinateError: the map is on another grid.
    """
    if own.shape == grid.shape:
        for axis, (edges, wanted) in enumerate(((own.y_edges, grid.y_edges), (own.x_edges, grid.x_edges))):
            tolerance = 1e-3 * float(np.abs(np.diff(wanted)).min())
            if np.allclose(edges[::-1], wanted, rtol=0, atol=tolerance):
                values = np.flip(values, axis - 2)
            elif not np.allclose(edges, wanted, rtol=0, atol=tolerance):
                break
        else:
            return values
    raise CoordinateError(
        "the map of areas is on another grid than the data",
        where=name,
        got=f"{own.shape[0]} rows and {own.shape[1]} columns from ({own.y_edges[0]:.6g}, {own.x_edges[0]:.6g})",
        expected=f"{grid.shape[0]} and {grid.shape[1]} from ({grid.y_edges[0]:.6g}, {grid.x_edges[0]:.6g})",
    )


def _names_of_flags(attributes: Mapping[str, Any], numbers: Sequence[float]) -> list[str]:
    meanings = str(attributes.get("flag_meanings", "")).split()
    values = np.atleast_1d(attributes.get("flag_values", [])).tolist()
    known = dict(zip(values, meanings, strict=False)) if len(values) == len(meanings) else {}
    return [known.get(number, f"{number:g}") for number in numbers]
