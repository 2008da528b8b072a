"""Fill a record with gaps by empirical orthogonal functions (EOFs).

The record is modelled as scores in time times patterns in space, plus noise of a variance of its own in each cell.
Scores and patterns have normal priors and are estimated in turn by expectation and maximisation. Missing values are
left out of all sums. A pattern that the data do not support shrinks to zero. Sources: Tipping and Bishop 1999
(probabilistic principal components); Rubin and Thayer 1982 (factor analysis: a noise variance for each cell); Beckers
and Rixen 2003 (filling with EOFs).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hydrofill.cancellation import checkpoint
from hydrofill.guesses.arrays import exponent_above
from hydrofill.guesses.leading_vectors import leading_patterns

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


def eof_fill(values: Floats, mean: Floats, rank: int) -> Eof:
    """Estimate every value of a record by `rank` patterns around the mean.

    A step at which nothing is seen has scores of zero, and so the mean.

    Args:
        values: (T, N), NaN where nothing is seen.
        mean: (N,) mean of each cell.
        rank: number of patterns.
    """
    (found,) = eof_fills(values, mean, (rank,))
    return found


@np.errstate(invalid="ignore", divide="ignore", over="ignore")  # raised for unused vector lanes
def eof_fills(values: Floats, mean: Floats, ranks: Sequence[int]) -> list[Eof]:
    """Return `eof_fill` for several numbers of patterns; the first patterns are found once."""
    seen = ~np.isnan(values)
    anomaly = np.where(seen, values - mean, 0).astype(np.float32)
    variance = float(np.square(anomaly, dtype=np.float64).sum() / max(seen.sum(), 1))
    exponent = exponent_above(math.sqrt(variance))
    anomaly *= np.float32(2.0**-exponent)
    record = _Record.of(anomaly, seen)
    patterns = leading_patterns(anomaly, max(ranks)) * np.float32(np.sqrt(values.shape[1]))
    unit, made = np.float32(2.0**exponent), []
    for rank in ranks:
        fitted, std = _Model.fitted(record, patterns[:rank]).described()
        fitted *= unit
        fitted += mean
        made.append(Eof(fitted, std * unit))
    return made


@dataclass(frozen=True)
class _Record:
    """Anomalies and what is seen of them.

    anomaly: (T, N), 0 where missing. partly: (T,) bool, the steps that are seen in part. weight: (steps in part, N), 1
    where seen. whole: (T,) bool, the steps that are seen as a whole. squares, number: (N,) sums of squared anomalies
    and numbers of seen steps. variance: of all anomalies.
    """

    anomaly: Floats
    partly: npt.NDArray[np.bool_]
    whole: npt.NDArray[np.bool_]
    weight: Floats
    squares: Doubles
    number: Doubles
    variance: float

    @classmethod
    def of(cls, anomaly: Floats, seen: npt.NDArray[np.bool_]) -> _Record:
        whole: npt.NDArray[np.bool_] = seen.all(axis=1).reshape(-1)
        partly = seen.any(axis=1).reshape(-1) & ~whole
        squares = np.einsum("tn,tn->n", anomaly, anomaly).astype(np.float64)
        number = seen.sum(axis=0, dtype=np.float64)
        variance = max(float(squares.sum() / max(number.sum(), 1)), 1e-30)
        return cls(anomaly, partly, whole, seen[partly].astype(np.float32), squares, number, variance)

    def sums_over_cells(self, products: Floats) -> Floats:
        """Return the sums of products (K, N) over the seen cells of each step, (K, T)."""
        sums = np.zeros((len(products), len(self.anomaly)), np.float32)
        sums[:, self.whole] = products.sum(axis=1, dtype=np.float64)[:, None]
        sums[:, self.partly] = products @ self.weight.T
        return sums

    def sums_over_steps(self, products: Floats) -> Floats:
        """Return the sums of products (K, T) over the seen steps of each cell, (K, N)."""
        sums: Floats = products[:, self.partly] @ self.weight
        sums += products[:, self.whole].sum(axis=1, dtype=np.float64)[:, None].astype(np.float32)
        return sums


class _Model:
    """Patterns (K, N), their prior variances (K,) and the noise variances of cells (N,), fitted to a record.

    Symmetric matrices are kept as lower triangles (hydrofill/guesses/kernels/small_systems.py).
    """

    def __init__(self, record: _Record, patterns: Floats) -> None:
        rank, n_cells = patterns.shape
        self.record, self.patterns = record, patterns
        self.prior, self.noise = np.full(rank, record.variance / rank), np.full(n_cells, 0.1 * record.variance)
        self.rows, self.columns = np.tril_indices(rank)

    @classmethod
    def fitted(cls, record: _Record, patterns: Floats) -> _Model:
        """Return the model after ROUNDS of expectation and maximisation."""
        model = cls(record, patterns)
        for _ in range(ROUNDS):
            checkpoint()
            scores, covariance = model.scores()
            checkpoint()
            model.maximise(scores, covariance)
        return model

    def scores(self) -> tuple[Floats, Floats]:
        """Return mean (K, T) and covariance (K (K + 1) / 2, T) of the scores, given the patterns."""
        weighted = (self.patterns / self.noise).astype(np.float32)
        precision = self.record.sums_over_cells(self.patterns[self.rows] * weighted[self.columns])
        right = np.ascontiguousarray((self.record.anomaly @ weighted.T).T)
        checkpoint()
        return _solved(precision, 1 / self.prior, np.zeros(right.shape[1]), right, inverted=True)

    def maximise(self, scores: Floats, covariance: Floats) -> None:
        """Set each cell's patterns to its regression on the scores, with a prior of unit variance; set variances."""
        record, floor = self.record, MIN_NOISE * self.record.variance
        second = scores[self.rows] * scores[self.columns] + covariance
        diagonal = np.flatnonzero(self.rows == self.columns)
        self.prior = np.maximum(second[diagonal].mean(axis=1, dtype=np.float64), floor)
        gram, right = record.sums_over_steps(second), scores @ record.anomaly
        checkpoint()
        self.patterns, _ = _solved(gram, np.zeros(len(scores)), self.noise, right, inverted=False)
        twice = np.where(self.rows == self.columns, np.float32(1), np.float32(2))[:, None]
        products = self.patterns[self.rows] * self.patterns[self.columns] * twice
        explained = 2 * np.einsum("kn,kn->n", self.patterns, right) - np.einsum("kn,kn->n", products, gram)
        unexplained = np.maximum(record.squares - explained, 0)
        overall = unexplained.sum() / max(record.number.sum(), 1.0)
        noise = (unexplained + PRIOR_STEPS * overall) / (record.number + PRIOR_STEPS)
        self.noise = np.maximum(noise, floor)

    def described(self) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of each value, (T, N) each."""
        scores, covariance = self.scores()
        checkpoint()
        twice = np.where(self.rows == self.columns, np.float32(1), np.float32(2))[:, None]
        variance = covariance.T @ (self.patterns[self.rows] * self.patterns[self.columns] * twice)
        np.maximum(variance, 0, out=variance)
        variance += self.noise.astype(np.float32)
        return scores.T @ self.patterns, np.sqrt(variance, out=variance)


def _solved(
    matrices: Floats, diagonal: Doubles, per_system: Doubles, right: Floats, *, inverted: bool
) -> tuple[Floats, Floats]:
    """Return the solutions (K, n) of systems, and the inverses of their matrices if `inverted`."""
    from hydrofill.guesses.kernels.small_systems import solve

    solutions = np.empty_like(right)
    inverses = np.empty_like(matrices) if inverted else matrices
    solve(matrices, diagonal, per_system, right, inverted, solutions, inverses)
    return solutions, inverses
