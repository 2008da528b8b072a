"""Further first guesses, for lost frames and long outages: by motion, patterns through time and other variables.

These guesses stand beside those of `first_guesses`, and are made from them and from visible values alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hydrofill.cancellation import checkpoint
from hydrofill.guesses.advection import advected
from hydrofill.guesses.first_guesses import GUESSES, Floats, Guesses
from hydrofill.guesses.interpolation import cell_means, harmonic
from hydrofill.guesses.other_variables import from_other_variables
from hydrofill.guesses.patterns_in_time import from_neighbours, plain_eofs, smoothed_patterns
from hydrofill.guesses.time_axis import Seconds, even_steps
from hydrofill.layout import VariableSpec

# The methods, in the order of the last axis. `advected` is missing for series. Grids take `patterns` from their frames
# filled in space, series from their visible values. A corrected guess adds what it misses at seen cells of the same
# frame (grids) or at neighbours in time (series; and grids in `from_others_corrected`).
EXTRA_GUESSES = (
    "advected",
    "advected_corrected",
    "patterns",
    "patterns_corrected",
    "from_others",
    "from_others_corrected",
)


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
        others: the other variables, NaN where nothing is seen.
        made: the first guesses of `visible`.
    """
    if not (~np.isnan(visible)).any():
        return np.full((*visible.shape, len(EXTRA_GUESSES)), np.nan, np.float32)
    completed, usual = _completed(visible, made), _usual(made)
    roots = [(_roots(o.values, o.spec)) for o in others]
    if seconds is None:
        return _guess_even(visible, completed, usual, roots, spec)
    frames = even_steps(seconds)
    n_time = int(frames[-1]) + 1
    if n_time == len(visible):
        return _guess_even(visible, completed, usual, roots, spec)
    even = [_placed(a, frames, n_time) for a in (visible, completed, usual, *roots)]
    return _guess_even(even[0], even[1], even[2], even[3:], spec)[frames]


@np.errstate(invalid="ignore", divide="ignore", over="ignore")  # by matrix products, as in eof_fill
def _guess_even(
    visible: Floats, completed: Floats, usual: Floats, others: Sequence[Floats], spec: VariableSpec
) -> Floats:
    """Return further guesses of a record whose steps are even in time; `others` as the network sees them."""
    square_root = spec.transform == "sqrt"
    made: dict[str, Floats] = dict.fromkeys(EXTRA_GUESSES[:2], np.full(visible.shape, np.nan, np.float32))
    if visible.ndim == 3:
        made["advected"] = advected(visible, completed, square_root=square_root)
        made["advected_corrected"] = made["advected"] + harmonic(visible - made["advected"])
    checkpoint()
    roots, usual_root = _roots(visible, spec), _roots(usual, spec)
    if visible.ndim == 3:
        share = np.mean(~np.isnan(visible), axis=(1, 2), dtype=np.float32)
        flat = _roots(completed, spec).reshape(len(visible), -1)
        patterns = smoothed_patterns(flat, usual_root.reshape(len(visible), -1), share).reshape(visible.shape)
        rest = harmonic(roots - patterns)
        std = np.zeros(visible.shape, np.float32)
    else:
        found = plain_eofs(roots, usual_root)
        patterns, std = found.mean, found.std
        rest = from_neighbours(roots - patterns)
    made["patterns"] = _undone(patterns, std, spec)
    made["patterns_corrected"] = _undone(patterns + rest, std, spec)
    checkpoint()
    expected = from_other_variables(roots - usual_root, [o - cell_means(o, ~np.isnan(o)) for o in others])
    made["from_others"] = _undone(expected + usual_root, 0, spec)
    rest = _series_of(roots - usual_root - np.nan_to_num(expected))
    made["from_others_corrected"] = _undone(expected + usual_root + rest, 0, spec)
    return np.stack([made[name] for name in EXTRA_GUESSES], axis=-1).astype(np.float32, copy=False)


def _series_of(rest: Floats) -> Floats:
    """Return the rest to expect from neighbours in time, of the shape of `rest`."""
    return from_neighbours(rest.reshape(len(rest), -1)).reshape(rest.shape)


def _completed(visible: Floats, made: Guesses) -> Floats:
    """Return `visible` filled in space, as `completed_before` and `completed_after` hold it; lost frames stay NaN."""
    before, after = (made.values[..., GUESSES.index(name)] for name in ("completed_before", "completed_after"))
    completed = visible.copy()
    completed[:-1] = before[1:]  # of a frame that is not lost, the frame itself is the last before the next step
    if len(visible) > 1:
        completed[-1] = after[-2]
    elif visible.ndim == 3:
        completed = harmonic(visible)
    lost = np.isnan(visible).reshape(len(visible), -1).all(axis=1)
    completed[lost] = np.nan
    return completed


def _usual(made: Guesses) -> Floats:
    """Return the usual value of each step: the seasonal cycle, or else the mean."""
    cycle, mean = (made.values[..., GUESSES.index(name)] for name in ("seasonal", "mean"))
    return np.where(np.isnan(cycle), mean, cycle)


def _placed(values: Floats, frames: np.ndarray, n_time: int) -> Floats:
    """Return values with the frames placed on an axis of `n_time` steps; NaN between them."""
    even = np.full((n_time, *values.shape[1:]), np.nan, np.float32)
    even[frames] = values
    return even


def _roots(values: Floats, spec: VariableSpec) -> Floats:
    """Return values as the network sees them: square roots of rain and the like."""
    return np.sqrt(np.maximum(values, 0)) if spec.transform == "sqrt" else values


def _undone(roots: Floats, std: Floats | int, spec: VariableSpec) -> Floats:
    """Return the mean in the variable's units of values with mean `roots` and a std, as the network sees them."""
    return (np.square(np.maximum(roots, 0)) + np.square(std)) if spec.transform == "sqrt" else roots
