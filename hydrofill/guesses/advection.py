"""Interpolate in time along the motion of the field.

Rain cells and fronts move between two frames. A mean of the frames before and after shows each of them twice and too
weak. One smooth velocity for each cell and step is therefore estimated from the two frames, both frames are moved
along it to the step between them, and then averaged. Sources: Lucas and Kanade 1981 (motion by local least squares);
Bouguet 2001 (coarse to fine).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hydrofill.cancellation import checkpoint
from hydrofill.guesses.arrays import largest_exponent
from hydrofill.guesses.interpolation import nearest_seen

Floats = npt.NDArray[np.float32]
Seen = npt.NDArray[np.bool_]
Steps = npt.NDArray[np.int64]

LEVELS = 3  # each has half the rows and columns of the one before
MIN_CELLS = 6  # no level has fewer rows or columns, unless the record itself does
ROUNDS = 3  # on each level
WINDOW_CELLS = 5.0  # std in cells of the Gaussian window of the local least squares
WINDOW_STEPS = 1.0  # std in steps of that window
WINDOW_REACH = (3, 13)  # radius of that window in steps and cells, 2.5 std
MAX_STEPS_APART = 10  # frames further apart say nothing about motion
MIN_VELOCITY_VARIANCE = 3.0  # number of independent differences in a window, times the variance of velocities
GAIN_WINDOW = (4.0, 6.0)  # std in steps and cells of the window in which moved frames are checked
GAIN_REACH = (8, 12)  # radius of that window in steps and cells, 2 std
GAIN_PRIOR = 0.3  # weight of the whole record against a window with the record's mean squared change
MAX_CHANGE = 1.0  # cells by which the way between two frames changes at most in one round


def advected(visible: Floats, completed: Floats, *, square_root: bool = False) -> Floats:
    """Return each frame as the mean of the frames before and after, moved along the motion of the field, (T, H, W).

    The frame itself does not count. Where seen cells nearby show that moved frames are no better than frames that stay
    in place, the estimate is the line between the frame before and the frame after. At the ends of the record the one
    neighbour is moved. NaN where there is no other frame.

    Args:
        visible: (T, H, W), NaN where nothing is seen.
        completed: (T, H, W), `visible` with every frame filled; a frame where nothing is seen is all NaN.
        square_root: whether motion is found in the square roots of the values.
    """
    from hydrofill.guesses.kernels.motion import add_gained, line

    known = np.isfinite(completed).all(axis=(1, 2)).reshape(-1)
    fields = np.where(known[:, None, None], completed, np.float32(0)).astype(np.float32, order="C", copy=False)
    exponent = largest_exponent(fields)
    fields *= np.float32(2.0**-exponent)
    before, after = _neighbours(known)
    still, none = np.empty_like(fields), np.zeros((2, 1, 1, 1), np.float32)
    line(fields, none, before, after, False, still)
    if known.sum() >= 2:
        velocity = _velocity(np.sqrt(np.maximum(fields, 0)) if square_root else fields, before, after)
        checkpoint()
        moved = np.empty_like(fields)
        line(fields, velocity, before, after, True, moved)
        checkpoint()
        moved -= still
        wanted = visible * np.float32(2.0**-exponent)
        wanted -= still
        powers = _powers(before, after)
        in_time, in_space = (_window(*w) for w in zip(GAIN_WINDOW, GAIN_REACH, strict=True))
        add_gained(moved, wanted, powers, _padded(in_space), in_time, GAIN_PRIOR, 1e-30, still)
    still *= np.float32(2.0**exponent)
    return still


def _powers(before: Steps, after: Steps) -> Steps:
    """Return the powers to which the factors of the change are taken, (T,).

    Each further step is as uncertain as the first, and at the ends of the record motion is known from one side only.
    """
    n_time, steps = len(before), np.arange(len(before))
    apart = np.maximum(np.where(before < 0, 0, steps - before), np.where(after >= n_time, 0, after - steps))
    return np.where((before < 0) | (after >= n_time), 2 * apart, apart)


def _neighbours(known: Seen) -> tuple[Steps, Steps]:
    """Return the step of the nearest known frame before and after each step, (T,); -1 and T where there is none."""
    last, following = nearest_seen(known)
    return np.concatenate([[-1], last[:-1]]), np.concatenate([following[1:], [len(known)]])


def _velocity(fields: Floats, before: Steps, after: Steps) -> Floats:
    """Return the velocity at each cell in rows and columns per step, (2, T, H, W)."""
    from hydrofill.guesses.kernels.motion import double, halve, improve

    pyramid = [fields * np.float32(1 / max(float(fields.std(dtype=np.float64)), 1e-12))]
    while len(pyramid) < LEVELS and min(pyramid[-1].shape[1:]) >= 2 * MIN_CELLS:
        n_time, height, width = pyramid[-1].shape
        pyramid.append(np.empty((n_time, height // 2, width // 2), np.float32))
        halve(pyramid[-2], pyramid[-1])
    in_time, in_space = (_window(*w) for w in zip((WINDOW_STEPS, WINDOW_CELLS), WINDOW_REACH, strict=True))
    velocity = np.zeros((2, *pyramid[-1].shape), np.float32)
    for level in reversed(pyramid):
        if level.shape != velocity.shape[1:]:
            coarse, velocity = velocity, np.empty((2, *level.shape), np.float32)
            double(coarse, velocity)
        for _ in range(ROUNDS):
            checkpoint()
            variance, change = np.float32(MIN_VELOCITY_VARIANCE), np.float32(MAX_CHANGE)
            improve(level, velocity, before, after, _padded(in_space), in_time, variance, change, MAX_STEPS_APART)
    return velocity


def _window(std: float, reach: int) -> Floats:
    """Return the weights of a Gaussian window by distance, (reach + 1,), which sum to one over both sides."""
    weights = np.exp(-0.5 * np.square(np.arange(reach + 1) / std))
    return (weights / (2 * weights.sum() - weights[0])).astype(np.float32)


def _padded(weights: Floats) -> Floats:
    """Return the weights of a window in space, zero from its radius on to the largest."""
    return np.pad(weights, (0, WINDOW_REACH[1] + 1 - len(weights)))
