"""Correct predicted standard deviations, and set small fills to zero, depending on the distance to observed values.

The factors are estimated after training on cells that were hidden (model/evaluation/calibration.py), stored in the
manifest, and applied to every fill.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveFloat, model_validator

from hydrofill.guesses.interpolation import distance_in_space, neighbours_in_time
from hydrofill.layout import Frozen

# Distance classes of a missing cell. The first four go by the distance in cells to the nearest observed cell of its own
# frame (for gauges: in steps to the nearest observed value of the gauge). If nothing is observed at that step, the last
# three go by the number of steps to the nearest step with an observed value.
CLASS_CELLS = (1.5, 3.5, 8.0)
CLASS_STEPS = (1.0, 3.0)
CLASSES = ("rim", "near", "inner", "far", "next step", "near steps", "far steps")


class Stretch(Frozen):
    """Factors for standard deviations.

    std: standard deviations in the variable's units, increasing. factor: the factor at each of them; in between, the
    logarithm of the factor is interpolated linearly in the logarithm of the standard deviation.
    """

    std: tuple[PositiveFloat, ...] = Field(default=(1.0,), min_length=1)
    factor: tuple[PositiveFloat, ...] = Field(default=(1.0,), min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Stretch:
        if len(self.std) != len(self.factor):
            raise ValueError(f"std has {len(self.std)} values and factor has {len(self.factor)}")
        if any(low >= high for low, high in pairwise(self.std)):
            raise ValueError("std must increase")
        return self

    def apply(self, std: np.ndarray) -> np.ndarray:
        """Return `std` times the factors."""
        size = np.log(np.maximum(std, self.std[0]))
        factor = np.exp(np.interp(size, np.log(self.std), np.log(self.factor)))
        return np.asarray(std * factor.astype(np.float32))


class Calibration(Frozen):
    """Calibration of one variable, with one entry for each distance class.

    stretch: factors for standard deviations. dry_below: fills below this value become 0; 0 changes no fill.
    """

    stretch: tuple[Stretch, ...] = Field(
        default=(Stretch(),) * len(CLASSES), min_length=len(CLASSES), max_length=len(CLASSES)
    )
    dry_below: tuple[float, ...] = Field(
        default=(0.0,) * len(CLASSES), min_length=len(CLASSES), max_length=len(CLASSES)
    )

    def apply(self, mean: np.ndarray, std: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return calibrated mean and standard deviation of cells of these distance classes; all of one shape."""
        mean, std = mean.copy(), std.copy()
        for number, (stretch, dry) in enumerate(zip(self.stretch, self.dry_below, strict=True)):
            in_class = distance == number
            std[in_class] = stretch.apply(std[in_class])
            if dry > 0:  # at 0, negative fills must stay
                mean[in_class & (mean < dry)] = 0
        return mean, std


def distance_classes(valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.int8]:
    """Return the index into CLASSES of every cell of a record; `valid` (T, H, W) or (T, N) is True where observed."""
    empty: npt.NDArray[np.bool_] = np.logical_not(valid.reshape(len(valid), -1).any(axis=1))
    if valid.ndim == 3:
        cells = distance_in_space(valid)
    else:  # gauges have no neighbouring cells: the distance in time to the gauge's own values takes their place
        *_, before, after = neighbours_in_time(valid.astype(np.float32), valid)
        cells = np.minimum(before, after)
    in_space = np.digitize(cells, CLASS_CELLS, right=True)
    *_, before, after = neighbours_in_time(np.zeros(len(empty), np.float32), ~empty)
    in_time = np.digitize(np.minimum(before, after), CLASS_STEPS, right=True) + len(CLASS_CELLS) + 1
    shape = (-1, *[1] * (valid.ndim - 1))
    return np.where(empty.reshape(shape), in_time.reshape(shape), in_space).astype(np.int8)
