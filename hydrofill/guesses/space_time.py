"""Fill anomalies smoothly in space and time together.

Grids are modelled as a Gaussian Markov random field on the lattice of steps, rows and columns. The correlation of
neighbours is estimated from the record. Far from seen values the fill falls back to zero, so the input must be
anomalies. Sources: Besag 1974; Rue and Held 2005, chapter 3. A site is modelled as an autoregressive process of order
one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hydrofill.cancellation import checkpoint
from hydrofill.guesses.arrays import contiguous, largest_exponent

Floats = npt.NDArray[np.float32]

MAX_STEPS = 80  # of conjugate gradients; after them the fill changes by less than a thousandth
TOLERANCE = 1e-7  # conjugate gradients stop at this share of the first residual's energy
MAX_CORRELATION = 0.999  # of neighbours; the weights between neighbours are infinite at 1


def space_time(anomaly: Floats) -> Floats:
    """Fill the NaN of anomalies (T, H, W) with the conditional mean of the random field; seen values stay."""
    from hydrofill.guesses.kernels.lattice import lay_out, precision_times, step

    anomaly = contiguous(anomaly)
    n_time, height, width = anomaly.shape
    correlation = [lag_one(anomaly, axis) for axis in range(3)]
    ties = np.array([r / (1 - r * r) for r in correlation], np.float32)
    pulls = ((1 - r) / (1 + r) for r, n in zip(correlation, anomaly.shape, strict=True) if n > 1)
    diagonals = _diagonals((height, width), ties, np.float32(min(pulls, default=1)))
    exponent, stride = largest_exponent(anomaly), width + 1
    filled, curvature, residual = (np.zeros((n_time, height * stride), np.float32) for _ in range(3))
    free = np.empty(filled.shape, np.uint8)
    direction = np.empty((n_time + 2, (height + 2) * stride), np.float32)
    checkpoint()
    lay_out(anomaly, np.float32(2.0**-exponent), filled, direction, free)
    precision_times(direction, residual, free, diagonals, ties, np.float32(0), width, False, curvature)
    direction[:], nothing = 0, np.zeros_like(direction)
    energy = step(np.float32(1), nothing, curvature, diagonals, width, filled, residual)
    del nothing
    enough, keep = TOLERANCE * energy, np.float32(0)
    for _ in range(MAX_STEPS):
        checkpoint()
        if energy <= enough:
            break
        product = precision_times(direction, residual, free, diagonals, ties, keep, width, True, curvature)
        checkpoint()
        previous, length = energy, np.float32(energy / product)
        energy = step(length, direction, curvature, diagonals, width, filled, residual)
        keep = np.float32(energy / previous)
    made = filled.reshape(n_time, height, stride)[:, :, :width] * np.float32(2.0**exponent)
    return np.where(np.isnan(anomaly), made, anomaly)


def _diagonals(shape: tuple[int, int], ties: Floats, pull: np.float32) -> Floats:
    """Return the diagonal of the precision matrix of flat frames with 0, 1 and 2 neighbours in time, (3, H (W + 1))."""
    height, width = shape
    neighbours = (
        2.0 - (np.arange(n) == 0).astype(np.float32) - (np.arange(n) == n - 1).astype(np.float32) for n in shape
    )
    rows, columns = neighbours
    plane = np.ones((height, width + 1), np.float32)
    plane[:, :width] = pull + ties[1] * rows[:, None] + ties[2] * columns
    return np.stack([(plane + ties[0] * number).ravel() for number in range(3)]).astype(np.float32)


def autoregressive(anomaly: Floats) -> Floats:
    """Fill the NaN of anomalies (T, N) site by site from the neighbours in time; far from them the fill is zero."""
    return np.where(np.isnan(anomaly), from_neighbours(anomaly), anomaly)


def from_neighbours(values: Floats) -> Floats:
    """Return the value to expect from the nearest known values before and after in time, (T, N); 0 far from them.

    The value itself does not count. Each cell is an autoregressive process of order one, with one correlation for all.
    """
    from hydrofill.guesses.kernels.records import expected_between

    values = contiguous(values)
    expected = np.empty_like(values)
    expected_between(values, np.float32(lag_one(values, 0)), expected)
    checkpoint()
    return expected


def lag_one(anomaly: Floats, axis: int) -> float:
    """Return the correlation about zero of neighbours along an axis, over pairs of seen values; 0 without a pair."""
    from hydrofill.guesses.kernels.records import pair_sums

    outer, number = (int(np.prod(n)) for n in (anomaly.shape[:axis], anomaly.shape[axis]))
    product, left, right = pair_sums(contiguous(anomaly).reshape(outer, number, -1))
    size = np.sqrt(left) * np.sqrt(right)
    return float(np.clip(product / size, 0, MAX_CORRELATION)) if size > 0 else 0.0
