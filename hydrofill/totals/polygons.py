"""Polygons of GeoJSON: the share of each cell that they cover, and the sites in them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hydrofill.cf.axes import Dimension
from hydrofill.cf.coordinates import site_place
from hydrofill.errors import CoordinateError, StructureError, UnreadableError
from hydrofill.paths import FileRefusedError
from hydrofill.totals.grid import Grid
from hydrofill.totals.shares import Areas

USUAL_NAMES = ("name", "NAME", "Name", "id", "ID", "basin", "basin_id", "station", "gauge_id", "HYBAS_ID")
POLYGONS = ("Polygon", "MultiPolygon")
TURN = 360.0
LON_LAT = "EPSG:4326"  # of GeoJSON, RFC 7946
Place = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # from points (n, 2) to x and y


def read_geojson(over: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the content of a GeoJSON file; None for another kind of file."""
    path = Path(over)
    if path.suffix.lower() not in (".json", ".geojson"):
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileRefusedError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UnreadableError("is not GeoJSON", where=str(path), got=str(error)) from error
    if not isinstance(content, dict):
        raise UnreadableError("is not GeoJSON", where=str(path), got=type(content).__name__)
    return content


def features_of(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the features of GeoJSON that have polygons."""
    kind = content.get("type")
    found = content.get("features") if kind == "FeatureCollection" else [content]
    if kind in POLYGONS:
        found = [{"type": "Feature", "properties": {}, "geometry": content}]
    features = [f for f in found if isinstance(f, dict)] if isinstance(found, list) else []
    kept = [f for f in features if (f.get("geometry") or {}).get("type") in POLYGONS]
    if not kept:
        raise StructureError("the GeoJSON has no polygon", got=kind, expected="a FeatureCollection of polygons")
    return kept


def of_polygons(
    features: Sequence[Mapping[str, Any]],
    grid: Grid,
    mapping: Mapping[str, Any] | None,
    name_property: str | None = None,
) -> Areas:
    """Return the share of each cell that lies in each polygon; see `areas_of`."""
    if find_spec("exactextract") is None:
        raise FileRefusedError("polygons need the package exactextract: pip install 'hydrofill[totals]'")
    from exactextract import exact_extract
    from exactextract.feature import JSONFeatureSource
    from exactextract.raster import NumPyRasterSource

    names = _names(features, name_property)
    height, width = grid.shape
    raster = NumPyRasterSource(np.zeros((height, width)), xmin=0, ymin=0, xmax=width, ymax=height)
    rows, within = [], []
    for name, feature in zip(names, features, strict=True):
        row = np.zeros(height * width)
        size = 0.0
        for polygon in _on_grid(feature["geometry"], grid, mapping, name):
            given = {"type": "Feature", "properties": {}, "geometry": polygon}
            try:
                (found,) = exact_extract(raster, JSONFeatureSource([given]), ["cell_id", "coverage"])
            except Exception as error:  # of geometries that are not valid
                raise StructureError("is not a valid polygon", where=name, got=str(error).splitlines()[0]) from error
            row[found["properties"]["cell_id"]] += found["properties"]["coverage"]
            size = max(
                size,
                sum(
                    _size(ring) if n == 0 else -_size(ring) for p in polygon["coordinates"] for n, ring in enumerate(p)
                ),
            )
        rows.append(np.minimum(row, 1.0))
        within.append(min(1.0, float(rows[-1].sum()) / size) if size > 0 else 0.0)
    return Areas.of(names, rows, within)


def _size(ring: Sequence[Sequence[float]]) -> float:
    """Return the area within a ring, by the trapezoids below its sides."""
    (x1, y1), (x2, y2) = np.array(ring[:-1]).T, np.array(ring[1:]).T
    return float(abs(((x2 - x1) * (y1 + y2) / 2).sum()))


def _names(features: Sequence[Mapping[str, Any]], name_property: str | None) -> list[str]:
    properties = [f.get("properties") or {} for f in features]
    wanted = [name_property] if name_property else list(USUAL_NAMES)
    chosen = next((key for key in wanted if all(key in p for p in properties)), None)
    if chosen is None and name_property:
        known = sorted({key for p in properties for key in p})
        raise StructureError("the polygons have no such property", where=name_property, expected=f"one of {known}")
    names = [
        str(p[chosen]) if chosen else str(f.get("id", n + 1))
        for n, (p, f) in enumerate(zip(properties, features, strict=True))
    ]
    return [name if names.count(name) == 1 else f"{name} ({n + 1})" for n, name in enumerate(names)]


def _on_grid(
    geometry: Mapping[str, Any], grid: Grid, mapping: Mapping[str, Any] | None, name: str
) -> Iterator[dict[str, Any]]:
    """Yield a polygon in cells of the grid, from the lower left corner, for each turn of the globe."""
    turns = (-TURN, 0.0, TURN) if grid.longitudes else (0.0,)
    project = None if grid.longitudes else _projection(geometry, grid, mapping, name)
    for turn in turns:

        def place(points: np.ndarray, turn: float = turn) -> np.ndarray:
            x, y = (points[:, 0] + turn, points[:, 1]) if project is None else project(points)
            columns = _cells(grid.x_edges, x)
            rows = _cells(grid.y_edges, y)
            return np.stack([columns, grid.shape[0] - rows], axis=1)

        polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        placed = [[place(_ring(ring, name)) for ring in polygon] for polygon in polygons]
        outer = np.concatenate([polygon[0] for polygon in placed])
        meets = (outer.max(axis=0) > 0).all() and (outer.min(axis=0) < [grid.shape[1], grid.shape[0]]).all()
        if meets:
            yield {"type": "MultiPolygon", "coordinates": [[ring.tolist() for ring in p] for p in placed]}


def _ring(ring: Any, name: str) -> np.ndarray:
    """Return the points of a ring, (n, 2) float64."""
    try:
        points = np.array([point[:2] for point in ring], np.float64)
    except (TypeError, ValueError, IndexError) as error:
        raise StructureError("has a ring that is not a list of points", where=name) from error
    if points.shape[0] < 4 or points.shape[1:] != (2,) or not np.isfinite(points).all():
        raise StructureError("has a ring of fewer than four points, or of points that are not finite", where=name)
    return points


def _cells(edges: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return coordinates as cells along an axis, 0 at the first edge; they go on beyond the ends."""
    order = slice(None, None, 1 if edges[-1] > edges[0] else -1)
    number = np.arange(len(edges), dtype=np.float64)
    inside = np.interp(at, edges[order], number[order])
    sizes = (edges[1] - edges[0], edges[-1] - edges[-2])
    low, high = (at - edges[0]) / sizes[0], number[-1] + (at - edges[-1]) / sizes[1]
    return np.where(low < 0, low, np.where(high > number[-1], high, inside))


def _projection(geometry: Mapping[str, Any], grid: Grid, mapping: Mapping[str, Any] | None, name: str) -> Place:
    """Return a function from longitudes and latitudes (n, 2) to coordinates of a projected grid.

    Coordinates beyond all longitudes and latitudes are taken as those of the grid.
    """
    first = _ring(
        geometry["coordinates"][0][0] if geometry["type"] == "MultiPolygon" else geometry["coordinates"][0], name
    )
    if np.abs(first[:, 0]).max() > TURN or np.abs(first[:, 1]).max() > TURN / 4:
        return lambda points: (points[:, 0], points[:, 1])
    if not mapping:
        raise CoordinateError(
            "has longitudes and latitudes, but the grid is on a projection that the data do not describe",
            where=name,
            expected="a variable with grid_mapping_name or crs_wkt (CF 1.11, section 5.6), or polygons in the "
            "coordinates of the grid",
        )
    if find_spec("pyproj") is None:
        raise FileRefusedError("polygons on a projected grid need the package pyproj: pip install 'hydrofill[totals]'")
    from pyproj import CRS, Transformer
    from pyproj.exceptions import CRSError

    try:
        known = CRS.from_cf(dict(mapping))
    except (CRSError, KeyError, ValueError) as error:
        raise CoordinateError("the grid mapping is not understood", got=str(error).splitlines()[0]) from error
    to_grid = Transformer.from_crs(LON_LAT, known, always_xy=True)
    y_metres, x_metres = grid.metres

    def project(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = to_grid.transform(points[:, 0], points[:, 1])
        return x / x_metres, y / y_metres

    return project


def sites_in_polygons(
    content: Mapping[str, Any], dataset: xr.Dataset, site: Dimension, name_property: str | None = None
) -> Areas:
    """Return which sites lie in each polygon; longitudes count around the globe.

    Raises:
        CoordinateError: the sites have no places, or no site lies in a polygon.
        StructureError, UnreadableError, FileRefusedError: as of `areas_of`.
    """
    y, x = (site_place(dataset, site.name, axis, np.empty(0)) for axis in ("y", "x"))
    if np.isnan(y).all() or np.isnan(x).all():
        raise CoordinateError("the sites have no places", where=site.name, expected="coordinates such as lat and lon")
    features = features_of(content)
    names, rows = _names(features, name_property), []
    for name, feature in zip(names, features, strict=True):
        geometry = feature["geometry"]
        polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        inside = np.zeros(len(x), bool)
        for polygon in polygons:
            crossings = [_crossings(_ring(ring, name), x + turn, y) for ring in polygon for turn in (-TURN, 0.0, TURN)]
            inside |= np.sum(crossings, axis=0) % 2 == 1
        rows.append(inside)
    return Areas.of(names, rows)


def _crossings(ring: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return how many sides of a ring lie to the right of each point; an odd number lies around it."""
    (x1, y1), (x2, y2) = ring[:-1].T, ring[1:].T
    spans = (y1 > y[:, None]) != (y2 > y[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        at = x1 + (y[:, None] - y1) / (y2 - y1) * (x2 - x1)
    return np.asarray((spans & (x[:, None] < at)).sum(axis=1))
