"""Context of a record for a general network, in place of statistics that other networks learn in training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hydrofill.constants import DAY_S
from hydrofill.cube import Kind, Variable, WaterCube
from hydrofill.general.guesses import GENERAL_GUESSES, Scale
from hydrofill.guesses.stacking import NUM_ERROR_CLASSES, PRIOR_ERROR, Stack
from hydrofill.layout import MAX_TOKEN_SIZE, MAX_VARIABLES, Layout, VariableSpec
from hydrofill.summary import Summary, summary_of

Floats = npt.NDArray[np.float32]

NUM_TYPES = MAX_VARIABLES + 2  # token types of a general layout
KINDS: Mapping[Kind, int] = {"grid": 0, "series": 1, "static_grid": 2, "static_site": 3}
# What describes a variable of a record; each about between -1 and 1.
DESCRIPTORS = (
    "steps",  # log10 of the number of steps, a third of it
    "cells",  # log10 of the number of cells or sites, a quarter of it
    "seen",  # share of the values that are observed
    "step_length",  # log10 of the time step in days, a third of it
    "lag_time",  # correlation of neighbours in time
    "lag_y",  # correlation of neighbours along y
    "lag_x",  # correlation of neighbours along x
    "equal_x",  # share of neighbours along x with equal values, as in a coarse analysis copied to finer cells
    "square_root",  # 1 if the network works on square roots
    "floor",  # 1 if zero is the floor of the values
    "zeros",  # share of the values that are zero
    "skewness",  # hyperbolic tangent of a third of the skewness
    "variables",  # number of variables of the record, a sixteenth of it
    "others",  # largest correlation with another variable's frame means
)


MIN_RELATIVE_STD = 1e-6  # of the mean: less is rounding of values that do not vary


@dataclass(frozen=True, eq=False)
class Context:
    """Scales, descriptors and guess errors of a record: inputs of a general network.

    All arrays have one row for each token type: MAX_VARIABLES variables, static patches, static sites. Rows of
    variables that the record does not have are 0, with a std of 1.

    center, std: (types, P) float32, mean and standard deviation in the network's space. square_root: (types,) bool.
    kind: (types,) int64, as KINDS. descriptor: (types, F) float32, as DESCRIPTORS. error: (types, R, G) float32, the
    usual error of each guess by class, in standard scores, columns as GENERAL_GUESSES.
    """

    center: Floats
    std: Floats
    square_root: npt.NDArray[np.bool_]
    kind: npt.NDArray[np.int64]
    descriptor: Floats
    error: Floats

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays by the names that they have in a graph, CONTEXT_TENSORS."""
        return {f"{RECORD}{name}": getattr(self, name) for name in CONTEXT_FIELDS}

    def moved(self, slots: np.ndarray) -> Context:
        """Return the context with variable i in row `slots[i]`; rows of static tokens stay."""
        rows = np.concatenate([np.argsort(slots), np.arange(MAX_VARIABLES, NUM_TYPES)])
        return Context(**{name: getattr(self, name)[rows] for name in CONTEXT_FIELDS})


RECORD = "record_"  # what the name of a context's tensor in a graph begins with
# Type and shape of each array of a context.
CONTEXT_SHAPES: Mapping[str, tuple[Literal["float32", "bool", "int64"], tuple[int, ...]]] = {
    "center": ("float32", (NUM_TYPES, MAX_TOKEN_SIZE)),
    "std": ("float32", (NUM_TYPES, MAX_TOKEN_SIZE)),
    "square_root": ("bool", (NUM_TYPES,)),
    "kind": ("int64", (NUM_TYPES,)),
    "descriptor": ("float32", (NUM_TYPES, len(DESCRIPTORS))),
    "error": ("float32", (NUM_TYPES, NUM_ERROR_CLASSES, len(GENERAL_GUESSES))),
}
CONTEXT_FIELDS = tuple(CONTEXT_SHAPES)
CONTEXT_TENSORS = tuple(f"{RECORD}{name}" for name in CONTEXT_SHAPES)  # of a graph, in this order


def scale_of(values: np.ndarray, square_root: bool) -> Scale:
    """Return the scale of the observed values (...), NaN = missing; see `scale_by`."""
    return scale_by(summary_of(values.reshape(len(values), -1)), square_root)


def scale_by(summary: Summary, square_root: bool) -> Scale:
    """Return the scale of values with this summary.

    Values that do not vary say nothing of how far others may be: the std is then the size of the value, and 1 for zero
    or without any value.
    """
    if summary.number == 0:
        return Scale(0.0, 1.0, square_root)
    mean, std = (summary.root_mean, summary.root_std) if square_root else (summary.mean, summary.std)
    return Scale(mean, std if std > MIN_RELATIVE_STD * abs(mean) else abs(mean) or 1.0, square_root)


def describe(
    records: Sequence[WaterCube],
    layout: Layout,
    stacks: Mapping[str, Stack],
    scales: Mapping[str, Scale],
    static: Mapping[str, Variable],
) -> Context:
    """Return the context of a record.

    Args:
        records: the record, or parts of the record whose descriptors are averaged; NaN = missing.
        layout: a general layout of the record.
        stacks: by variable, what hidden cells say about its guesses.
        scales: by variable.
        static: the static variables of the record by name, perhaps among others.
    """
    context = _empty()
    means = [_frame_means(record, layout) for record in records]
    for number, spec in enumerate(layout.variables):
        scale = scales[spec.name]
        context.center[number], context.std[number] = scale.center, scale.std
        context.square_root[number], context.kind[number] = scale.square_root, KINDS[spec.kind]
        described = [
            _descriptor(record.variables[spec.name].values, spec, record, of_frames, number)
            for record, of_frames in zip(records, means, strict=True)
            if record.variables[spec.name].valid.any()
        ]
        if described:
            context.descriptor[number] = np.mean(described, axis=0)
        if spec.name in stacks:
            context.error[number] = stacks[spec.name].error
    for row, specs in enumerate((layout.static_grid, layout.static_site), start=MAX_VARIABLES):
        context.kind[row] = KINDS["static_grid" if row == MAX_VARIABLES else "static_site"]
        for column, spec in enumerate(specs):
            scale = scale_of(static[spec.name].values, square_root=False)
            context.center[row, column], context.std[row, column] = scale.center, scale.std
    return context


def _empty() -> Context:
    return Context(
        center=np.zeros((NUM_TYPES, MAX_TOKEN_SIZE), np.float32),
        std=np.ones((NUM_TYPES, MAX_TOKEN_SIZE), np.float32),
        square_root=np.zeros(NUM_TYPES, bool),
        kind=np.zeros(NUM_TYPES, np.int64),
        descriptor=np.zeros((NUM_TYPES, len(DESCRIPTORS)), np.float32),
        error=np.full((NUM_TYPES, NUM_ERROR_CLASSES, len(GENERAL_GUESSES)), PRIOR_ERROR, np.float32),
    )


def _descriptor(values: np.ndarray, spec: VariableSpec, cube: WaterCube, means: np.ndarray, number: int) -> list[float]:
    summary, valid = summary_of(values.reshape(len(values), -1)), ~np.isnan(values)
    n_cells = int(np.prod(values.shape[1:]))
    apart = np.diff(cube.time) / np.timedelta64(1, "s")
    step_days = float(np.median(apart)) / DAY_S if len(apart) else 1.0
    inside = valid.any(axis=0)
    seen = float(valid[:, inside].mean()) if inside.any() else 0.0
    lags, equal = [_neighbours(values, 0)[0], 0.0, 0.0], 0.0
    if values.ndim == 3:
        lags[1], _ = _neighbours(values, 1)
        lags[2], equal = _neighbours(values, 2)
    return [
        math.log10(max(len(values), 1)) / 3,
        math.log10(max(n_cells, 1)) / 4,
        seen,
        math.log10(max(step_days, 1e-6)) / 3,
        *lags,
        equal,
        float(spec.transform == "sqrt"),
        float(spec.lower == 0),
        _known(summary.zero_share),
        math.tanh(_known(summary.skewness) / 3),
        len(means) / MAX_VARIABLES,
        _largest_correlation(means, number),
    ]


def _known(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _neighbours(values: np.ndarray, axis: int) -> tuple[float, float]:
    """Return the correlation of neighbours along an axis, and the share of neighbours with equal, non-zero values."""
    along = np.moveaxis(values, axis, 0)
    left, right = along[1:], along[:-1]
    both = ~(np.isnan(left) | np.isnan(right))
    if both.sum() < 2:
        return 0.0, 0.0
    a, b = left[both].astype(np.float64), right[both].astype(np.float64)
    wet = (a != 0) | (b != 0)
    equal = float((a[wet] == b[wet]).mean()) if wet.any() else 0.0
    return _correlation(a, b), equal


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the correlation of two samples (n,), 0 where one of them does not vary."""
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / size) if size > 0 else 0.0


def _frame_means(cube: WaterCube, layout: Layout) -> np.ndarray:
    """Return the mean of the observed values of each variable at each step, (V, T); NaN where nothing is observed."""
    means = []
    for spec in layout.variables:
        flat = cube.variables[spec.name].values.reshape(len(cube.time), -1)
        number = (~np.isnan(flat)).sum(axis=1)
        means.append(np.where(number > 0, np.nansum(flat, axis=1, dtype=np.float64) / np.maximum(number, 1), np.nan))
    return np.stack(means)


def _largest_correlation(means: np.ndarray, number: int) -> float:
    largest = 0.0
    for other in range(len(means)):
        both = ~(np.isnan(means[number]) | np.isnan(means[other]))
        if other == number or both.sum() < 10:
            continue
        largest = max(largest, abs(_correlation(means[number][both], means[other][both])))
    return largest


def stack_contexts(contexts: Sequence[Context]) -> Context:
    """Return contexts as one batch: arrays (B, types, ...)."""
    return Context(**{name: np.stack([getattr(c, name) for c in contexts]) for name in CONTEXT_FIELDS})
