"""Interpolations of gappy records in time and in space: the classical halves of a first guess.

Arrays are (T, H, W) or (T, N) float32 with NaN where nothing is seen; all are vectorised over frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from export.contract.checkpoint import checkpoint

Floats = npt.NDArray[np.float32]
Seen = npt.NDArray[np.bool_]
Cut = tuple[slice, slice, slice]

RELAXATIONS = 24  # sweeps of a harmonic relaxation after the multigrid start; more change the third digit
BIHARMONIC_STEPS = 100  # conjugate gradient steps a level; twice as many lower the error by half a percent
REACH = 4  # cells: how far a similar neighbour may be
PRIOR_PAIRS = 3.0  # how many common steps a pair of cells needs before its own likeness outweighs the grid's
SHARPNESS = 3  # power of the difference by which a neighbour's weight falls
LIKE_ENOUGH = 1e-3  # of the usual difference of neighbours: below it all are equally alike


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
    filled = _pull_push(np.where(seen, values, 0).astype(np.float32), seen.astype(np.float32))
    bordered = np.pad(filled, ((0, 0), (1, 1), (1, 1)))
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
    filled = inner.copy()
    filled[~seen.any(axis=(1, 2))] = np.nan
    return filled


def biharmonic(values: Floats) -> Floats:
    """(T, H, W) with each frame's missing cells filled by the smoothest surface; NaN in empty frames.

    The squared Laplacian over the frame is lowered by conjugate gradients, level by level from coarse to fine;
    borders reflect. Source: Damelin and Hoang 2018 (inpainting by the biharmonic equation).
    """
    seen = ~np.isnan(values)
    some = seen.any(axis=(1, 2)) & ~seen.all(axis=(1, 2))
    filled = values.astype(np.float32, copy=True)
    if some.any():
        filled[some] = _smoothest(np.where(seen, values, 0).astype(np.float32)[some], seen[some])
    return filled


def similar_neighbours(values: Floats) -> tuple[Floats, Floats]:
    """What the cells around that are usually alike say, and the root mean squared difference to expect of them.

    How alike two cells are is their mean squared difference over the steps that see both, drawn towards that of
    all pairs at the same offset. Values (T, H, W) and spread, NaN where no neighbour within REACH is seen.
    """
    seen = ~np.isnan(values)
    known, weight_of = np.where(seen, values, 0).astype(np.float32), seen.astype(np.float32)
    pairs = [(a, b, _difference(known, weight_of, a, b)) for a, b in _pairs(values.shape)]
    if not pairs:
        return np.full(values.shape, np.nan, np.float32), np.full(values.shape, np.nan, np.float32)
    usual = max(min(float(np.median(d)) for _, _, d in pairs), 1e-12)
    total, weight, expected = (np.zeros(values.shape, np.float32) for _ in range(3))
    for a, b, difference in pairs:
        checkpoint()
        nearness = ((difference / usual + LIKE_ENOUGH) ** -SHARPNESS).astype(np.float32)
        for here, there in ((a, b), (b, a)):
            share = nearness * weight_of[there]
            total[here] += share * known[there]
            weight[here] += share
            expected[here] += share * difference
    some = weight > 0
    weight = np.where(some, weight, 1)
    return np.where(some, total / weight, np.nan), np.where(some, np.sqrt(expected / weight), np.nan)


def similar_sites(values: Floats) -> tuple[Floats, Floats]:
    """`similar_neighbours` for (T, N) sites, each of which may be like any other."""
    seen = ~np.isnan(values)
    known, number = np.where(seen, values, 0).astype(np.float64), seen.astype(np.float64)
    common = number.T @ number
    squares = (known**2).T @ number
    difference = np.maximum(squares + squares.T - 2 * known.T @ known, 0)
    others = ~np.eye(values.shape[1], dtype=bool)
    prior = difference[others].sum() / max(common[others].sum(), 1.0) if others.any() else 1.0
    difference = (difference + PRIOR_PAIRS * prior) / (common + PRIOR_PAIRS)
    usual = max(float(np.median(difference[others])) if others.any() else 1.0, 1e-12)
    nearness = np.where(others, (difference / usual + LIKE_ENOUGH) ** -SHARPNESS, 0)
    weight = number @ nearness
    some, weight = weight > 0, np.maximum(weight, 1e-300)
    value = np.where(some, known @ nearness / weight, np.nan)
    spread = np.where(some, np.sqrt(number @ (nearness * difference) / weight), np.nan)
    return value.astype(np.float32), spread.astype(np.float32)


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


def _pairs(shape: tuple[int, ...]) -> Iterator[tuple[Cut, Cut]]:
    """Slices of the cells at either end of every offset within REACH, each pair once."""
    _, height, width = shape
    every = slice(None)
    for down, across in product(range(REACH + 1), range(-REACH, REACH + 1)):
        if (down, across) <= (0, 0) or down >= height or abs(across) >= width:
            continue
        here = (every, slice(0, height - down), slice(max(0, -across), width - max(0, across)))
        there = (every, slice(down, height), slice(max(0, across), width + min(0, across)))
        yield here, there


def _difference(known: Floats, seen: Floats, here: Cut, there: Cut) -> Floats:
    """(h, w): mean squared difference of each pair of cells, drawn towards that of all pairs."""
    checkpoint()
    both = seen[here] * seen[there]
    squares = np.einsum("tyx,tyx->yx", np.square(known[here] - known[there]), both)
    number = both.sum(axis=0)
    usual = squares.sum() / max(float(number.sum()), 1.0)
    return ((squares + PRIOR_PAIRS * usual) / (number + PRIOR_PAIRS)).astype(np.float32)
