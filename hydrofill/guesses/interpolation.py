"""Interpolations of gappy records in time and in space: the classical halves of a first guess.

Arrays are (T, H, W) or (T, N) float32 with NaN where nothing is seen; all are vectorised over frames.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hydrofill.cancellation import checkpoint

Floats = npt.NDArray[np.float32]
Seen = npt.NDArray[np.bool_]

RELAXATIONS = 24  # sweeps of a harmonic relaxation after the multigrid start; more change the third digit
BIHARMONIC_STEPS = 100  # conjugate gradient steps a level; twice as many lower the error by half a percent


def nearest_seen(seen: Seen) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the last seen value up to each step (-1: none) and of the first from it on (T: none), (T, ...)."""
    n_time = len(seen)
    rows = np.arange(n_time).reshape(-1, *[1] * (seen.ndim - 1))
    before = np.maximum.accumulate(np.where(seen, rows, -1), axis=0)
    after = np.minimum.accumulate(np.where(seen, rows, n_time)[::-1], axis=0)[::-1]
    return before, after


def neighbours_in_time(values: Floats, seen: Seen) -> tuple[Floats, Floats, Floats, Floats]:
    """Nearest seen values before and after each step of its own cell, itself left out, and how many steps away."""
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
    """Linear between the two neighbours in time; the one there is, where there is one."""
    with np.errstate(invalid="ignore"):
        share = steps_before / (steps_before + steps_after)
        line = before + share * (after - before)
    one = np.where(np.isnan(before), after, before)
    return np.where(np.isnan(before) | np.isnan(after), one, line).astype(np.float32)


def local_mean(values: Floats, fold: float = 3.0) -> Floats:
    """Mean of the other steps near each, weights falling by e every `fold` steps; NaN where none is near."""
    reach = int(4 * fold)
    weights = np.exp(-np.abs(np.arange(-reach, reach + 1)) / fold)
    weights[reach] = 0.0
    seen = ~np.isnan(values)
    total = ndimage.convolve1d(np.where(seen, values, 0), weights, axis=0, mode="constant")
    weight = ndimage.convolve1d(seen.astype(np.float32), weights, axis=0, mode="constant")
    return np.where(weight > weights.min() / 2, total / np.maximum(weight, 1e-12), np.nan).astype(np.float32)


def cell_means(visible: Floats, seen: Seen) -> Floats:
    """(1, ...) mean of each cell over time; a cell never seen takes its neighbours' (grids) or stays NaN (series)."""
    count = seen.sum(axis=0)
    total = np.where(seen, visible, 0).sum(axis=0, dtype=np.float64)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)[None]
    return harmonic(mean) if visible.ndim == 3 and np.isnan(mean).any() else mean


def distance_in_space(seen: Seen) -> Floats:
    """Cells to the nearest seen cell of the same frame; infinite in empty frames."""
    distance = np.full(seen.shape, np.inf, np.float32)
    for step in np.flatnonzero(seen.any(axis=(1, 2))):
        checkpoint()
        distance[step] = ndimage.distance_transform_edt(~seen[step])
    return distance


def harmonic(values: Floats) -> Floats:
    """(T, H, W) with each frame's missing cells filled by the solution of Laplace's equation; NaN in empty frames.

    A coarse-to-fine start (Gortler et al. 1996, pull-push) and Jacobi sweeps; borders reflect.
    """
    seen = ~np.isnan(values)
    some = _partly(seen)
    filled = values.astype(np.float32, copy=True)
    filled[some] = _relaxed(np.where(seen, values, 0).astype(np.float32)[some], seen[some])
    return filled


def biharmonic(values: Floats) -> Floats:
    """(T, H, W) with each frame's missing cells filled by the smoothest surface; NaN in empty frames.

    The squared Laplacian over the frame is lowered by conjugate gradients, level by level from coarse to fine;
    borders reflect. Stiff as it is, it overshoots: it is held to the range of what the frame sees. Source: Damelin and
    Hoang 2018 (inpainting by the biharmonic equation).
    """
    seen = ~np.isnan(values)
    some = _partly(seen)
    filled = values.astype(np.float32, copy=True)
    if some.any():
        surface = _smoothest(np.where(seen, values, 0).astype(np.float32)[some], seen[some])
        low, high = (f(values[some], axis=(1, 2), keepdims=True) for f in (np.nanmin, np.nanmax))
        filled[some] = np.clip(surface, low, high)
    return filled


def _partly(seen: Seen) -> Seen:
    """(T,): frames with something to fill, and something to fill it from."""
    part: Seen = np.logical_and(seen.any(axis=(1, 2)), ~seen.all(axis=(1, 2)))
    return part


def _relaxed(known: Floats, seen: Seen) -> Floats:
    """(T, H, W): `known` where `seen`, elsewhere as harmonic as RELAXATIONS make it."""
    bordered = np.pad(_pull_push(known, seen.astype(np.float32)), ((0, 0), (1, 1), (1, 1)))
    inner = bordered[:, 1:-1, 1:-1]
    for _ in range(RELAXATIONS):
        checkpoint()
        bordered[:, 0], bordered[:, -1] = bordered[:, 1], bordered[:, -2]
        bordered[:, :, 0], bordered[:, :, -1] = bordered[:, :, 1], bordered[:, :, -2]
        around = bordered[:, :-2, 1:-1] + bordered[:, 2:, 1:-1]
        around += bordered[:, 1:-1, :-2]
        around += bordered[:, 1:-1, 2:]
        around *= np.float32(0.25)
        np.copyto(inner, around, where=~seen)
    return inner


def _smoothest(known: Floats, seen: Seen) -> Floats:
    """(T, H, W): `known` where `seen`, elsewhere the surface of least squared Laplacian."""
    height, width = known.shape[1:]
    if max(height, width) <= 2:
        start = np.zeros_like(known)
    else:
        total, number = (_halve(a) for a in (np.where(seen, known, 0), seen.astype(np.float32)))
        coarse = _smoothest((total / np.maximum(number, 1)).astype(np.float32), number > 0)
        start = _twice_as_fine(coarse)[:, :height, :width]
    surface = np.where(seen, known, start).astype(np.float32)
    free = (~seen).astype(np.float32)
    residual = -_laplacian(_laplacian(surface)) * free
    direction, rest = residual.copy(), _dot(residual, residual)
    for _ in range(BIHARMONIC_STEPS):
        checkpoint()
        bent = _laplacian(_laplacian(direction)) * free
        length = rest / np.maximum(_dot(direction, bent), 1e-30)
        surface += length * direction
        residual -= length * bent
        previous, rest = rest, _dot(residual, residual)
        direction = residual + rest / np.maximum(previous, 1e-30) * direction
    return surface


def _dot(left: Floats, right: Floats) -> Floats:
    product_of: Floats = np.einsum("tyx,tyx->t", left, right)[:, None, None]
    return product_of


def _laplacian(values: Floats) -> Floats:
    """Sum of the four neighbours' differences; borders reflect."""
    out = np.zeros_like(values)
    down, across = np.diff(values, axis=1), np.diff(values, axis=2)
    out[:, :-1] += down
    out[:, 1:] -= down
    out[:, :, :-1] += across
    out[:, :, 1:] -= across
    return out


def _twice_as_fine(coarse: Floats) -> Floats:
    """(T, 2 H, 2 W): linear between the centres of the coarse cells."""
    for axis in (1, 2):
        padded = np.pad(coarse, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        here, left, right = (np.take(padded, np.arange(s, s + coarse.shape[axis]), axis) for s in (1, 0, 2))
        fine = np.stack([0.75 * here + 0.25 * left, 0.75 * here + 0.25 * right], axis=axis + 1)
        coarse = fine.reshape([2 * n if a == axis else n for a, n in enumerate(coarse.shape)])
    return coarse


def _pull_push(total: Floats, weight: Floats) -> Floats:
    """Weighted means of ever larger blocks, (T, H, W): each cell takes the finest that saw anything."""
    own = (total / np.maximum(weight, 1e-12)).astype(np.float32)
    if max(total.shape[1:]) == 1:
        return own
    height, width = total.shape[1:]
    coarse = _pull_push(*(_halve(a) for a in (total, weight)))
    spread = coarse.repeat(2, axis=1).repeat(2, axis=2)[:, :height, :width]
    return np.where(weight > 0, own, spread).astype(np.float32)


def _halve(values: Floats) -> Floats:
    """Sums of 2 x 2 blocks, (T, H, W) -> (T, ceil(H / 2), ceil(W / 2))."""
    n_time, height, width = values.shape
    padded = np.pad(values, ((0, 0), (0, height % 2), (0, width % 2)))
    blocks = padded.reshape(n_time, padded.shape[1] // 2, 2, padded.shape[2] // 2, 2)
    return blocks.sum(axis=(2, 4), dtype=np.float32)
