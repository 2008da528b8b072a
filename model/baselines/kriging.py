"""Local ordinary kriging: the best linear unbiased mix of the nearest observed cells, and its standard deviation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hydrofill.guesses.interpolation import cell_means
from model.baselines.fill import BaselineFill
from model.baselines.in_space import Near, nearest_cells
from model.baselines.variogram import Variogram, fit_variogram, roughness

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]

JITTER = 1e-9  # of the variance, added to the diagonal: two cells that always agree make the system singular


def kriging(values: Floats) -> BaselineFill:
    """Krige the gaps of each frame of (T, H, W) from the nearest observed cells; NaN in empty frames.

    One variogram is fitted to all frames. Each frame's standard deviations are stretched by how rough the frame is,
    because a variogram over storms and dry days fits neither.

    Source: Matheron 1963; Cressie 1993, section 3.2, eqs. 3.2.12 to 3.2.16.
    """
    variogram = fit_variogram(values)
    stretch = np.sqrt(roughness(values))
    filled, std = values.copy(), np.where(np.isnan(values), np.nan, 0.0).astype(values.dtype)
    for near in nearest_cells(values):
        at = tuple(near.missing.T)
        mean, variance = _solve(near, variogram)
        filled[near.frame][at] = mean
        std[near.frame][at] = np.sqrt(variance) * stretch[near.frame]
    return BaselineFill(filled, std)


def kriging_of_anomalies(values: Floats) -> BaselineFill:
    """Krige the differences from each cell's own mean; NaN in empty frames."""
    seen = ~np.isnan(values)
    usual = cell_means(values.astype(np.float32), seen)  # (1, H, W)
    kriged = kriging((values - usual).astype(values.dtype))
    return BaselineFill(np.where(seen, values, kriged.values + usual).astype(values.dtype), kriged.std)


def _solve(near: Near, variogram: Variogram) -> tuple[Doubles, Doubles]:
    """Return kriged means (M,) and variances (M,) of the missing cells."""
    places = near.places.astype(np.float64)
    between = np.sqrt(((places[:, :, None] - places[:, None]) ** 2).sum(axis=-1))  # (M, K, K)
    n, k = between.shape[:2]
    total = variogram.nugget + variogram.sill
    system = np.ones((n, k + 1, k + 1))
    system[:, :k, :k] = variogram.covariance(between) + JITTER * total * np.eye(k)
    system[:, k, k] = 0.0
    right = np.ones((n, k + 1))
    right[:, :k] = variogram.covariance(near.distance)
    weight = np.linalg.solve(system, right[..., None])[..., 0]  # (M, K + 1), the multiplier last
    mean = (weight[:, :k] * near.values).sum(axis=1)
    return mean, np.maximum(total - (weight * right).sum(axis=1), 0.0)
