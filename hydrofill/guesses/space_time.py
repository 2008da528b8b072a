"""Smooth fills of gappy records in space and time together, as far as the record itself says that values last.

A Gaussian Markov random field on the lattice of steps, rows and columns: neighbours are as alike as those that are
seen together, and far from anything seen the fill falls back to zero, so that anomalies are what goes in. Sources:
Besag 1974; Rue and Held 2005, chapter 3. A single site is an autoregressive process of order one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hydrofill.cancellation import checkpoint
from hydrofill.guesses.interpolation import neighbours_in_time

Floats = npt.NDArray[np.float32]

STEPS = 80  # of conjugate gradients; the fill changes by less than a thousandth after them
ACCURATE = 1e-8  # share of the first residual's energy at which a fill is done
MAX_CORRELATION = 0.999  # correlation of neighbours: more would tie them without end


def space_time(anomaly: Floats) -> Floats:
    """(T, H, W) anomalies with NaN filled by the field's conditional mean; what is seen stays."""
    seen = ~np.isnan(anomaly)
    alike = [_lag_one(anomaly, axis) for axis in range(3)]
    ties = [np.float32(r / (1 - r * r)) for r in alike]
    pull = np.float32(min(((1 - r) / (1 + r) for r, n in zip(alike, anomaly.shape, strict=True) if n > 1), default=1))
    free = (~seen).astype(np.float32)
    filled = np.where(seen, anomaly, 0).astype(np.float32)
    diagonal = _diagonal(anomaly.shape, ties, pull)
    residual = -_precision(filled, ties, pull) * free
    towards = residual / diagonal
    direction, energy = towards, float(np.vdot(residual, towards))
    least = ACCURATE * energy
    for _ in range(STEPS):
        checkpoint()
        if energy <= least:
            break
        bent = _precision(direction, ties, pull) * free
        length = np.float32(energy / float(np.vdot(direction, bent)))
        filled += length * direction
        residual -= length * bent
        towards = residual / diagonal
        before, energy = energy, float(np.vdot(residual, towards))
        direction = towards + np.float32(energy / before) * direction
    return filled


def autoregressive(anomaly: Floats) -> Floats:
    """(T, N) anomalies with NaN filled site by site, from the neighbours in time, falling to zero between them."""
    seen = ~np.isnan(anomaly)
    before, after, steps_before, steps_after = neighbours_in_time(anomaly, seen)
    alike = _lag_one(anomaly, 0)
    of_before, of_after = (
        np.where(np.isinf(steps), 0, alike ** np.minimum(steps, 1e6)) for steps in (steps_before, steps_after)
    )
    weighted = of_before * (1 - of_after**2) * np.nan_to_num(before)
    weighted += of_after * (1 - of_before**2) * np.nan_to_num(after)
    return np.where(seen, anomaly, weighted / (1 - (of_before * of_after) ** 2)).astype(np.float32)


def _lag_one(anomaly: Floats, axis: int) -> float:
    """Correlation of neighbours along an axis about zero, over pairs that are both seen; 0 if none is."""
    along = np.moveaxis(anomaly, axis, 0)
    here, there = along[1:], along[:-1]
    both = ~(np.isnan(here) | np.isnan(there))
    if not both.any():
        return 0.0
    left, right = here[both].astype(np.float64), there[both].astype(np.float64)
    size = np.sqrt(np.square(left).sum() * np.square(right).sum())
    return float(np.clip((left * right).sum() / size, 0, MAX_CORRELATION)) if size > 0 else 0.0


def _diagonal(shape: tuple[int, ...], ties: list[np.float32], pull: np.float32) -> Floats:
    """Of the precision: the pull and every tie to a neighbour."""
    diagonal = np.full(shape, pull, np.float32)
    for axis, tie in enumerate(ties):
        neighbours = np.full(shape[axis], 2, np.float32)
        neighbours[0] -= 1
        neighbours[-1] -= 1
        diagonal += tie * neighbours.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.maximum(diagonal, np.float32(1e-6))


def _precision(field: Floats, ties: list[np.float32], pull: np.float32) -> Floats:
    """The field's precision matrix times it: differences to neighbours weighted by ties, and the pull to zero."""
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
