"""Measure on a record itself how well its gaps can be filled, before anything is filled.

Observed cells are hidden by the record's own gaps at other times and by gaps of drawn kinds, guesses are made of what
is left, and their errors are measured. Draws depend on where the record is observed and on the names of its variables,
so that the units and the order of the variables change nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hydrofill.cube import WaterCube, draw_slices
from hydrofill.gaps.self_gaps import hide_observed
from hydrofill.general.context import Context, describe, scale_of
from hydrofill.general.guesses import MEASURED_GUESSES, STACKED, Scale, measured_guesses, with_stacked
from hydrofill.guesses.first_guesses import Guesses
from hydrofill.guesses.stacking import HiddenGuesses, Stack, fit_stack
from hydrofill.layout import Layout
from hydrofill.progress import Progress, reported

DRAWS = ((60_000, 4), (120_000, 3))  # records of at most so many values are measured so many times, others twice
MIN_DRAWS = 2
MAX_DRAW_VALUES = 300_000  # of all variables together: a larger record is measured on a part of it in each draw
MIN_PART_CELLS = 48  # rows or columns of such a part, where the record has as many


@dataclass(frozen=True, eq=False)
class HiddenPart:
    """A part of a record with observed cells hidden.

    truth: the part as observed. gappy: the same with the hidden cells missing. codes: by variable, int8 of its shape,
    the kind of gap of each hidden cell (hydrofill/gaps/self_gaps.py), 0 where not hidden.
    """

    truth: WaterCube
    gappy: WaterCube
    codes: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Draw(HiddenPart):
    """A part of a record with observed cells hidden, and guesses of them.

    guesses: by variable, made of what is left, columns GENERAL_GUESSES; the stacked guess was fitted to other draws.
    """

    guesses: Mapping[str, Guesses]


@dataclass(frozen=True, eq=False)
class SelfCheck:
    """Measurements on the hidden cells of a record.

    layout: the general layout of the record. observed: number of observed values, by variable. scales, stacks: by
    variable. context: for the network. draws: the hidden cells, for calibration.
    """

    layout: Layout
    observed: Mapping[str, int]
    scales: Mapping[str, Scale]
    stacks: Mapping[str, Stack]
    context: Context
    draws: Sequence[Draw]

    def guess(self, record: WaterCube, names: Sequence[str]) -> dict[str, Guesses]:
        """Return the guesses of a record of the same variables, columns GENERAL_GUESSES."""
        made = measured_guesses(record, self.layout, names)
        return {n: with_stacked(g, record.variables[n].values, self.stacks[n], self.scales[n]) for n, g in made.items()}


def check_record(cube: WaterCube, layout: Layout, progress: Progress | None = None) -> SelfCheck:
    """Hide observed cells of `cube`, and measure how well first guesses tell their values.

    Args:
        cube: the record; NaN = missing.
        layout: a general layout of the record.
        progress: called with (draws done, draws in all).
    """
    names = [spec.name for spec in layout.variables]
    scales = {s.name: scale_of(cube.variables[s.name].values, s.transform == "sqrt") for s in layout.variables}
    drawn = [
        Draw(hidden.truth, hidden.gappy, hidden.codes, measured_guesses(hidden.gappy, layout, list(hidden.codes)))
        for hidden in reported(list(hide_parts(cube, names)), progress)
    ]
    stacks: dict[str, Stack] = {}
    completed: list[dict[str, Guesses]] = [{} for _ in drawn]
    for name in names:
        own = [number for number, draw in enumerate(drawn) if name in draw.codes]
        cells = [_hidden_guesses(drawn[number], name, scales[name]) for number in own]
        stacks[name], out_of_fold = fit_stack(cells, len(MEASURED_GUESSES))
        for number, stacked in zip(own, out_of_fold, strict=True):
            completed[number][name] = _completed(drawn[number], name, stacked, scales[name], stacks[name])
    draws = [replace(draw, guesses=guesses) for draw, guesses in zip(drawn, completed, strict=True)]
    observed = {name: int(cube.variables[name].valid.sum()) for name in names}
    return SelfCheck(layout, observed, scales, stacks, describe(cube, layout, stacks, scales), draws)


def hide_parts(cube: WaterCube, names: Sequence[str]) -> Iterator[HiddenPart]:
    """Draw the parts of a record that are measured, and what is hidden in each; no guess is made.

    Series beside grids have few values, and are hidden in further draws of their own.

    Args:
        cube: the record; NaN = missing.
        names: the variables whose cells are hidden.
    """
    seeds = {name: _seed(cube, name) for name in names}
    series = [name for name in names if cube.variables[name].kind == "series"]
    of_all = _number_of_draws(cube, names)
    for number in range(of_all):
        yield _hide_part(cube, seeds, number, names)
    for number in range(of_all, DRAWS[0][1] if series and len(series) < len(names) else of_all):
        yield _hide_part(cube, seeds, number, series)


def _number_of_draws(cube: WaterCube, names: Sequence[str]) -> int:
    values = sum(cube.variables[n].values.size for n in names)
    return next((number for limit, number in DRAWS if values <= limit), MIN_DRAWS)


def _hide_part(cube: WaterCube, seeds: Mapping[str, int], number: int, names: Sequence[str]) -> HiddenPart:
    rng = np.random.default_rng((*sorted(seeds.values()), number))
    part = _part(rng, cube, names)
    truth = cube.window(*part)
    shift = int(rng.integers(1, max(len(truth.time), 2)))
    codes = {
        n: hide_observed(np.random.default_rng((seeds[n], number)), truth.variables[n].valid, shift, number)
        for n in names
    }  # variables that are not named stay as they are
    gappy = truth.with_values(
        {n: np.where(c > 0, np.float32(np.nan), truth.variables[n].values) for n, c in codes.items()}
    )
    return HiddenPart(truth, gappy, codes)


def _seed(cube: WaterCube, name: str) -> int:
    """Return a seed that depends on the name of a variable and on where the variable is observed."""
    return zlib.crc32(np.packbits(cube.variables[name].valid).tobytes(), zlib.crc32(name.encode()))


def _part(rng: np.random.Generator, cube: WaterCube, names: Sequence[str]) -> tuple[slice, slice, slice]:
    """Draw the slices of the part of a record to measure: all of it, or a run of steps of a part of the grid."""
    n_time, height, width = cube.shape
    grids = sum(cube.variables[n].kind == "grid" for n in names)
    series = len(names) - grids
    per_step = grids * height * width + series * len(cube.sites)
    if n_time * per_step <= MAX_DRAW_VALUES:
        return slice(0, n_time), slice(0, height), slice(0, width)
    side = max(MIN_PART_CELLS, int((MAX_DRAW_VALUES / max(grids, 1) / min(n_time, 64)) ** 0.5))
    rows, columns = min(height, side), min(width, side)
    steps = min(n_time, max(8, MAX_DRAW_VALUES // max(grids * rows * columns + series * len(cube.sites), 1)))
    return draw_slices(rng, cube.shape, (steps, rows, columns))


def _hidden_guesses(draw: Draw, name: str, scale: Scale) -> HiddenGuesses:
    hidden, made = draw.codes[name] > 0, draw.guesses[name]
    return HiddenGuesses(
        scale.scores(draw.truth.variables[name].values[hidden]),
        scale.scores(made.values[hidden]),
        made.distances[hidden].astype(np.float64),
        np.nonzero(hidden)[0],
    )


def _completed(draw: Draw, name: str, out_of_fold: np.ndarray, scale: Scale, stack: Stack) -> Guesses:
    """Return the guesses of a draw with the stacked guess, which at hidden cells is that of fits to other draws."""
    made = with_stacked(draw.guesses[name], draw.gappy.variables[name].values, stack, scale)
    made.values[..., STACKED][draw.codes[name] > 0] = scale.values(out_of_fold)
    return made
