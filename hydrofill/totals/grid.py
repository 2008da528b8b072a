"""The cells of a grid: their edges, and their areas in square metres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from hydrofill.cf.axes import Dimension
from hydrofill.cf.coordinates import coordinate_units, coordinate_values
from hydrofill.cf.units import conversion
from hydrofill.constants import EARTH_RADIUS_M
from hydrofill.errors import CoordinateError, UnitsError


@dataclass(frozen=True, eq=False)
class Grid:
    """The cells of a grid of H rows and W columns.

    y_edges: (H + 1,), x_edges: (W + 1,), in the coordinates of the grid. areas: (H, W), square metres. longitudes:
    whether the coordinates are latitudes and longitudes. metres: in a unit of y and of x on a projection.
    """

    y_edges: np.ndarray
    x_edges: np.ndarray
    areas: np.ndarray
    longitudes: bool
    metres: tuple[float, float] = (1.0, 1.0)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return len(self.y_edges) - 1, len(self.x_edges) - 1


def grid_of(dataset: xr.Dataset, y: Dimension, x: Dimension) -> Grid:
    """Return the cells of the grid of a dataset.

    Areas of latitudes and longitudes are those of cells on a sphere. Other coordinates are lengths.

    Raises:
        CoordinateError: a coordinate has neither degrees nor a unit of length, or a single value without bounds.
    """
    edges = [_edges(dataset, dimension) for dimension in (y, x)]
    units = [coordinate_units(dataset, dimension) for dimension in (y, x)]
    if units == ["degrees", "degrees"]:
        bands = np.abs(np.diff(np.sin(np.radians(np.clip(edges[0], -90, 90)))))
        areas = EARTH_RADIUS_M**2 * bands[:, None] * np.radians(np.abs(np.diff(edges[1])))
        return Grid(edges[0], edges[1], areas, longitudes=True)
    metres = (_metres(units[0], y), _metres(units[1], x))
    sides = [np.abs(np.diff(edge)) * metre for edge, metre in zip(edges, metres, strict=True)]
    return Grid(edges[0], edges[1], sides[0][:, None] * sides[1], longitudes=False, metres=metres)


def _metres(units: str, dimension: Dimension) -> float:
    """Return how many metres a unit of a coordinate has; metres if no units are given, as on projections."""
    try:
        return conversion(units or "m", "m", dimension.coordinate or dimension.name).scale
    except UnitsError as error:
        raise CoordinateError(
            "the coordinate is neither in degrees nor a length", where=dimension.name, got=repr(units)
        ) from error


def _edges(dataset: xr.Dataset, dimension: Dimension) -> np.ndarray:
    """Return the edges of the cells along an axis, (n + 1,): the bounds of the coordinate, or else the midpoints."""
    values = coordinate_values(dataset, dimension)
    bounds = _bounds(dataset, dimension)
    if bounds is not None:
        first, last = (0, 1) if np.sign(bounds[0, 1] - bounds[0, 0]) == _direction(values, bounds) else (1, 0)
        around = (bounds.min(axis=1) <= values) & (
            values <= bounds.max(axis=1)
        )  # false where longitudes go on at a cut
        tolerance = 1e-6 * max(np.ptp(values), np.ptp(bounds[0]))
        if around.all() and np.allclose(bounds[1:, first], bounds[:-1, last], rtol=0, atol=tolerance):
            return np.append(bounds[:, first], bounds[-1, last])
    if len(values) < 2:
        raise CoordinateError("a single cell needs bounds for its size to be known", where=dimension.name)
    half = np.diff(values) / 2
    return np.concatenate([[values[0] - half[0]], values[:-1] + half, [values[-1] + half[-1]]])


def _direction(values: np.ndarray, bounds: np.ndarray) -> float:
    """Return 1 for a coordinate that grows, -1 for one that falls; a single cell is taken as its bounds are."""
    return float(np.sign(values[-1] - values[0] if len(values) > 1 else bounds[0, 1] - bounds[0, 0]))


def _bounds(dataset: xr.Dataset, dimension: Dimension) -> np.ndarray | None:
    """Return the bounds of a coordinate (CF 1.11, section 7.1), (n, 2); None if the dataset has none."""
    if dimension.coordinate is None:
        return None
    variable = dataset.variables[dimension.coordinate]
    name = str(variable.attrs.get("bounds") or variable.encoding.get("bounds") or "")
    bounds = dataset.variables[name].values if name in dataset.variables else None
    return bounds.astype(np.float64) if bounds is not None and bounds.shape == (variable.size, 2) else None
