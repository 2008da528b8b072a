"""GeoTIFF files as float32 arrays on one grid, NaN = missing."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tifffile

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

MISSING_CODE = np.float32(-99.0)  # smash's "no data", used whatever the file's own code is

# Source: GeoTIFF 1.1 (OGC 19-008r4), annex C and requirement class 7; GDAL's tag for no data.
TAG_PIXEL_SCALE, TAG_TIEPOINT, TAG_GEO_KEYS, TAG_NODATA = 33550, 33922, 34735, 42113
KEY_RASTER_TYPE, PIXEL_IS_POINT = 1025, 2


@dataclass(frozen=True)
class Grid:
    """Square cells of `cell_m` metres; `west` and `north` are the outer edges of row 0, column 0; rows go south."""

    west: float
    north: float
    cell_m: float
    rows: int
    columns: int

    @property
    def y(self) -> Doubles:
        """Cell centres, (H,), metres, decreasing."""
        return self.north - self.cell_m * (np.arange(self.rows, dtype=np.float64) + 0.5)

    @property
    def x(self) -> Doubles:
        """Cell centres, (W,), metres, increasing."""
        return self.west + self.cell_m * (np.arange(self.columns, dtype=np.float64) + 0.5)


@dataclass(frozen=True, eq=False)
class Raster:
    """Values (H, W) float32, NaN = missing, and their grid."""

    values: Floats
    grid: Grid

    def on(self, grid: Grid) -> Floats:
        """Return the values on another grid of the same cells, (H, W); NaN outside this raster.

        Raises:
            ValueError: the cells of the two grids do not coincide.
        """
        down = (self.grid.north - grid.north) / grid.cell_m
        right = (grid.west - self.grid.west) / grid.cell_m
        if self.grid.cell_m != grid.cell_m or not down.is_integer() or not right.is_integer():
            raise ValueError(f"cells do not coincide: got {self.grid}, expected {grid}")
        rows = np.arange(grid.rows) + int(down)
        columns = np.arange(grid.columns) + int(right)
        has_row = (rows >= 0) & (rows < self.grid.rows)
        has_column = (columns >= 0) & (columns < self.grid.columns)
        moved = np.full((grid.rows, grid.columns), np.nan, np.float32)
        moved[np.ix_(has_row, has_column)] = self.values[np.ix_(rows[has_row], columns[has_column])]
        return moved


def read_raster(content: bytes) -> Raster:
    """Read the first image of a GeoTIFF; the file's no-data code and `MISSING_CODE` become NaN.

    Half of the Cance rain files give the centre of the first cell, marked by PixelIsPoint, the others
    its corner: both are the same grid, and reading the tie point alone would move them by half a cell.
    """
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        page = tiff.pages.first
        values = page.asarray().astype(np.float32)  # (H, W)
        cell_m = float(page.tags.valueof(TAG_PIXEL_SCALE)[0])
        west, north = (float(v) for v in page.tags.valueof(TAG_TIEPOINT)[3:5])
        keys = page.tags.valueof(TAG_GEO_KEYS, default=())
        nodata = page.tags.valueof(TAG_NODATA)
    if _raster_type(keys) == PIXEL_IS_POINT:
        west, north = west - cell_m / 2, north + cell_m / 2
    missing = values == MISSING_CODE
    if nodata is not None:
        missing |= values == np.float32(nodata)
    values[missing] = np.nan
    return Raster(values, Grid(west, north, cell_m, *values.shape))


@contextmanager
def quiet_tifffile() -> Iterator[None]:
    """Silence tifffile about no-data codes that it cannot cast; `read_raster` reads them itself."""
    logger = logging.getLogger("tifffile")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _raster_type(keys: tuple[int, ...]) -> int | None:
    """Return GTRasterTypeGeoKey of a GeoKeyDirectory: rows of (key, location, count, value) after a header row."""
    rows = [keys[i : i + 4] for i in range(4, len(keys), 4)]
    return next((row[3] for row in rows if row[0] == KEY_RASTER_TYPE), None)
