"""The records of a tuning: parts of one data set with cells hidden, to learn from and to check on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import xarray as xr

from hydrofill.cf.axes import one_of, recognise
from hydrofill.cube import WaterCube, draw_slices
from hydrofill.errors import NothingObservedError
from hydrofill.filling import FillOptions, prepare_fill
from hydrofill.gaps.self_gaps import hide_observed
from hydrofill.layout import GENERAL
from model.pretraining.learnt_cells import LearntPart
from model.pretraining.record_store import PretrainingBatch, stack_pretraining
from model.pretraining.records import (
    MIN_VALUES,
    MeasuredRecord,
    PretrainingRecord,
    crop_size,
    measure_record,
    without_constants,
)

MAX_READ_VALUES = 50_000_000  # of all variables together, 200 MB: of larger data the last steps are read
RECORD_VALUES = 60_000  # of all variables together in one record, which takes about three seconds to prepare
CHECK_RECORDS = 3
CHECK_WINDOWS = 16  # of each record of a check
MAX_BLOCKS = 5  # of time that are held out
MIN_BLOCK = 4  # steps of such a block, as far as the data have as many
MIN_STEPS = 10  # of data whose last steps are held out; of shorter data a part of the grid is held out
TOO_FEW = "too few values are observed to hide any"
MAX_TRIES = 10  # draws of a record in which nothing can be scored, before the data is refused
STREAM = 20_261_125  # of the seeds of a tuning, other than those of the self-check and of pretraining


def read_data(dataset: xr.Dataset) -> WaterCube:
    """Return the data as a cube without variables that do not vary; of large data the last steps.

    Raises:
        ContractError: the data cannot be used, or too few values are observed to hide any.
    """
    time_axis = one_of(recognise(dataset).values(), "time")
    values = sum(variable.size for variable in dataset.data_vars.values())
    if time_axis is not None and values > MAX_READ_VALUES:
        n_time = dataset.sizes[time_axis.name]
        steps = max(1, n_time * MAX_READ_VALUES // values)
        dataset = dataset.isel({time_axis.name: slice(n_time - steps, None)})
    read = prepare_fill(dataset, GENERAL, FillOptions()).reading.cube
    cube = without_constants(read)
    if not cube.of_kind("grid", "series"):
        raise NothingObservedError(
            TOO_FEW, got=sorted(read.variables), expected=f"{MIN_VALUES} values of a variable that vary"
        )
    return cube


@dataclass(frozen=True)
class HeldOut:
    """The parts of the data that are held out: blocks [start, stop) along an axis of (T, H, W)."""

    axis: int
    blocks: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, shape: tuple[int, int, int], share: float) -> HeldOut:
        """Return blocks of time that are spread over the record, or the end of the longer axis of a grid of few steps.

        Together the blocks have `share` of the length.

        Raises:
            NothingObservedError: there is a single step of a single cell, or of gauges.
        """
        axis = 0 if shape[0] >= MIN_STEPS or max(shape[1:]) <= shape[0] else 1 + int(np.argmax(shape[1:]))
        length = shape[axis]
        if length < 2:
            raise NothingObservedError(TOO_FEW, got="a single step", expected="two steps at least")
        size = max(1, round(share * length))
        number = int(np.clip(size // MIN_BLOCK, 1, MAX_BLOCKS)) if axis == 0 else 1
        ends = [round(length * (i + 1) / number) for i in range(number)]
        return cls(axis, tuple((end - size // number, end) for end in ends))

    def at(self, index: np.ndarray) -> np.ndarray:
        """Return which of these indices of the axis are held out, bool of the same shape."""
        return np.any([(index >= start) & (index < stop) for start, stop in self.blocks], axis=0)

    def cells(self, part: WaterCube, start: int) -> dict[str, np.ndarray]:
        """Return the held-out cells of a part that begins at index `start` of the axis, bool by variable."""
        own = self.at(start + np.arange(part.shape[self.axis]))
        cells: dict[str, np.ndarray] = {}
        for name, variable in part.of_kind("grid", "series").items():
            cells[name] = np.zeros(variable.values.shape, bool)
            if variable.kind == "grid":
                np.moveaxis(cells[name], self.axis, 0)[own] = True
            elif self.axis == 0:
                cells[name][own] = True
            else:
                for index in np.flatnonzero(own):
                    lines = [slice(None), slice(None)]
                    lines[self.axis - 1] = slice(index, index + 1)
                    cells[name][:, part.sites_in(*lines)] = True
        return cells


class SeenPart(NamedTuple):
    """A part of the data: the records to learn from, and the hidden cells of its self-check with what is held out."""

    records: list[PretrainingRecord]
    learnt: LearntPart


def draw_seen(cube: WaterCube, held_out: HeldOut, seed: int, number: int) -> SeenPart:
    """Draw a part of the data with cells hidden, and return the records that can be learnt from.

    The hidden cells of the part's self-check are records too: their guesses are made already.

    Args:
        cube: the data.
        held_out: what nothing is learnt from; its hidden cells are missing in the truth of the records.
        seed: of the tuning.
        number: of the part; each has other kinds of gaps.

    Raises:
        NothingObservedError: no draw has a value to hide and another to see.
    """
    rng = np.random.default_rng((STREAM, seed, 1, number))
    for turn in range(MAX_TRIES):
        slices = draw_slices(rng, cube.shape, crop_size(rng, cube, cube.shape, RECORD_VALUES))
        part = cube.window(*slices)
        measured = _measure(rng, part, number + turn, None)
        if measured is None:
            continue
        cells = held_out.cells(measured.record.truth, slices[held_out.axis].start)
        found = [_without(record, cells) for record in (measured.record, *_records_of_self_check(measured))]
        usable = [record for record in found if record.example(rng) is not None]
        if usable:
            return SeenPart(usable, LearntPart(measured.check, cells))
    raise NothingObservedError(TOO_FEW, got=sorted(cube.variables))


def check_batches(cube: WaterCube, held_out: HeldOut, seed: int) -> list[PretrainingBatch]:
    """Return windows with hidden cells in what is held out; all else is seen.

    Raises:
        NothingObservedError: no draw has a value to hide and another to see.
    """
    rng, batches = np.random.default_rng((STREAM, seed, 0)), []
    axis, length = held_out.axis, cube.shape[held_out.axis]
    for number in range(MAX_TRIES * CHECK_RECORDS):
        size = crop_size(rng, cube, cube.shape, RECORD_VALUES)
        slices = list(draw_slices(rng, cube.shape, size))
        middle = int(rng.choice(np.flatnonzero(held_out.at(np.arange(length)))))
        start = int(np.clip(middle - size[axis] // 2, 0, length - size[axis]))
        slices[axis] = slice(start, start + size[axis])
        part = cube.window(*slices)
        measured = _measure(rng, part, number, held_out.cells(part, start))
        if measured is not None:
            drawn = [e for _ in range(CHECK_WINDOWS) if (e := measured.record.example(rng)) is not None]
            batches += [stack_pretraining(drawn)] if drawn else []
        if len(batches) == CHECK_RECORDS:
            break
    if not batches:
        raise NothingObservedError(TOO_FEW, got=sorted(cube.variables))
    return batches


def _measure(
    rng: np.random.Generator, part: WaterCube, number: int, only: dict[str, np.ndarray] | None
) -> MeasuredRecord | None:
    """Hide observed cells of a part, of `only` these cells if given, and measure what is left."""
    part = without_constants(part)
    shift = int(rng.integers(1, max(len(part.time), 2)))
    hidden = {
        name: hide_observed(rng, variable.valid, shift, number) > 0
        for name, variable in part.of_kind("grid", "series").items()
    }
    if only is not None:
        hidden = {name: cells & only[name] for name, cells in hidden.items()}
    return measure_record(part, hidden) if any(cells.any() for cells in hidden.values()) else None


def _without(record: PretrainingRecord, cells: dict[str, np.ndarray]) -> PretrainingRecord:
    """Return a record from which the hidden ones of these cells are not learnt: their truth is missing."""
    variables = record.truth.variables
    values = {n: np.where(h & cells[n], np.float32(np.nan), variables[n].values) for n, h in record.hidden.items()}
    return replace(record, truth=record.truth.with_values(values))


def _records_of_self_check(measured: MeasuredRecord) -> list[PretrainingRecord]:
    """Return the draws of a record's self-check as records to learn from."""
    record, check = measured
    names = [spec.name for spec in check.layout.variables]
    statics = record.truth.of_kind("static_grid", "static_site")
    return [
        PretrainingRecord(
            replace(draw.truth, variables={n: draw.truth.variables[n] for n in (*names, *statics)}, domain={}),
            {name: codes > 0 for name, codes in draw.codes.items()},
            draw.guesses,
            check.layout,
            check.context,
        )
        for draw in check.draws
    ]
