"""How the errors of a fill hang together in space and time: a model, and its fit to the errors of hidden cells.

The covariance is a sum of products of a part in space and a part in time. In space it is that of Matern of smoothness
1.5 or, for length 0, a nugget. In time it is that of fields which are drawn every `scale` steps and interpolated in
between, so that the field of any step can be drawn alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]

SCALES = (1, 2, 4, 8, 16, 32, 64, 128)  # steps between drawn fields; 1 is without memory
LENGTHS = (0.0, 0.7, 1.4, 2.8, 5.6, 11.0, 22.0, 45.0, 90.0, 180.0)  # cells
LAGS = (0, 1, 2, 3, 5, 8, 12, 20, 30)  # steps
RINGS = np.array([0.0, 0.5, 1.2, 1.8, 2.5, 3.5, 5, 7, 10, 14, 20, 30, 45, 70, 110, 170, 260])  # cells
PRIOR = {(5.6, 1): 0.3, (22.0, 2): 0.4, (90.0, 4): 0.3}  # weights where little is hidden
PRIOR_GROUPS = 4.0  # groups at which what was measured counts as much as the prior
MIN_PAIRS = 30
MAX_ERROR = 6.0  # standard deviations: a larger error counts as one of that size
SMOOTH_CELLS = 12.0  # within which members are as rough as the truth
PHASES = 64  # over which the covariance in time is averaged


@dataclass(frozen=True)
class Covariance:
    """A covariance of variance one. weights: by length in cells and scale in steps."""

    weights: dict[tuple[float, int], float]

    @property
    def scales(self) -> list[int]:
        """The scales in time, ascending."""
        return sorted({scale for _, scale in self.weights})

    def in_space(self, scale: int) -> dict[float, float]:
        """Return the weights of the lengths at a scale in time."""
        return {length: weight for (length, of), weight in self.weights.items() if of == scale}


def in_space(distance: Floats, length: float) -> Floats:
    """Return the covariance at distances in cells."""
    if not length:
        return (distance == 0).astype(np.float64)
    return np.asarray((1 + distance / length) * np.exp(-distance / length))


def in_time(lags: npt.ArrayLike, scale: int) -> Floats:
    """Return the covariance at lags in steps of what is drawn every `scale` steps, on average over the first draw."""
    steps = np.abs(np.asarray(lags, np.float64))
    if scale == 1:
        return (steps == 0).astype(np.float64)
    start = (np.arange(PHASES) + 0.5) / PHASES
    later = start + steps[..., None] / scale
    before, share = np.floor(later), later - np.floor(later)
    first, size = np.stack([1 - start, start]), np.hypot(1 - share, share) * np.hypot(1 - start, start)
    common = np.where(before == 0, first[0] * (1 - share) + first[1] * share, 0.0)
    common = np.where(before == 1, first[1] * (1 - share), common)
    return np.asarray((common / size).mean(axis=-1))


@dataclass(frozen=True, eq=False)
class Pairs:
    """Sums over pairs of hidden cells, by lag in time (rows) and ring of distances (columns).

    number: of pairs. distance: sum of distances. error: sum of the products of the errors. std: sum of the products of
    the standard deviations. squares: sum of the squares of both standard deviations. roughness: sum of the squared
    differences of the truth, less those of the fill.
    """

    number: Floats
    distance: Floats
    error: Floats
    std: Floats
    squares: Floats
    roughness: Floats

    def __add__(self, other: Pairs) -> Pairs:
        return Pairs(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def correlation(self) -> Floats:
        """Return the correlation of errors in units of their standard deviation, NaN for too few pairs.

        Within SMOOTH_CELLS of the same step, the fill and the errors together are as rough as the truth. The errors
        themselves are rougher, because a part of them is the roughness of the fill.
        """
        known = self.number >= MIN_PAIRS
        size = self.error[0, 0] / self.std[0, 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.where(known & (self.std > 0), self.error / (size * self.std), np.nan)
            smooth = (self.squares - self.roughness / size) / (2 * self.std)
            near = (self.distance / self.number <= SMOOTH_CELLS) & (np.array(LAGS) == 0)[:, None]
        found = np.where(near & (smooth > found), smooth, found)
        return np.asarray(np.clip(found, -1, 1))


def pairs_of(truth: Floats, mean: Floats, std: Floats) -> Pairs:
    """Return the pairs of hidden cells of fields (T, H, W), or of sites (T, N) with themselves; NaN if not hidden."""
    known = ~np.isnan(truth)
    used = np.flatnonzero(known.reshape(len(known), -1).any(axis=1))  # steps, most of which hide nothing
    known, truth, mean, std = (a[used] for a in (known, truth, mean, std))
    truth, mean, std = (np.where(known, a, 0.0) for a in (truth, mean, std))
    error = np.clip(truth - mean, -MAX_ERROR * std, MAX_ERROR * std)
    fields: list[np.ndarray] = [known.astype(np.float64), error, std, std**2, truth**2 - mean**2, truth, mean]
    distance, product = np.zeros(1), _at_same_cells
    if truth.ndim == 3:
        shape = [fast_length(2 * n) for n in truth.shape[1:]]
        distance = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in shape), indexing="ij"))
        fields = [np.fft.rfft2(a.astype(np.float32), shape) for a in fields]
        product = partial(_at_all_distances, shape)
    ones, of_error, of_std, of_variance, of_change, of_truth, of_mean = fields
    ring, found = np.digitize(distance, RINGS).ravel() - 1, np.zeros((6, len(LAGS), len(RINGS)))
    for row, lag in enumerate(LAGS):
        second = np.flatnonzero(np.isin(used - lag, used))
        times = partial(product, np.searchsorted(used, used[second] - lag), second)
        number = np.round(times(ones, ones))
        squares, change = (times(ones, a) + times(a, ones) for a in (of_variance, of_change))
        roughness = change - 2 * (times(of_truth, of_truth) - times(of_mean, of_mean))
        sums = (number, number * distance, times(of_error, of_error), times(of_std, of_std), squares, roughness)
        for column, values in enumerate(sums):
            found[column, row] = np.bincount(ring, values.ravel(), len(RINGS))
    return Pairs(*found)


def _at_same_cells(steps: Steps, later: Steps, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the sum of products of two fields, the first at some steps and the second at later ones, (1,)."""
    return np.asarray([np.sum(first[steps] * second[later])])


def _at_all_distances(
    shape: Sequence[int], steps: Steps, later: Steps, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Return by displacement the sum of products of two transformed fields, the second at later steps."""
    total = np.zeros(first.shape[1:], np.complex128)
    for one, other in zip(steps, later, strict=True):
        total += np.conj(first[one]) * second[other]
    return np.asarray(np.fft.irfft2(total, shape))


def fit_covariance(found: Pairs | None, groups: int) -> Covariance:
    """Return the covariance that is nearest to the correlation of errors, drawn towards the prior.

    Args:
        found: pairs of hidden cells; None for none.
        groups: number of groups of cells that are wrong together.
    """
    if found is None or found.number[0, 0] < MIN_PAIRS or found.error[0, 0] <= 0:
        return Covariance(dict(PRIOR))
    correlation = found.correlation()
    known = ~np.isnan(correlation)
    lag, wanted = np.broadcast_to(np.array(LAGS)[:, None], known.shape)[known], correlation[known]
    pairs, distance = found.number[known], found.distance[known] / found.number[known]
    keys = [(length, scale) for length in LENGTHS for scale in SCALES if scale <= 2 * max(lag.max(), 1)]
    columns = np.stack([in_space(distance, length) * in_time(lag, scale) for length, scale in keys], axis=1)
    trust = pairs**0.25
    trust[(lag == 0) & (distance == 0)] = 10 * trust.max()  # the variance is one
    solved = non_negative_least_squares(columns * trust[:, None], wanted * trust)
    share = groups / (groups + PRIOR_GROUPS) if solved.sum() > 0 else 0.0
    weights = {key: (1 - share) * weight for key, weight in PRIOR.items()}
    for key, weight in zip(keys, solved / max(solved.sum(), 1e-9), strict=True):
        if weight > 0:
            weights[key] = weights.get(key, 0.0) + share * float(weight)
    return Covariance({key: weight for key, weight in sorted(weights.items()) if weight > 0})


def non_negative_least_squares(columns: Floats, wanted: Floats) -> Floats:
    """Return the weights of columns (n, K), none negative, whose sum is nearest to what is wanted (n,).

    Source: Lawson and Hanson 1974, chapter 23.
    """
    number = columns.shape[1]
    weights, used = np.zeros(number), np.zeros(number, bool)
    for _ in range(3 * number):
        slope = columns.T @ (wanted - columns @ weights)
        slope[used] = -np.inf
        best = int(np.argmax(slope))
        if slope[best] <= 1e-10 * np.abs(columns.T @ wanted).max():
            break
        used[best] = True
        while True:
            solved = np.zeros(number)
            solved[used] = np.linalg.lstsq(columns[:, used], wanted, rcond=None)[0]
            negative = used & (solved <= 0)
            if not negative.any():
                break
            step = np.min(weights[negative] / np.maximum(weights[negative] - solved[negative], 1e-300))
            weights = weights + step * (solved - weights)
            used &= weights > 1e-14
            weights[~used] = 0.0
        weights = solved
    return weights


def fast_length(number: int) -> int:
    """Return the least length from `number` on that has no prime factor above 5, so that its waves are found fast."""
    length = number
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1


def joined(found: Sequence[Pairs]) -> Pairs | None:
    """Return the pairs of several fields together; None of none."""
    return sum(found[1:], found[0]) if found else None
