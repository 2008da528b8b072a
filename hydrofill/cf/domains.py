"""Find where a variable lives: by a variable V_domain, a land or sea mask, or the model's own domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import xarray as xr

from hydrofill.cf.axes import Dimension
from hydrofill.cf.missing import as_data
from hydrofill.cf.variables import kind_of, ordered_dims
from hydrofill.cube import WaterCube
from hydrofill.errors import StructureError
from hydrofill.layout import Layout


def read_domains(
    dataset: xr.Dataset, dimensions: Mapping[str, Dimension], chosen: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Return the domain of each variable V that has a variable V_domain, (H, W) bool."""
    domains = {}
    for name, source in chosen.items():
        companion = f"{source}_domain"
        if companion not in dataset.variables:
            continue
        mask = as_data(dataset.variables[companion], companion)
        if kind_of(mask, companion, dimensions) != "static_grid" or mask.dtype.kind not in "biuf":
            raise StructureError(
                "must be numeric with the dimensions of the grid",
                where=companion,
                got=(mask.dims, mask.dtype),
                expected="(y, x)",
            )
        values = mask.transpose(*ordered_dims(mask, dimensions, "static_grid")).values
        domains[name] = np.isfinite(values) & (values != 0)
    return domains


def with_mask_domain(cube: WaterCube) -> WaterCube:
    """Return the cube with a land or sea mask as the domain of each variable without a domain.

    A mask is a static field of zeros and ones that is one wherever the variable has a value. Of several masks, the
    smallest is used.
    """
    domains = dict(cube.domain)
    masks = [v.values == 1 for v in cube.of_kind("static_grid").values() if np.isin(v.values, (0, 1)).all()]
    if not masks:
        return cube
    for name, variable in cube.of_kind("grid").items():
        observed = variable.valid.any(axis=0)
        fitting = [mask for mask in masks if not (observed & ~mask).any()]
        if name not in domains and fitting and observed.any():
            domains[name] = min(fitting, key=np.count_nonzero)
    return replace(cube, domain=domains)


def with_whole_maps(cube: WaterCube) -> WaterCube:
    """Return a cube of one frame with the whole grid as the domain of each gridded variable without a domain.

    In a single frame nothing tells a gap from a place where the variable has no value at any time.
    """
    if len(cube.time) != 1:
        return cube
    whole = {name: np.ones(cube.shape[1:], bool) for name in cube.of_kind("grid")}
    return replace(cube, domain={**whole, **cube.domain})


def with_model_domain(cube: WaterCube, layout: Layout) -> WaterCube:
    """Return the cube with the model's domain for each gridded variable without a domain.

    The model's domain is used for the cells that are also cells of the training grid.
    """
    domains = dict(cube.domain)
    for name, domain in layout.domain.items():
        if name in domains or name not in cube.variables:
            continue
        place, inside = layout.place, domain.to_array()
        row, on_row = _cell_numbers(cube.y, place.y_origin, place.y_spacing, domain.rows)
        column, on_column = _cell_numbers(cube.x, place.x_origin, place.x_spacing, domain.columns)
        known = on_row[:, None] & on_column[None, :]
        observed = cube.variables[name].valid.any(axis=0)
        domains[name] = np.where(known, inside[row][:, column], observed) | observed
    return replace(cube, domain=domains)


def _cell_numbers(axis: np.ndarray, origin: float, spacing: float, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest training cell of each coordinate, and whether it is within a quarter of a cell."""
    exact = (axis - origin) / spacing
    nearest = np.round(exact)
    on_grid = (np.abs(exact - nearest) < 0.25) & (nearest >= 0) & (nearest < number)
    return np.clip(nearest, 0, number - 1).astype(np.int64), on_grid
