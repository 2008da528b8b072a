"""Fill a record with gaps by empirical orthogonal functions (EOFs).

The record is modelled as scores in time times patterns in space, plus noise of a variance of its own in each cell.
Scores and patterns have normal priors and are estimated in turn by expectation and maximisation. Missing values are
left out of all sums. A pattern that the data do not support shrinks to zero. Sources: Tipping and Bishop 1999
(probabilistic principal components); Rubin and Thayer 1982 (factor analysis: a noise variance for each cell); Beckers
and Rixen 2003 (filling with EOFs).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hydrofill.cancellation import checkpoint

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

ROUNDS = 12  # of expectation and maximisation; the error in gaps changes little after eight
PRIOR_STEPS = 10.0  # seen steps at which a cell's own noise counts as much as the noise of all cells
MIN_NOISE = 1e-6  # smallest noise variance, as a share of the record's variance


@dataclass(frozen=True)
class Eof:
    """The record as the patterns describe it, (T, N), and the standard deviation of each value, (T, N)."""

    mean: Floats
    std: Floats


@np.errstate(invalid="ignore", divide="ignore", over="ignore")  # raised for unused vector lanes
def eof_fill(values: Floats, mean: Floats, rank: int) -> Eof:
    """Estimate every value of a record by `rank` patterns around the mean.

    A step at which nothing is seen has scores of zero, and so the mean.

    Args:
        values: (T, N), NaN where nothing is seen.
        mean: (N,) mean of each cell.
        rank: number of patterns.
    """
    seen = ~np.isnan(values)
    weight = seen.astype(np.float32)
    anomaly = np.where(seen, values - mean, 0).astype(np.float32)
    variance = max(float(np.square(anomaly, dtype=np.float64).sum() / max(seen.sum(), 1)), 1e-30)
    patterns = _first_patterns(anomaly, rank)
    prior, noise = np.full(rank, variance / rank), np.full(values.shape[1], 0.1 * variance)
    for _ in range(ROUNDS):
        checkpoint()
        scores, covariance = _scores(anomaly, weight, patterns, prior, noise)
        second = np.einsum("ti,tj->tij", scores, scores) + covariance
        prior = np.maximum(np.einsum("tii->i", second) / len(values), MIN_NOISE * variance)
        checkpoint()
        patterns = _patterns(anomaly, weight, scores, second, noise)
        checkpoint()
        unexplained = np.square(anomaly - (scores @ patterns.T).astype(np.float32)) + _uncertainty(covariance, patterns)
        noise = np.maximum(_noise(unexplained * weight, weight), MIN_NOISE * variance)
    scores, covariance = _scores(anomaly, weight, patterns, prior, noise)
    std = np.sqrt(_uncertainty(covariance, patterns) + noise.astype(np.float32))
    return Eof((scores @ patterns.T).astype(np.float32) + mean, std.astype(np.float32))


def _first_patterns(anomaly: Floats, rank: int) -> Doubles:
    """Return the leading singular vectors of the anomalies, gaps set to zero, each of length sqrt(N), (N, rank)."""
    n_time, n_cells = anomaly.shape
    if n_time <= n_cells:
        _, vectors = np.linalg.eigh((anomaly @ anomaly.T).astype(np.float64))
        patterns = anomaly.T.astype(np.float64) @ vectors[:, ::-1][:, :rank]
    else:
        _, vectors = np.linalg.eigh((anomaly.T @ anomaly).astype(np.float64))
        patterns = vectors[:, ::-1][:, :rank]
    length = np.linalg.norm(patterns, axis=0)
    return np.asarray(patterns / np.maximum(length, 1e-30) * np.sqrt(n_cells), np.float64)


def _scores(
    anomaly: Floats, weight: Floats, patterns: Doubles, prior: Doubles, noise: Doubles
) -> tuple[Doubles, Doubles]:
    """Return mean (T, rank) and covariance (T, rank, rank) of the scores, given the patterns."""
    rank = patterns.shape[1]
    weighted = patterns / noise[:, None]
    outer = np.einsum("ni,nj->nij", patterns, weighted).reshape(len(patterns), -1).astype(np.float32)
    precision = (weight @ outer).reshape(-1, rank, rank).astype(np.float64) + np.diag(1 / prior)
    covariance = np.linalg.inv(precision)
    right = (anomaly @ weighted.astype(np.float32)).astype(np.float64)
    return np.asarray(np.einsum("tij,tj->ti", covariance, right)), covariance


def _patterns(anomaly: Floats, weight: Floats, scores: Doubles, second: Doubles, noise: Doubles) -> Doubles:
    """Return each cell's regression on the scores, with a normal prior of unit variance, (N, rank)."""
    rank = scores.shape[1]
    outer = second.reshape(len(second), -1).astype(np.float32)
    gram = (weight.T @ outer).reshape(-1, rank, rank).astype(np.float64) + noise[:, None, None] * np.eye(rank)
    right = (anomaly.T @ scores.astype(np.float32)).astype(np.float64)
    return np.asarray(np.linalg.solve(gram, right[..., None])[..., 0])


def _noise(unexplained: Floats, weight: Floats) -> Doubles:
    """Return the noise variance of each cell, drawn towards that of all cells, (N,)."""
    total, number = unexplained.sum(axis=0, dtype=np.float64), weight.sum(axis=0, dtype=np.float64)
    overall = total.sum() / max(number.sum(), 1.0)
    return np.asarray((total + PRIOR_STEPS * overall) / (number + PRIOR_STEPS))


def _uncertainty(covariance: Doubles, patterns: Doubles) -> Floats:
    """Return the variance of scores times patterns due to the covariance of the scores, (T, N)."""
    rank = patterns.shape[1]
    outer = np.einsum("ni,nj->nij", patterns, patterns).reshape(-1, rank * rank).astype(np.float32)
    product: Floats = covariance.reshape(-1, rank * rank).astype(np.float32) @ outer.T
    return np.maximum(product, 0)
