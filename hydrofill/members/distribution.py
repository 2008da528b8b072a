"""The distribution of the truth around a fill, from the errors of the fill on hidden observed cells.

A value is `mean + std * q(score)` for a standard normal score. The function q increases, its mean over scores is zero,
and it depends on the class of the cell: on std or, with a bound, on std / room, where room is the distance of the fill
from the nearer bound. So rain has its share of zeros, is never negative, and is dry where the fill is dry.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

KNOTS = np.linspace(-3.25, 3.25, 53)  # scores at which q is known; linear in between
STEP = KNOTS[1] - KNOTS[0]
CLASS_CELLS = 200  # fewest hidden cells of a class of standard deviations
CLASS_GROUPS = 4  # fewest groups of cells that are wrong together in such a class
MAX_CLASSES = 12
PRIOR_GROUPS = 4.0  # groups at which what was measured counts as much as the prior
BEYOND = np.array([1.0, 2.0, 4.0])  # logarithms of ratios beyond the classes that have a class too
PRIOR_RATIOS = np.arange(-4.0, 3.1, 0.5)  # logarithms of std / room at which the prior is known
POWER = 2.0  # of a normal variable cut off at zero: the prior of what has a bound
MAX_EDGE = 2.5  # score: something is never wholly sure to lie at the bound
MIN_CENTRE, MAX_CENTRE = -MAX_EDGE, 40.0  # of that normal variable, in its standard deviations
MAX_SCORE = 6.0  # standard deviations: an error larger than that counts as one of that size
RATIO_STEP = 0.125  # logarithm, between the classes of a variable with a bound
TINY = 1e-30

_NORMAL = NormalDist()
_EDGES = np.array([0.0, *map(_NORMAL.cdf, (KNOTS[1:] + KNOTS[:-1]) / 2), 1.0])
_LIKELY = np.array(
    [_NORMAL.inv_cdf((n + 0.5) / 2000) for n in range(2000)]
)  # equally likely scores, to take means over


@dataclass(frozen=True, eq=False)
class Distribution:
    """The distribution of the truth around a fill.

    lower, upper: bounds, None for none. ratios: (C,) logarithms of std / room (without a bound: of std) of the classes,
    increasing. table: (C, len(KNOTS)) q at KNOTS in each class. edge: (C,) score below which values lie at the bound.
    """

    lower: float | None
    upper: float | None
    ratios: Floats
    table: Floats
    edge: Floats

    def in_units(self, factor: float) -> Distribution:
        """Return the distribution in the variable's units, where its values were multiplied by `factor`."""
        lower, upper = (None if bound is None else bound / factor for bound in (self.lower, self.upper))
        ratios = self.ratios if self.bounded else self.ratios - np.log(factor)
        return replace(self, lower=lower, upper=upper, ratios=ratios)

    @property
    def bounded(self) -> bool:
        """Whether values have a bound."""
        return self.lower is not None or self.upper is not None

    def values(self, mean: Floats, std: Floats, score: Floats) -> Floats:
        """Return values (n,) of cells with these fills and standard deviations at standard normal scores."""
        room, turn = self._rooms(mean)
        low, share = self._place(_log_ratio(std, room))
        if not self.bounded:
            return mean + std * self._interpolated(low, share, score)
        score = turn * score
        change = np.maximum(std * self._interpolated(low, share, score), -room)
        change = np.where(score < self._mixed(self.edge, low, share), -room, change)
        return np.asarray(np.clip(np.where(room > 0, mean + turn * change, mean), self.lower, self.upper))

    def scores(self, truth: Floats, mean: Floats, std: Floats) -> Floats:
        """Return the standard normal scores (n,) at which `values` gives the truths; NaN where all give the same.

        Scores that all give the bound count as their mean, so that where it is dry in truth, scores near each other
        are not told apart by chance.
        """
        room, turn = self._rooms(mean)
        low, share = self._place(_log_ratio(std, room))
        change = turn * (truth - mean)
        found = _inverse(self._mixed(self.table, low, share[:, None]), change / np.maximum(std, TINY))
        if self.bounded:
            edge = self._mixed(self.edge, low, share)
            found = np.where(change <= -room, _mean_score_below(edge), np.maximum(found, edge))
        return np.where((room > 0) & (std > 0), turn * found, np.nan)

    def _rooms(self, mean: Floats) -> tuple[Floats, Floats]:
        """Return the room to the nearer bound, 1 without any, and 1 or -1: values that grow with q, or fall."""
        if not self.bounded:
            return np.ones_like(mean), np.ones_like(mean)
        low = np.full_like(mean, np.inf) if self.lower is None else mean - self.lower
        high = np.full_like(mean, np.inf) if self.upper is None else self.upper - mean
        return np.maximum(np.minimum(low, high), 0.0), np.where(low <= high, 1.0, -1.0)

    def _with_exact_means(self) -> Distribution:
        """Return the same with so many classes between the classes that the mean of values is the fill in each."""
        ratios = np.unique(np.append(np.arange(self.ratios[0], self.ratios[-1], RATIO_STEP), self.ratios))
        low, share = self._place(ratios)
        size, edge = np.exp(ratios)[:, None], self._mixed(self.edge, low, share)
        table = np.maximum(1 + size * self._mixed(self.table, low, share[:, None]), 0.0)
        table = np.where(edge[:, None] > KNOTS, 0.0, table)
        means = np.array([_mean_of(row, first) for row, first in zip(table, edge, strict=True)])[:, None]
        return replace(self, ratios=ratios, table=(table / means - 1) / size, edge=edge)

    def _place(self, ratio: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
        """Return the class below each ratio, and how far the ratio is on the way to the class above."""
        last = len(self.ratios) - 1
        place = np.interp(ratio, self.ratios, np.arange(last + 1.0))
        low = np.minimum(place.astype(np.int64), max(last - 1, 0))
        return low, place - low

    def _mixed(self, by_class: Floats, low: npt.NDArray[np.int64], share: Floats) -> Floats:
        above = np.minimum(low + 1, len(by_class) - 1)
        return np.asarray((1 - share) * by_class[low] + share * by_class[above])

    def _interpolated(self, low: npt.NDArray[np.int64], share: Floats, score: Floats) -> Floats:
        """Return q at scores (n,) between two classes each."""
        place = np.clip((score - KNOTS[0]) / STEP, 0, len(KNOTS) - 1)
        left = np.minimum(place.astype(np.int64), len(KNOTS) - 2)
        step, flat = place - left, self.table.reshape(-1)
        ends = []
        for row in (low, np.minimum(low + 1, len(self.ratios) - 1)):
            at = row * len(KNOTS) + left
            ends.append(flat[at] + step * (flat[at + 1] - flat[at]))
        return np.asarray(ends[0] + share * (ends[1] - ends[0]))


def fit_distribution(
    truth: Floats,
    mean: Floats,
    std: Floats,
    group: npt.NDArray[np.int64],
    lower: float | None,
    upper: float | None,
) -> Distribution:
    """Return the distribution of truths around fills of hidden cells; without any cell, that of the prior.

    Args:
        truth: (n,) values that were hidden.
        mean: (n,) the fill, within the bounds.
        std: (n,) its standard deviation.
        group: (n,) number of the group of cells that are wrong together.
        lower: the bound below, None for none.
        upper: the bound above, None for none.
    """
    empty = Distribution(lower, upper, np.zeros(1), KNOTS[None], np.full(1, 2 * KNOTS[0]))
    room, turn = empty._rooms(mean)
    known = (room > 0) & (std > 0)
    change, std, room, group = (turn * (truth - mean))[known], std[known], room[known], group[known]
    ratio, q, dry = _log_ratio(std, room), np.clip(change / std, -MAX_SCORE, MAX_SCORE), change <= -room
    number = min(MAX_CLASSES, len(q) // CLASS_CELLS, len(np.unique(group)) // CLASS_GROUPS, len(np.unique(ratio)))
    parts = np.array_split(np.argsort(ratio, kind="stable"), max(number, 1)) if len(q) else []
    classes = {
        float(np.median(ratio[part])): _class_of(q[part], dry[part], ratio[part], std[part], group[part], empty.bounded)
        for part in parts
    }
    if empty.bounded:
        if classes:
            lowest = min(classes)
            for below in lowest - BEYOND:  # as the lowest class, and as rarely at the bound as by the prior
                table, edge = classes[lowest]
                classes[float(below)] = table, min(edge, _prior(float(below))[1])
        for far in max(classes) + BEYOND if classes else PRIOR_RATIOS:
            classes[float(far)] = _prior(float(far))
    elif not classes:
        classes[0.0] = KNOTS, 2 * KNOTS[0]
    ratios = sorted(classes)
    coarse = replace(
        empty,
        ratios=np.array(ratios),
        table=np.stack([classes[r][0] for r in ratios]),
        edge=np.array([classes[r][1] for r in ratios]),
    )
    return coarse._with_exact_means() if coarse.bounded else coarse


def _class_of(
    q: Floats,
    dry: npt.NDArray[np.bool_],
    ratio: Floats,
    std: Floats,
    group: npt.NDArray[np.int64],
    bounded: bool,
) -> tuple[Floats, float]:
    """Return q at KNOTS of hidden cells of one class, drawn towards the prior, and the score of its edge."""
    number, weight = len(np.unique(group)), std
    if dry.any() and not dry.all():  # each dry cell counts as one, and wet cells by how much their errors matter
        weight = np.where(dry, 1.0, std / std[~dry].mean())
    share = number / (number + PRIOR_GROUPS)
    if not bounded:
        table = _quantiles(q, weight)
        return share * (table - _mean_of(table)) + (1 - share) * KNOTS, 2 * KNOTS[0]
    size = float(np.exp(np.median(ratio)))
    prior, edge = _prior(float(np.log(size)))
    prior = 1 + size * prior  # in units of the room, from the bound on
    likely = (np.count_nonzero(dry) + _NORMAL.cdf(edge)) / (len(q) + 1)
    edge = share * float(np.clip(_NORMAL.inv_cdf(likely), 2 * KNOTS[0], MAX_EDGE)) + (1 - share) * min(edge, MAX_EDGE)
    table = np.maximum(_quantiles(np.where(dry, 0.0, 1 + size * q), weight), 0.0)
    found = _mean_of(table)
    table = table / found if found > 1 else table + (1 - found) * prior
    table = np.where(edge > KNOTS, 0.0, share * table + (1 - share) * prior)
    return (table / _mean_of(table) - 1) / size, edge


def _log_ratio(std: Floats, room: Floats | float) -> Floats:
    return np.asarray(np.log(np.maximum(std, TINY)) - np.log(np.maximum(room, TINY)))


def _quantiles(values: Floats, weight: Floats) -> Floats:
    """Return at each of KNOTS the mean of the weighted values whose ranks are nearest to the knot."""
    order = np.argsort(values, kind="stable")
    upto, sums = (np.concatenate([[0.0], np.cumsum(a[order])]) for a in (weight, weight * values))
    ends = _EDGES * upto[-1]
    return np.asarray(np.diff(np.interp(ends, upto, sums)) / np.maximum(np.diff(ends), TINY))


def _mean_of(table: Floats, edge: float = -np.inf) -> float:
    """Return the mean over scores of a table at KNOTS, which counts as zero below the edge."""
    return float(np.mean(np.where(edge > _LIKELY, 0.0, np.interp(_LIKELY, KNOTS, table))))


def _prior(log_ratio: float) -> tuple[Floats, float]:
    """Return q of the prior, and its edge: a power of a normal variable that is cut off at zero."""
    centre = float(np.interp(-log_ratio, -_PRIOR_RATIOS, _PRIOR_CENTRES))
    table = np.maximum(centre + KNOTS, 0) ** POWER
    return (table / _mean_of(table) - 1) / np.exp(log_ratio), max(-centre, float(2 * KNOTS[0]))


def _log_std_over_mean(centre: float) -> float:
    values = np.interp(_LIKELY, KNOTS, np.maximum(centre + KNOTS, 0) ** POWER)
    return float(np.log(values.std() / values.mean()))


_PRIOR_CENTRES = np.concatenate([np.linspace(MIN_CENTRE, 4, 57), np.geomspace(4.2, MAX_CENTRE, 30)])
_PRIOR_RATIOS = np.array([_log_std_over_mean(centre) for centre in _PRIOR_CENTRES])


def _inverse(curves: Floats, q: Floats) -> Floats:
    """Return the score at which increasing curves (n, K) reach values (n,)."""
    rows, ends = np.arange(len(q)), []
    for side in (curves < q[:, None], curves <= q[:, None]):  # where a curve is flat, the middle counts
        right = np.clip(side.sum(axis=1), 1, len(KNOTS) - 1)
        low, high = curves[rows, right - 1], curves[rows, right]
        share = np.where(high > low, (q - low) / np.where(high > low, high - low, 1), 0.0)
        ends.append(KNOTS[right - 1] + np.clip(share, 0, 1) * STEP)
    return np.asarray((ends[0] + ends[1]) / 2)


def _mean_score_below(edge: Floats) -> Floats:
    """Return the mean of a standard normal variable that is below each edge."""
    return np.interp(edge, _BELOW, [-_NORMAL.pdf(e) / _NORMAL.cdf(e) for e in _BELOW])


_BELOW = np.linspace(2 * KNOTS[0], MAX_EDGE, 100)
