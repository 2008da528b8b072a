"""Windows over a cube, the gaps asked of each, and the answers blended into one: cube -> filled cube.

The network comes in as a function of tokens and queries, so that what training evaluates and what
the server answers are one computation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from export.contract.calibration import Calibration, distance_classes
from export.contract.cube import WaterCube
from export.contract.errors import BundleError, NothingObservedError, UnknownVariableError
from export.contract.guesses import Guesses
from export.contract.interpolate import nearest_seen
from export.contract.layout import Layout, Window
from export.contract.tokens import Queries, Tokenised, Tokens, first_guesses, tokenise

OBSERVED, FILLED, OUTSIDE, REFUSED = (np.int8(flag) for flag in range(4))
FLAG_MEANINGS = ("observed", "filled", "outside", "refused")
RECORD_VALUES = 2_000_000  # of one variable in a record that guesses are made over: some 300 MB while they are made
RECORD_MARGIN = 32  # steps of a record before and after the windows that it serves


class Predictor(Protocol):
    """The network: one window's tokens and queries -> mean and standard deviation (Q, P), physical units."""

    def __call__(self, tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of every cell of every query, (Q, P) each."""


@dataclass(frozen=True, eq=False)
class Filled:
    """One variable reconstructed, arrays of its shape: `mean` (the fill; NaN elsewhere), `std`, `flag` int8."""

    mean: np.ndarray
    std: np.ndarray
    flag: np.ndarray


@dataclass(frozen=True)
class Part:
    """One window of a cube, with a weight (steps, rows, columns) that falls towards its inner borders."""

    time: slice
    y: slice
    x: slice
    weight: np.ndarray


def reconstruct(
    cube: WaterCube,
    layout: Layout,
    predict: Predictor,
    *,
    names: Sequence[str] | None = None,
    max_gap: int | None = None,
    only: Mapping[str, np.ndarray] | None = None,
    calibration: Mapping[str, Calibration] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Filled]:
    """Every gap of `names` (by default of all variables that cube and model share) with mean, spread and flag.

    A gap of more than `max_gap` steps in a row is refused, as is one that no window with an observed
    value reaches; `only`, by variable, bool, narrows what is asked for. `calibration`, by variable,
    stretches spreads and dries fills. `progress` is told (windows done, windows in all).

    Raises:
        UnknownVariableError: a name that the model or the cube lacks.
        NothingObservedError: no reconstructed variable has a value anywhere.
    """
    names = known_names(cube, layout, names)
    if not any(cube.variables[s.name].valid.any() for s in layout.variables if s.name in cube.variables):
        raise NothingObservedError("no value is present in any variable", got=sorted(cube.variables))
    asked = asked_cells(cube, names, max_gap)
    if only is not None:
        asked = {name: wanted & only[name] for name, wanted in asked.items()}
    blends = {n: _Blend(cube.variables[n].values.shape) for n in names}
    parts, record = list(plan(cube, layout.window)), None
    for done, part in enumerate(parts):
        if record is None or not record.holds(part):
            record = Record.around(cube, layout, part, names)
        _fill_part(record, layout, predict, part, asked, blends)
        if progress is not None:
            progress(done + 1, len(parts))
    calibration = calibration or {}
    return {n: _finish(cube, layout, n, blends[n], asked[n], calibration.get(n)) for n in names}


def known_names(cube: WaterCube, layout: Layout, names: Sequence[str] | None) -> list[str]:
    """The variables to reconstruct, in the layout's order.

    Raises:
        UnknownVariableError: a name that the model or the cube lacks, or nothing in common.
    """
    model = [s.name for s in layout.variables]
    shared = [n for n in model if n in cube.variables]
    for name in names or ():
        if name not in model:
            raise UnknownVariableError("the model does not reconstruct it", where=name, expected=f"one of {model}")
        if name not in shared:
            raise UnknownVariableError("is not in the data", where=name)
    if not shared:
        raise UnknownVariableError("no variable of the data is one of the model's", expected=f"some of {model}")
    return [n for n in shared if not names or n in names]


def asked_cells(cube: WaterCube, names: Sequence[str], max_gap: int | None) -> dict[str, np.ndarray]:
    """By variable, bool: the gaps that are to be filled, those of more than `max_gap` steps in a row left out."""
    gaps = {n: cube.gaps(n) for n in names}
    return {n: gaps[n] & ~_too_long(gaps[n], max_gap) for n in names}


def plan(cube: WaterCube, window: Window) -> Iterator[Part]:
    """Windows that cover the cube, each step, row and column at least once, neighbours half overlapping."""
    n_time, height, width = cube.shape
    for time, of_time in _spans(n_time, window.steps):
        for y, of_y in _spans(height, window.rows):
            for x, of_x in _spans(width, window.columns):
                yield Part(time, y, x, of_time[:, None, None] * of_y[None, :, None] * of_x[None, None, :])


@dataclass(frozen=True)
class Record:
    """A run of steps of a cube, all of its cells, with the first guesses made over it; windows are cut from it.

    guesses: by variable, of the cells within `time`; empty in a layout without guesses.
    """

    cube: WaterCube
    time: slice
    guesses: Mapping[str, Guesses]

    @classmethod
    def around(cls, cube: WaterCube, layout: Layout, part: Part, names: Sequence[str]) -> Record:
        """The record that `part` and those after it are served from: all of the cube, if it is not too long."""
        n_time, height, width = cube.shape
        steps = max(RECORD_VALUES // max(height * width, len(cube.sites), 1), 2 * layout.window.steps)
        start = 0 if n_time <= steps else max(0, part.time.start - RECORD_MARGIN)
        time = slice(start, min(n_time, start + steps + 2 * RECORD_MARGIN))
        wanted = names if layout.guesses else ()
        made = {n: first_guesses(cube.variables[n].values[time], layout.spec(n)) for n in wanted}
        return cls(cube, time, made)

    def holds(self, part: Part) -> bool:
        """Whether the part lies within, and far enough from an end that is not the cube's own."""
        last = len(self.cube.time)
        return (
            self.time.start <= part.time.start
            and part.time.stop <= self.time.stop
            and (self.time.stop == last or part.time.stop <= self.time.stop - RECORD_MARGIN)
        )

    def tokenise(self, layout: Layout, part: Part, asked: Mapping[str, np.ndarray]) -> Tokenised | None:
        """One window's tokens and queries; None when it asks for nothing or sees nothing."""
        local = {name: wanted[_cells(self.cube, name, part)] for name, wanted in asked.items()}
        if not any(wanted.any() for wanted in local.values()):
            return None
        window, known = self.cube.window(part.time, part.y, part.x), None
        if layout.guesses:
            shifted = replace(part, time=slice(part.time.start - self.time.start, part.time.stop - self.time.start))
            known = {name: made.part(_cells(self.cube, name, shifted)) for name, made in self.guesses.items()}
        tokenised = tokenise(window, layout, asked=local, known=known)
        dynamic = tokenised.tokens.variable < len(layout.variables)
        return tokenised if dynamic.any() else None


def _fill_part(
    record: Record,
    layout: Layout,
    predict: Predictor,
    part: Part,
    asked: Mapping[str, np.ndarray],
    blends: Mapping[str, _Blend],
) -> None:
    tokenised = record.tokenise(layout, part, asked)
    if tokenised is None:
        return
    mean, std = predict(tokenised.tokens, tokenised.queries)
    if not (np.isfinite(mean).all() and (std >= 0).all()):
        raise BundleError("the network answers with values that cannot be")
    means, stds = tokenised.join(mean), tokenised.join(std)
    for name in means:
        weight = part.weight if layout.spec(name).kind == "grid" else part.weight.mean(axis=(1, 2))[:, None]
        blends[name].add(_cells(record.cube, name, part), means[name], stds[name], weight)


class _Blend:
    """Weighted moments of the windows' answers to the same cells, as of a mixture of distributions."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.weight = np.zeros(shape)
        self.first = np.zeros(shape)
        self.second = np.zeros(shape)

    def add(self, cells: tuple[slice | np.ndarray, ...], mean: np.ndarray, std: np.ndarray, weight: np.ndarray) -> None:
        answered = ~np.isnan(mean)  # often few of the window's cells: no others are touched
        share = np.broadcast_to(weight, mean.shape)[answered]
        mean, std = (a[answered].astype(np.float64) for a in (mean, std))
        sums = (self.weight, share), (self.first, share * mean), (self.second, share * (std**2 + mean**2))
        for total, more in sums:
            part = total[cells]
            part[answered] += more
            if not np.may_share_memory(part, total):  # sites are picked by index, which copies them
                total[cells] = part

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, NaN where no window answered."""
        answered = self.weight > 0
        weight, first, second = (total[answered] for total in (self.weight, self.first, self.second))
        middle = first / weight
        mean, std = (np.full(answered.shape, np.nan, np.float32) for _ in range(2))
        mean[answered] = middle
        std[answered] = np.sqrt(np.maximum(second / weight - middle**2, 0.0))
        return mean, std


def _finish(
    cube: WaterCube, layout: Layout, name: str, blend: _Blend, asked: np.ndarray, calibration: Calibration | None
) -> Filled:
    spec, valid, inside = layout.spec(name), cube.variables[name].valid, cube.inside(name)
    mean, std = blend.moments()
    if calibration is not None:
        mean, std = calibration.apply(mean, std, distance_classes(valid))
    filled = asked & ~np.isnan(mean)
    flag = np.where(inside, REFUSED, OUTSIDE) * np.ones(valid.shape, np.int8)
    flag[filled], flag[valid] = FILLED, OBSERVED
    mean = np.clip(np.where(filled, mean, np.nan), spec.lower, spec.upper)
    return Filled(mean, np.where(valid, 0, np.where(filled, std, np.nan)).astype(np.float32), flag)


def _too_long(gaps: np.ndarray, max_gap: int | None) -> np.ndarray:
    """True in runs of more than `max_gap` gaps along time (the first axis)."""
    if max_gap is None:
        return np.zeros_like(gaps)
    before, after = nearest_seen(~gaps)
    return gaps & (after - before - 1 > max_gap)


def _spans(length: int, size: int) -> list[tuple[slice, np.ndarray]]:
    """Slices of at most `size` over `length`, half overlapping, each with its weights; one empty slice for no axis."""
    if length <= size:
        return [(slice(0, length), np.ones(max(length, 1)))]
    number = -(-(length - size) // max(size // 2, 1)) + 1
    starts = np.round(np.linspace(0, length - size, number)).astype(int)
    ramp = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)).astype(np.float64)
    weights = []
    for start in starts:
        weight = ramp / ramp.max()
        half = size // 2
        if start == 0:
            weight = np.concatenate([np.ones(half), weight[half:]])
        if start + size == length:
            weight = np.concatenate([weight[:-half], np.ones(half)]) if half else weight
        weights.append(weight)
    return [(slice(int(s), int(s) + size), w) for s, w in zip(starts, weights, strict=True)]


def _cells(cube: WaterCube, name: str, part: Part) -> tuple[slice | np.ndarray, ...]:
    if cube.variables[name].kind == "grid":
        return part.time, part.y, part.x
    return part.time, np.flatnonzero(cube.sites_in(part.y, part.x))
