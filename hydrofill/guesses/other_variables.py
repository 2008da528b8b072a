"""Estimate a variable from the other variables of the same record.

The anomalies of the variable are regressed on those of the others: at the same place, or of the same frame or network
as a whole, and then also in the steps before, because a river answers rain late. The coefficients of a place are drawn
towards those of all places. Source: Hoerl and Kennard 1970 (ridge regression).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hydrofill.cancellation import checkpoint

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

MAX_PREDICTORS = 12
MEMORY_STEPS = (1.5, 5.0)  # weights of earlier steps fall by a factor of e every so many steps
PRIOR_STEPS = 40.0  # seen steps at which a place's own coefficients count as much as those of all places
RIDGE_STEPS = 10.0  # seen steps at which a coefficient of all places is half of its least squares value
PRIOR_STD_STEPS = 10.0  # seen steps at which a place's own variance counts as much as that of all places


class _Predictor(NamedTuple):
    """Standard scores that broadcast to (T, N), 0 where missing, and whether they are known."""

    scores: Floats
    known: npt.NDArray[np.bool_]


def from_other_variables(anomaly: Floats, others: Sequence[Floats], own: Sequence[Floats] = ()) -> Floats:
    """Return the anomaly to expect from other variables, of the shape of `anomaly`.

    NaN where no predictor is known; a predictor that is missing beside others counts as its mean.

    Args:
        anomaly: (T, H, W) or (T, N), of the variable from its usual value; NaN where nothing is seen.
        others: anomalies of the others on the same time axis, each (T, H', W') or (T, M), NaN where nothing is seen. A
            variable of the same shape as `anomaly` counts at the same place.
        own: estimates of `anomaly` of its shape that do not use the value itself, as further predictors.
    """
    n_time = len(anomaly)
    flat = anomaly.reshape(n_time, -1)
    seen = ~np.isnan(flat)
    if not seen.any():
        return np.full(anomaly.shape, np.nan, np.float32)
    scale = _scale(flat, seen)
    wanted = np.where(seen, flat / scale, 0).astype(np.float32)
    found = [p for estimate in own for p in _at_place(estimate)]
    found += [p for other in others for p in _predictors(other, anomaly.shape)]
    chosen = _most_correlated(found, wanted, seen)
    if not chosen:
        return np.full(anomaly.shape, np.nan, np.float32)
    expected = _regressed(wanted, seen, chosen)
    known = np.zeros(flat.shape, bool)
    for predictor in chosen:
        known |= predictor.known
    return np.where(known, expected * scale, np.nan).astype(np.float32).reshape(anomaly.shape)


def _at_place(values: Floats) -> list[_Predictor]:
    """Return the scores of values (T, ...) at each place; nothing if none is known."""
    flat = values.reshape(len(values), -1)
    seen = ~np.isnan(flat)
    if not seen.any():
        return []
    return [_Predictor(np.where(seen, flat / _scale(flat, seen), 0).astype(np.float32), seen)]


def _predictors(other: Floats, shape: tuple[int, ...]) -> list[_Predictor]:
    """Return what another variable says: its scores at the same place, and of all places now and with memory."""
    at_place = _at_place(other)
    if not at_place:
        return []
    scores, seen = at_place[0]
    number = seen.sum(axis=1, keepdims=True)
    mean = scores.sum(axis=1, keepdims=True) / np.maximum(number, 1)
    whole = [(mean, number > 0), *(_remembered(mean, number > 0, steps) for steps in MEMORY_STEPS)]
    return (at_place if other.shape == shape else []) + [_standardised(m, k) for m, k in whole]


def _remembered(mean: Floats, known: npt.NDArray[np.bool_], steps: float) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the weighted mean of each step and those before, (T, 1), weights falling by e every `steps` steps."""
    keep = np.exp(-1 / steps)
    total, weight = np.zeros(len(mean)), np.zeros(len(mean))
    last_total = last_weight = 0.0
    for step, (value, there) in enumerate(zip(mean[:, 0], known[:, 0], strict=True)):
        last_total, last_weight = keep * last_total + float(value), keep * last_weight + float(there)
        total[step], weight[step] = last_total, last_weight
    enough = weight > np.exp(-2.0)
    return (np.where(enough, total / np.maximum(weight, 1e-6), 0)[:, None]).astype(np.float32), enough[:, None]


def _standardised(values: Floats, known: npt.NDArray[np.bool_]) -> _Predictor:
    """Return values (T, 1) around their mean as standard scores; 0 where unknown."""
    centered = np.where(known, values - values[known].mean(), 0) if known.any() else np.zeros_like(values)
    std = np.sqrt(np.square(centered, dtype=np.float64).sum() / max(int(known.sum()), 1))
    return _Predictor((centered / max(float(std), 1e-12)).astype(np.float32), known)


def _scale(flat: Floats, seen: npt.NDArray[np.bool_]) -> Floats:
    """Return the standard deviation about zero of each place, drawn towards that of all places, (N,)."""
    total = np.where(seen, np.square(flat, dtype=np.float64), 0).sum(axis=0)
    number = seen.sum(axis=0)
    overall = total.sum() / max(int(number.sum()), 1)
    variance = (total + PRIOR_STD_STEPS * overall) / (number + PRIOR_STD_STEPS)
    return np.sqrt(np.maximum(variance, 1e-30)).astype(np.float32)


def _most_correlated(found: list[_Predictor], wanted: Floats, seen: npt.NDArray[np.bool_]) -> list[_Predictor]:
    """Return the MAX_PREDICTORS predictors of largest correlation with `wanted`, in their order."""
    if len(found) <= MAX_PREDICTORS:
        return found
    correlation = []
    for scores, known in found:
        checkpoint()
        size = np.sqrt(np.square(np.where(seen, scores, 0), dtype=np.float64).sum())
        correlation.append(abs(float((wanted * scores).sum(dtype=np.float64))) / max(float(size), 1e-12) * known.any())
    best = np.sort(np.argsort(correlation, kind="stable")[::-1][:MAX_PREDICTORS])
    return [found[i] for i in best]


def _regressed(wanted: Floats, seen: npt.NDArray[np.bool_], chosen: list[_Predictor]) -> Floats:
    """Return the regression of `wanted` on the predictors, (T, N)."""
    weight = seen.astype(np.float32)
    gram, right = _sums(wanted, weight, chosen)
    common = np.linalg.solve(gram.sum(axis=0) + RIDGE_STEPS * np.eye(len(chosen)), right.sum(axis=0))
    own = np.linalg.solve(gram + PRIOR_STEPS * np.eye(len(chosen)), (right - gram @ common)[..., None])[..., 0]
    coefficients = (common + own).astype(np.float32)
    expected = np.zeros(wanted.shape, np.float32)
    for k, predictor in enumerate(chosen):
        expected += predictor.scores * coefficients[:, k]
    return expected


def _sums(wanted: Floats, weight: Floats, chosen: list[_Predictor]) -> tuple[Doubles, Doubles]:
    """Return the sums over seen steps of products of predictors (N, K, K), and with `wanted` (N, K)."""
    n, number = wanted.shape[1], len(chosen)
    gram, right = np.zeros((n, number, number)), np.zeros((n, number))
    for i, left in enumerate(chosen):
        checkpoint()
        weighted = np.broadcast_to(left.scores * weight, wanted.shape)
        right[:, i] = np.einsum("tn,tn->n", weighted, wanted)
        for j in range(i + 1):
            scores = np.broadcast_to(chosen[j].scores, wanted.shape)
            gram[:, i, j] = gram[:, j, i] = np.einsum("tn,tn->n", weighted, scores)
    return gram, right
