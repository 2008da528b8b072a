"""The baselines by name. Each fills every gap of a grid or of series, so that all are scored on the same cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hydrofill.errors import UnknownVariableError
from model.baselines.dct_pls import dct_pls
from model.baselines.dineof import dineof
from model.baselines.fill import Baseline, BaselineFill, completed
from model.baselines.in_space import biharmonic_in_space, harmonic_in_space, inverse_distance
from model.baselines.in_time import cell_mean, linear_in_time, seasonal_mean
from model.baselines.kriging import kriging, kriging_of_anomalies
from model.baselines.stacked import stacked

Floats = npt.NDArray[np.floating[Any]]
Times = npt.NDArray[Any]


def _of_time(method: Callable[[Floats, Times], Floats]) -> Baseline:
    return lambda values, time: BaselineFill(completed(method(values, time), time))


def _of_space(method: Callable[[Floats], Floats]) -> Baseline:
    """Return the method within frames, followed by lines in time between completed frames where a frame is empty."""
    return lambda values, time: BaselineFill(completed(linear_in_time(method(values), time), time))


def _of_kriging(method: Callable[[Floats], BaselineFill]) -> Baseline:
    """Return the method as `_of_space` does, with a standard deviation where cells were kriged."""

    def fill(values: Floats, time: Times) -> BaselineFill:
        kriged = method(values)
        return BaselineFill(completed(linear_in_time(kriged.values, time), time), kriged.std)

    return fill


def _dineof_then_time(values: Floats, time: Times) -> Floats:
    """Fill by DINEOF, of square roots for rain-like variables, and empty frames by lines in time."""
    filled = dineof(values)
    empty = np.isnan(values).reshape(len(values), -1).all(axis=1)
    filled[empty] = np.nan
    return linear_in_time(filled, time)


ANYWHERE: Mapping[str, Baseline] = {
    "cell_mean": _of_time(lambda values, _time: cell_mean(values)),
    "seasonal_mean": _of_time(seasonal_mean),
    "linear_in_time": _of_time(linear_in_time),
    "dineof": _of_time(lambda values, _time: dineof(values, square_root=False)),
    "dineof_then_time": _of_time(_dineof_then_time),
    "dct_pls": _of_time(lambda values, _time: dct_pls(values)),
    "stacked": _of_time(lambda values, _time: stacked(values)),
}
ON_GRIDS: Mapping[str, Baseline] = {
    "inverse_distance": _of_space(inverse_distance),
    "harmonic": _of_space(harmonic_in_space),
    "biharmonic": _of_space(biharmonic_in_space),
    "kriging": _of_kriging(kriging),
    "kriging_of_anomalies": _of_kriging(kriging_of_anomalies),
}
CHEAP = ("cell_mean", "linear_in_time")  # take less than a second


def baselines_for(values: Floats) -> dict[str, Baseline]:
    """Return the baselines that suit values (T, H, W) or (T, N), cheap ones first."""
    return {**ANYWHERE, **ON_GRIDS} if values.ndim == 3 else dict(ANYWHERE)


def chosen_methods(words: str) -> tuple[str, ...] | None:
    """Return the names of baselines in `words`: `all` (None), `none`, or names with commas between.

    Raises:
        UnknownVariableError: a name is not that of a baseline.
    """
    if words == "all":
        return None
    names = tuple(word.strip() for word in words.split(",") if word.strip()) if words != "none" else ()
    known = [*ANYWHERE, *ON_GRIDS]
    for name in names:
        if name not in known:
            raise UnknownVariableError("is not a baseline", where=name, expected=f"all, none, or some of {known}")
    return names
