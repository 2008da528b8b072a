"""The cost model: predicts a request's engine time from its counts of tokens and queries, before anything is run.

The time of a window is a sum of the terms that attention has: a constant, L and L x L (the encoder), Q and Q x L (the
decoder), for L visible tokens and Q queries. One more term counts the first guesses: these are computed from all values
of a record, G, even if few cells are to be filled. A general bundle first measures the record on hidden cells
(hydrofill/general/self_check.py): the windows and guesses of that check count too. It makes one more guess of each
missing cell, S, and has a fixed cost for the guesses of each variable, N. The weights of the terms are measured at
warm-up. A common factor is then updated from the time that each request really takes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from operator import add

import numpy as np

from app.engine.least_squares import non_negative_weights
from app.errors import TooLargeError
from hydrofill.blocks import Box
from hydrofill.cube import Sites, Variable, WaterCube
from hydrofill.general.layout import compose_layout
from hydrofill.general.self_check import MIN_DRAWS, SOURCE_DRAWS, hide_parts
from hydrofill.inference.model import WARM_UP_START, Model, blocks_of, example_cube
from hydrofill.layout import Layout, Patch
from hydrofill.reconstruct import (
    count_overlapping_slices,
    overlapping_slices,
    record_slices,
    requested_cells,
)

# Measured windows: share of a window's steps, and share of their values that is present.
SHARES = ((1.0, 0.5), (1.0, 0.1), (0.5, 0.5), (0.5, 0.9), (0.25, 0.3), (0.1, 0.5))
# Records that a general bundle is measured on: shape (T, H, W) or (T, N), and share of the values that is present.
GENERAL_RECORDS = (
    ((2, 4, 4), 0.5),
    ((8, 24, 24), 0.5),
    ((12, 24, 24), 0.9),
    ((24, 12, 12), 0.2),
    ((96, 4), 0.5),
    ((256, 8), 0.9),
)
GRAPH_TERMS, OTHER_TERMS = [0, 1, 2, 3, 4], [0, 3, 5, 6, 7]  # of Load.terms
RECORD_WINDOWS = 8  # length of the measured record, in windows; only the first has gaps, so that guesses dominate
CALIBRATION_RECORD_VALUES = 100_000  # values of the measured record, at most (one window at least)
REPEATS = 2
MAX_WINDOWS = 100_000  # of one request: more would take too long to count
UPDATE_RATE = 0.2  # how far one request moves the factor, 0 to 1, on a logarithmic scale
FACTOR_RANGE = (0.05, 20.0)


@dataclass(frozen=True)
class Load:
    """Counts over all windows of a request, and the sums of the cost model's terms 1, L, L², Q, QL, G, S and N."""

    windows: int
    tokens: int
    queries: int
    terms: tuple[float, ...]

    def __add__(self, other: Load) -> Load:
        """Return the load of both."""
        terms = tuple(a + b for a, b in zip(self.terms, other.terms, strict=True))
        return Load(self.windows + other.windows, self.tokens + other.tokens, self.queries + other.queries, terms)

    def times(self, windows: float, guesses: float) -> Load:
        """Return the load with so many times the windows, and so many times the guesses."""
        terms = tuple(t * (windows if number in GRAPH_TERMS else guesses) for number, t in enumerate(self.terms))
        number, tokens, queries = (round(windows * count) for count in (self.windows, self.tokens, self.queries))
        return Load(number, tokens, queries, terms)


def count_load(cube: WaterCube, layout: Layout, names: Sequence[str], max_gap: int | None) -> Load:
    """Count the windows, tokens and queries of a fill of `names`, as `hydrofill.inference.model.Model.run` would.

    Raises:
        TooLargeError: there are more than MAX_WINDOWS windows.
    """
    own = compose_layout(cube) if layout.general else layout
    _check_windows(cube, own)
    requested = requested_cells(cube, names, max_gap)
    load = _count_fill(cube, own, requested)
    if not (layout.general and load.queries):
        return load
    check, blocks = _count_check(cube, own), blocks_of(cube, own)
    if len(blocks) == 1:
        return load + check
    read, filled = (_times_read([getattr(b, box) for b in blocks], cube) for box in ("around", "core"))
    draws = SOURCE_DRAWS / MIN_DRAWS
    return load.times(filled, read) + check.times(draws, draws)


def _times_read(boxes: Sequence[Box], cube: WaterCube) -> float:
    """Return how many times boxes together hold the cells of a cube; of a cube without a grid, its steps."""
    cells = [steps * max(rows * columns, 1) for steps, rows, columns in (*(box.shape for box in boxes), cube.shape)]
    return sum(cells[:-1]) / cells[-1]


def _count_fill(cube: WaterCube, layout: Layout, requested: Mapping[str, np.ndarray]) -> Load:
    """Count what filling the requested cells takes."""
    times = overlapping_slices(len(cube.time), layout.window.steps, layout.overlap)
    L, Q = _window_counts(cube, layout, requested, layout.overlap)
    with_queries = [times[number] for number in np.flatnonzero(Q.any(axis=1))]
    records = {(record.start, record.stop) for record in record_slices(cube, layout, with_queries)}
    guessed = [name for name in requested if requested[name].any()] if layout.guesses else []
    values = [cube.variables[name].values[start:stop] for name in guessed for start, stop in records]
    return _sum(L, Q, _static_tokens(cube, layout), values, layout.general)


def _count_check(cube: WaterCube, layout: Layout) -> Load:
    """Count what the check on hidden cells takes before a general bundle fills anything."""
    loads = []
    for part in hide_parts(cube, [spec.name for spec in layout.variables]):
        hidden = {name: codes > 0 for name, codes in part.codes.items()}
        L, Q = _window_counts(part.gappy, layout, hidden, overlap=0)
        guessed = [part.gappy.variables[name].values for name in hidden]
        loads.append(_sum(L, Q, _static_tokens(part.gappy, layout), guessed, general=True))
    return reduce(add, loads)


def _window_counts(
    cube: WaterCube, layout: Layout, requested: Mapping[str, np.ndarray], overlap: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the visible tokens and the queries of each window, (T, P) each for T time spans and P places.

    Static tokens are left out.
    """
    valid = {s.name: cube.variables[s.name].valid for s in layout.variables if s.name in cube.variables}
    return _patches_held(cube, layout, valid, overlap), _patches_held(cube, layout, requested, overlap)


def _sum(L: np.ndarray, Q: np.ndarray, static: int, guessed: Sequence[np.ndarray], general: bool) -> Load:
    """Return the load of windows with L visible tokens, `static` more and Q queries.

    Windows without a visible token or without a query are not run. Guesses are made over the arrays in `guessed`.
    """
    run = (L > 0) & (Q > 0)
    L, Q = (L[run] + static).astype(np.float64), Q[run].astype(np.float64)
    values = sum(array.size for array in guessed)
    missing = sum(int(np.isnan(array).sum()) for array in guessed) if general else 0
    terms = (len(L), L.sum(), (L * L).sum(), Q.sum(), (Q * L).sum(), values, missing, len(guessed) if general else 0)
    return Load(len(L), int(L.sum()), int(Q.sum()), tuple(float(term) for term in terms))


class CostModel:
    """Predicts the seconds of a load; one thread may update it while others predict."""

    def __init__(self, weights: np.ndarray) -> None:
        self._weights = weights
        self.factor = 1.0

    def predict_s(self, load: Load) -> float:
        """Return the predicted seconds of engine time for `load`."""
        return self.factor * float(self._weights @ load.terms)

    def update(self, load: Load, took_s: float) -> None:
        """Move the factor towards the seconds that a request with this load took."""
        expected = float(self._weights @ load.terms)
        if expected <= 0 or took_s <= 0:
            return
        moved = math.log(self.factor) + UPDATE_RATE * (math.log(took_s / expected) - math.log(self.factor))
        self.factor = min(max(math.exp(moved), FACTOR_RANGE[0]), FACTOR_RANGE[1])


def measure_costs(models: Mapping[str, Model]) -> dict[str, CostModel]:
    """Measure each model on windows of several lengths and densities, and on a record of several windows."""
    return {name: CostModel(_measure(model)) for name, model in models.items()}


def _measure(model: Model) -> np.ndarray:
    return _measure_general(model) if model.layout.general else _measure_named(model)


def _measure_named(model: Model) -> np.ndarray:
    """Return the weights of a bundle of named variables, each run at the faster of REPEATS times."""
    rows, seconds = [], []
    window = example_cube(model.layout)
    for cube in (_long_record(model.layout), *(_thin_out(window, steps, present) for steps, present in SHARES)):
        names = [spec.name for spec in model.layout.variables]
        times = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            model.run(cube, names)
            times.append(time.perf_counter() - started)
        rows.append(count_load(cube, model.layout, names, None).terms)
        seconds.append(min(times))
    return _weights(np.array(rows), np.array(seconds))


def _measure_general(model: Model) -> np.ndarray:
    """Return the weights of a general bundle: of the time in the graphs, and of all the rest, which is guesses mostly.

    Each record is run once: the first runs of a process, which are slower, were those of the warm-up.
    """
    rows, in_graphs, rest = [], [], []
    for cube in _general_records():
        names = list(cube.variables)
        rows.append(count_load(cube, model.layout, names, None).terms)
        started = time.perf_counter()
        outcome = model.run(cube, names)
        in_graphs.append(outcome.encode_s + outcome.decode_s)
        rest.append(time.perf_counter() - started - in_graphs[-1])
    terms = np.array(rows)
    weights = np.zeros(terms.shape[1])
    weights[GRAPH_TERMS] += _weights(terms[:, GRAPH_TERMS], np.array(in_graphs))
    weights[OTHER_TERMS] += _weights(terms[:, OTHER_TERMS], np.array(rest))
    return weights


def _weights(terms: np.ndarray, took_s: np.ndarray) -> np.ndarray:
    """Return non-negative weights (K,) whose sums of `terms` (n, K) are nearest to `took_s` (n,), relatively."""
    return non_negative_weights(terms / took_s[:, None], np.ones(len(took_s)))


def _general_records() -> Iterator[WaterCube]:
    """Yield records of several shapes and densities, each of one variable, for a general bundle."""
    rng = np.random.default_rng(0)
    for (steps, *places), present in GENERAL_RECORDS:
        values = np.cumsum(rng.normal(size=(steps, *places)), axis=0).astype(np.float32)
        values[rng.random(values.shape) >= present] = np.nan
        values[0] = 0.0  # every place has a value
        rows, columns = places if len(places) == 2 else (0, 0)
        number = 0 if rows else places[0]
        ids, along = np.arange(number).astype(str), np.arange(number, dtype=np.float64)
        yield WaterCube(
            WARM_UP_START + np.arange(steps) * np.timedelta64(1, "D"),
            np.arange(rows, dtype=np.float64),
            np.arange(columns, dtype=np.float64),
            Sites(ids, along, along),
            {"any": Variable(name="any", kind="grid" if rows else "series", values=values, units="")},
        )


def _long_record(layout: Layout) -> WaterCube:
    """Return a cube of several windows in a row that has gaps in its first window only."""
    one = example_cube(layout)
    values = max(variable.values[0].size for variable in one.of_kind("grid", "series").values())
    steps = max(layout.window.steps, min(RECORD_WINDOWS * layout.window.steps, CALIBRATION_RECORD_VALUES // values))
    cube = example_cube(layout, steps)
    whole = {}
    for name, variable in cube.of_kind("grid", "series").items():
        whole[name] = np.nan_to_num(variable.values, nan=float(np.nanmean(variable.values)))
        whole[name][: layout.window.steps] = one.variables[name].values
    return cube.with_values(whole)


def _thin_out(cube: WaterCube, steps: float, present: float) -> WaterCube:
    """Return the first share `steps` of the cube's steps, with about a share `present` of the values kept."""
    rng = np.random.default_rng(1)
    n_time, height, width = cube.shape
    cut = cube.window(slice(0, max(1, round(steps * n_time))), slice(0, height), slice(0, width))
    values = {}
    for name, variable in cut.of_kind("grid", "series").items():
        kept = rng.random(variable.values.shape) < present
        kept.flat[0] = True
        whole = np.where(np.isnan(variable.values), np.nanmean(cube.variables[name].values), variable.values)
        values[name] = np.where(kept, whole, np.nan).astype(np.float32)
    return cut.with_values(values)


def _check_windows(cube: WaterCube, layout: Layout) -> None:
    window = layout.window
    axes = zip(cube.shape, (window.steps, window.rows, window.columns), strict=True)
    number = math.prod(count_overlapping_slices(n, size, layout.overlap) for n, size in axes)
    if number > MAX_WINDOWS:
        raise TooLargeError(
            "the request would take too long; split it into smaller requests",
            got=f"{number} windows",
            expected=f"{MAX_WINDOWS} at most",
        )


def _patches_held(cube: WaterCube, layout: Layout, cells: Mapping[str, np.ndarray], overlap: float) -> np.ndarray:
    """Count the patches with at least one True cell, over all variables: (T, P) for T time spans and P places.

    Windows cover at least the share `overlap` of each other.
    """
    window = layout.window
    axes = zip(cube.shape, (window.steps, window.rows, window.columns), strict=True)
    times, rows, columns = (overlapping_slices(length, size, overlap) for length, size in axes)
    places = list(product(rows, columns))
    starts, stops = (np.array([getattr(time, end) for time in times]) for end in ("start", "stop"))
    held = np.zeros((len(times), len(places)), np.int64)
    for name, of_variable in cells.items():
        if not of_variable.any():
            continue
        for number, (y, x) in enumerate(places):
            if layout.spec(name).kind == "grid":
                held[:, number] += _grid_patches(of_variable[:, y, x], layout.patch, starts, stops)
            else:
                held[:, number] += _series_patches(of_variable[:, cube.sites_in(y, x)], layout.patch, starts, stops)
    return held


def _grid_patches(cells: np.ndarray, patch: Patch, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Count the patches with a True cell in `cells` (T, H, W), frame by frame, from each start to its stop."""
    here = _any_of_each(cells, patch.rows)
    here = _any_of_each(here.transpose(0, 2, 1), patch.columns)
    before = np.concatenate([[0], np.cumsum(np.count_nonzero(here, axis=(1, 2)))])
    held: np.ndarray = before[stops] - before[starts]
    return held


def _series_patches(cells: np.ndarray, patch: Patch, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Count the chunks of steps with a True cell in `cells` (T, N), site by site, from each start to its stop."""
    before = np.concatenate([np.zeros((1, cells.shape[1]), np.int64), np.cumsum(cells, axis=0)])
    first = starts[:, None] + np.arange(0, int((stops - starts).max()), patch.steps)
    last = np.minimum(first + patch.steps, stops[:, None])
    held: np.ndarray = (before[last] > before[np.minimum(first, last)]).sum(axis=(1, 2))
    return held


def _any_of_each(cells: np.ndarray, size: int) -> np.ndarray:
    """Return (T, ceil(H / size), W): whether any of each `size` rows of `cells` (T, H, W) is True."""
    some = cells[:, ::size].copy()
    for offset in range(1, size):
        more = cells[:, offset::size]
        some[:, : more.shape[1]] |= more
    return some


def _static_tokens(cube: WaterCube, layout: Layout) -> int:
    """Return an upper bound of the static tokens of one window."""
    rows, columns = (
        min(n, size) for n, size in zip(cube.shape[1:], (layout.window.rows, layout.window.columns), strict=True)
    )
    patches = -(-rows // layout.patch.rows) * -(-columns // layout.patch.columns)
    sent = set(cube.variables)
    grid = patches if any(s.name in sent for s in layout.static_grid) else 0
    return grid + (len(cube.sites) if any(s.name in sent for s in layout.static_site) else 0)
