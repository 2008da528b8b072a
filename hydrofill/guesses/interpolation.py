"""Interpolate records with gaps in time and in space.

Arrays are (T, H, W) or (T, N) float32, NaN where nothing is seen. All functions work on all frames at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hydrofill.cancellation import checkpoint
from hydrofill.guesses.arrays import BLOCK_VALUES, blocks, contiguous

Floats = npt.NDArray[np.float32]
Seen = npt.NDArray[np.bool_]

LOCAL_MEAN_STEPS = 3.0  # weights of a local mean fall by a factor of e every so many steps
JACOBI_SWEEPS = 24  # of a harmonic fill after the coarse-to-fine start; more change only the third digit
BIHARMONIC_STEPS = 100  # conjugate gradient steps on each level; twice as many lower the error by half a percent
BIHARMONIC_TOLERANCE = 1e-5  # the steps of a level end at this share of the energy of the first residual


def nearest_seen(seen: Seen) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the step of the nearest seen value at or before each step and at or after it, (T, ...) each.

    Where there is none, -1 before and T after.
    """
    n_time = len(seen)
    steps = np.arange(n_time).reshape(-1, *[1] * (seen.ndim - 1))
    before = np.maximum.accumulate(np.where(seen, steps, -1), axis=0)
    after = np.minimum.accumulate(np.where(seen, steps, n_time)[::-1], axis=0)[::-1]
    return before, after


def gap_lengths(missing: Seen) -> npt.NDArray[np.int64]:
    """Return (T, ...) the length in steps of the gap that each missing value lies in; 0 where observed."""
    before, after = nearest_seen(~missing)
    return np.where(missing, after - before - 1, 0)


def neighbours_in_time(values: Floats, seen: Seen | None = None) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the nearest seen values of the same cell before and after each step, and the steps to them, (T, ...) each.

    The value at the step itself does not count. Where there is none, the value is NaN and the steps are infinite.

    Args:
        values: (T, ...), NaN where nothing is seen.
        seen: (T, ...), if not every value counts that is not NaN.
    """
    from hydrofill.guesses.kernels.records import neighbours

    flat = _flat(values if seen is None else np.where(seen, values, np.float32(np.nan)))
    made = [np.empty_like(flat) for _ in range(4)]
    neighbours(flat, *made)
    checkpoint()
    before, after, steps_before, steps_after = (a.reshape(values.shape) for a in made)
    return before, after, steps_before, steps_after


def between(before: Floats, after: Floats, steps_before: Floats, steps_after: Floats) -> Floats:
    """Interpolate linearly between the neighbours in time; where only one exists, take that one."""
    from hydrofill.guesses.kernels.records import between as straight

    line = np.empty(before.shape, np.float32)
    straight(
        *(contiguous(a).reshape(-1) for a in (before, after, steps_before, steps_after)),
        line.reshape(-1),
    )
    return line


def local_mean(values: Floats) -> Floats:
    """Return the weighted mean of the steps around each step, without the step itself; NaN where none is seen nearby.

    Weights fall by a factor of e every LOCAL_MEAN_STEPS steps.
    """
    from hydrofill.guesses.kernels.records import local_mean as weighted

    weights = np.exp(-np.arange(1, int(4 * LOCAL_MEAN_STEPS) + 1) / LOCAL_MEAN_STEPS).astype(np.float32)
    flat = _flat(values)
    made = np.empty_like(flat)
    for first, last in blocks(len(flat), BLOCK_VALUES // flat.shape[1]):
        checkpoint()
        weighted(flat, weights, np.float32(0), first, last, made)
    return made.reshape(values.shape)


def cell_means(visible: Floats, seen: Seen | None = None) -> Floats:
    """Return the mean of each cell over time, (1, ...).

    A cell that is never seen gets a mean interpolated from its neighbours (grids) or NaN (series).

    Args:
        visible: (T, H, W) or (T, N), NaN where nothing is seen.
        seen: of the same shape, if not every value counts that is not NaN.
    """
    from hydrofill.guesses.kernels.records import sums_over_time

    flat = _flat(visible if seen is None else np.where(seen, visible, np.float32(np.nan)))
    total, count = np.zeros(flat.shape[1]), np.zeros(flat.shape[1])
    sums_over_time(flat, total, count)
    checkpoint()
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    mean = mean.reshape(1, *visible.shape[1:])
    return harmonic(mean) if visible.ndim == 3 and np.isnan(mean).any() else mean


def distance_in_space(seen: Seen) -> Floats:
    """Return the distance of each cell to the nearest seen cell of its frame, in cells; infinite in empty frames."""
    from hydrofill.guesses.kernels.records import distances

    seen = np.require(seen, np.bool_, ("C", "W"))
    made = np.empty(seen.shape, np.float32)
    for first, last in _blocks_of_frames(seen.shape):
        checkpoint()
        distances(seen, first, last, made)
    return made


def harmonic(values: Floats) -> Floats:
    """Fill the missing cells of each frame (T, H, W) by solving Laplace's equation; empty frames stay NaN.

    A coarse-to-fine start is followed by Jacobi sweeps. Borders reflect. Source: Gortler et al. 1996 (pull-push).
    """
    from hydrofill.guesses.kernels import surfaces

    values = contiguous(values)
    filled = np.empty_like(values)
    for first, last in _blocks_of_frames(values.shape):
        checkpoint()
        surfaces.harmonic(values[first:last], JACOBI_SWEEPS, filled[first:last])
    return filled


def biharmonic(values: Floats) -> Floats:
    """Fill the missing cells of each frame (T, H, W) with the smoothest surface; empty frames stay NaN.

    Conjugate gradients minimise the squared Laplacian over the frame, level by level from coarse to fine. Borders
    reflect. The surface can overshoot, so it is clipped to the range of the seen values of its frame. Source: Damelin
    and Hoang 2018 (inpainting by the biharmonic equation).
    """
    from hydrofill.guesses.kernels import surfaces

    values = contiguous(values)
    filled = np.empty_like(values)
    for first, last in _blocks_of_frames(values.shape):
        checkpoint()
        surfaces.biharmonic(values[first:last], BIHARMONIC_STEPS, BIHARMONIC_TOLERANCE, filled[first:last])
    return filled


def _blocks_of_frames(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    return blocks(shape[0], BLOCK_VALUES // max(shape[1] * shape[2], 1))


def _flat(values: Floats) -> Floats:
    """Return values (T, ...) as contiguous float32 of (T, n)."""
    return contiguous(values).reshape(len(values), -1)
