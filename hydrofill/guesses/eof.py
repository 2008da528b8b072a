"""Empirical orthogonal functions of a gappy record, and what they say of its gaps.

A record is scores in time times patterns in space plus noise, each cell's own. Scores and patterns have normal
priors and are found in turn, each given the other's distribution (expectation and maximisation), so that a gap takes
part in nothing and a pattern that the data do not support shrinks away. Sources: Tipping and Bishop 1999
(probabilistic principal components); Rubin and Thayer 1982 (factor analysis: a noise of its own for each cell); in the
field's use: Beckers and Rixen 2003.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hydrofill.cancellation import checkpoint

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

ROUNDS = 12  # of expectation and maximisation; the error under gaps changes little after eight
PRIOR_STEPS = 10.0  # how many steps a cell needs before its own noise outweighs that of all cells
MIN_NOISE = 1e-6  # of the variance: no record is explained better


@dataclass(frozen=True)
class Eof:
    """The record as its patterns see it, (T, N), and the standard deviation of that at each value."""

    mean: Floats
    std: Floats


@np.errstate(invalid="ignore", divide="ignore", over="ignore")  # small products raise flags of lanes they do not use
def eof_fill(values: Floats, mean: Floats, rank: int) -> Eof:
    """Every value of `values` (T, N), NaN where nothing is seen, by `rank` patterns about `mean` (N,).

    Where a step sees nothing its scores are zero: the mean.
    """
    seen = ~np.isnan(values)
    weight = seen.astype(np.float32)
    anomaly = np.where(seen, values - mean, 0).astype(np.float32)
    variance = max(float(np.square(anomaly, dtype=np.float64).sum() / max(seen.sum(), 1)), 1e-30)
    patterns = _start(anomaly, rank)
    prior, noise = np.full(rank, variance / rank), np.full(values.shape[1], 0.1 * variance)
    for _ in range(ROUNDS):
        checkpoint()
        scores, doubt = _scores(anomaly, weight, patterns, prior, noise)
        second = np.einsum("ti,tj->tij", scores, scores) + doubt
        prior = np.maximum(np.einsum("tii->i", second) / len(values), MIN_NOISE * variance)
        checkpoint()
        patterns = _patterns(anomaly, weight, scores, second, noise)
        checkpoint()
        unexplained = np.square(anomaly - (scores @ patterns.T).astype(np.float32)) + _uncertainty(doubt, patterns)
        noise = np.maximum(_noise(unexplained * weight, weight), MIN_NOISE * variance)
    scores, doubt = _scores(anomaly, weight, patterns, prior, noise)
    std = np.sqrt(_uncertainty(doubt, patterns) + noise.astype(np.float32))
    return Eof((scores @ patterns.T).astype(np.float32) + mean, std.astype(np.float32))


def _start(anomaly: Floats, rank: int) -> Doubles:
    """(N, rank): leading singular vectors of the anomalies with gaps at zero, each of length sqrt(N)."""
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
    """Mean (T, rank) and covariance (T, rank, rank) of the scores, given the patterns."""
    rank = patterns.shape[1]
    trusted = patterns / noise[:, None]
    outer = np.einsum("ni,nj->nij", patterns, trusted).reshape(len(patterns), -1).astype(np.float32)
    precision = (weight @ outer).reshape(-1, rank, rank).astype(np.float64) + np.diag(1 / prior)
    doubt = np.linalg.inv(precision)
    right = (anomaly @ trusted.astype(np.float32)).astype(np.float64)
    return np.asarray(np.einsum("tij,tj->ti", doubt, right)), doubt


def _patterns(anomaly: Floats, weight: Floats, scores: Doubles, second: Doubles, noise: Doubles) -> Doubles:
    """(N, rank): each cell's regression on the scores, with a prior of unit size."""
    rank = scores.shape[1]
    outer = second.reshape(len(second), -1).astype(np.float32)
    gram = (weight.T @ outer).reshape(-1, rank, rank).astype(np.float64) + noise[:, None, None] * np.eye(rank)
    right = (anomaly.T @ scores.astype(np.float32)).astype(np.float64)
    return np.asarray(np.linalg.solve(gram, right[..., None])[..., 0])


def _noise(unexplained: Floats, weight: Floats) -> Doubles:
    """(N,): each cell's mean of what patterns leave unexplained, drawn towards that of all cells."""
    total, number = unexplained.sum(axis=0, dtype=np.float64), weight.sum(axis=0, dtype=np.float64)
    usual = total.sum() / max(number.sum(), 1.0)
    return np.asarray((total + PRIOR_STEPS * usual) / (number + PRIOR_STEPS))


def _uncertainty(doubt: Doubles, patterns: Doubles) -> Floats:
    """(T, N): variance of scores times patterns that the scores' covariance leaves."""
    rank = patterns.shape[1]
    outer = np.einsum("ni,nj->nij", patterns, patterns).reshape(-1, rank * rank).astype(np.float32)
    product: Floats = doubt.reshape(-1, rank * rank).astype(np.float32) @ outer.T
    return np.maximum(product, 0)
