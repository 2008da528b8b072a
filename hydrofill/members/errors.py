"""The errors of a fill: their distributions, and how they hang together, measured on the hidden cells of a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hydrofill.layout import VariableSpec
from hydrofill.members.covariance import fit_covariance, joined, pairs_of
from hydrofill.members.distribution import Distribution, Floats, fit_distribution
from hydrofill.members.fields import PAIR, GridFields, SeriesFields

PRIOR_CORRELATION = 0.3  # of two sites, where nothing is known
PRIOR_PAIRS = 30.0  # steps at which what was measured of two sites counts as much as what is usual


@dataclass(frozen=True, eq=False)
class HiddenErrors:
    """The hidden cells of one variable, over all draws; arrays (n,).

    truth: values. mean, std: the calibrated fill. group: number of the group of cells that are wrong together. lost:
    whether nothing was seen at the step. draw: number of the draw. index: of the cell in the flattened variable of its
    draw. shapes, sites: of each draw, the shape of the variable and the names of the sites.
    """

    truth: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    group: np.ndarray
    lost: np.ndarray
    draw: np.ndarray
    index: np.ndarray
    shapes: Sequence[tuple[int, ...]]
    sites: Sequence[np.ndarray]

    def fields(self, scores: Floats, own: npt.NDArray[np.bool_]) -> list[tuple[int, Floats]]:
        """Return number and scores of each draw, of its shape; NaN for all but `own` cells."""
        made = []
        for number, shape in enumerate(self.shapes):
            at = own & (self.draw == number)
            if at.any():
                field = np.full(int(np.prod(shape)), np.nan)
                field[self.index[at]] = scores[at]
                made.append((number, field.reshape(shape)))
        return made


@dataclass(frozen=True, eq=False)
class Errors:
    """The errors of the fill of one variable of a record.

    seed: of what is drawn. seen: (T,) bool, whether anything was observed at each step. distributions: where something
    was observed at the step, and where nothing was. fields: of scores; the covariances of a grid follow the
    distributions.
    """

    seed: int
    seen: npt.NDArray[np.bool_]
    distributions: Sequence[Distribution]
    fields: GridFields | SeriesFields

    def draw(
        self, pair: int, mean: np.ndarray, std: np.ndarray, filled: np.ndarray, start: Sequence[int], site: int | None
    ) -> np.ndarray:
        """Return the values of a pair of members in a part of the variable, (2, ...) float32; NaN where not filled.

        Args:
            pair: number of the pair.
            mean: the fill of the part, (T, H, W) or (T, N), or (T,) of one site.
            std: its standard deviation.
            filled: bool, where it was filled.
            start: index of the first cell of the part along each axis.
            site: number of the site; None for all.
        """
        out = np.full((PAIR, *mean.shape), np.nan, np.float32)
        if not filled.any():
            return out
        time, *place = (slice(first, first + n) for first, n in zip(start, mean.shape, strict=True))
        kinds = np.where(self.seen[time], 0, len(self.distributions) - 1)
        if isinstance(self.fields, GridFields):
            scores = self.fields.draw(pair, kinds, time, *place)
        else:
            scores = self.fields.draw(pair, time)
            scores = scores[..., site] if site is not None else scores[..., place[0]]
        for kind, distribution in enumerate(self.distributions):
            at = filled & (kinds == kind).reshape(-1, *[1] * (mean.ndim - 1))
            for drawn, score in zip(out, scores, strict=True):
                drawn[at] = distribution.values(mean[at].astype(np.float64), std[at].astype(np.float64), score[at])
        return out


def errors_of(
    hidden: HiddenErrors,
    spec: VariableSpec,
    factor: float,
    seed: int,
    seen: npt.NDArray[np.bool_],
    shape: tuple[int, ...],
    sites: np.ndarray,
) -> Errors:
    """Return the errors of the fill of a variable, in its own units.

    Args:
        hidden: its hidden cells.
        spec: the variable, in the units of the hidden cells.
        factor: what the values of the hidden cells were multiplied by.
        seed: of what is drawn.
        seen: (T,) bool, whether anything of the variable was observed at each step.
        shape: of the variable, (T, H, W) or (T, N).
        sites: names of the sites of the record.
    """
    everywhere = np.ones(len(hidden.truth), bool)
    parts = (~hidden.lost, hidden.lost) if len(shape) == 3 else (everywhere,)
    distributions, covariances = [], []
    scores = np.full(len(hidden.truth), np.nan)
    for own in parts:
        truth, mean, std = (a[own].astype(np.float64) for a in (hidden.truth, hidden.mean, hidden.std))
        distribution = fit_distribution(truth, mean, std, hidden.group[own], spec.lower, spec.upper)
        scores[own] = distribution.scores(truth, mean, std)
        found = [
            pairs_of(*(of_one[1] for of_one in of_draw))
            for of_draw in zip(*(hidden.fields(a, own) for a in (hidden.truth, hidden.mean, hidden.std)), strict=True)
        ]
        distributions.append(distribution.in_units(factor))
        covariances.append(fit_covariance(joined(found), len(np.unique(hidden.group[own]))))
    if len(shape) == 3:
        return Errors(seed, seen, distributions, GridFields(seed, (shape[1], shape[2]), covariances))
    place = {name: number for number, name in enumerate(sites.tolist())}
    fields = [
        (np.array([place[n] for n in hidden.sites[d].tolist()], np.int64), f)
        for d, f in hidden.fields(scores, everywhere)
    ]
    root = correlation_root(fields, len(sites))
    return Errors(seed, seen, distributions, SeriesFields(seed, root, covariances[0]))


def correlation_root(fields: Sequence[tuple[npt.NDArray[np.int64], Floats]], number: int) -> Floats:
    """Return a root of the correlation of sites: its product with its transpose is the correlation, (N, N).

    The correlation of two sites is drawn towards the mean over all pairs, or PRIOR_CORRELATION, the more the fewer
    steps both are known at.

    Args:
        fields: sites of the columns and scores (T, sites) of each draw; NaN where a value is not hidden.
        number: of sites, N.
    """
    sums, sizes, pairs = np.zeros((number, number)), np.zeros((number, number)), np.zeros((number, number))
    for sites, field in fields:
        known = ~np.isnan(field)
        values, at = np.where(known, field, 0.0), np.ix_(sites, sites)
        sums[at] += values.T @ values
        sizes[at] += (values**2).T @ known
        pairs[at] += known.astype(np.float64).T @ known
    size = np.sqrt(sizes * sizes.T)
    apart = ~np.eye(number, dtype=bool) & (pairs > 0)
    total = float(size[apart].sum())
    usual = (float(sums[apart].sum()) + PRIOR_CORRELATION * PRIOR_PAIRS) / (total + PRIOR_PAIRS)
    found = (sums + np.clip(usual, 0, 1) * PRIOR_PAIRS) / (size + PRIOR_PAIRS)
    np.fill_diagonal(found, 1.0)
    variances, vectors = np.linalg.eigh(found)
    root = vectors * np.sqrt(np.maximum(variances, 0))
    return np.asarray(root / np.linalg.norm(root, axis=1, keepdims=True))
