"""Layout and statistics that suit a cube: its variables, bounds, transforms, patch and window."""

from __future__ import annotations

import math

import numpy as np

from hydrofill.cf.dataset import typical_step_s
from hydrofill.cf.units import conversion
from hydrofill.constants import DAY_S
from hydrofill.cube import Variable, WaterCube
from hydrofill.errors import NothingObservedError, StructureError, UnitsError, UnknownVariableError
from hydrofill.layout import Domain, Layout, Patch, Place, VariableSpec, WindowSize
from model.config import TokensConfig
from model.data.lazy_cube import LazyCube, LazyVariable, summary
from model.data.summary import Summary
from model.network.mae import Statistics

TOKENS_PER_WINDOW = 720  # a training step of 8 windows of this size takes about a third of a second on two cores
PATCHES_PER_FRAME = 64
MAX_WINDOW_CELLS = 48  # rows or columns; a larger grid is seen in tiles
SKEWED = 1.5  # skewness from which a non-negative variable is learnt as its square root
OFTEN_ZERO = 0.02  # share of zeros that tells a variable with dry spells
NEAR_ZERO = 0.5  # standard deviations: a minimum closer to zero than this makes zero its floor


def choose_layout(cube: WaterCube | LazyCube, grid_units: str, config: TokensConfig) -> Layout:
    """The layout for training on `cube`; what `config` leaves open is chosen from the data.

    Raises:
        UnknownVariableError: nothing to reconstruct. NothingObservedError: a variable without any value.
        StructureError: a window larger than the data.
    """
    dynamic, static = cube.of_kind("grid", "series"), cube.of_kind("static_grid", "static_site")
    if not dynamic:
        raise UnknownVariableError(
            "the data has no variable on (time, y, x) or (time, site)", got=sorted(cube.variables)
        )
    known = {name: summary(cube, name) for name in cube.variables}
    for name in dynamic:
        if known[name].number == 0:
            raise NothingObservedError("has no value at any time", where=name)
    patch, window = _patch_and_window(cube, config)
    return Layout(
        variables=tuple(_spec(v, known[n]) for n, v in dynamic.items()),
        static=tuple(_spec(v, known[n], fixed=True) for n, v in static.items() if known[n].number),
        patch=patch,
        window=window,
        place=_place(cube, grid_units),
        domain={n: Domain.from_array(_increasing(cube, cube.inside(n))) for n in cube.of_kind("grid")},
        guesses=config.guesses,
    )


def choose_statistics(cube: WaterCube | LazyCube, layout: Layout) -> Statistics:
    """Mean and standard deviation of every token type over the observed cells of `cube`, in the network's space."""
    shape = (layout.token_types, layout.token_size)
    center, spread = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    for number, spec in enumerate(layout.variables):
        center[number], spread[number] = _moments(summary(cube, spec.name), spec)
    for number, specs in enumerate((layout.static_grid, layout.static_site), start=len(layout.variables)):
        for column, spec in enumerate(specs):
            center[number, column], spread[number, column] = _moments(summary(cube, spec.name), spec)
    return Statistics(center, spread)


def _moments(known: Summary, spec: VariableSpec) -> tuple[float, float]:
    mean, spread = (known.root_mean, known.root_spread) if spec.transform == "sqrt" else (known.mean, known.spread)
    return mean, spread if spread > 0 else 1.0


def _spec(variable: Variable | LazyVariable, known: Summary, fixed: bool = False) -> VariableSpec:
    near_zero = 0 <= known.lowest <= NEAR_ZERO * known.spread
    floor = 0.0 if not fixed and near_zero and not _zero_is_a_convention(variable.units) else None
    skewed = known.skewness > SKEWED or known.zero_share > OFTEN_ZERO
    return VariableSpec(
        name=variable.name,
        kind=variable.kind,
        units=variable.units,
        standard_name=variable.standard_name,
        long_name=variable.long_name,
        lower=floor,
        transform="sqrt" if floor == 0.0 and skewed else "identity",
    )


def _zero_is_a_convention(units: str) -> bool:
    """Whether less than zero is possible whatever was seen: degrees Celsius and Fahrenheit."""
    try:
        return conversion(units, "K", "units").offset != 0
    except UnitsError:
        return False


def _patch_and_window(cube: WaterCube | LazyCube, config: TokensConfig) -> tuple[Patch, WindowSize]:
    n_time, height, width = cube.shape
    rows, columns = (
        wanted or min(size, MAX_WINDOW_CELLS) or 1
        for wanted, size in ((config.window_rows, height), (config.window_columns, width))
    )
    side = next(s for s in range(2, 1000) if math.ceil(rows / s) * math.ceil(columns / s) <= PATCHES_PER_FRAME)
    patch_rows, patch_columns = config.patch_rows or min(side, rows), config.patch_columns or min(side, columns)
    a_frame = math.ceil(rows / patch_rows) * math.ceil(columns / patch_columns) * len(cube.of_kind("grid"))
    a_frame += len(cube.sites) * len(cube.of_kind("series")) // 8
    steps = config.window_steps or min(n_time, max(4, min(64, TOKENS_PER_WINDOW // max(a_frame, 1))))
    for name, size, whole in (("steps", steps, n_time), ("rows", rows, height), ("columns", columns, width)):
        if size > max(whole, 1):
            raise StructureError(
                f"window {name} are more than the data holds", where="tokens", got=size, expected=whole
            )
    chunk = config.patch_steps or max(1, min(8, steps // 2))
    patch = Patch(rows=patch_rows, columns=patch_columns, steps=chunk)
    return patch, WindowSize(steps=steps, rows=rows, columns=columns)


def _place(cube: WaterCube | LazyCube, grid_units: str) -> Place:
    def axis(values: np.ndarray, sites: np.ndarray) -> tuple[float, float, int]:
        if len(values) > 1:
            return float(values.min()), float(np.abs(np.diff(values)).mean()), len(values)
        if len(values) == 1:
            return float(values[0]), 1.0, 1
        extent = float(np.ptp(sites)) or 1.0  # sites alone: a notional grid of 32 cells over them
        return float(sites.min()), extent / 32, 33

    (y_origin, y_spacing, rows), (x_origin, x_spacing, columns) = axis(cube.y, cube.sites.y), axis(cube.x, cube.sites.x)
    return Place(
        y_origin=y_origin,
        x_origin=x_origin,
        y_spacing=y_spacing,
        x_spacing=x_spacing,
        rows=rows,
        columns=columns,
        units=grid_units,
        step_s=typical_step_s(cube.frame if isinstance(cube, LazyCube) else cube) or DAY_S,
    )


def _increasing(cube: WaterCube | LazyCube, inside: np.ndarray) -> np.ndarray:
    """(H, W) with y and x increasing."""
    return inside[np.argsort(cube.y)][:, np.argsort(cube.x)]
