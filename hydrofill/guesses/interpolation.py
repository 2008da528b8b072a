"""Interpolate records with gaps in time and in space.

Arrays are (T, H, W) or (T, N) float32, NaN where nothing is seen. All functions work on all frames at once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hydrofill.cancellation import checkpoint

Floats = npt.NDArray[np.float32]
Seen = npt.NDArray[np.bool_]

LOCAL_MEAN_STEPS = 3.0  # weights of a local mean fall by a factor of e every so many steps
JACOBI_SWEEPS = 24  # of a harmonic fill after the coarse-to-fine start; more change only the third digit
BIHARMONIC_STEPS = 100  # conjugate gradient steps on each level; twice as many lower the error by half a percent


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


def neighbours_in_time(values: Floats, seen: Seen) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the nearest seen values of the same cell before and after each step, and the steps to them, (T, ...) each.

    The value at the step itself does not count. Where there is none, the value is NaN and the steps are infinite.
    """
    n_time = len(values)
    steps = np.arange(n_time).reshape(-1, *[1] * (values.ndim - 1))
    last, following = nearest_seen(seen)
    nowhere = np.full((1, *values.shape[1:]), -1)
    last = np.concatenate([nowhere, last[:-1]])
    following = np.concatenate([following[1:], nowhere + 1 + n_time])
    before = np.take_along_axis(values, np.maximum(last, 0), axis=0)
    after = np.take_along_axis(values, np.minimum(following, n_time - 1), axis=0)
    before, after = np.where(last < 0, np.nan, before), np.where(following >= n_time, np.nan, after)
    steps_before, steps_after = (
        np.where(np.isnan(value), np.inf, np.abs(at - steps)).astype(np.float32)
        for value, at in ((before, last), (after, following))
    )
    return before.astype(np.float32), after.astype(np.float32), steps_before, steps_after


def between(before: Floats, after: Floats, steps_before: Floats, steps_after: Floats) -> Floats:
    """Interpolate linearly between the neighbours in time; where only one exists, take that one."""
    with np.errstate(invalid="ignore"):
        share = steps_before / (steps_before + steps_after)
        line = before + share * (after - before)
    one = np.where(np.isnan(before), after, before)
    return np.where(np.isnan(before) | np.isnan(after), one, line).astype(np.float32)


def local_mean(values: Floats) -> Floats:
    """Return the weighted mean of the steps around each step, without the step itself; NaN where none is seen nearby.

    Weights fall by a factor of e every LOCAL_MEAN_STEPS steps.
    """
    reach = int(4 * LOCAL_MEAN_STEPS)
    weights = np.exp(-np.abs(np.arange(-reach, reach + 1)) / LOCAL_MEAN_STEPS)
    weights[reach] = 0.0
    seen = ~np.isnan(values)
    total = ndimage.convolve1d(np.where(seen, values, 0), weights, axis=0, mode="constant")
    weight = ndimage.convolve1d(seen.astype(np.float32), weights, axis=0, mode="constant")
    return np.where(weight > weights.min() / 2, total / np.maximum(weight, 1e-12), np.nan).astype(np.float32)


def cell_means(visible: Floats, seen: Seen) -> Floats:
    """Return the mean of each cell over time, (1, ...).

    A cell that is never seen gets a mean interpolated from its neighbours (grids) or NaN (series).
    """
    count = seen.sum(axis=0)
    total = np.where(seen, visible, 0).sum(axis=0, dtype=np.float64)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)[None]
    return harmonic(mean) if visible.ndim == 3 and np.isnan(mean).any() else mean


def distance_in_space(seen: Seen) -> Floats:
    """Return the distance of each cell to the nearest seen cell of its frame, in cells; infinite in empty frames."""
    distance = np.full(seen.shape, np.inf, np.float32)
    for step in np.flatnonzero(seen.any(axis=(1, 2))):
        checkpoint()
        distance[step] = ndimage.distance_transform_edt(~seen[step])
    return distance


def harmonic(values: Floats) -> Floats:
    """Fill the missing cells of each frame (T, H, W) by solving Laplace's equation; empty frames stay NaN.

    A coarse-to-fine start is followed by Jacobi sweeps. Borders reflect. Source: Gortler et al. 1996 (pull-push).
    """
    seen = ~np.isnan(values)
    some = _partly_seen(seen)
    filled = values.astype(np.float32, copy=True)
    filled[some] = _solve_laplace(np.where(seen, values, 0).astype(np.float32)[some], seen[some])
    return filled


def biharmonic(values: Floats) -> Floats:
    """Fill the missing cells of each frame (T, H, W) with the smoothest surface; empty frames stay NaN.

    Conjugate gradients minimise the squared Laplacian over the frame, level by level from coarse to fine. Borders
    reflect. The surface can overshoot, so it is clipped to the range of the seen values of its frame. Source: Damelin
    and Hoang 2018 (inpainting by the biharmonic equation).
    """
    seen = ~np.isnan(values)
    some = _partly_seen(seen)
    filled = values.astype(np.float32, copy=True)
    if some.any():
        surface = _smoothest_surface(np.where(seen, values, 0).astype(np.float32)[some], seen[some])
        low, high = (f(values[some], axis=(1, 2), keepdims=True) for f in (np.nanmin, np.nanmax))
        filled[some] = np.clip(surface, low, high)
    return filled


def _partly_seen(seen: Seen) -> Seen:
    """Return which frames have both seen and missing cells, (T,) bool."""
    part: Seen = np.logical_and(seen.any(axis=(1, 2)), ~seen.all(axis=(1, 2)))
    return part


def _solve_laplace(known: Floats, seen: Seen) -> Floats:
    """Return `known` where `seen`, elsewhere the solution of Laplace's equation after JACOBI_SWEEPS, (T, H, W)."""
    bordered = np.pad(_pull_push(known, seen.astype(np.float32)), ((0, 0), (1, 1), (1, 1)))
    inner = bordered[:, 1:-1, 1:-1]
    for _ in range(JACOBI_SWEEPS):
        checkpoint()
        around = _around(bordered)
        around *= np.float32(0.25)
        np.copyto(inner, around, where=~seen)
    return inner


def _smoothest_surface(known: Floats, seen: Seen) -> Floats:
    """Return `known` where `seen`, elsewhere the surface of least squared Laplacian, (T, H, W)."""
    height, width = known.shape[1:]
    if max(height, width) <= 2:
        start = np.zeros_like(known)
    else:
        total, number = (_halve(a) for a in (np.where(seen, known, 0), seen.astype(np.float32)))
        coarse = _smoothest_surface((total / np.maximum(number, 1)).astype(np.float32), number > 0)
        start = _twice_as_fine(coarse)[:, :height, :width]
    surface = np.where(seen, known, start).astype(np.float32)
    free, curved = (~seen).astype(np.float32), _Curvature(surface.shape)
    residual = -curved(surface) * free
    direction, energy = residual.copy(), _dot(residual, residual)
    for _ in range(BIHARMONIC_STEPS):
        checkpoint()
        curvature = curved(direction)
        curvature *= free
        length = energy / np.maximum(_dot(direction, curvature), 1e-30)
        surface += length * direction
        curvature *= length
        residual -= curvature
        previous, energy = energy, _dot(residual, residual)
        direction *= energy / np.maximum(previous, 1e-30)
        direction += residual
    return surface


def _dot(left: Floats, right: Floats) -> Floats:
    """Return the sum of products over each frame, (T, 1, 1)."""
    product: Floats = np.einsum("tyx,tyx->t", left, right)[:, None, None]
    return product


class _Curvature:
    """Computes the Laplacian of the Laplacian of frames of one shape (T, H, W); borders reflect.

    Arrays are kept between calls, and the result of a call is overwritten by the next.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.bordered = np.empty((shape[0], shape[1] + 2, shape[2] + 2), np.float32)
        self.once, self.twice, self.scaled = (np.empty(shape, np.float32) for _ in range(3))

    def __call__(self, values: Floats) -> Floats:
        return self._laplacian(self._laplacian(values, self.once), self.twice)

    def _laplacian(self, values: Floats, out: Floats) -> Floats:
        """Write the sum of the differences to the four neighbours into `out`."""
        self.bordered[:, 1:-1, 1:-1] = values
        _around(self.bordered, out)
        np.multiply(values, np.float32(4), out=self.scaled)
        out -= self.scaled
        return out


def _around(bordered: Floats, out: Floats | None = None) -> Floats:
    """Return the sum of the four neighbours inside a border one cell wide, which gets the values beside it."""
    bordered[:, 0], bordered[:, -1] = bordered[:, 1], bordered[:, -2]
    bordered[:, :, 0], bordered[:, :, -1] = bordered[:, :, 1], bordered[:, :, -2]
    around: Floats = np.add(bordered[:, :-2, 1:-1], bordered[:, 2:, 1:-1], out=out)
    around += bordered[:, 1:-1, :-2]
    around += bordered[:, 1:-1, 2:]
    return around


def _twice_as_fine(coarse: Floats) -> Floats:
    """Interpolate linearly between the centres of the coarse cells, (T, H, W) -> (T, 2 H, 2 W)."""
    for axis in (1, 2):
        padded = np.pad(coarse, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        here, left, right = (np.take(padded, np.arange(s, s + coarse.shape[axis]), axis) for s in (1, 0, 2))
        fine = np.stack([0.75 * here + 0.25 * left, 0.75 * here + 0.25 * right], axis=axis + 1)
        coarse = fine.reshape([2 * n if a == axis else n for a, n in enumerate(coarse.shape)])
    return coarse


def _pull_push(total: Floats, weight: Floats) -> Floats:
    """Give each cell the weighted mean of the smallest block around it that holds a seen value, (T, H, W)."""
    own = (total / np.maximum(weight, 1e-12)).astype(np.float32)
    if max(total.shape[1:]) == 1:
        return own
    height, width = total.shape[1:]
    coarse = _pull_push(*(_halve(a) for a in (total, weight)))
    repeated = coarse.repeat(2, axis=1).repeat(2, axis=2)[:, :height, :width]
    return np.where(weight > 0, own, repeated).astype(np.float32)


def _halve(values: Floats) -> Floats:
    """Return the sums of 2 x 2 blocks, (T, H, W) -> (T, ceil(H / 2), ceil(W / 2))."""
    n_time, height, width = values.shape
    padded = np.pad(values, ((0, 0), (0, height % 2), (0, width % 2)))
    blocks = padded.reshape(n_time, padded.shape[1] // 2, 2, padded.shape[2] // 2, 2)
    return blocks.sum(axis=(2, 4), dtype=np.float32)
