"""Fill a record by patterns in space whose scores are smoothed through time.

Each score is a sum of an autoregressive process of order one and white noise, with variances and a correlation that
the record itself gives. In a lost frame each pattern therefore has the score to expect from the frames around, and a
pattern without memory counts for nothing. Sources: Beckers and Rixen 2003 (filling with EOFs); Rauch, Tung and Striebel
1965 (smoothing), here solved as one tridiagonal system for each score.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from hydrofill.cancellation import checkpoint
from hydrofill.guesses.eof import Eof, eof_fill
from hydrofill.guesses.leading_vectors import leading_patterns
from hydrofill.guesses.space_time import from_neighbours

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

MAX_PATTERNS = 30  # of grids
MAX_SITE_PATTERNS = 24  # of series
STEPS_PER_PATTERN = 3  # a record has at most one pattern for every so many frames
MAX_CORRELATION = 0.999  # of scores one step apart
MIN_NOISE = 1e-3  # smallest share of white noise in the variance of a score
LAGS = 3  # steps; correlations over so many steps tell noise from signal


def smoothed_patterns(completed: Floats, usual: Floats, seen_share: Floats) -> Floats:
    """Return the value of each cell and step by patterns and smoothed scores, around the usual value, (T, N).

    What the patterns leave of the frames before and after is added as far as the record remembers such rests.

    Args:
        completed: (T, N), each step either without NaN or all NaN.
        usual: (T, N) usual value of each step, such as the seasonal cycle.
        seen_share: (T,) share of each step that was seen, from 0 to 1; a step counts by it.
    """
    known = np.isfinite(completed).all(axis=1).reshape(-1)
    rank = min(MAX_PATTERNS, int(known.sum()) // STEPS_PER_PATTERN, completed.shape[1])
    anomaly = np.where(known[:, None], completed - usual, 0).astype(np.float32)
    fitted = np.zeros_like(anomaly)
    if rank >= 1:
        patterns = leading_patterns(anomaly * np.sqrt(seen_share)[:, None].astype(np.float32), rank)
        scores = (anomaly @ patterns.T).astype(np.float64)
        expected = np.stack([_smoothed(s, known, seen_share) for s in scores.T], axis=1)
        fitted = expected.astype(np.float32) @ patterns
    checkpoint()
    rest = np.where(known[:, None], anomaly - fitted, np.nan).astype(np.float32)
    return (usual + fitted + from_neighbours(rest)).astype(np.float32)


def plain_eofs(values: Floats, usual: Floats) -> Eof:
    """Return mean and std of each value by patterns of the anomalies from the usual value, (T, N) each.

    The anomalies keep their units: a site that varies much counts much. The prior of each score shrinks patterns that
    the record does not support, so one large number of patterns serves all records.

    Args:
        values: (T, N), NaN where nothing is seen.
        usual: (T, N) usual value of each step, without NaN.
    """
    anomaly = values - usual
    rank = min(MAX_SITE_PATTERNS, len(values) // STEPS_PER_PATTERN, max(values.shape[1] - 1, 1))
    if rank < 1 or np.isnan(anomaly).all():
        return Eof(usual.astype(np.float32, copy=True), np.zeros(values.shape, np.float32))
    found = eof_fill(anomaly, np.zeros(values.shape[1], np.float32), rank)
    return Eof((found.mean + usual).astype(np.float32), found.std)


def _smoothed(score: Doubles, known: npt.NDArray[np.bool_], trust: Floats) -> Doubles:
    """Return the expected score at each step, (T,), given the scores of the known steps."""
    from hydrofill.guesses.kernels.tridiagonal import solve_tridiagonal

    variance = float(np.square(score[known]).mean())
    if variance <= 0 or len(score) < 2:
        return np.where(known, score, 0)
    correlation, share = _memory(score, known, variance)
    signal, noise = share * variance, max(1 - share, MIN_NOISE) * variance
    # The precision of an autoregressive process is tridiagonal (Rue and Held 2005, section 1.1).
    scale = signal * (1 - correlation**2)
    diagonal = np.full(len(score), (1 + correlation**2) / scale)
    diagonal[[0, -1]] = 1 / scale
    observed = np.where(known, trust, 0) / noise
    expected = np.empty(len(score))
    solve_tridiagonal(diagonal + observed, np.full(len(score) - 1, -correlation / scale), observed * score, expected)
    return expected


def _memory(score: Doubles, known: npt.NDArray[np.bool_], variance: float) -> tuple[float, float]:
    """Return the correlation of the signal at one step, and the share of the signal in the variance.

    The correlation of the score at lag k is share * correlation ** k; both are fitted to lags 1 to LAGS.
    """
    at_lag = []
    for lag in range(1, min(LAGS, len(score) - 1) + 1):
        both = known[lag:] & known[:-lag]
        if both.sum() < 3:
            break
        at_lag.append(max(float((score[lag:] * score[:-lag])[both].mean()) / variance, 0))
    if not at_lag or at_lag[0] <= 0:
        return 0.0, 0.5
    first = min(at_lag[0], MAX_CORRELATION)
    ratios = [b / a for a, b in pairwise(at_lag) if a > 0]
    correlation = float(np.clip(np.mean(ratios), first, MAX_CORRELATION)) if ratios else first
    return correlation, min(first / correlation, 1 - MIN_NOISE)
