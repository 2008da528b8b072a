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

from hydrofill.blocks import Box, whole
from hydrofill.cube import Variable, WaterCube, draw_slices
from hydrofill.gaps.self_gaps import hide_observed
from hydrofill.general.context import Context, describe, scale_by
from hydrofill.general.guesses import MEASURED_GUESSES, STACKED, Scale, measured_guesses, with_stacked
from hydrofill.guesses.first_guesses import Guesses
from hydrofill.guesses.stacking import HiddenGuesses, Stack, fit_stack
from hydrofill.layout import Layout
from hydrofill.progress import Progress, reported
from hydrofill.summary import Summary, summary_of
from hydrofill.survey import Source, Survey, read_part

DRAWS = ((60_000, 4), (120_000, 3))  # records of at most so many values are measured so many times, others twice
MIN_DRAWS = 2
SOURCE_DRAWS = 8  # parts on which a record of several blocks is measured
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
    summaries = {name: summary_of(cube.variables[name].values) for name in names}
    return _check(list(hide_parts(cube, names)), layout, summaries, [cube], cube.variables, progress)


def check_source(source: Source, found: Survey, layout: Layout, progress: Progress | None = None) -> SelfCheck:
    """Hide observed cells in parts of a large record, and measure how well first guesses tell their values.

    Args:
        source: the record.
        found: the survey of the record.
        layout: a general layout of the record.
        progress: called with (draws done, draws in all).
    """
    parts = list(hide_source(source, found))
    summaries = {name: variable.summary for name, variable in found.variables.items()}
    static = {variable.name: variable for variable in found.outline.static}
    return _check(parts, layout, summaries, [part.truth for part in parts], static, progress)


def _check(
    hidden_parts: Sequence[HiddenPart],
    layout: Layout,
    summaries: Mapping[str, Summary],
    described: Sequence[WaterCube],
    static: Mapping[str, Variable],
    progress: Progress | None,
) -> SelfCheck:
    """Measure guesses on the hidden cells of parts of a record.

    Args:
        hidden_parts: the parts.
        layout: a general layout of the record.
        summaries: of the record's values, by variable.
        described: what the record is described by to the network: the record itself, or parts.
        static: the static variables of the record by name, perhaps among others.
        progress: called with (draws done, draws in all).
    """
    names = [spec.name for spec in layout.variables]
    scales = {s.name: scale_by(summaries[s.name], s.transform == "sqrt") for s in layout.variables}
    drawn = [
        Draw(hidden.truth, hidden.gappy, hidden.codes, measured_guesses(hidden.gappy, layout, list(hidden.codes)))
        for hidden in reported(hidden_parts, progress)
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
    observed = {name: summaries[name].number for name in names}
    return SelfCheck(layout, observed, scales, stacks, describe(described, layout, stacks, scales, static), draws)


def hide_parts(cube: WaterCube, names: Sequence[str]) -> Iterator[HiddenPart]:
    """Draw the parts of a record that are measured, and what is hidden in each; no guess is made.

    Series beside grids have few values, and are hidden in further draws of their own.

    Args:
        cube: the record; NaN = missing.
        names: the variables whose cells are hidden.
    """
    seeds = {name: seed_of(cube, name) for name in names}
    series = [name for name in names if cube.variables[name].kind == "series"]
    of_all = _number_of_draws(cube, names)
    for number in range(DRAWS[0][1] if series and len(series) < len(names) else of_all):
        hidden = names if number < of_all else series
        rng = _generator(seeds, number)
        size = _part_size(cube.shape, _num_grids(cube, hidden), _num_series_values(cube, hidden))
        part = cube.window(*(whole(cube.shape) if size == cube.shape else draw_slices(rng, cube.shape, size)))
        yield _hide(part, rng, {name: seeds[name] for name in hidden}, number)


def hide_source(source: Source, found: Survey) -> Iterator[HiddenPart]:
    """Draw the parts of a large record that are measured, around cells and steps that are observed.

    Args:
        source: the record.
        found: the survey of the record.
    """
    outline = found.outline
    seeds = {name: found.seed(name) for name in found.variables}
    grids = outline.named("grid")
    size = _part_size(outline.shape, len(grids), outline.num_series_values)
    turns = sorted(grids or seeds)
    for number in range(SOURCE_DRAWS):
        rng = _generator(seeds, number)
        variable = found.variables[turns[number % len(turns)]]
        step = int(rng.choice(len(variable.seen), p=variable.seen / variable.seen.sum()))
        cells = np.argwhere(variable.inside)
        cell = cells[int(rng.integers(len(cells)))].tolist() if grids else (0, 0)
        box = Box(*(_around(at, n, part) for at, n, part in zip((step, *cell), outline.shape, size, strict=True)))
        yield _hide(read_part(source, box, found), rng, seeds, number)


def _generator(seeds: Mapping[str, int], number: int) -> np.random.Generator:
    """Return the random generator of a draw, which does not depend on the order of the variables."""
    return np.random.default_rng((*sorted(seeds.values()), number))


def _around(at: int, length: int, size: int) -> slice:
    """Return a slice of an axis that is as long as `size` and has index `at` in the middle, or as near as possible."""
    start = min(max(at - size // 2, 0), length - size)
    return slice(start, start + size)


def _num_grids(cube: WaterCube, names: Sequence[str]) -> int:
    return sum(cube.variables[n].kind == "grid" for n in names)


def _num_series_values(cube: WaterCube, names: Sequence[str]) -> int:
    return (len(names) - _num_grids(cube, names)) * len(cube.sites)


def _number_of_draws(cube: WaterCube, names: Sequence[str]) -> int:
    values = sum(cube.variables[n].values.size for n in names)
    return next((number for limit, number in DRAWS if values <= limit), MIN_DRAWS)


def _hide(truth: WaterCube, rng: np.random.Generator, seeds: Mapping[str, int], number: int) -> HiddenPart:
    """Hide observed cells of the variables in `seeds`; the other variables stay as they are."""
    shift = int(rng.integers(1, max(len(truth.time), 2)))
    codes = {
        name: hide_observed(np.random.default_rng((seed, number)), truth.variables[name].valid, shift, number)
        for name, seed in seeds.items()
    }
    gappy = truth.with_values(
        {n: np.where(c > 0, np.float32(np.nan), truth.variables[n].values) for n, c in codes.items()}
    )
    return HiddenPart(truth, gappy, codes)


def seed_of(cube: WaterCube, name: str) -> int:
    """Return a seed that depends on the name of a variable and on where the variable is observed."""
    return zlib.crc32(np.packbits(cube.variables[name].valid).tobytes(), zlib.crc32(name.encode()))


def _part_size(shape: tuple[int, int, int], grids: int, series_values: int) -> tuple[int, int, int]:
    """Return the steps, rows and columns of a part to measure: all of the record, or a run of a part of the grid.

    Args:
        shape: of the record, (T, H, W).
        grids: number of gridded variables.
        series_values: number of values of series in each step.
    """
    n_time, height, width = shape
    if n_time * (grids * height * width + series_values) <= MAX_DRAW_VALUES:
        return shape
    side = max(MIN_PART_CELLS, int((MAX_DRAW_VALUES / max(grids, 1) / min(n_time, 64)) ** 0.5))
    rows, columns = min(height, side), min(width, side)
    steps = min(n_time, max(8, MAX_DRAW_VALUES // max(grids * rows * columns + series_values, 1)))
    return steps, rows, columns


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
