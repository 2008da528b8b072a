"""Variograms, the difference of two cells by their distance: an experimental one, and a model fitted to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]

MAX_VALUES = 400_000  # of the frames that the variogram is taken from; more values change its third digit
MAX_LAG = 24  # cells: the neighbours that kriging uses are nearer
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
RANGES = 40  # ranges tried, from half a cell to four times the largest lag, in equal steps of the logarithm
MIN_HALF = 1e-12  # share of the largest half squared difference: bounds the weights of the fit
PRIOR_PAIRS = 30.0  # a frame counts as if it had that many more pairs of usual roughness


@dataclass(frozen=True)
class Variogram:
    """gamma(h) = nugget + sill x shape(h / range_cells), 0 at h = 0; units of the variable squared, h in cells.

    Source: Cressie 1993, Statistics for Spatial Data, section 2.3: exponential 1 - exp(-h/a), spherical
    1.5 h/a - 0.5 (h/a)^3 up to a.
    """

    shape: Literal["exponential", "spherical"]
    nugget: float
    sill: float
    range_cells: float

    def covariance(self, distance: Floats) -> Doubles:
        """Return the covariance at `distance` (cells, any shape), in the variable's units squared."""
        structured = self.sill * (1 - _SHAPES[self.shape](distance / self.range_cells))
        return np.asarray(structured + np.where(distance == 0, self.nugget, 0.0), np.float64)


def experimental(values: Floats) -> tuple[Doubles, Doubles, Doubles]:
    """Return lags (cells), half the mean squared difference at each, and the number of pairs, over (T, H, W).

    Source: Matheron 1963; pairs along rows, columns and both diagonals.
    """
    step = max(1, -(-values.size // MAX_VALUES))
    frames = values[::step].astype(np.float64)
    lags, halves, pairs = [], [], []
    for down, across in DIRECTIONS:
        for far in range(1, min(MAX_LAG, max(values.shape[1:]) // 2) + 1):
            difference = _difference(frames, down * far, across * far)
            squares = difference[~np.isnan(difference)] ** 2
            if squares.size:
                lags.append(far * float(np.hypot(down, across)))
                halves.append(0.5 * float(squares.mean()))
                pairs.append(float(squares.size))
    return np.array(lags), np.array(halves), np.array(pairs)


def fit_variogram(values: Floats) -> Variogram:
    """Fit a model to the experimental variogram of (T, H, W) by least squares, weighted by pairs / gamma(h)^2.

    Without any pair of cells that differ, the model has a sill of 1 that says nothing about scale.
    Source: Cressie 1985, Math. Geol. 17:563.
    """
    lags, halves, pairs = experimental(values)
    if len(lags) == 0 or halves.max() <= 0:
        return Variogram("exponential", 0.0, 1.0, float(MAX_LAG))
    root_weight = np.sqrt(pairs) / np.maximum(halves, MIN_HALF * halves.max())
    best, least = Variogram("exponential", 0.0, float(halves.max()), float(MAX_LAG)), np.inf
    for shape, of in _SHAPES.items():
        for range_cells in np.geomspace(0.5, 4 * lags.max(), RANGES):
            columns = np.stack([np.ones_like(lags), of(lags / range_cells)], axis=1)
            (nugget, sill), misfit = nnls(columns * root_weight[:, None], halves * root_weight)
            if misfit < least and sill > 0:
                best, least = Variogram(shape, float(nugget), float(sill), float(range_cells)), misfit
    return best


def roughness(values: Floats) -> Doubles:
    """Return (T,) each frame's mean squared difference of neighbours over that of all frames; near 1 with few pairs."""
    squares, number = np.zeros((2, len(values)))
    for down, across in ((0, 1), (1, 0)):
        difference = _difference(values.astype(np.float64), down, across)
        squares += np.nansum(difference**2, axis=(1, 2))
        number += (~np.isnan(difference)).sum(axis=(1, 2))
    usual = squares.sum() / max(number.sum(), 1.0)
    if usual <= 0:
        return np.ones(len(values))
    return (squares / usual + PRIOR_PAIRS) / (number + PRIOR_PAIRS)


def _difference(frames: Doubles, down: int, across: int) -> Doubles:
    """Return every frame minus itself moved by (down, across) cells, where both lie on the grid."""
    height, width = frames.shape[1:]
    here = frames[:, : max(height - down, 0), max(0, -across) : width - max(0, across)]
    there = frames[:, down:, max(0, across) : width + min(0, across)]
    return here - there


def _exponential(relative: Floats) -> Doubles:
    return np.asarray(1 - np.exp(-relative), np.float64)


def _spherical(relative: Floats) -> Doubles:
    near = np.minimum(relative, 1.0)
    return np.asarray(1.5 * near - 0.5 * near**3, np.float64)


_SHAPES: dict[Literal["exponential", "spherical"], Any] = {"exponential": _exponential, "spherical": _spherical}
