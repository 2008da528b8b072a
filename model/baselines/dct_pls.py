"""Gaps filled by penalised least squares with discrete cosine transforms (DCT-PLS).

The fill is the smoothest array that agrees with what is observed, where roughness is the squared Laplacian over time,
rows and columns together. It is found by going back and forth between values and cosine coefficients, which are damped
by 1 / (1 + s L^2), L being the eigenvalues of the Laplacian, while s falls from a heavy smoothing to almost none.

Sources: Garcia 2010, Computational Statistics & Data Analysis 54:1167 (equations 6 and 11); Wang, Garcia, Liu, de Jeu
and Dolman 2012, Environmental Modelling & Software 30:139. Steps, smoothing and start are those of Garcia's `inpaintn`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn, idctn
from scipy.ndimage import distance_transform_edt

Floats = npt.NDArray[np.floating[Any]]
Singles = npt.NDArray[np.float32]

ROUNDS = 100
SMOOTHING = (1e3, 1e-6)  # in the first and in the last round, on a logarithmic scale
RELAXATION = 2.0  # each round goes twice as far as its result, which converges sooner
START_SHARE = 0.1  # of the cosines along each axis, the slowest ones, kept of the first fill


def dct_pls(values: Floats) -> Floats:
    """Return a copy of (T, H, W) or (T, N) with gaps filled by DCT-PLS.

    A grid is smooth in time and space, and every gap of it is filled, also in empty frames and in cells without any
    value. Each of N series is smooth in time, apart from the others; a series without any value stays NaN. Steps of
    time count as even. An array without any value is returned as it is.

    Args:
        values: NaN = missing.
    """
    seen = ~np.isnan(values)
    if seen.all() or not seen.any():
        return values.copy()
    axes = (0, 1, 2) if values.ndim == 3 else (0,)
    number = seen.sum(axis=axes, keepdims=True)
    total = np.where(seen, values, 0).sum(axis=axes, keepdims=True, dtype=np.float64)
    usual = np.where(number > 0, total / np.maximum(number, 1), np.nan)  # float32 keeps more digits of differences
    observed = np.where(seen, values - usual, 0.0).astype(np.float32)
    filled = _anneal(observed, seen, _start(observed, seen, axes), axes)
    return np.where(seen, values, filled + usual).astype(values.dtype)


def _anneal(observed: Singles, seen: npt.NDArray[np.bool_], filled: Singles, axes: tuple[int, ...]) -> Singles:
    """Return the fill after ROUNDS rounds, in which the smoothing falls."""
    rough = np.square(_eigenvalues(observed.shape, axes))
    for smoothing in np.geomspace(*SMOOTHING, ROUNDS):
        agreed = np.where(seen, observed, filled)
        damped = dctn(agreed, axes=axes, norm="ortho") / (1 + np.float32(smoothing) * rough)
        smooth = idctn(damped, axes=axes, norm="ortho")
        filled = np.float32(RELAXATION) * smooth + np.float32(1 - RELAXATION) * filled
    return filled


def _eigenvalues(shape: tuple[int, ...], axes: tuple[int, ...]) -> Singles:
    """Return the eigenvalues of minus the Laplacian for each cosine, an array that broadcasts with `shape`.

    Source: Garcia 2010, equation 6: the sum over axes of 2 - 2 cos(pi k / n).
    """
    total = np.zeros([1] * len(shape), np.float32)
    for axis in axes:
        n = shape[axis]
        along = 2 - 2 * np.cos(np.pi * np.arange(n) / n)
        total = total + along.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return total


def _start(observed: Singles, seen: npt.NDArray[np.bool_], axes: tuple[int, ...]) -> Singles:
    """Return the slowest cosines of the record whose gaps hold the value of the nearest observed cell."""
    far = max(observed.shape)  # another series is never nearer than a value of the same one
    sampling = [1 if axis in axes else far for axis in range(observed.ndim)]
    nearest = distance_transform_edt(~seen, sampling=sampling, return_distances=False, return_indices=True)
    coefficients = dctn(observed[tuple(nearest)], axes=axes, norm="ortho")
    for axis in axes:
        kept = -(-observed.shape[axis] * START_SHARE // 1)
        along = np.arange(observed.shape[axis]) < kept
        coefficients *= along.reshape([-1 if a == axis else 1 for a in range(observed.ndim)])
    return np.asarray(idctn(coefficients, axes=axes, norm="ortho"), np.float32)
