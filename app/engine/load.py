"""Counts what a fill will run and make, before anything is run: windows, tokens, queries, values, pairs, bytes.

Everything is counted from shapes and from what is observed, in time and memory that grow with the request alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from operator import add
from typing import NamedTuple

import numpy as np

from app.errors import TooLargeError
from hydrofill.blocks import Box
from hydrofill.cancellation import checkpoint
from hydrofill.cube import WaterCube
from hydrofill.gaps.refusals import Refuser
from hydrofill.general.layout import compose_layout
from hydrofill.general.self_check import MIN_DRAWS, SOURCE_DRAWS, hide_parts
from hydrofill.guesses.other_variables import MAX_PREDICTORS
from hydrofill.guesses.similarity import BLOCK_PAIRS
from hydrofill.inference.model import blocks_of
from hydrofill.layout import Layout, Patch
from hydrofill.reconstruct import (
    count_overlapping_slices,
    overlapping_slices,
    record_slices,
)

TERMS = 11  # of a load
GRAPH_TERMS, OTHER_TERMS = [0, 1, 2, 3, 4], [0, 3, 5, 6, 7]  # of Load.terms
PAIR_TERMS, OTHERS_TERM = [8, 9], 10
MAX_WINDOWS = 100_000  # of one request: more would take too long to count
MAX_SITE_WINDOWS = 200_000_000  # sites times windows: each window looks for its sites among all


# Bytes that a fill holds at its peak. Source: measured with tracemalloc on records of many shapes, rounded up
# (tests/app/engine/test_load.py holds them to it).
VALUE_BYTES = 48  # of each value of the request: cube, masks, ranks, fill
REQUESTED_BYTES = 64  # of each cell to fill: sums of predictions, moments
GUESSED_BYTES = 130  # of each value whose guesses are kept
GUESSING_BYTES = 300  # of each value of the variable whose guesses are being made
PAIR_BYTES = 110  # of each pair of sites in a block
TOKEN_BYTES = 10_000  # of each token and query of a window in the graphs
ATTENTION_BYTES = 8  # of each pair of tokens of a window


@dataclass(frozen=True)
class Load:
    """Counts over all windows of a request, its bytes, and the sums of the cost model's terms.

    bytes: memory that filling takes at its peak, beside the decoded body. terms: 1, L, L², Q, QL, G, S, N, P, TP and O;
    see hydrofill's cost model in `app.engine.cost`.
    """

    windows: int
    tokens: int
    queries: int
    terms: tuple[float, ...]
    bytes: int = 0

    def __add__(self, other: Load) -> Load:
        """Return the load of both, of which one follows the other; what the first keeps is small."""
        terms = tuple(a + b for a, b in zip(self.terms, other.terms, strict=True))
        counts = (self.windows + other.windows, self.tokens + other.tokens, self.queries + other.queries)
        return Load(*counts, terms, max(self.bytes, other.bytes))

    def times(self, windows: float, guesses: float) -> Load:
        """Return the load with so many times the windows, and so many times the guesses."""
        terms = tuple(t * (windows if number in GRAPH_TERMS else guesses) for number, t in enumerate(self.terms))
        number, tokens, queries = (round(windows * count) for count in (self.windows, self.tokens, self.queries))
        return Load(number, tokens, queries, terms, self.bytes)


def count_load(cube: WaterCube, layout: Layout, names: Sequence[str], refuser: Refuser | None = None) -> Load:
    """Count the windows, tokens and queries of a fill of `names`, as `hydrofill.inference.model.Model.run` would.

    Raises:
        TooLargeError: there are more than MAX_WINDOWS windows, or MAX_SITE_WINDOWS sites of windows.
    """
    own = compose_layout(cube) if layout.general else layout
    _check_windows(cube, own)
    requested = {name: cube.gaps(name) for name in names}
    if refuser is not None and not _any_left(cube, requested, refuser):  # else every gap is filled, and refused then
        requested = {name: np.zeros_like(gaps) for name, gaps in requested.items()}
    checkpoint()
    values = sum(v.values.size for v in cube.of_kind("grid", "series").values())
    wanted = sum(int(np.count_nonzero(cells)) for cells in requested.values())
    held = VALUE_BYTES * values + REQUESTED_BYTES * wanted
    load = _count_fill(cube, own, requested)
    if not (layout.general and load.queries):
        return replace(load, bytes=load.bytes + held)
    check, blocks = _count_check(cube, own), blocks_of(cube, own)
    if len(blocks) == 1:
        return replace(load + check, bytes=load.bytes + check.bytes + held)
    read, filled = (_times_read([getattr(b, box) for b in blocks], cube) for box in ("around", "core"))
    draws = SOURCE_DRAWS / MIN_DRAWS
    largest = max(_times_read([block.around], cube) for block in blocks)
    of_blocks = load.times(filled, read) + check.times(draws, draws)
    return replace(of_blocks, bytes=int(largest * load.bytes + draws * check.bytes) + 2 * held)


def _any_left(cube: WaterCube, gaps: Mapping[str, np.ndarray], refuser: Refuser) -> bool:
    return any((gaps[name] & (refuser.codes(cube, name) == 0)).any() for name in gaps)


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
    made = [
        _count_guesses({n: cube.variables[n].values[start:stop] for n in guessed}, layout) for start, stop in records
    ]
    return _sum(L, Q, _static_tokens(cube, layout), reduce(add, made, NO_GUESSES))


def _count_check(cube: WaterCube, layout: Layout) -> Load:
    """Count what the check on hidden cells takes before a general bundle fills anything."""
    loads = []
    for part in hide_parts(cube, [spec.name for spec in layout.variables]):
        hidden = {name: codes > 0 for name, codes in part.codes.items()}
        L, Q = _window_counts(part.gappy, layout, hidden, overlap=0)
        guesses = _count_guesses({name: part.gappy.variables[name].values for name in hidden}, layout)
        loads.append(_sum(L, Q, _static_tokens(part.gappy, layout), guesses))
    return replace(reduce(add, loads), bytes=sum(load.bytes for load in loads))  # all draws are kept


class _GuessCount(NamedTuple):
    """What the guesses of a record take: the terms G, S, N, P, TP and O, and bytes at their peak."""

    terms: tuple[float, ...]
    bytes: int

    def __add__(self, other: _GuessCount) -> _GuessCount:  # type: ignore[override]
        """Return what two records take one after the other."""
        return _GuessCount(tuple(a + b for a, b in zip(self.terms, other.terms, strict=True)), max(self[1], other[1]))


NO_GUESSES = _GuessCount((0.0,) * (TERMS - len(GRAPH_TERMS)), 0)


def _count_guesses(values: Mapping[str, np.ndarray], layout: Layout) -> _GuessCount:
    """Count what guesses over these arrays take: (T, H, W) or (T, N) of each variable, NaN where nothing is seen."""
    checkpoint()
    size = sum(array.size for array in values.values())
    largest = max((array.size for array in values.values()), default=0)
    pairs = steps_of_pairs = block_pairs = 0
    for name, array in values.items():
        if array.ndim == 2:
            sites = int((~np.isnan(array)).any(axis=0).sum()) + 1  # one stands for all that are never seen
            times = 2 if layout.spec(name).transform == "sqrt" else 1
            pairs += times * sites**2
            steps_of_pairs += times * len(array) * sites**2
            block_pairs = max(block_pairs, min(sites**2, max(BLOCK_PAIRS, sites)))
    missing = number = of_others = 0
    if layout.general:
        missing = sum(int(np.isnan(array).sum()) for array in values.values())
        number = len(values)
        others = min(4 * (len(layout.variables) - 1), MAX_PREDICTORS)  # four predictors are made of each other variable
        of_others = size * others * (others + 1) // 2
    made = GUESSED_BYTES * size + GUESSING_BYTES * largest + PAIR_BYTES * block_pairs
    terms = (size, missing, number, pairs, steps_of_pairs, of_others)
    return _GuessCount(tuple(float(term) for term in terms), made)


def _window_counts(
    cube: WaterCube, layout: Layout, requested: Mapping[str, np.ndarray], overlap: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the visible tokens and the queries of each window, (T, P) each for T time spans and P places.

    Static tokens are left out.
    """
    valid = {s.name: cube.variables[s.name].valid for s in layout.variables if s.name in cube.variables}
    return _patches_held(cube, layout, valid, overlap), _patches_held(cube, layout, requested, overlap)


def _sum(L: np.ndarray, Q: np.ndarray, static: int, guesses: _GuessCount) -> Load:
    """Return the load of windows with L visible tokens, `static` more and Q queries, and of their guesses.

    Windows without a visible token or without a query are not run.
    """
    run = (L > 0) & (Q > 0)
    L, Q = (L[run] + static).astype(np.float64), Q[run].astype(np.float64)
    terms = (float(len(L)), *(float(term) for term in (L.sum(), (L * L).sum(), Q.sum(), (Q * L).sum())), *guesses.terms)
    largest = float(L.max()) if len(L) else 0.0
    in_graphs = TOKEN_BYTES * (largest + (float(Q.max()) if len(Q) else 0.0)) + ATTENTION_BYTES * largest**2
    return Load(len(L), int(L.sum()), int(Q.sum()), terms, guesses.bytes + int(in_graphs))


def _check_windows(cube: WaterCube, layout: Layout) -> None:
    window = layout.window
    axes = zip(cube.shape, (window.steps, window.rows, window.columns), strict=True)
    number = math.prod(count_overlapping_slices(n, size, layout.overlap) for n, size in axes)
    searched = number * len(cube.sites)
    if number > MAX_WINDOWS or searched > MAX_SITE_WINDOWS:
        raise TooLargeError(
            "the request would take too long; split it into smaller requests",
            got=f"{number} windows and {len(cube.sites)} sites",
            expected=f"{MAX_WINDOWS} windows at most, and {MAX_SITE_WINDOWS} windows times sites",
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
            checkpoint()
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
