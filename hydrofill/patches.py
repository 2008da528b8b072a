"""Cut the arrays of a window into patches, and join patches back into arrays.

A patch of a gridded variable is `rows` x `columns` cells of one frame. A patch of a series is `steps` time steps of one
site. Patches are numbered frame by frame and row by row (grids), or chunk by chunk and site by site (series).
"""

from __future__ import annotations

import numpy as np

from hydrofill.layout import Layout, VariableSpec


def cut_patches(values: np.ndarray, spec: VariableSpec, layout: Layout, beyond: float | bool) -> np.ndarray:
    """Cut (T, H, W, ...) or (T, N, ...) into (patches, cells of a patch, ...); cells past the border hold `beyond`."""
    if spec.kind == "grid":
        rows, columns = layout.patch.rows, layout.patch.columns
        n_time, height, width, *further = values.shape
        padded = _pad(values, (0, -height % rows, -width % columns), beyond)
        split = padded.reshape(n_time, padded.shape[1] // rows, rows, padded.shape[2] // columns, columns, *further)
        return split.swapaxes(2, 3).reshape(-1, rows * columns, *further)  # (T * Hp * Wp, P, ...)
    n_sites, *further = values.shape[1:]
    padded = _pad(values, (-len(values) % layout.patch.steps, 0), beyond)
    split = padded.reshape(len(padded) // layout.patch.steps, layout.patch.steps, n_sites, *further)
    return split.swapaxes(1, 2).reshape(-1, layout.patch.steps, *further)  # (chunks * N, P, ...)


def join_patches(patches: np.ndarray, spec: VariableSpec, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
    """Join (patches, cells of a patch) into (T, H, W) or (T, N) of this `shape`; the inverse of `cut_patches`."""
    if spec.kind == "grid":
        rows, columns = layout.patch.rows, layout.patch.columns
        n_time, height, width = shape
        split = patches.reshape(n_time, -(-height // rows), -(-width // columns), rows, columns)
        whole = split.transpose(0, 1, 3, 2, 4).reshape(n_time, split.shape[1] * rows, split.shape[2] * columns)
        return whole[:, :height, :width]
    n_time, n_sites = shape
    split = patches.reshape(-(-n_time // layout.patch.steps), n_sites, layout.patch.steps)
    return split.transpose(0, 2, 1).reshape(split.shape[0] * layout.patch.steps, n_sites)[:n_time]


def count_patches(spec: VariableSpec, shape: tuple[int, ...], layout: Layout) -> int:
    """Count the patches that `cut_patches` makes of an array of this `shape`."""
    if spec.kind == "grid":
        return shape[0] * -(-shape[1] // layout.patch.rows) * -(-shape[2] // layout.patch.columns)
    return -(-shape[0] // layout.patch.steps) * shape[1]


def patch_means(values: np.ndarray, layout: Layout) -> np.ndarray:
    """Return the mean of (H, W) over the present cells of each patch, (patches,); NaN where no cell is present."""
    grid = VariableSpec(name="static", kind="grid", units="")
    cells = cut_patches(values[None], grid, layout, np.nan)
    n_present = (~np.isnan(cells)).sum(axis=1)
    total = np.nansum(cells, axis=1)
    return np.where(n_present > 0, total / np.maximum(n_present, 1), np.nan).astype(np.float32)


def _pad(values: np.ndarray, after: tuple[int, ...], fill: float | bool) -> np.ndarray:
    """Return the values with `after` cells of `fill` after the last of each of the first axes."""
    if not any(after):
        return values
    longer = (length + number for length, number in zip(values.shape, after, strict=False))
    padded = np.full((*longer, *values.shape[len(after) :]), fill, values.dtype)
    padded[tuple(slice(length) for length in values.shape)] = values
    return padded
