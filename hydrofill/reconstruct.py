"""Windows over a cube, the gaps asked of each, and the answers blended into one: cube -> filled cube.

The network comes in as a function of tokens and queries, so that what training evaluates and what
the server answers are one computation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Protocol

import numpy as np

from hydrofill.calibration import Calibration, distance_classes
from hydrofill.cube import WaterCube
from hydrofill.errors import BundleError, NothingObservedError, UnknownVariableError
from hydrofill.guesses.first_guesses import Guesses
from hydrofill.guesses.interpolation import nearest_seen
from hydrofill.layout import Layout, Window
from hydrofill.tokens import Queries, Tokenised, Tokens, first_guesses, tokenise

OBSERVED, FILLED, OUTSIDE, REFUSED = (np.int8(flag) for flag in range(4))
FLAG_MEANINGS = ("observed", "filled", "outside", "refused")
MAX_RECORD_VALUES = 2_000_000  # of one variable in a record that guesses are made over: some 500 MB while they are made
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


@dataclass(frozen=True, eq=False)
class Part:
    """One window of a cube, with weights along each of its axes that fall towards its inner borders."""

    time: slice
    y: slice
    x: slice
    weights: tuple[np.ndarray, np.ndarray, np.ndarray]

    @property
    def weight(self) -> np.ndarray:
        """(steps, rows, columns), 1 along an axis that the window covers whole: the product of the axes' weights."""
        of_time, of_y, of_x = self.weights
        weight: np.ndarray = of_time[:, None, None] * of_y[None, :, None] * of_x[None, None, :]
        return weight


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
    names = select_variables(cube, layout, names)
    if not any(cube.variables[s.name].valid.any() for s in layout.variables if s.name in cube.variables):
        raise NothingObservedError("no value is present in any variable", got=sorted(cube.variables))
    requested = requested_cells(cube, names, max_gap)
    if only is not None:
        requested = {name: wanted & only[name] for name, wanted in requested.items()}
    blends = {n: _Blend(requested[n]) for n in names}
    asking = [part for part in plan(cube, layout.window) if _asks(cube, part, requested)]
    wanted, record = [name for name in names if requested[name].any()], None
    for done, (part, time) in enumerate(
        zip(asking, record_slices(cube, layout, (p.time for p in asking)), strict=True)
    ):
        if record is None or record.time != time:
            record = GuessedRecord.over(cube, layout, time, wanted)
        _fill_part(record, layout, predict, part, requested, blends)
        if progress is not None:
            progress(done + 1, len(asking))
    calibration = calibration or {}
    return {n: _finish(cube, layout, n, blends[n], calibration.get(n)) for n in names}


def select_variables(cube: WaterCube, layout: Layout, names: Sequence[str] | None) -> list[str]:
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


def requested_cells(cube: WaterCube, names: Sequence[str], max_gap: int | None) -> dict[str, np.ndarray]:
    """By variable, bool: the gaps that are to be filled, those of more than `max_gap` steps in a row left out."""
    gaps = {n: cube.gaps(n) for n in names}
    return {n: gaps[n] & ~_too_long(gaps[n], max_gap) for n in names}


def plan(cube: WaterCube, window: Window) -> Iterator[Part]:
    """Windows that cover the cube, each step, row and column at least once, neighbours half overlapping."""
    sizes = window.steps, window.rows, window.columns
    axes = ([(part, _weights(part, n)) for part in spans(n, size)] for n, size in zip(cube.shape, sizes, strict=True))
    for (time, of_time), (y, of_y), (x, of_x) in product(*axes):
        yield Part(time, y, x, (of_time, of_y, of_x))


def record_slices(cube: WaterCube, layout: Layout, times: Iterable[slice]) -> Iterator[slice]:
    """The steps of the record that each window, by its own steps, is served from: all, if they are not too many."""
    n_time, height, width = cube.shape
    steps = max(MAX_RECORD_VALUES // max(height * width, len(cube.sites), 1), 2 * layout.window.steps)
    record = slice(0, 0)
    for time in times:
        inner = record.stop - (0 if record.stop == n_time else RECORD_MARGIN)  # far from an end that is not the cube's
        if not record.start <= time.start <= time.stop <= inner:
            start = 0 if n_time <= steps else max(0, time.start - RECORD_MARGIN)
            record = slice(start, min(n_time, start + steps + 2 * RECORD_MARGIN))
        yield record


@dataclass(frozen=True)
class GuessedRecord:
    """A run of steps of a cube, all of its cells, with the first guesses made over it; windows are cut from it.

    guesses: by variable, of the cells within `time`; of those asked for, and empty in a layout without guesses.
    """

    cube: WaterCube
    time: slice
    guesses: Mapping[str, Guesses]

    @classmethod
    def over(cls, cube: WaterCube, layout: Layout, time: slice, names: Sequence[str]) -> GuessedRecord:
        """The record of the steps in `time`, with guesses of the variables in `names`."""
        wanted = names if layout.guesses else ()
        made = {n: first_guesses(cube.variables[n].values[time], layout.spec(n), cube.time[time]) for n in wanted}
        return cls(cube, time, made)

    def tokenise(self, layout: Layout, part: Part, requested: Mapping[str, np.ndarray]) -> Tokenised | None:
        """One window's tokens and queries; None when it sees nothing."""
        local = {name: wanted[_cells(self.cube, name, part)] for name, wanted in requested.items()}
        window, known = self.cube.window(part.time, part.y, part.x), None
        if layout.guesses:
            shifted = replace(part, time=slice(part.time.start - self.time.start, part.time.stop - self.time.start))
            known = {name: made.part(_cells(self.cube, name, shifted)) for name, made in self.guesses.items()}
        tokenised = tokenise(window, layout, requested=local, known=known)
        dynamic = tokenised.tokens.variable < len(layout.variables)
        return tokenised if dynamic.any() else None


def _asks(cube: WaterCube, part: Part, requested: Mapping[str, np.ndarray]) -> bool:
    return any(wanted[_cells(cube, name, part)].any() for name, wanted in requested.items())


def _fill_part(
    record: GuessedRecord,
    layout: Layout,
    predict: Predictor,
    part: Part,
    requested: Mapping[str, np.ndarray],
    blends: Mapping[str, _Blend],
) -> None:
    tokenised = record.tokenise(layout, part, requested)
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
    """Weighted moments of the windows' answers to the same cells, as of a mixture of distributions.

    Of the cells `requested` for alone, which are often few.
    """

    def __init__(self, requested: np.ndarray) -> None:
        self.cells = np.flatnonzero(requested)
        self.rank = np.empty(requested.shape, np.int32)  # of each cell among them
        np.put(self.rank, self.cells, np.arange(len(self.cells), dtype=np.int32))
        self.weight, self.first, self.second = np.zeros((3, len(self.cells)))

    def add(self, cells: tuple[slice | np.ndarray, ...], mean: np.ndarray, std: np.ndarray, weight: np.ndarray) -> None:
        answered = ~np.isnan(mean)
        rank, share = self.rank[cells][answered], np.broadcast_to(weight, mean.shape)[answered]
        mean, std = (a[answered].astype(np.float64) for a in (mean, std))
        self.weight[rank] += share
        self.first[rank] += share * mean
        self.second[rank] += share * (std**2 + mean**2)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each of `cells`, float32; NaN where no window answered."""
        with np.errstate(invalid="ignore"):
            middle = self.first / self.weight
            std = np.sqrt(np.maximum(self.second / self.weight - middle**2, 0.0))
        return middle.astype(np.float32), std.astype(np.float32)


def _finish(cube: WaterCube, layout: Layout, name: str, blend: _Blend, calibration: Calibration | None) -> Filled:
    spec, valid = layout.spec(name), cube.variables[name].valid
    mean, std = blend.moments()
    if calibration is not None and len(mean):
        mean, std = calibration.apply(mean, std, distance_classes(valid).reshape(-1)[blend.cells])
    answered = ~np.isnan(mean)
    filled = Filled(
        np.full(valid.shape, np.nan, np.float32),
        np.where(valid, np.float32(0), np.float32(np.nan)),
        np.where(valid, OBSERVED, np.where(cube.inside(name), REFUSED, OUTSIDE)),
    )
    at = blend.cells[answered]
    np.put(filled.mean, at, np.clip(mean[answered], spec.lower, spec.upper))
    np.put(filled.std, at, std[answered])
    np.put(filled.flag, at, FILLED)
    return filled


def _too_long(gaps: np.ndarray, max_gap: int | None) -> np.ndarray:
    """True in runs of more than `max_gap` gaps along time (the first axis)."""
    if max_gap is None:
        return np.zeros_like(gaps)
    before, after = nearest_seen(~gaps)
    return gaps & (after - before - 1 > max_gap)


def spans(length: int, size: int) -> list[slice]:
    """Slices of at most `size` over `length`, half overlapping; one empty slice for no axis."""
    if length <= size:
        return [slice(0, length)]
    starts = np.round(np.linspace(0, length - size, count_spans(length, size))).astype(int).tolist()
    return [slice(start, start + size) for start in starts]


def count_spans(length: int, size: int) -> int:
    """How many `spans` there are, without making them: a length from outside may be any."""
    return 1 if length <= size else -(-(length - size) // max(size // 2, 1)) + 1


def _weights(part: slice, length: int) -> np.ndarray:
    """Of each place in a slice of an axis: falling from its middle to an end that is not the axis's own.

    A single 1 for a slice that is the whole axis.
    """
    size = part.stop - part.start
    if size == length:
        return np.ones(1)
    ramp = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)).astype(np.float64)
    weight, half = ramp / ramp.max(), size // 2
    if part.start == 0:
        weight[:half] = 1.0
    if part.stop == length:
        weight[size - half :] = 1.0
    return weight


def _cells(cube: WaterCube, name: str, part: Part) -> tuple[slice | np.ndarray, ...]:
    if cube.variables[name].kind == "grid":
        return part.time, part.y, part.x
    return part.time, np.flatnonzero(cube.sites_in(part.y, part.x))
