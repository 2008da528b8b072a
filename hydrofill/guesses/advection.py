"""Interpolate in time along the motion of the field.

Rain cells and fronts move between two frames. A mean of the frames before and after shows each of them twice and too
weak. One smooth velocity for each cell and step is therefore estimated from the two frames, both frames are moved
along it to the step between them, and then averaged. Sources: Lucas and Kanade 1981 (motion by local least squares);
Bouguet 2001 (coarse to fine).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hydrofill.cancellation import checkpoint
from hydrofill.guesses.interpolation import between, nearest_seen

Floats = npt.NDArray[np.float32]
Seen = npt.NDArray[np.bool_]
Steps = npt.NDArray[np.int64]

LEVELS = 3  # each has half the rows and columns of the one before
MIN_CELLS = 6  # no level has fewer rows or columns, unless the record itself does
ROUNDS = 3  # on each level
WINDOW_CELLS = 5.0  # std in cells of the Gaussian window of the local least squares
WINDOW_STEPS = 1.0  # std in steps of that window
MAX_STEPS_APART = 10  # frames further apart say nothing about motion
MIN_VELOCITY_VARIANCE = 3.0  # number of independent differences in a window, times the variance of velocities
GAIN_WINDOW = (4.0, 6.0, 6.0)  # std in steps, rows and columns of the window in which moved frames are checked
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
    known = np.isfinite(completed).all(axis=(1, 2)).reshape(-1)
    fields = np.where(known[:, None, None], completed, 0).astype(np.float32)
    before, after = _neighbours(known)
    still = _line(*_moved(fields, np.zeros((2, *fields.shape), np.float32), before, after), before, after)
    if known.sum() < 2:
        return still
    velocity = _velocity(np.sqrt(np.maximum(fields, 0)) if square_root else fields, before, after)
    change = _line(*_moved(fields, velocity, before, after), before, after) - still
    # Each further step is as uncertain as the first, and at the ends of the record motion is known from one side only.
    steps = np.maximum(*_apart(before, after))
    steps[(before < 0) | (after >= len(before))] *= 2
    return still + _gain(change, visible - still) ** steps * change


def _gain(change: Floats, wanted: Floats) -> Floats:
    """Return the factor from 0 to 1 by which `change` best explains `wanted` around each cell and step, (T, H, W).

    The factor of a window is drawn towards that of the record. `wanted` is NaN where nothing is seen.
    """
    usable = ~(np.isnan(wanted) | np.isnan(change))
    product, square = (np.where(usable, a, 0).astype(np.float32) for a in (change * wanted, change * change))
    usual = float(square.mean(dtype=np.float64))
    overall = float(product.mean(dtype=np.float64)) / max(usual, 1e-30)
    near = [ndimage.gaussian_filter(a, GAIN_WINDOW, mode="constant", truncate=2.0) for a in (product, square)]
    prior = np.float32(max(GAIN_PRIOR * usual, 1e-30))
    gain: Floats = np.clip((near[0] + prior * overall) / (near[1] + prior), 0, 1)
    return gain


def _neighbours(known: Seen) -> tuple[Steps, Steps]:
    """Return the step of the nearest known frame before and after each step, (T,); -1 and T where there is none."""
    last, following = nearest_seen(known)
    return np.concatenate([[-1], last[:-1]]), np.concatenate([following[1:], [len(known)]])


def _apart(before: Steps, after: Steps) -> tuple[Floats, Floats]:
    """Return the steps to the frame before and to the frame after, (T, 1, 1); 0 where there is none."""
    n_time = len(before)
    steps = np.arange(n_time)
    return (
        np.where(before < 0, 0, steps - before).astype(np.float32)[:, None, None],
        np.where(after >= n_time, 0, after - steps).astype(np.float32)[:, None, None],
    )


def _line(from_before: Floats, from_after: Floats, before: Steps, after: Steps) -> Floats:
    """Interpolate linearly between two estimates of each step, (T, H, W); NaN where there is none."""
    n_time = len(before)
    apart = _apart(before, after)
    none = (before < 0)[:, None, None], (after >= n_time)[:, None, None]
    left, right = (
        np.where(n, np.nan, a).astype(np.float32) for n, a in zip(none, (from_before, from_after), strict=True)
    )
    return between(left, right, *apart)


def _velocity(fields: Floats, before: Steps, after: Steps) -> Floats:
    """Return the velocity at each cell in rows and columns per step, (2, T, H, W)."""
    pyramid = [fields / max(float(fields.std()), 1e-12)]
    while len(pyramid) < LEVELS and min(pyramid[-1].shape[1:]) >= 2 * MIN_CELLS:
        pyramid.append(_halved(pyramid[-1]))
    velocity = np.zeros((2, *pyramid[-1].shape), np.float32)
    for level in reversed(pyramid):
        if level.shape != velocity.shape[1:]:
            velocity = 2 * velocity.repeat(2, axis=2).repeat(2, axis=3)[:, :, : level.shape[1], : level.shape[2]]
            missing = [level.shape[a] - velocity.shape[a + 1] for a in (1, 2)]
            velocity = np.pad(velocity, ((0, 0), (0, 0), (0, missing[0]), (0, missing[1])), mode="edge")
        for _ in range(ROUNDS):
            checkpoint()
            velocity = velocity + _change(level, velocity, before, after)
    return velocity


def _change(fields: Floats, velocity: Floats, before: Steps, after: Steps) -> Floats:
    """Return the change of velocity that best maps the frame before onto the frame after, (2, T, H, W)."""
    way = np.add(*_apart(before, after))
    usable = (before >= 0) & (after < len(before)) & (way[:, 0, 0] <= MAX_STEPS_APART)
    left, right = _moved(fields, velocity, before, after)
    weight = usable[:, None, None].astype(np.float32)
    middle, difference = np.float32(0.5) * (left + right), (right - left) * weight
    down, across = (_slope(middle, axis) * way * weight for axis in (1, 2))
    products = (down * down, down * across, across * across, down * difference, across * difference, difference**2)
    dd, da, aa, de, ae, ee = (_windowed(p) for p in products)
    pull = ee / MIN_VELOCITY_VARIANCE + np.float32(1e-6)
    dd, aa = dd + pull, aa + pull
    determinant = dd * aa - da * da
    change = np.stack([da * ae - aa * de, da * de - dd * ae]) / determinant
    limit = MAX_CHANGE / np.maximum(way, 1)
    return np.clip(change, -limit, limit).astype(np.float32)


def _slope(values: Floats, axis: int) -> Floats:
    """Return the central difference along an axis, (T, H, W); borders repeat, so a single row has none."""
    padded = np.pad(values, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
    low, high = (np.take(padded, np.arange(values.shape[axis]) + shift, axis) for shift in (0, 2))
    return np.float32(0.5) * (high - low)


def _windowed(values: Floats) -> Floats:
    """Return the weighted mean over the window around each cell and step, (T, H, W)."""
    sigma = (WINDOW_STEPS, WINDOW_CELLS, WINDOW_CELLS)
    out: Floats = ndimage.gaussian_filter(values, sigma, mode=("constant", "nearest", "nearest"), truncate=2.5)
    return out


def _moved(fields: Floats, velocity: Floats, before: Steps, after: Steps) -> tuple[Floats, Floats]:
    """Return the frame before and the frame after, each moved along the velocity to the step, (T, H, W) each."""
    n_time, height, width = fields.shape
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    moved = []
    for frame, way in zip(
        (before, after), np.array([-1, 1], np.float32)[:, None, None, None] * _apart(before, after), strict=True
    ):
        step = np.clip(frame, 0, n_time - 1).astype(np.float32)[:, None, None]
        at = [np.broadcast_to(step, fields.shape), rows + way * velocity[0], columns + way * velocity[1]]
        moved.append(ndimage.map_coordinates(fields, at, order=1, mode="nearest", output=np.float32))
    return moved[0], moved[1]


def _halved(values: Floats) -> Floats:
    """Return the means of 2 x 2 blocks, (T, H, W) -> (T, H // 2, W // 2); an odd last row or column is left out."""
    n_time, height, width = values.shape
    rows, columns = height // 2, width // 2
    blocks = values[:, : 2 * rows, : 2 * columns].reshape(n_time, rows, 2, columns, 2)
    return blocks.mean(axis=(2, 4), dtype=np.float32)
