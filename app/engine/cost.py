"""What a request will cost, from counts of its tokens and queries, before anything of it is run.

Seconds of a window are a sum of terms that attention is known to have: a constant, L, L x L (the encoder), Q and Q x L
(the decoder), for L visible tokens and Q queries. To them comes a term of the first guesses, which are made of every
value of a record, G, however few are asked for. Their weights are measured at warm-up; a factor that follows what
requests then really take keeps them honest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from app.engine.model import Model, example_cube
from app.errors import TooLargeError
from export.contract.cube import WaterCube
from export.contract.fill import Part, asked_cells, plan, served
from export.contract.layout import Layout, VariableSpec

TERMS = 6
SHARES = ((1.0, 0.5), (1.0, 0.1), (0.5, 0.5), (0.5, 0.9), (0.25, 0.3), (0.1, 0.5))  # of a window's steps; present
REPEATS = 2
MAX_WINDOWS = 100_000  # of one request: what can be counted within some seconds
FOLLOW = 0.2  # how far one request moves the factor
FACTOR_RANGE = (0.05, 20.0)


@dataclass(frozen=True)
class Load:
    """Counts over all windows of a request, and the sums of the cost's terms."""

    windows: int
    tokens: int
    queries: int
    terms: tuple[float, ...]

    @property
    def window_tokens(self) -> float:
        """Tokens of a window in the mean, or queries where they are more; no number where there is no window."""
        return max(self.tokens, self.queries) / self.windows if self.windows else math.inf


def count_load(cube: WaterCube, layout: Layout, names: Sequence[str], max_gap: int | None) -> Load:
    """What filling the gaps of `names` takes; counts as `export.contract.fill.reconstruct` does.

    Raises:
        TooLargeError: there are so many windows that counting them would take long.
    """
    _check_windows(cube, layout)
    asked = asked_cells(cube, names, max_gap)
    valid = {s.name: cube.variables[s.name].valid for s in layout.variables if s.name in cube.variables}
    static = _static_tokens(cube, layout)
    seen = [_Patches(cube, layout.spec(name), layout, cells) for name, cells in valid.items()]
    wanted = [_Patches(cube, layout.spec(name), layout, cells) for name, cells in asked.items()]
    asking = ((part, sum(one.held(part) for one in wanted)) for part in plan(cube, layout.window))
    parts = {part: Q for part, Q in asking if Q > 0}
    terms, windows, tokens, queries, record = np.zeros(TERMS), 0, 0, 0, None
    guessed = _guessed_values(cube, layout, [name for name in names if asked[name].any()])
    for part, steps in served(cube, layout, parts):
        if steps != record:
            record, terms[-1] = steps, terms[-1] + guessed * (steps.stop - steps.start)
        L, Q = sum(one.held(part) for one in seen), parts[part]
        if L == 0:
            continue
        L += static
        terms[:-1] += (1.0, L, L * L, Q, Q * L)
        windows, tokens, queries = windows + 1, tokens + L, queries + Q
    return Load(windows, tokens, queries, tuple(float(term) for term in terms))


class CostModel:
    """Predicted seconds of a load; safe to follow from one thread while others predict."""

    def __init__(self, weights: np.ndarray) -> None:
        self._weights = weights
        self.factor = 1.0

    def predict_s(self, load: Load) -> float:
        """Seconds that the engine will be busy with `load`."""
        return self.factor * float(self._weights @ load.terms)

    def follow(self, load: Load, took_s: float) -> None:
        """Moves the factor towards what a request took."""
        expected = float(self._weights @ load.terms)
        if expected <= 0 or took_s <= 0:
            return
        moved = math.log(self.factor) + FOLLOW * (math.log(took_s / expected) - math.log(self.factor))
        self.factor = min(max(math.exp(moved), FACTOR_RANGE[0]), FACTOR_RANGE[1])


def calibrate(models: Mapping[str, Model]) -> dict[str, CostModel]:
    """Each model's cost, measured on windows of several lengths and densities."""
    return {name: CostModel(_measure(model)) for name, model in models.items()}


def _measure(model: Model) -> np.ndarray:
    rows, seconds = [], []
    for steps, present in SHARES:
        cube = _thinned(example_cube(model.layout), steps, present)
        names = [spec.name for spec in model.layout.variables]
        times = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            model.run(cube, names)
            times.append(time.perf_counter() - started)
        rows.append(count_load(cube, model.layout, names, None).terms)
        seconds.append(min(times))
    took = np.array(seconds)
    weights, _ = nnls(np.array(rows) / took[:, None], np.ones(len(took)))  # relative errors count alike
    return np.asarray(weights)


def _thinned(cube: WaterCube, steps: float, present: float) -> WaterCube:
    """The first steps of `cube` with about a share `present` of its values left."""
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
    spans = zip(cube.shape, (window.steps, window.rows, window.columns), strict=True)
    number = math.prod(1 if n <= size else -(-(n - size) // max(size // 2, 1)) + 1 for n, size in spans)
    if number > MAX_WINDOWS:
        raise TooLargeError(
            "the request would take too long; ask for less at a time",
            got=f"{number} windows",
            expected=f"{MAX_WINDOWS} at most",
        )


class _Patches:
    """Counts of one variable's patches that hold a True cell, by window; the windows of one place share the work."""

    def __init__(self, cube: WaterCube, spec: VariableSpec, layout: Layout, cells: np.ndarray) -> None:
        self._cube, self._grid, self._patch, self._cells = cube, spec.kind == "grid", layout.patch, cells
        self._places: dict[tuple[int, int], np.ndarray] = {}

    def held(self, part: Part) -> int:
        """Patches of the window that hold a True cell."""
        here = self._place(part)
        if self._grid:
            return int(here[part.time.stop] - here[part.time.start])
        chunks = here[part.time]
        if not chunks.size:
            return 0
        return int(np.logical_or.reduceat(chunks, np.arange(0, len(chunks), self._patch.steps), axis=0).sum())

    def _place(self, part: Part) -> np.ndarray:
        """At the window's place: patches held before each step (T + 1,), or the sites' cells (T, N)."""
        key = (part.y.start, part.x.start)
        if key not in self._places:
            self._places[key] = self._sums(part) if self._grid else self._cells[:, self._cube.sites_in(part.y, part.x)]
        return self._places[key]

    def _sums(self, part: Part) -> np.ndarray:
        here = _any_of_each(self._cells[:, part.y, part.x], self._patch.rows)
        here = _any_of_each(here.transpose(0, 2, 1), self._patch.columns)
        return np.concatenate([[0], np.cumsum(np.count_nonzero(here, axis=(1, 2)))])


def _any_of_each(cells: np.ndarray, size: int) -> np.ndarray:
    """(T, H, W) bool as (T, ceil(H / size), W): whether any of `size` rows in a row is True."""
    some = cells[:, ::size].copy()
    for offset in range(1, size):
        more = cells[:, offset::size]
        some[:, : more.shape[1]] |= more
    return some


def _guessed_values(cube: WaterCube, layout: Layout, names: Sequence[str]) -> int:
    """Values of one step that first guesses are made of."""
    return sum(cube.variables[name].values[0].size for name in names) if layout.guesses else 0


def _static_tokens(cube: WaterCube, layout: Layout) -> int:
    """Static tokens of one window, at most."""
    rows, columns = (
        min(n, size) for n, size in zip(cube.shape[1:], (layout.window.rows, layout.window.columns), strict=True)
    )
    patches = -(-rows // layout.patch.rows) * -(-columns // layout.patch.columns)
    sent = set(cube.variables)
    grid = patches if any(s.name in sent for s in layout.static_grid) else 0
    return grid + (len(cube.sites) if any(s.name in sent for s in layout.static_site) else 0)
