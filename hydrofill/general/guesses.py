"""First guesses for the general network: those of one variable, those from other variables, and the stacked guess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hydrofill.cube import WaterCube
from hydrofill.guesses.extra_guesses import EXTRA_GUESSES, OtherVariable, extra_guesses
from hydrofill.guesses.first_guesses import GUESSES, Guesses, guess_variable
from hydrofill.guesses.stacking import Stack
from hydrofill.guesses.time_axis import seconds_since_1970
from hydrofill.layout import Layout

MEASURED_GUESSES = (*GUESSES, *EXTRA_GUESSES)
GENERAL_GUESSES = (*MEASURED_GUESSES, "stacked")
STACKED = len(MEASURED_GUESSES)  # index of the stacked guess, which is the last
CHUNK = 50_000  # cells whose stacked guess is computed at a time


class Scale(NamedTuple):
    """Mean and standard deviation of a variable in the network's space, which is of square roots for some variables."""

    center: float
    std: float
    square_root: bool

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Return physical values as standard scores, float64."""
        wide = values.astype(np.float64)
        z = np.sqrt(np.maximum(wide, 0)) if self.square_root else wide
        return np.asarray((z - self.center) / self.std)

    def values(self, scores: np.ndarray) -> np.ndarray:
        """Return standard scores as physical values, float32."""
        z = scores * self.std + self.center
        return (np.square(np.maximum(z, 0)) if self.square_root else z).astype(np.float32)


def measured_guesses(record: WaterCube, layout: Layout, names: Sequence[str]) -> dict[str, Guesses]:
    """Return the guesses of these variables that can be made without knowing their errors, columns MEASURED_GUESSES.

    Args:
        record: what is seen; NaN where nothing is seen.
        layout: a general layout of the record.
        names: the variables.
    """
    seconds, made = seconds_since_1970(record.time), {}
    # Sums round differently in another order of memory.
    values = {spec.name: np.ascontiguousarray(record.variables[spec.name].values) for spec in layout.variables}
    for name in names:
        spec = layout.spec(name)
        guesses = guess_variable(values[name], spec, record.time, record.year_s)
        others = [OtherVariable(values[s.name], s) for s in layout.variables if s.name != name]
        extra = extra_guesses(values[name], spec, seconds, others, guesses)
        made[name] = Guesses(np.concatenate([guesses.values, extra], axis=-1), guesses.distances)
    return made


def with_stacked(made: Guesses, seen: np.ndarray, stack: Stack, scale: Scale) -> Guesses:
    """Return the guesses with the stacked guess as one more column: GENERAL_GUESSES.

    Args:
        made: guesses (..., G) of a record.
        seen: the record, NaN where nothing is seen; a seen cell has its own value as its stacked guess.
        stack: what hidden cells say about the guesses.
        scale: of the variable.
    """
    stacked, missing = seen.astype(np.float32, order="C", copy=True), np.flatnonzero(np.isnan(seen))
    values, distances = (a.reshape(-1, a.shape[-1]) for a in (made.values, made.distances))
    for start in range(0, len(missing), CHUNK):
        cells = missing[start : start + CHUNK]
        scores = stack.predict(scale.scores(values[cells]), distances[cells].astype(np.float64))
        stacked.reshape(-1)[cells] = scale.values(scores)
    return Guesses(np.concatenate([made.values, stacked[..., None]], axis=-1), made.distances)
