"""Make the layout of a cube for a general network, which knows no variable by name."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from hydrofill.cf.dataset import typical_step_s
from hydrofill.cube import Variable, WaterCube
from hydrofill.errors import NothingObservedError, StructureError
from hydrofill.layout import (
    MAX_NAME_LENGTH,
    MAX_TOKEN_SIZE,
    MAX_VARIABLES,
    NAME,
    Layout,
    Patch,
    VariableSpec,
    WindowSize,
)
from hydrofill.outline import Outline
from hydrofill.specification import VariableInfo, place_of, specify_static, specify_variable
from hydrofill.summary import Summary

TOKENS_PER_WINDOW = 600
WINDOW_CELLS = 24  # rows or columns of a window of several frames
SINGLE_FRAME_CELLS = 48  # rows or columns of a window of at most FEW_STEPS frames
FEW_STEPS = 3
WINDOW_STEPS = (4, 32)  # fewest and most steps of a window of a grid, where the record has as many
SERIES_STEPS = (16, 64)  # fewest and most steps of a window of gauges alone
PATCH_SIDE = 4
SMALL_GRID = 12  # rows or columns below which patches are PATCH_SIDE / 2 wide
PATCH_STEPS = 8
MAX_SITES = 2000  # all sites of a window read each other, at a cost that grows with the square of their number


def compose_layout(record: WaterCube | Outline, grid_units: str = "") -> Layout:
    """Return a layout that suits a record: all its variables that have a value, and patches and windows by its shape.

    Args:
        record: the data, in its own units, or an outline of the data.
        grid_units: units of the grid's coordinates; those of an outline count instead.

    Raises:
        NothingObservedError: no variable has a value.
        StructureError: the record has more variables or sites than a general network takes, or a variable has an
            impossible name.
    """
    outline = Outline.of(record, grid_units) if isinstance(record, WaterCube) else record
    if not outline.variables:
        got = sorted(record.variables) if isinstance(record, WaterCube) else None
        raise NothingObservedError("all values of all variables are missing", got=got)
    if len(outline.variables) > MAX_VARIABLES:
        raise StructureError(
            "has too many variables to fill together", got=len(outline.variables), expected=f"{MAX_VARIABLES} at most"
        )
    if len(outline.sites) > MAX_SITES:
        raise StructureError(
            "has too many sites to fill together", got=len(outline.sites), expected=f"{MAX_SITES} at most"
        )
    static = _usable_static(outline)
    for name in (*(info.name for info, _ in outline.variables), *(v.name for v in static)):
        check_name(name)
    patch = choose_patch(outline.shape, PATCH_SIDE)
    return Layout(
        variables=tuple(_specify(info, summary) for info, summary in outline.variables),
        static=tuple(specify_static(v) for v in static),
        patch=patch,
        window=choose_window(
            outline.shape,
            len(outline.named("grid")),
            len(outline.named("series")),
            len(outline.sites),
            patch,
            TOKENS_PER_WINDOW,
        ),
        place=place_of(
            outline.y, outline.x, outline.sites, grid_units=outline.grid_units, step_s=typical_step_s(outline.time)
        ),
        general=True,
    )


def check_name(name: str, where: str | None = None) -> None:
    """Check that a variable may have this name.

    Raises:
        StructureError: the name is too long, or has a character that NetCDF does not allow; names `where`.
    """
    if len(name) > MAX_NAME_LENGTH or not re.match(NAME, name) or name.endswith("\n"):
        raise StructureError(
            "this name cannot be that of a variable",
            where=name if where is None else where,
            got=repr(name[:MAX_NAME_LENGTH]),
            expected=f"{MAX_NAME_LENGTH} characters at most, no slash, no dot or space in front",
        )


def choose_patch(shape: tuple[int, int, int], side: int) -> Patch:
    """Return patches of `side` cells, or half as many along a short axis of a record of this shape (T, H, W)."""
    rows, columns = (min(n or 1, side if n >= SMALL_GRID else max(1, side // 2)) for n in shape[1:])
    return Patch(rows=rows, columns=columns, steps=max(1, min(PATCH_STEPS, shape[0])))


def choose_window(
    shape: tuple[int, int, int], num_grids: int, num_series: int, num_sites: int, patch: Patch, tokens: int
) -> WindowSize:
    """Return a window of about this number of tokens, no larger than the record.

    Args:
        shape: numbers of time steps, rows and columns of the record, (T, H, W).
        num_grids: number of gridded variables.
        num_series: number of variables that are series.
        num_sites: number of sites.
        patch: the patches of grids and series.
        tokens: the number of tokens to aim at.
    """
    n_time, height, width = shape
    widest = SINGLE_FRAME_CELLS if n_time <= FEW_STEPS else WINDOW_CELLS
    rows, columns = (min(n, widest) or 1 for n in (height, width))
    patches = math.ceil(rows / patch.rows) * math.ceil(columns / patch.columns)
    per_step = patches * num_grids + num_sites * num_series / patch.steps
    low, high = WINDOW_STEPS if num_grids else SERIES_STEPS
    steps = int(np.clip(tokens / max(per_step, 1e-9), low, high))
    return WindowSize(steps=min(n_time, steps), rows=rows, columns=columns)


def _usable_static(outline: Outline) -> Sequence[Variable]:
    """Return the static variables that vary, at most MAX_TOKEN_SIZE of each kind."""
    chosen: list[Variable] = []
    for kind in ("static_grid", "static_site"):
        varying = [
            v for v in outline.static if v.kind == kind and v.valid.any() and np.nanmin(v.values) < np.nanmax(v.values)
        ]
        chosen += varying[:MAX_TOKEN_SIZE]
    return chosen


def _specify(variable: VariableInfo, summary: Summary) -> VariableSpec:
    """Return the specification of a variable to fill; a constant is bounded by itself."""
    if summary.lowest == summary.highest:
        return specify_static(variable).model_copy(update={"lower": summary.lowest, "upper": summary.lowest})
    return specify_variable(variable, summary)
