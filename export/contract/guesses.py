"""Classical first guesses of every cell of a window: what each query starts from.

A network that only knows patches blurs the rim of a small gap, where an interpolation is nearly
exact. So each query carries what the classical methods say of its cells, from visible values alone,
and how far those values are; the network weighs and corrects them. Training and serving compute
them here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.float32]

# In the order of the last axis of `Guesses.values`. Series know no neighbours in space but each other.
GUESSES = ("before", "after", "in_time", "in_space", "anomaly_in_space", "space_then_time", "mean")
DISTANCES = ("steps_before", "steps_after", "cells_in_space", "frame_seen")
FAR = 64.0  # steps or cells from which on a distance counts as unbounded
RELAXATIONS = 24  # sweeps of a harmonic relaxation after the multigrid start; more change the third digit


@dataclass(frozen=True)
class Guesses:
    """values (..., G) in physical units, NaN where a method has nothing to say; distances (..., 4) in [0, 1]."""

    values: Floats
    distances: Floats


def guess(visible: Floats) -> Guesses:
    """First guesses of every cell of `visible`, (T, H, W) or (T, N) with NaN where nothing is seen."""
    seen = ~np.isnan(visible)
    before, after, steps_before, steps_after = _neighbours_in_time(visible, seen)
    in_time = _weigh(before, after, steps_before, steps_after)
    if visible.ndim == 3:
        mean = _cell_means(visible, seen)
        in_space, anomaly = np.split(harmonic(np.concatenate([visible, visible - mean])), 2)
        anomaly = anomaly + mean
        cells = _distance_in_space(seen)
        frame_seen = np.broadcast_to(seen.mean(axis=(1, 2), keepdims=True), seen.shape)
    else:
        mean = _cell_means(visible, seen)
        in_space = anomaly = _from_other_sites(visible, seen)
        cells = np.where(np.isnan(in_space), np.inf, 1.0)
        frame_seen = np.broadcast_to(seen.mean(axis=1, keepdims=True), seen.shape)
    completed = np.where(np.isnan(anomaly), np.nan, anomaly).astype(np.float32)
    then_time = _weigh(*_neighbours_in_time(completed, ~np.isnan(completed)))
    broadcast_mean = np.broadcast_to(mean, visible.shape)
    values = np.stack([before, after, in_time, in_space, anomaly, then_time, broadcast_mean], axis=-1)
    far = [np.minimum(d, FAR) / FAR for d in (steps_before, steps_after, cells)]
    return Guesses(values.astype(np.float32), np.stack([*np.sqrt(far), frame_seen], axis=-1).astype(np.float32))


def harmonic(values: Floats) -> Floats:
    """(T, H, W) with each frame's missing cells filled by the solution of Laplace's equation; NaN in empty frames.

    A coarse-to-fine start (Gortler et al. 1996, pull-push) and Jacobi sweeps; borders reflect.
    """
    seen = ~np.isnan(values)
    filled = _pull_push(np.where(seen, values, 0).astype(np.float32), seen.astype(np.float32))
    bordered = np.pad(filled, ((0, 0), (1, 1), (1, 1)))
    inner = bordered[:, 1:-1, 1:-1]
    for _ in range(RELAXATIONS):
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


def _neighbours_in_time(values: Floats, seen: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, Floats, Floats]:
    """Nearest seen values before and after each step of its own cell, itself left out, and how many steps away."""
    n_time = len(values)
    steps = np.arange(n_time, dtype=np.int64).reshape(-1, *[1] * (values.ndim - 1))
    last = np.maximum.accumulate(np.where(seen, steps, -1), axis=0)
    following = np.minimum.accumulate(np.where(seen, steps, n_time)[::-1], axis=0)[::-1]
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


def _weigh(before: Floats, after: Floats, steps_before: Floats, steps_after: Floats) -> Floats:
    """Linear between the two neighbours in time; the one there is, where there is one."""
    with np.errstate(invalid="ignore"):
        share = steps_before / (steps_before + steps_after)
        between = before + share * (after - before)
    one = np.where(np.isnan(before), after, before)
    return np.where(np.isnan(before) | np.isnan(after), one, between).astype(np.float32)


def _cell_means(visible: Floats, seen: npt.NDArray[np.bool_]) -> Floats:
    """(1, ...) mean of each cell over time; a cell never seen takes its neighbours' (grids) or stays NaN (series)."""
    count = seen.sum(axis=0)
    total = np.where(seen, visible, 0).sum(axis=0)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)[None]
    return harmonic(mean) if visible.ndim == 3 and np.isnan(mean).any() else mean


def _distance_in_space(seen: npt.NDArray[np.bool_]) -> Floats:
    """Cells to the nearest seen cell of the same frame; infinite in empty frames."""
    distance = np.full(seen.shape, np.inf, np.float32)
    for step in np.flatnonzero(seen.any(axis=(1, 2))):
        distance[step] = ndimage.distance_transform_edt(~seen[step])
    return distance


def _from_other_sites(visible: Floats, seen: npt.NDArray[np.bool_]) -> Floats:
    """(T, N): each site's own mean times what the other sites are of theirs at that step; NaN where none is seen."""
    if visible.shape[1] < 2:
        return np.full(visible.shape, np.nan, np.float32)
    mean = _cell_means(visible, seen)[0]
    usable = np.abs(mean) > 0
    ratio = np.where(seen & usable, visible / np.where(usable, mean, 1), 0)
    others = ratio.sum(axis=1, keepdims=True) - ratio
    number = (seen & usable).sum(axis=1, keepdims=True) - (seen & usable)
    return np.where(number > 0, mean * others / np.maximum(number, 1), np.nan).astype(np.float32)
