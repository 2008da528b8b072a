"""Records that training windows are cut from: a part of the cube, what is hidden in it, and first guesses.

First guesses need what lies around a window. So gaps are drawn over a record, guesses are made once from what is left
of it, and many windows are cut from both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hydrofill.cube import WaterCube, draw_slices
from hydrofill.guesses.first_guesses import GUESSES, REGIONS, Guesses, guess_variable, regions
from hydrofill.layout import Layout, VariableSpec
from model.config import MaskingConfig
from model.data.cubes import WindowedCube
from model.gaps.drawing import draw_gaps

# Of all variables in one record: a larger record is cut to a run of steps, and then to a part of the grid.
MAX_TRAINING_RECORD_VALUES = 1_500_000
VALUES_PER_POOL = 60_000  # one pool of windows for every so many values of a record, since making guesses costs time
MAX_POOLS = 8
SMALL_RECORD_VALUES = 10_000  # with fewer, a window is much of its record: each window gets gaps of its own
MIN_CELLS = 30  # of a region, from which a guess has an error of its own there
MIN_ERROR = 1e-3  # standard deviations: no guess is trusted as if it were always right


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """A part of a cube with gaps drawn in it.

    hidden: by variable, bool of its shape, True where hidden. guesses: by variable, first guesses from what is left;
    empty for a layout without guesses.
    """

    cube: WaterCube
    hidden: Mapping[str, np.ndarray]
    guesses: Mapping[str, Guesses]

    def window(self, time: slice, y: slice, x: slice) -> TrainingRecord:
        """Return the part within the slices, and the sites in it."""
        near = np.flatnonzero(self.cube.sites_in(y, x))
        cells: dict[str, tuple[slice | np.ndarray, ...]] = {
            name: (time, y, x) if self.cube.variables[name].kind == "grid" else (time, near) for name in self.hidden
        }
        return TrainingRecord(
            self.cube.window(time, y, x),
            {name: h[cells[name]] for name, h in self.hidden.items()},
            {name: g.part(cells[name]) for name, g in self.guesses.items()},
        )


def draw_record(
    rng: np.random.Generator,
    cube: WindowedCube,
    layout: Layout,
    config: MaskingConfig,
    only: np.ndarray | None = None,
) -> TrainingRecord:
    """Draw a part of the cube that guesses can be made over, with gaps in every variable.

    Where `only` (T,) bool is given, gaps are drawn in these steps alone.
    """
    time, y, x = draw_extent(rng, cube, layout)
    record = cube.window(time, y, x)
    dynamic = record.of_kind("grid", "series")
    hidden = draw_gaps(rng, record, layout, config)
    if only is not None:
        for cells in hidden.values():
            cells[~only[time]] = False
    guesses = {}
    if layout.guesses:
        for name, variable in dynamic.items():
            seen = np.where(hidden[name], np.float32(np.nan), variable.values)
            guesses[name] = guess_variable(seen, layout.spec(name), record.time, record.year_s)
    return TrainingRecord(record, hidden, guesses)


def guess_errors(records: Sequence[TrainingRecord], layout: Layout, std: np.ndarray) -> np.ndarray:
    """Return (V, R, G) float32: the root mean squared error of each first guess in each region, on hidden cells.

    Errors are in units of `std` (V,), each variable's standard deviation in the network's space. A guess that was made
    in few cells of a region has its error over all regions; a guess that was never made has an error of 1.
    """
    errors = np.ones((len(layout.variables), len(REGIONS), len(GUESSES)), np.float32)
    for number, spec in enumerate(layout.variables):
        found = [_squared_errors(record, spec, std[number]) for record in records if spec.name in record.hidden]
        if not found:
            continue
        squares, region = (np.concatenate(part) for part in zip(*found, strict=True))
        every, _ = _root_mean(squares)
        for place in range(len(REGIONS)):
            own, number_of = _root_mean(squares[region == place])
            errors[number, place] = np.where(number_of >= MIN_CELLS, own, every)
    return errors


def _squared_errors(record: TrainingRecord, spec: VariableSpec, std: float) -> tuple[np.ndarray, np.ndarray]:
    """Return squared errors (n, G) of every guess on the hidden cells that have a value, and the cells' regions (n,).

    NaN where a guess was not made.
    """
    truth, guesses = record.cube.variables[spec.name].values, record.guesses[spec.name]
    cells = record.hidden[spec.name] & ~np.isnan(truth)
    guessed, wanted = guesses.values[cells].astype(np.float64), truth[cells].astype(np.float64)
    if spec.transform == "sqrt":
        guessed, wanted = (np.sqrt(np.maximum(a, 0)) for a in (guessed, wanted))
    return np.square((guessed - wanted[:, None]) / std), regions(guesses.distances[cells])


def _root_mean(squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (G,) the root of the mean over cells that have a guess, 1 without any, and (G,) the number of them."""
    number = (~np.isnan(squares)).sum(axis=0)
    mean = np.nansum(squares, axis=0) / np.maximum(number, 1)
    return np.where(number > 0, np.sqrt(mean) + MIN_ERROR, 1.0), number


def pools_per_record(cube: WindowedCube) -> int:
    """Return how many pools of windows are drawn from one record of the cube; 0 if each window has its own record."""
    _, height, width = cube.shape
    values_per_step = len(cube.of_kind("grid")) * height * width + len(cube.of_kind("series")) * len(cube.sites)
    values = min(MAX_TRAINING_RECORD_VALUES, len(cube.time) * values_per_step)
    if values < SMALL_RECORD_VALUES:
        return 0
    return max(1, min(MAX_POOLS, values // VALUES_PER_POOL))


def draw_extent(rng: np.random.Generator, cube: WindowedCube, layout: Layout) -> tuple[slice, slice, slice]:
    """Draw the slices of the cube that a record holds: all of it, or a run of steps and a part of the grid.

    A record holds at least a window; without guesses it is a window, since nothing around the window is needed.
    """
    n_time, *grid = cube.shape
    window_shape = (layout.window.steps, layout.window.rows, layout.window.columns)
    if not layout.guesses:
        return draw_slices(rng, cube.shape, [min(n, w) for n, w in zip(cube.shape, window_shape, strict=True)])
    number = max(len(cube.of_kind("grid")), 1)
    sizes: list[int] = []
    max_cells = MAX_TRAINING_RECORD_VALUES // (number * min(n_time, 4 * layout.window.steps))  # leaves enough steps
    for size, window in zip(grid, window_shape[1:], strict=True):
        sizes.append(size if grid[0] * grid[1] <= max_cells else min(size, max(2 * window, int(max_cells**0.5))))
    steps = max(2 * layout.window.steps, MAX_TRAINING_RECORD_VALUES // max(1, number * sizes[0] * sizes[1]))
    return draw_slices(rng, cube.shape, [min(n_time, steps), *sizes])
