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
from hydrofill.guesses.interpolation import neighbours_in_time

Floats = npt.NDArray[np.float32]

MAX_STEPS = 80  # of conjugate gradients; after them the fill changes by less than a thousandth
TOLERANCE = 1e-8  # conjugate gradients stop at this share of the first residual's energy
MAX_CORRELATION = 0.999  # of neighbours; the weights between neighbours are infinite at 1


def space_time(anomaly: Floats) -> Floats:
    """Fill the NaN of anomalies (T, H, W) with the conditional mean of the random field; seen values stay."""
    seen = ~np.isnan(anomaly)
    correlation = [lag_one(anomaly, axis) for axis in range(3)]
    ties = [np.float32(r / (1 - r * r)) for r in correlation]
    pulls = ((1 - r) / (1 + r) for r, n in zip(correlation, anomaly.shape, strict=True) if n > 1)
    pull = np.float32(min(pulls, default=1))
    free = (~seen).astype(np.float32)
    filled = np.where(seen, anomaly, 0).astype(np.float32)
    diagonal = _diagonal(anomaly.shape, ties, pull)
    residual = -_times_precision(filled, ties, pull) * free
    scaled = residual / diagonal
    direction, energy = scaled, float(np.vdot(residual, scaled))
    enough = TOLERANCE * energy
    for _ in range(MAX_STEPS):
        checkpoint()
        if energy <= enough:
            break
        curvature = _times_precision(direction, ties, pull) * free
        length = np.float32(energy / float(np.vdot(direction, curvature)))
        filled += length * direction
        residual -= length * curvature
        scaled = residual / diagonal
        previous, energy = energy, float(np.vdot(residual, scaled))
        direction = scaled + np.float32(energy / previous) * direction
    return filled


def autoregressive(anomaly: Floats) -> Floats:
    """Fill the NaN of anomalies (T, N) site by site from the neighbours in time; far from them the fill is zero."""
    seen = ~np.isnan(anomaly)
    before, after, steps_before, steps_after = neighbours_in_time(anomaly, seen)
    correlation = lag_one(anomaly, 0)
    of_before, of_after = (
        np.where(np.isinf(steps), 0, correlation ** np.minimum(steps, 1e6)) for steps in (steps_before, steps_after)
    )
    weighted = of_before * (1 - of_after**2) * np.nan_to_num(before)
    weighted += of_after * (1 - of_before**2) * np.nan_to_num(after)
    return np.where(seen, anomaly, weighted / (1 - (of_before * of_after) ** 2)).astype(np.float32)


def lag_one(anomaly: Floats, axis: int) -> float:
    """Return the correlation about zero of neighbours along an axis, over pairs of seen values; 0 without a pair."""
    along = np.moveaxis(anomaly, axis, 0)
    here, there = along[1:], along[:-1]
    both = ~(np.isnan(here) | np.isnan(there))
    if not both.any():
        return 0.0
    left, right = here[both].astype(np.float64), there[both].astype(np.float64)
    size = np.sqrt(np.square(left).sum() * np.square(right).sum())
    return float(np.clip((left * right).sum() / size, 0, MAX_CORRELATION)) if size > 0 else 0.0


def _diagonal(shape: tuple[int, ...], ties: list[np.float32], pull: np.float32) -> Floats:
    """Return the diagonal of the precision matrix: the pull to zero plus every tie to a neighbour."""
    diagonal = np.full(shape, pull, np.float32)
    for axis, tie in enumerate(ties):
        neighbours = np.full(shape[axis], 2, np.float32)
        neighbours[0] -= 1
        neighbours[-1] -= 1
        diagonal += tie * neighbours.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.maximum(diagonal, np.float32(1e-6))


def _times_precision(field: Floats, ties: list[np.float32], pull: np.float32) -> Floats:
    """Return the precision matrix times `field`: the pull to zero, and differences to neighbours weighted by ties."""
    out = pull * field
    for axis, tie in enumerate(ties):
        if tie == 0 or field.shape[axis] < 2:
            continue
        difference = np.diff(field, axis=axis)
        difference *= tie
        low, high = ([slice(None)] * 3 for _ in range(2))
        low[axis], high[axis] = slice(0, -1), slice(1, None)
        out[tuple(low)] -= difference
        out[tuple(high)] += difference
    return out
