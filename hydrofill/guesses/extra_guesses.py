"""Further first guesses, for lost frames and long outages: by motion, patterns through time and other variables.

These guesses stand beside those of `first_guesses`, and are made from them and from visible values alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hydrofill.cancellation import checkpoint
from hydrofill.guesses.advection import advected
from hydrofill.guesses.first_guesses import GUESSES, Floats, Guesses, completed_by, side_by_side, usual_values
from hydrofill.guesses.interpolation import cell_means, harmonic
from hydrofill.guesses.other_variables import from_other_variables
from hydrofill.guesses.patterns_in_time import plain_eofs, smoothed_patterns
from hydrofill.guesses.space_time import from_neighbours
from hydrofill.guesses.time_axis import Seconds, even_steps, on_even_axis
from hydrofill.layout import VariableSpec

# The methods, in the order of the last axis. `advected` is missing for series. Where a frame is partly seen, `advected`
# and `patterns` are corrected by what they miss at its seen cells. `regressed` is the regression on other variables and
# on an estimate from neighbours: in time and by motion (grids), or from similar sites (series).
EXTRA_GUESSES = ("advected", "patterns", "regressed")


class OtherVariable(NamedTuple):
    """Another variable on the same time axis: (T, H, W) or (T, M), NaN where nothing is seen, and its description."""

    values: Floats
    spec: VariableSpec


def extra_guesses(
    visible: Floats, spec: VariableSpec, seconds: Seconds | None, others: Sequence[OtherVariable], made: Guesses
) -> Floats:
    """Return further first guesses of every cell of `visible`, (..., E), columns as EXTRA_GUESSES.

    In the variable's units; NaN where a method gives no estimate.

    Args:
        visible: (T, H, W) or (T, N) in the variable's units, NaN where nothing is seen.
        spec: the variable.
        seconds: (T,) the time of each step, increasing. None if the times are unknown: the steps then count as even.
        others: the other variables. An empty sequence if there are none.
        made: the first guesses of `visible`.
    """
    if np.isnan(visible).all():
        return np.full((*visible.shape, len(EXTRA_GUESSES)), np.nan, np.float32)
    record = [
        visible,
        usual_values(_named(made, "seasonal"), _named(made, "mean")),
        *(_named(made, n) for n in ("similar", "space_time", "in_time_corrected", "many_eofs")),
    ]
    others_as_seen = [_roots(o.values, o.spec) for o in others]
    frames = np.arange(len(visible)) if seconds is None else even_steps(seconds)
    even = [on_even_axis(a, frames) for a in (*record, *others_as_seen)]
    return _guess_even(even[: len(record)], even[len(record) :], spec)[frames]


@np.errstate(invalid="ignore", divide="ignore", over="ignore")  # by matrix products, as in eof_fill
def _guess_even(record: Sequence[Floats], others: Sequence[Floats], spec: VariableSpec) -> Floats:
    """Return further guesses of a record whose steps are even in time.

    Args:
        record: the visible values, their usual values, and the guesses `similar`, `space_time`, `in_time_corrected` and
            `many_eofs`, each (T, H, W) or (T, N).
        others: the other variables as the network sees them.
        spec: the variable.
    """
    visible, usual, similar, *fills = record
    roots, usual = _roots(visible, spec), _roots(usual, spec)
    if visible.ndim == 3:
        completed = completed_by(visible, *fills)
        moved = advected(visible, completed, square_root=spec.transform == "sqrt")
        checkpoint()
        patterns = _grid_patterns(roots, _roots(completed, spec), usual, spec)
        own = [_from_steps(_roots(completed, spec) - usual), _roots(moved, spec) - usual]
        moved = moved + np.nan_to_num(harmonic(visible - moved))
        moved = np.maximum(moved, 0) if spec.transform == "sqrt" else moved
    else:
        moved = np.full(visible.shape, np.nan, np.float32)
        patterns = _series_patterns(roots, usual, spec)
        own = [_roots(similar, spec) - usual]
    checkpoint()
    anomalies = [o - cell_means(o) for o in others]
    regressed = _undone(from_other_variables(roots - usual, anomalies, own) + usual, spec)
    return side_by_side([moved, patterns, regressed])


def _grid_patterns(roots: Floats, completed: Floats, usual: Floats, spec: VariableSpec) -> Floats:
    """Return the estimates of patterns and smoothed scores, corrected at seen cells, (T, H, W)."""
    seen_share = (~np.isnan(roots)).reshape(len(roots), -1).mean(axis=1, dtype=np.float32)
    completed, usual = (a.reshape(len(roots), -1) for a in (completed, usual))
    fitted = smoothed_patterns(completed, usual, seen_share).reshape(roots.shape)
    return _undone(fitted + np.nan_to_num(harmonic(roots - fitted)), spec)


def _series_patterns(roots: Floats, usual: Floats, spec: VariableSpec) -> Floats:
    """Return the estimates of patterns of the network, corrected by neighbours in time, (T, N)."""
    found = plain_eofs(roots, usual)
    return _undone(found.mean + from_neighbours(roots - found.mean), spec, found.std)


def _from_steps(anomaly: Floats) -> Floats:
    """Return the anomaly to expect from neighbours in time, of the shape of `anomaly`."""
    return from_neighbours(anomaly.reshape(len(anomaly), -1)).reshape(anomaly.shape)


def _named(made: Guesses, name: str) -> Floats:
    """Return the guess of that name, of the record's shape."""
    return made.values[..., GUESSES.index(name)]


def _roots(values: Floats, spec: VariableSpec) -> Floats:
    """Return values as the network sees them: square roots of rain and the like."""
    return np.sqrt(np.maximum(values, 0)) if spec.transform == "sqrt" else values


def _undone(roots: Floats, spec: VariableSpec, std: Floats | float = 0.0) -> Floats:
    """Return the mean in the variable's units of values that have mean `roots` and `std` as the network sees them."""
    return np.square(np.maximum(roots, 0)) + np.square(std) if spec.transform == "sqrt" else roots
