"""The records of a tuning: parts of one data set with cells hidden, to learn from and to check on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from hydrofill.cf.axes import one_of, recognise
from hydrofill.cube import WaterCube, draw_slices
from hydrofill.errors import NothingObservedError
from hydrofill.filling import FillOptions, prepare_fill
from hydrofill.gaps.self_gaps import hide_observed
from hydrofill.layout import GENERAL
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
    """The part of the data that is held out: all from index `cut` on along an axis of (T, H, W)."""

    axis: int
    cut: int

    @classmethod
    def of(cls, shape: tuple[int, int, int], share: float) -> HeldOut:
        """Return the last `share` of the steps, or of the longer axis of the grid where there are few steps.

        Raises:
            NothingObservedError: there is a single step of a single cell, or of gauges.
        """
        axis = 0 if shape[0] >= MIN_STEPS or max(shape[1:]) <= shape[0] else 1 + int(np.argmax(shape[1:]))
        if shape[axis] < 2:
            raise NothingObservedError(TOO_FEW, got="a single step", expected="two steps at least")
        return cls(axis, shape[axis] - max(1, round(share * shape[axis])))

    def seen_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the shape (T, H, W) of what is not held out."""
        steps, rows, columns = (self.cut if axis == self.axis else n for axis, n in enumerate(shape))
        return steps, rows, columns

    def cells(self, part: WaterCube, start: int) -> dict[str, np.ndarray]:
        """Return the held-out cells of a part that begins at index `start` of the axis, bool by variable."""
        first = max(self.cut - start, 0)
        slices = [slice(first if axis == self.axis else 0, n) for axis, n in enumerate(part.shape)]
        near = part.sites_in(slices[1], slices[2])
        cells: dict[str, np.ndarray] = {}
        for name, variable in part.of_kind("grid", "series").items():
            cells[name] = np.zeros(variable.values.shape, bool)
            cells[name][tuple(slices) if variable.kind == "grid" else (slices[0], near)] = True
        return cells


def draw_seen(cube: WaterCube, held_out: HeldOut, seed: int, number: int) -> list[PretrainingRecord]:
    """Draw a part of what is not held out with cells hidden, and return the records that can be learnt from.

    The hidden cells of the part's self-check are records too: their guesses are made already.

    Args:
        cube: the data.
        held_out: what nothing is learnt from.
        seed: of the tuning.
        number: of the part; each has other kinds of gaps.

    Raises:
        NothingObservedError: no draw has a value to hide and another to see.
    """
    rng, shape = np.random.default_rng((STREAM, seed, 1, number)), held_out.seen_shape(cube.shape)
    for turn in range(MAX_TRIES):
        part = cube.window(*draw_slices(rng, shape, crop_size(rng, cube, shape, RECORD_VALUES)))
        measured = _measure(rng, part, number + turn, None)
        found = [] if measured is None else [measured.record, *_records_of_self_check(measured)]
        usable = [record for record in found if record.example(rng) is not None]
        if usable:
            return usable
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
        last = length - size[axis]
        start = last if last <= held_out.cut else int(rng.integers(held_out.cut, last + 1))
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
