"""How far predicted spreads are to be stretched, and which fills are dry, by distance to what is observed.

Found after training on cells that were hidden (`model/evaluation/calibration.py`), kept in the manifest, applied to every fill.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveFloat, model_validator

from hydrofill.guesses.interpolation import distance_in_space, neighbours_in_time
from hydrofill.layout import Frozen

# How far a missing cell is from what is observed: cells from the nearest one in its own frame, or, where the frame
# (for gauges: every gauge at that step) is empty, steps from the nearest step with anything.
CLASS_CELLS = (1.5, 3.5, 8.0)
CLASS_STEPS = (1.0, 3.0)
CLASSES = ("rim", "near", "inner", "far", "next step", "near steps", "far steps")


class Stretch(Frozen):
    """Factors on standard deviations: one at each of `std`, in the variable's units, and between them by log std."""

    std: tuple[PositiveFloat, ...] = Field(default=(1.0,), min_length=1)
    factor: tuple[PositiveFloat, ...] = Field(default=(1.0,), min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Stretch:
        if len(self.std) != len(self.factor):
            raise ValueError(f"{len(self.std)} std for {len(self.factor)} factors")
        if any(low >= high for low, high in pairwise(self.std)):
            raise ValueError("std must increase")
        return self

    def apply(self, std: np.ndarray) -> np.ndarray:
        """Stretched standard deviations."""
        size = np.log(np.maximum(std, self.std[0]))
        factor = np.exp(np.interp(size, np.log(self.std), np.log(self.factor)))
        return np.asarray(std * factor.astype(np.float32))


class Calibration(Frozen):
    """Of one variable, by distance class: how spreads are stretched, and the fill below which a cell is dry."""

    stretch: tuple[Stretch, ...] = Field(
        default=(Stretch(),) * len(CLASSES), min_length=len(CLASSES), max_length=len(CLASSES)
    )
    dry_below: tuple[float, ...] = Field(
        default=(0.0,) * len(CLASSES), min_length=len(CLASSES), max_length=len(CLASSES)
    )

    def apply(self, mean: np.ndarray, std: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Calibrated mean and standard deviation of cells of these distance classes; all of one shape."""
        mean, std = mean.copy(), std.copy()
        for number, (stretch, dry) in enumerate(zip(self.stretch, self.dry_below, strict=True)):
            of = distance == number
            std[of] = stretch.apply(std[of])
            if dry > 0:  # 0 dries nothing: fills below zero are as good as others
                mean[of & (mean < dry)] = 0
        return mean, std


def distance_classes(valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.int8]:
    """Index into CLASSES of every cell of a record, (T, H, W) or (T, N), True where observed."""
    empty: npt.NDArray[np.bool_] = np.logical_not(valid.reshape(len(valid), -1).any(axis=1))
    if valid.ndim == 3:
        cells = distance_in_space(valid)
    else:  # gauges have no rim: another one is seen, or none; how long ago it was itself seen is what differs
        *_, before, after = neighbours_in_time(valid.astype(np.float32), valid)
        cells = np.minimum(before, after)
    in_space = np.digitize(cells, CLASS_CELLS, right=True)
    *_, before, after = neighbours_in_time(np.zeros(len(empty), np.float32), ~empty)
    in_time = np.digitize(np.minimum(before, after), CLASS_STEPS, right=True) + len(CLASS_CELLS) + 1
    shape = (-1, *[1] * (valid.ndim - 1))
    return np.where(empty.reshape(shape), in_time.reshape(shape), in_space).astype(np.int8)
