"""Layout and statistics that suit a cube: its variables, bounds, transforms, patch and window."""

from __future__ import annotations

import math

import numpy as np

from hydrofill.errors import NothingObservedError, StructureError, UnknownVariableError
from hydrofill.layout import Domain, Layout, Patch, VariableSpec, WindowSize
from hydrofill.specification import place_of, specify_static, specify_variable
from hydrofill.summary import Summary
from model.config import TokensConfig
from model.data.cubes import Cube
from model.network.mae import Statistics

TOKENS_PER_WINDOW = 720  # a training step of 8 windows of this size takes about a third of a second on two cores
PATCHES_PER_FRAME = 64
MAX_WINDOW_CELLS = 48  # rows or columns; a larger grid is cut into tiles


def choose_layout(cube: Cube, grid_units: str, config: TokensConfig) -> Layout:
    """Choose the layout for training on `cube`: what `config` leaves open follows from the data.

    Raises:
        UnknownVariableError: the data has no variable to reconstruct. NothingObservedError: a variable has no value.
        StructureError: the window is larger than the data.
    """
    dynamic, static = cube.of_kind("grid", "series"), cube.of_kind("static_grid", "static_site")
    if not dynamic:
        raise UnknownVariableError(
            "the data has no variable on (time, y, x) or (time, site)", got=sorted(cube.variables)
        )
    summaries = {name: cube.summary(name) for name in cube.variables}
    for name in dynamic:
        if summaries[name].number == 0:
            raise NothingObservedError("has no value at any time", where=name)
    patch, window = _patch_and_window(cube, config)
    return Layout(
        variables=tuple(specify_variable(v, summaries[n]) for n, v in dynamic.items()),
        static=tuple(specify_static(v) for n, v in static.items() if summaries[n].number),
        patch=patch,
        window=window,
        place=place_of(cube.y, cube.x, cube.sites, grid_units=grid_units, step_s=cube.step_s),
        domain={n: Domain.from_array(_increasing(cube, cube.inside(n))) for n in cube.of_kind("grid")},
        guesses=config.guesses,
    )


def choose_statistics(cube: Cube, layout: Layout) -> Statistics:
    """Return mean and standard deviation of every token type over the observed cells, in the network's space.

    Arrays (token types, token size) float32; 0 and 1 where a token has no value.
    """
    shape = (layout.token_types, layout.token_size)
    center, std = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    for number, spec in enumerate(layout.variables):
        center[number], std[number] = _moments(cube.summary(spec.name), spec)
    for number, specs in enumerate((layout.static_grid, layout.static_site), start=len(layout.variables)):
        for column, spec in enumerate(specs):
            center[number, column], std[number, column] = _moments(cube.summary(spec.name), spec)
    return Statistics(center, std)


def _moments(summary: Summary, spec: VariableSpec) -> tuple[float, float]:
    root = spec.transform == "sqrt"
    mean, std = (summary.root_mean, summary.root_std) if root else (summary.mean, summary.std)
    return mean, std if std > 0 else 1.0


def _patch_and_window(cube: Cube, config: TokensConfig) -> tuple[Patch, WindowSize]:
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


def _increasing(cube: Cube, inside: np.ndarray) -> np.ndarray:
    """Return `inside` (H, W) with y and x increasing."""
    return inside[np.argsort(cube.y)][:, np.argsort(cube.x)]
