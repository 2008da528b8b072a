"""Fill the gaps of a cube: predict them window by window, and blend the predictions where windows overlap.

The network is passed in as a function of tokens and queries, so that training evaluates exactly what the server runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Protocol

import numpy as np

from hydrofill.calibration import Calibration, distance_classes
from hydrofill.cube import WaterCube
from hydrofill.errors import BundleError, NothingObservedError, UnknownVariableError
from hydrofill.guesses.first_guesses import Guesses, guess_variable
from hydrofill.guesses.interpolation import gap_lengths
from hydrofill.layout import Layout, WindowSize
from hydrofill.progress import Progress, reported
from hydrofill.tokens import Queries, Tokenised, Tokens, tokenise

if TYPE_CHECKING:
    from hydrofill.members.errors import Errors

FLAG_MEANINGS = (
    "observed",
    "filled",
    "outside",
    "refused",
    "too_far",
    "not_interior",
    "not_selected",
    "low_support",
)
OBSERVED, FILLED, OUTSIDE, REFUSED, TOO_FAR, NOT_INTERIOR, NOT_SELECTED, LOW_SUPPORT = (
    np.int8(flag) for flag in range(len(FLAG_MEANINGS))
)
USUAL_FLAGS = (0, 1, 2, 3)  # that a fill without gap control can yield
# Attributes of a filled variable, in time steps: the longest gap that was filled, and the longest whose fill was
# measured on hidden cells or learnt.
LONGEST_FILLED, LONGEST_MEASURED = "hydrofill_longest_gap_filled", "hydrofill_longest_gap_measured"
MAX_RECORD_VALUES = 2_000_000  # of one variable, in the record that guesses are made over; they take about 500 MB
RECORD_MARGIN = 32  # steps of a record before the first and after the last window that is cut from it


class Predictor(Protocol):
    """The network as a function: tokens and queries of one window -> mean and standard deviation of each query."""

    def __call__(self, tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of every cell of every query, (Q, P) each, in physical units."""


# Makes the first guesses of these variables of a record.
Guesser = Callable[[WaterCube, Sequence[str]], Mapping[str, Guesses]]


@dataclass(frozen=True, eq=False)
class FilledVariable:
    """The fill of one variable, arrays of the variable's shape.

    mean: the filled values; NaN where nothing was filled. std: standard deviation; 0 where observed, NaN where still
    missing. flag: int8, by FLAG_MEANINGS. attributes: what is said of the fill in the attributes of the variable.
    errors: from which members are drawn, by indices along further dimensions and the number of the site, None for all;
    empty where members are not wanted.
    """

    mean: np.ndarray
    std: np.ndarray
    flag: np.ndarray
    attributes: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[tuple[tuple[int, ...], int | None], Errors] = field(default_factory=dict)

    def extremes(self) -> tuple[float, float]:
        """Return the lowest and the highest filled mean; NaN if nothing was filled."""
        means = self.mean[self.flag == FILLED]
        return (float(means.min()), float(means.max())) if means.size else (np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class CubeWindow:
    """One window of a cube, and its weights along time, y and x, which fall towards the neighbouring windows."""

    time: slice
    y: slice
    x: slice
    weights: tuple[np.ndarray, np.ndarray, np.ndarray]

    @property
    def weight(self) -> np.ndarray:
        """Product of the weights, (steps, rows, columns); of length 1 along an axis that the window covers whole."""
        time, y, x = self.weights
        weight: np.ndarray = time[:, None, None] * y[None, :, None] * x[None, None, :]
        return weight


def reconstruct(
    cube: WaterCube,
    layout: Layout,
    predict: Predictor,
    *,
    names: Sequence[str] | None = None,
    only: Mapping[str, np.ndarray] | None = None,
    calibration: Mapping[str, Calibration] | None = None,
    guesser: Guesser | None = None,
    overlap: float | None = None,
    progress: Progress | None = None,
) -> dict[str, FilledVariable]:
    """Fill the gaps of a cube; return mean, standard deviation and flag of each variable.

    A network of named variables refuses what lies in a run of steps without any observed value that is as long as a
    window: see `_lost_steps`.

    Args:
        cube: the data, in the model's units.
        layout: the layout of the model.
        predict: the network.
        names: variables to fill; by default all that cube and model share.
        only: for each variable, bool: the cells that may be filled; by default all gaps.
        calibration: for each variable, how standard deviations are corrected and which fills are set to zero.
        guesser: makes first guesses; by default each variable's are made from the variable alone.
        overlap: least share of a window that its neighbour covers too; by default that of the layout.
        progress: called with (windows done, windows in all).

    Raises:
        UnknownVariableError: a name is not in the model or not in the cube.
        NothingObservedError: no variable of a model of named variables has a value anywhere in the cube.
        BundleError: the network predicts a value that is not finite or a negative standard deviation.
    """
    names = select_variables(cube, layout, names)
    observed = (cube.variables[s.name].valid.any() for s in layout.variables if s.name in cube.variables)
    if not layout.general and not any(observed):
        raise NothingObservedError("all values of all variables are missing", got=sorted(cube.variables))
    requested = {name: cube.gaps(name) if only is None else cube.gaps(name) & only[name] for name in names}
    mixtures = {n: _Mixture(requested[n]) for n in names}
    planned = plan_windows(cube, layout.window, layout.overlap if overlap is None else overlap)
    windows = [window for window in planned if _has_requests(cube, window, requested)]
    guessed, record = [name for name in names if requested[name].any()], None
    times = record_slices(cube, layout, (window.time for window in windows))
    lost = {} if layout.general else _lost_steps(cube, layout, windows)
    for window, time in reported(list(zip(windows, times, strict=True)), progress):
        if record is None or record.time != time:
            record = GuessedRecord.over(cube, layout, time, guessed, guesser)
        _fill_window(record, layout, predict, window, requested, mixtures, lost.get(_place_of(window)))
    calibration = calibration or {}
    return {n: _finish(cube, layout, n, mixtures[n], calibration.get(n)) for n in names}


def select_variables(cube: WaterCube, layout: Layout, names: Sequence[str] | None) -> list[str]:
    """Return the variables to fill, in the layout's order: `names`, or all that cube and model share.

    Raises:
        UnknownVariableError: a name is not in the model or not in the cube, or they share no variable.
    """
    model = [s.name for s in layout.variables]
    shared = [n for n in model if n in cube.variables]
    for name in names or ():
        if name not in model:
            raise UnknownVariableError("the model does not fill this variable", where=name, expected=f"one of {model}")
        if name not in shared:
            raise UnknownVariableError("the data do not hold this variable", where=name)
    if not shared:
        raise UnknownVariableError("the data hold no variable that the model fills", expected=f"some of {model}")
    return [n for n in shared if not names or n in names]


def plan_windows(cube: WaterCube, size: WindowSize, overlap: float) -> Iterator[CubeWindow]:
    """Yield windows of this size that together cover the cube; neighbours overlap by at least this share."""
    lengths = zip(cube.shape, (size.steps, size.rows, size.columns), strict=True)
    axes = ([(part, _weights(part, n)) for part in overlapping_slices(n, length, overlap)] for n, length in lengths)
    for (time, of_time), (y, of_y), (x, of_x) in product(*axes):
        yield CubeWindow(time, y, x, (of_time, of_y, of_x))


def record_slices(cube: WaterCube, layout: Layout, times: Iterable[slice]) -> Iterator[slice]:
    """Yield for each window, given by its time steps, the steps of the record over which its guesses are made.

    The record is the whole cube unless the cube has more than MAX_RECORD_VALUES.
    """
    n_time, height, width = cube.shape
    steps = max(MAX_RECORD_VALUES // max(height * width, len(cube.sites), 1), 2 * layout.window.steps)
    record = slice(0, 0)
    for time in times:
        # A window must not be close to an end of the record, unless the cube ends there too.
        inner = record.stop - (0 if record.stop == n_time else RECORD_MARGIN)
        if not record.start <= time.start <= time.stop <= inner:
            start = 0 if n_time <= steps else max(0, time.start - RECORD_MARGIN)
            record = slice(start, min(n_time, start + steps + 2 * RECORD_MARGIN))
        yield record


@dataclass(frozen=True)
class GuessedRecord:
    """First guesses made over many time steps of a cube; windows are cut from it.

    cube: the whole cube. time: the steps over which guesses were made. guesses: for each requested variable, the
    guesses of all cells at these steps; empty in a layout without guesses.
    """

    cube: WaterCube
    time: slice
    guesses: Mapping[str, Guesses]

    @classmethod
    def over(
        cls, cube: WaterCube, layout: Layout, time: slice, names: Sequence[str], guesser: Guesser | None = None
    ) -> GuessedRecord:
        """Make guesses of the variables in `names` over the steps in `time`."""
        guessed = names if layout.guesses else ()
        if guesser is not None:
            return cls(cube, time, guesser(cube.window(time, slice(None), slice(None)), guessed))
        made = {
            n: guess_variable(cube.variables[n].values[time], layout.spec(n), cube.time[time], cube.year_s)
            for n in guessed
        }
        return cls(cube, time, made)

    def tokenise(
        self,
        layout: Layout,
        window: CubeWindow,
        requested: Mapping[str, np.ndarray],
        lost: np.ndarray | None = None,
    ) -> Tokenised | None:
        """Return the tokens and queries of one window; None if nothing is observed in it.

        A general layout has guesses from the whole record, so that a window of lost frames alone is filled too.
        """
        local = {name: wanted[_cells(self.cube, name, window)] for name, wanted in requested.items()}
        if lost is not None and lost[window.time].any():
            kept = ~lost[window.time]
            local = {name: wanted & kept.reshape(-1, *[1] * (wanted.ndim - 1)) for name, wanted in local.items()}
        part, known = self.cube.window(window.time, window.y, window.x), None
        if layout.guesses:
            start, stop = window.time.start - self.time.start, window.time.stop - self.time.start
            shifted = replace(window, time=slice(start, stop))
            known = {name: made.part(_cells(self.cube, name, shifted)) for name, made in self.guesses.items()}
        tokenised = tokenise(part, layout, requested=local, known=known)
        observed = tokenised.tokens.variable < layout.first_static_type
        return tokenised if observed.any() or layout.general else None


def _place_of(window: CubeWindow) -> tuple[int, int]:
    return window.y.start, window.x.start


def _lost_steps(cube: WaterCube, layout: Layout, windows: Sequence[CubeWindow]) -> dict[tuple[int, int], np.ndarray]:
    """Return by the place of a window the steps that it does not fill, (T,) bool.

    A network of named variables needs an observed value. Steps without any at a place are filled if their run is
    shorter than a window, since every window over them then holds a value, and refused otherwise: so what is refused
    does not depend on where windows begin.
    """
    found: dict[tuple[int, int], np.ndarray] = {}
    for window in windows:
        if _place_of(window) in found:
            continue
        everywhere = replace(window, time=slice(0, len(cube.time)))
        seen = np.zeros(len(cube.time), bool)
        for spec in layout.variables:
            if spec.name in cube.variables:
                values = cube.variables[spec.name].values[_cells(cube, spec.name, everywhere)]
                seen |= ~np.isnan(values).reshape(len(values), -1).all(axis=1)
        found[_place_of(window)] = gap_lengths(~seen) >= layout.window.steps
    return found


def _has_requests(cube: WaterCube, window: CubeWindow, requested: Mapping[str, np.ndarray]) -> bool:
    return any(wanted[_cells(cube, name, window)].any() for name, wanted in requested.items())


def _fill_window(
    record: GuessedRecord,
    layout: Layout,
    predict: Predictor,
    window: CubeWindow,
    requested: Mapping[str, np.ndarray],
    mixtures: Mapping[str, _Mixture],
    lost: np.ndarray | None = None,
) -> None:
    """Predict the requested cells of one window, but for those of lost steps, and add the predictions to `mixtures`."""
    tokenised = record.tokenise(layout, window, requested, lost)
    if tokenised is None:
        return
    mean, std = predict(tokenised.tokens, tokenised.queries)
    if not (np.isfinite(mean).all() and (std >= 0).all()):
        raise BundleError("the network predicts a value that is not finite or a negative standard deviation")
    means, stds = tokenised.join(mean), tokenised.join(std)
    for name in means:
        weight = window.weight if layout.spec(name).kind == "grid" else window.weight.mean(axis=(1, 2))[:, None]
        mixtures[name].add(_cells(record.cube, name, window), means[name], stds[name], weight)


class _Mixture:
    """The predictions of overlapping windows for one variable, combined as a weighted mixture of distributions.

    Only the requested cells are stored, which are often few.
    """

    def __init__(self, requested: np.ndarray) -> None:
        self.cells = np.flatnonzero(requested)
        self.rank = np.empty(requested.shape, np.int32)  # of each requested cell: its index in `cells`
        np.put(self.rank, self.cells, np.arange(len(self.cells), dtype=np.int32))
        self.weight, self.first, self.second = np.zeros((3, len(self.cells)))

    def add(self, cells: tuple[slice | np.ndarray, ...], mean: np.ndarray, std: np.ndarray, weight: np.ndarray) -> None:
        """Add the predictions of one window that covers `cells`; NaN where the window predicts nothing."""
        predicted = ~np.isnan(mean)
        rank, share = self.rank[cells][predicted], np.broadcast_to(weight, mean.shape)[predicted]
        mean, std = (a[predicted].astype(np.float64) for a in (mean, std))
        self.weight[rank] += share
        self.first[rank] += share * mean
        self.second[rank] += share * (std**2 + mean**2)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of each of `cells`, float32; NaN where no window predicted the cell."""
        with np.errstate(invalid="ignore"):
            mean = self.first / self.weight
            std = np.sqrt(np.maximum(self.second / self.weight - mean**2, 0.0))
        return mean.astype(np.float32), std.astype(np.float32)


def _finish(
    cube: WaterCube, layout: Layout, name: str, mixture: _Mixture, calibration: Calibration | None
) -> FilledVariable:
    """Calibrate the predictions of one variable, clip them to its bounds, and flag every cell."""
    spec, valid = layout.spec(name), cube.variables[name].valid
    mean, std = mixture.moments()
    if calibration is not None and len(mean):
        mean, std = calibration.apply(mean, std, distance_classes(valid).reshape(-1)[mixture.cells])
    predicted = ~np.isnan(mean)
    filled = unfilled(cube, name)
    cells = mixture.cells[predicted]
    np.put(filled.mean, cells, np.clip(mean[predicted], spec.lower, spec.upper))
    np.put(filled.std, cells, std[predicted])
    np.put(filled.flag, cells, FILLED)
    return filled


def unfilled(cube: WaterCube, name: str) -> FilledVariable:
    """Return the fill of a variable of which no gap is filled."""
    valid = cube.variables[name].valid
    return FilledVariable(
        np.full(valid.shape, np.nan, np.float32),
        np.where(valid, np.float32(0), np.float32(np.nan)),
        np.where(valid, OBSERVED, np.where(cube.inside(name), REFUSED, OUTSIDE)),
    )


def overlapping_slices(length: int, size: int, overlap: float) -> list[slice]:
    """Return slices of at most `size` that cover `length`, and of which neighbours overlap by at least this share."""
    if length <= size:
        return [slice(0, length)]
    number = count_overlapping_slices(length, size, overlap)
    starts = np.round(np.linspace(0, length - size, number)).astype(int).tolist()
    return [slice(start, start + size) for start in starts]


def count_overlapping_slices(length: int, size: int, overlap: float) -> int:
    """Return the number of `overlapping_slices` without making them; `length` may be very large."""
    return 1 if length <= size else -(-(length - size) // max(int(size * (1 - overlap)), 1)) + 1


def _weights(part: slice, length: int) -> np.ndarray:
    """Return the weight of each index of a slice of an axis, (size,).

    Weights fall linearly from the middle of the slice to each end, but not towards an end of the axis. A slice that is
    the whole axis has the single weight 1.
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


def _cells(cube: WaterCube, name: str, window: CubeWindow) -> tuple[slice | np.ndarray, ...]:
    """Return the index of the window's values in the values of a variable."""
    if cube.variables[name].kind == "grid":
        return window.time, window.y, window.x
    return window.time, np.flatnonzero(cube.sites_in(window.y, window.x))
