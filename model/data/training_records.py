"""What is hidden in training, over whole records: gaps of every kind, the data's own among them, and first guesses.

Guesses need the record around a window, so that gaps are drawn over a record, guesses are made once from what is
left of it, and many windows are cut from both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hydrofill.cube import WaterCube
from hydrofill.guesses.first_guesses import GUESSES, REGIONS, Guesses, guess_variable, regions
from hydrofill.layout import Layout, VariableSpec
from model.config import MaskingConfig
from model.data.lazy_cube import LazyCube
from model.gaps.masks import (
    clouds,
    gauge_outages,
    has_gaps,
    in_runs,
    moved_gaps,
    random_patches,
    squares,
    swaths,
    whole_frames,
)

MAX_TRAINING_RECORD_VALUES = (
    1_500_000  # of all variables in one record; more is cut to a run of steps, and then to a part of the grid
)
VALUES_PER_POOL = 60_000  # a pool of windows is drawn for every so many values of a record, for making guesses costs
MAX_POOLS = 8
SMALL_RECORD_VALUES = 10_000  # fewer, and a window is much of its record: each gets gaps of its own
HIDDEN_RUN = 12.0  # steps, mean: runs that keep their values, get moved gaps, or get gaps of a drawn kind
MAX_TRIES = 100  # to hide something that has a value
DRAWN = 3  # kinds of gaps, each with its ratio, that the runs of a record get in turn
MIN_RUNS = 6  # of a record, about: a short one has shorter runs
MAX_FRAME_SHARE = 0.5  # share of whole frames hidden at most, or none is left to go by
MIN_CELLS = 30  # of a region, from which a guess has an error of its own there
MIN_ERROR = 1e-3  # spreads: no guess is trusted as if it never erred


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """A cube, what is `hidden` in it by variable (bool of its shape), and guesses from what is left; none if unused."""

    cube: WaterCube
    hidden: Mapping[str, np.ndarray]
    guesses: Mapping[str, Guesses]

    def window(self, time: slice, y: slice, x: slice) -> TrainingRecord:
        """The part within the slices, and the sites in it."""
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
    cube: WaterCube | LazyCube,
    layout: Layout,
    config: MaskingConfig,
    only: np.ndarray | None = None,
) -> TrainingRecord:
    """A part of the cube that guesses can be made over, with gaps drawn in every variable, or in steps `only`."""
    time, y, x = extent(rng, cube, layout)
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
            guesses[name] = guess_variable(seen, layout.spec(name), record.time)
    return TrainingRecord(record, hidden, guesses)


def draw_gaps(
    rng: np.random.Generator, record: WaterCube, layout: Layout, config: MaskingConfig
) -> dict[str, np.ndarray]:
    """What to hide in every variable, bool of its shape, until some of it has a value."""
    dynamic = record.of_kind("grid", "series")
    hidden: dict[str, np.ndarray] = {}
    for _ in range(MAX_TRIES):
        shift = int(rng.integers(1, max(len(record.time), 2)))  # one for all: what goes missing together stays together
        hidden = {n: hide_in_record(rng, v.valid, layout, config, shift) for n, v in dynamic.items()}
        if any((h & dynamic[n].valid).any() for n, h in hidden.items()):
            break
    return hidden


def guess_errors(records: Sequence[TrainingRecord], layout: Layout, spread: np.ndarray) -> np.ndarray:
    """(V, R, G) float32: root mean squared error of each first guess on the records' hidden cells, region by region.

    In units of `spread` (V,), each variable's standard deviation in the network's space, in which errors are taken.
    A guess that was hardly made in a region has its error over all of them; one never made counts as one spread wrong.
    """
    errors = np.ones((len(layout.variables), len(REGIONS), len(GUESSES)), np.float32)
    for number, spec in enumerate(layout.variables):
        found = [_squared_errors(record, spec, spread[number]) for record in records if spec.name in record.hidden]
        if not found:
            continue
        squares, region = (np.concatenate(part) for part in zip(*found, strict=True))
        every, _ = _root_mean(squares)
        for place in range(len(REGIONS)):
            own, number_of = _root_mean(squares[region == place])
            errors[number, place] = np.where(number_of >= MIN_CELLS, own, every)
    return errors


def _squared_errors(record: TrainingRecord, spec: VariableSpec, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Of every guess (n, G), NaN where there is none, of the hidden cells that have a value; and their regions (n,)."""
    truth, guesses = record.cube.variables[spec.name].values, record.guesses[spec.name]
    cells = record.hidden[spec.name] & ~np.isnan(truth)
    guessed, wanted = guesses.values[cells].astype(np.float64), truth[cells].astype(np.float64)
    if spec.transform == "sqrt":
        guessed, wanted = (np.sqrt(np.maximum(a, 0)) for a in (guessed, wanted))
    return np.square((guessed - wanted[:, None]) / spread), regions(guesses.distances[cells])


def _root_mean(squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(G,): root of the mean over the cells that have a guess, 1 if none has, and how many have one."""
    number = (~np.isnan(squares)).sum(axis=0)
    mean = np.nansum(squares, axis=0) / np.maximum(number, 1)
    return np.where(number > 0, np.sqrt(mean) + MIN_ERROR, 1.0), number


def pools_a_record(cube: WaterCube | LazyCube) -> int:
    """How many pools of windows are drawn from one record of the cube; 0: each window has a record of its own."""
    _, height, width = cube.shape
    a_step = len(cube.of_kind("grid")) * height * width + len(cube.of_kind("series")) * len(cube.sites)
    values = min(MAX_TRAINING_RECORD_VALUES, len(cube.time) * a_step)
    if values < SMALL_RECORD_VALUES:
        return 0
    return max(1, min(MAX_POOLS, values // VALUES_PER_POOL))


def hide_in_record(
    rng: np.random.Generator, valid: np.ndarray, layout: Layout, config: MaskingConfig, shift: int
) -> np.ndarray:
    """Bool of the shape of `valid`: runs of steps keep what they have, get the data's own gaps, or those of a kind."""
    own = config.own_gaps if has_gaps(valid) else 0.0
    touched = 1 - config.untouched
    shares = (config.untouched, touched * own, *[touched * (1 - own) / DRAWN] * (DRAWN - 1))
    run = max(1.0, min(HIDDEN_RUN, len(valid) / MIN_RUNS))
    which = in_runs(rng, len(valid), shares, run).reshape(-1, *[1] * (valid.ndim - 1))
    hidden = (which == 1) & moved_gaps(valid, shift)
    for number in range(DRAWN):
        kind, ratio = str(rng.choice(config.kinds)), float(rng.uniform(*config.mask_ratio))
        hidden |= (which == number + 2) & hide(rng, kind, valid.shape, ratio, layout, config)
    return hidden


def hide(
    rng: np.random.Generator, kind: str, shape: tuple[int, ...], ratio: float, layout: Layout, config: MaskingConfig
) -> np.ndarray:
    """Bool of `shape`, True where a gap of this kind hides; (T, N) knows only outages."""
    if len(shape) == 2:
        return gauge_outages(rng, shape, ratio, config.outage_run)
    grid = (shape[0], shape[1], shape[2])
    if kind == "patches":
        return random_patches(rng, grid, ratio, (layout.patch.rows, layout.patch.columns))
    if kind == "clouds":
        return clouds(rng, grid, ratio)
    if kind == "swaths":
        return swaths(rng, grid, ratio)
    if kind == "squares":
        return squares(rng, grid, ratio)
    frames = whole_frames(rng, grid[0], min(ratio, MAX_FRAME_SHARE), config.mean_run)
    return np.broadcast_to(frames[:, None, None], grid)


def extent(rng: np.random.Generator, cube: WaterCube | LazyCube, layout: Layout) -> tuple[slice, slice, slice]:
    """All of the cube, or a run of its steps and a part of its grid, at least a window, that a record may hold.

    Without guesses nothing around a window is needed.
    """
    n_time, *grid = cube.shape
    least = (layout.window.steps, layout.window.rows, layout.window.columns)
    if not layout.guesses:
        return _anywhere(rng, cube, [min(n, w) for n, w in zip(cube.shape, least, strict=True)])
    number = max(len(cube.of_kind("grid")), 1)
    sizes: list[int] = []
    room = MAX_TRAINING_RECORD_VALUES // (
        number * min(n_time, 4 * layout.window.steps)
    )  # cells of the grid beside enough steps
    for size, window in zip(grid, least[1:], strict=True):
        sizes.append(size if grid[0] * grid[1] <= room else min(size, max(2 * window, int(room**0.5))))
    steps = max(2 * layout.window.steps, MAX_TRAINING_RECORD_VALUES // max(1, number * sizes[0] * sizes[1]))
    return _anywhere(rng, cube, [min(n_time, steps), *sizes])


def _anywhere(rng: np.random.Generator, cube: WaterCube | LazyCube, wanted: list[int]) -> tuple[slice, slice, slice]:
    starts = [int(rng.integers(0, n - w + 1)) for n, w in zip(cube.shape, wanted, strict=True)]
    time, y, x = (slice(a, a + w) for a, w in zip(starts, wanted, strict=True))
    return time, y, x
