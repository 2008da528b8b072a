"""Tell whether data lie where the bundle of a layout was trained."""

from __future__ import annotations

import numpy as np

from hydrofill.cf.dataset import has_step
from hydrofill.cube import WaterCube
from hydrofill.layout import Layout

HALF_CELL = 0.5  # cells by which data may lie outside the outermost cell centres of the training grid


def suits(layout: Layout, cube: WaterCube) -> bool:
    """Return whether the cells and sites of `cube` lie on the training grid of a layout, with its time step.

    The size of the cells is not compared.
    """
    place = layout.place
    return (
        has_step(cube, place)
        and _inside(np.concatenate([cube.y, cube.sites.y]), place.y_origin, place.y_spacing, place.rows)
        and _inside(np.concatenate([cube.x, cube.sites.x]), place.x_origin, place.x_spacing, place.columns)
    )


def _inside(coordinates: np.ndarray, origin: float, spacing: float, number: int) -> bool:
    """Return whether all coordinates are within half a cell of an axis of `number` cells."""
    cells = (coordinates - origin) / spacing
    return bool(((cells >= -HALF_CELL) & (cells <= number - 1 + HALF_CELL)).all())
