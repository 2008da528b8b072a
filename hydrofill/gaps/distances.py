"""Find which cells and sites have an observed value of the same time within a distance.

A distance is straight in a plane, or along a great circle between longitudes and latitudes (haversine formula).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from hydrofill.blocks import Box
from hydrofill.cf.axes import Dimension
from hydrofill.cf.coordinates import coordinate_units, has_longitudes, site_units
from hydrofill.cf.units import conversion
from hydrofill.constants import EARTH_RADIUS_M
from hydrofill.cube import WaterCube, nearest_cells
from hydrofill.errors import OptionError, UnitsError
from hydrofill.gaps.control import Distance

DEGREES = "degrees"  # units of places on a sphere
ROUNDING = 1 + 1e-9  # relative, of a part that is read: it may be too large
MAX_PAIRS = 20_000_000  # of sites, whose distances are held at a time


def place_units(dataset: xr.Dataset, dimensions: Mapping[str, Dimension]) -> str:
    """Return the units of the places of a dataset: `DEGREES` for longitudes and latitudes; "" where unknown."""
    x, site = (next((d for d in dimensions.values() if d.axis == axis), None) for axis in ("x", "site"))
    if x is not None and x.coordinate is None:
        return ""  # of a curvilinear grid, whose cells have numbers alone, or of one without coordinates
    if has_longitudes(dataset, x, site):
        return DEGREES
    if x is not None:
        return coordinate_units(dataset, x)
    return site_units(dataset, site.name) if site is not None else ""


def check_distance(axes: WaterCube, limit: Distance, units: str, *, of_sites: bool) -> None:
    """Check that a distance has a meaning for the cells or the sites of a record.

    Raises:
        OptionError: the sites have no places, or the units of the places are not known.
    """
    what = "the sites" if of_sites else "the grid"
    if of_sites and np.isnan(axes.sites.y + axes.sites.x).all():
        raise _no_distance(what, "sites without coordinates", "coordinates of the sites")
    if limit.metres is not None:
        _metres_of(units, what)
    elif of_sites and not (len(axes.y) and len(axes.x)):
        raise _no_distance(what, f"{limit} without a grid", 'a length such as "20 km"')


def _metres_of(units: str, what: str) -> float:
    """Return the metres of one unit of a coordinate; 1 for degrees, whose distances are along great circles."""
    if units == DEGREES:
        return 1.0
    try:
        return conversion(units, "m", "max_distance").scale
    except UnitsError as error:
        expected = "coordinates in metres or degrees, or a number of cells"
        raise _no_distance(what, f"a length, but coordinates in {units!r}", expected) from error


def _no_distance(what: str, got: str, expected: str) -> OptionError:
    return OptionError(f"has no meaning for {what}", where="max_distance", got=got, expected=expected)


def near_cells(seen: np.ndarray, y: np.ndarray, x: np.ndarray, limit: Distance, units: str) -> np.ndarray:
    """Return which cells have a seen cell of the same step within a distance, (T, H, W) bool.

    Args:
        seen: (T, H, W) bool.
        y, x: (H,) and (W,), the coordinates of the cells; not used for a distance in cells.
        limit: the distance.
        units: of the coordinates.
    """
    sphere = limit.metres is not None and units == DEGREES
    y, x, farthest = _in_plane(y, x, limit, units)
    turn = 1.0 if len(x) < 2 or x[0] < x[-1] else -1.0
    x = turn * x
    number = np.zeros((*seen.shape[:2], seen.shape[2] + 1), np.int32)  # of seen cells before each column
    np.cumsum(seen, axis=2, out=number[:, :, 1:], dtype=np.int32)
    near = np.zeros(seen.shape, bool)
    for row in range(len(y)):
        widths = _half_widths(y[row], y, farthest, sphere=sphere)
        for other in np.flatnonzero(widths >= 0):
            for around in (0.0, -360.0, 360.0) if sphere else (0.0,):
                first = np.searchsorted(x, x + around - widths[other])
                last = np.searchsorted(x, x + around + widths[other], "right")
                near[:, row] |= number[:, other, last] > number[:, other, first]
    return near


def _in_plane(y: np.ndarray, x: np.ndarray, limit: Distance, units: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Return coordinates and a distance in the same units: cells, metres, or degrees and radians on a sphere."""
    if limit.metres is None:
        return np.arange(float(len(y))), np.arange(float(len(x))), limit.cells
    if units == DEGREES:
        return y, x, limit.metres / EARTH_RADIUS_M
    scale = _metres_of(units, "the grid")
    return y * scale, x * scale, limit.metres


def _half_widths(y: float, rows: np.ndarray, farthest: float, *, sphere: bool) -> np.ndarray:
    """Return how far to each side of a cell at `y` the cells of each row are within reach, (H,); below 0 if none is."""
    if not sphere:
        square = farthest**2 - (rows - y) ** 2
        return np.where(square >= 0, np.sqrt(np.maximum(square, 0)), -1.0)
    half = min(farthest, np.pi) / 2
    left = np.sin(half) ** 2 - np.sin(np.radians(rows - y) / 2) ** 2
    along = np.cos(np.radians(rows)) * np.cos(np.radians(y))
    share = np.clip(np.maximum(left, 0) / np.maximum(along, 1e-12), 0, 1)
    return np.where(left >= 0, np.degrees(2 * np.arcsin(np.sqrt(share))), -1.0)


def near_sites(seen: np.ndarray, cube: WaterCube, axes: WaterCube, limit: Distance, units: str) -> np.ndarray:
    """Return which sites have a seen site of the same step within a distance, (T, N) bool; False for unknown places.

    Args:
        seen: (T, N) bool.
        cube: with the sites.
        axes: the axes of the record, whose grid counts for a distance in cells.
        limit: the distance.
        units: of the places.
    """
    y, x = _site_places(cube, axes, limit)
    near = np.zeros(seen.shape, bool)
    several = max(MAX_PAIRS // max(len(y), 1), 1)
    for start in range(0, len(y), several):
        part = slice(start, start + several)
        within = _within(y[part], x[part], y, x, limit, units)
        near[:, part] = seen.astype(np.float32) @ within.T.astype(np.float32) > 0
    return near


def _site_places(cube: WaterCube, axes: WaterCube, limit: Distance) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates of sites, or for a distance in cells the numbers of rows and columns, (N,) each."""
    places = (cube.sites.y, cube.sites.x)
    if limit.metres is not None:
        return places
    y, x = (_position(axis, place) for axis, place in zip((axes.y, axes.x), places, strict=True))
    return y, x


def _position(axis: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return places as numbers of cells along a monotonic axis; those beyond its ends count as at the ends."""
    turn = 1 if axis[0] <= axis[-1] else -1
    return np.interp(places, axis[::turn], np.arange(float(len(axis)))[::turn])


def _within(
    y: np.ndarray, x: np.ndarray, rows: np.ndarray, columns: np.ndarray, limit: Distance, units: str
) -> np.ndarray:
    """Return which places (M,) are within a distance of which others (N,), (M, N) bool."""
    apart_y, apart_x = rows[None, :] - y[:, None], columns[None, :] - x[:, None]
    if limit.metres is None:
        return np.hypot(apart_y, apart_x) <= limit.cells
    if units != DEGREES:
        return np.hypot(apart_y, apart_x) * _metres_of(units, "the sites") <= limit.metres
    along = np.cos(np.radians(rows))[None, :] * np.cos(np.radians(y))[:, None]
    square = np.sin(np.radians(apart_y) / 2) ** 2 + along * np.sin(np.radians(apart_x) / 2) ** 2
    return np.asarray(2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.minimum(square, 1))) <= limit.metres)


def box_near(axes: WaterCube, core: Box, limit: Distance, units: str, *, of_sites: bool) -> Box:
    """Return a part of a record with all cells, and all sites if asked, within a distance of a part of the record."""
    if not (len(axes.y) and len(axes.x)):
        return core
    rows, columns = _rows_and_columns(axes, core, limit, units)
    own = axes.sites_in(core.y, core.x)
    if of_sites and own.any():
        y, x = _site_places(axes, axes, limit)
        near = _within(y[own], x[own], y, x, limit, units).any(axis=0)
        places = zip((rows, columns), (axes.y, axes.x), (axes.sites.y, axes.sites.x), strict=True)
        for held, axis, place in places:
            held[nearest_cells(axis, place[near])] = True
    return Box(core.time, *(_hull_of(held) for held in (rows, columns)))


def _rows_and_columns(axes: WaterCube, core: Box, limit: Distance, units: str) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows and which columns of a grid may be within a distance of a part, (H,) and (W,) bool."""
    y, x, farthest = _in_plane(axes.y, axes.x, limit, units)
    farthest *= ROUNDING
    apart_y, apart_x = (
        np.maximum(axis[cut].min() - axis, axis - axis[cut].max()) for axis, cut in ((y, core.y), (x, core.x))
    )
    if limit.metres is None or units != DEGREES:
        return apart_y <= farthest, apart_x <= farthest
    rows = np.radians(apart_y) <= farthest
    # Of two points, given how far apart their longitudes are, the distance is least where both are nearest to a pole.
    along = np.cos(np.radians(min(float(np.abs(y[rows]).max()), 90.0)))
    middle, half = (x[core.x].min() + x[core.x].max()) / 2, (x[core.x].max() - x[core.x].min()) / 2
    apart_x = np.clip(np.abs((x - middle + 180) % 360 - 180) - half, 0, 180)
    return rows, 2 * np.arcsin(np.clip(along * np.sin(np.radians(apart_x) / 2), 0, 1)) <= farthest


def _hull_of(held: np.ndarray) -> slice:
    at = np.flatnonzero(held)
    return slice(int(at[0]), int(at[-1]) + 1)
