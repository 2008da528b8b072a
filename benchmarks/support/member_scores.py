"""Scores of members against withheld truth: ranks, variograms, energy, totals over areas, monthly means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

AREAS = (5, 2)  # of a grid, along its longer and its shorter side
MONTH_STEPS = 30
SPACE_LAGS, TIME_LAGS = (1, 2, 5, 10), (1, 2, 5)
BINS = 11  # of a rank histogram
SHORTEST = 5  # fewest withheld cells of an area, or steps of a period, that are scored


@dataclass(frozen=True, eq=False)
class Withheld:
    """One variable with the truth where it was withheld.

    truth: (T, ...) complete where it is known, NaN elsewhere. hidden: bool, cells that were withheld, and filled.
    members: (N, T, ...).
    """

    truth: Floats
    hidden: npt.NDArray[np.bool_]
    members: Floats

    @property
    def independent(self) -> Withheld:
        """The same marginal distributions without anything that hangs together: members shuffled cell by cell."""
        rng, mixed = np.random.default_rng(0), self.members.copy()
        mixed[:, self.hidden] = rng.permuted(mixed[:, self.hidden], axis=0)
        return Withheld(self.truth, self.hidden, mixed)


def crps(truth: Floats, members: Floats) -> float:
    """Return the mean CRPS of members (N, n) without the bias of few members (Ferro 2014)."""
    number, ordered = len(members), np.sort(members, axis=0)
    spread = np.tensordot(2 * np.arange(1, number + 1) - number - 1, ordered, (0, 0)) / (number * (number - 1))
    return float(np.mean(np.abs(members - truth).mean(axis=0) - spread))


def reliability_index(truth: Floats, members: Floats) -> float:
    """Return the mean absolute departure of a rank histogram from a flat one, as a share of it, 0 at best.

    Equal values are ranked at random. Source: Delle Monache et al. 2006.
    """
    rng = np.random.default_rng(0)
    below, equal = (members < truth).sum(axis=0), (members == truth).sum(axis=0)
    rank = below + rng.integers(0, equal + 1)
    share = np.histogram((rank + rng.random(len(rank))) / (len(members) + 1), BINS, (0, 1))[0] / len(rank)
    return float(np.abs(share * BINS - 1).mean())


def energy_score(of: Withheld) -> float:
    """Return the mean energy score of the withheld cells of a step, over steps, per root of the number of cells."""
    scores = []
    for step in np.flatnonzero(of.hidden.reshape(len(of.hidden), -1).any(axis=1)):
        own = of.hidden[step]
        members, truth = of.members[:, step][:, own], of.truth[step][own]
        apart = (
            np.sqrt(np.maximum(np.square(members[:, None] - members[None]).sum(axis=-1), 0))
            if members.size < 2e5
            else _apart(members)
        )
        number = len(members)
        to_truth = np.linalg.norm(members - truth, axis=1).mean()
        scores.append((to_truth - apart.sum() / (2 * number * (number - 1))) / np.sqrt(own.sum()))
    return float(np.mean(scores))


def _apart(members: Floats) -> Floats:
    square = np.square(members).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(square[:, None] + square[None] - 2 * members @ members.T, 0)))


def variogram_ratios(of: Withheld) -> dict[str, float]:
    """Return by lag the variogram of the members over that of the truth, of pairs of which both are withheld."""
    truth = np.where(of.hidden, of.truth, np.nan)
    members = np.where(of.hidden, of.members, np.nan)
    lags = [("time", 0, lag) for lag in TIME_LAGS]
    lags += [("space", 1, lag) for lag in SPACE_LAGS] if truth.ndim == 3 else []
    found = {}
    for name, axis, lag in lags:
        squares = [_squares(truth, axis, lag)] + ([_squares(truth, 2, lag)] if axis else [])
        of_members = [_squares(members, axis + 1, lag)] + ([_squares(members, 3, lag)] if axis else [])
        total, number = sum(s for s, _ in squares), sum(n for _, n in squares)
        if number >= 100 and total > 0:
            found[f"{name} {lag}"] = float(sum(s for s, _ in of_members) / len(of.members) / total)
    return found


def _squares(values: Floats, axis: int, lag: int) -> tuple[float, int]:
    moved = np.moveaxis(values, axis, 0)
    apart = np.square(moved[lag:] - moved[:-lag])
    return float(np.nansum(apart)), int(np.count_nonzero(~np.isnan(apart)))


def sums(of: Withheld) -> dict[str, tuple[Floats, Floats]]:
    """Return truth (n,) and members (N, n) of totals over areas at each step, and of monthly means of each area.

    A total is over all cells whose truth is known; those that are scored hold withheld cells.
    """
    known = ~np.isnan(of.truth)
    truth, members = np.where(known, of.truth, 0.0), np.where(known, of.members, 0.0)
    areas = _areas(of.truth.shape[1:])
    totals, months = [], []
    for area in areas:
        hidden, size = (
            (of.hidden & area).reshape(len(truth), -1).sum(axis=1),
            (known & area).reshape(len(truth), -1).sum(axis=1),
        )
        own, drawn = (
            (truth * area).reshape(len(truth), -1).sum(axis=1),
            (members * area).reshape(len(members), len(truth), -1).sum(axis=2),
        )
        scored = hidden >= min(SHORTEST, int(area.sum()))
        totals.append((own[scored], drawn[:, scored]))
        for first in range(0, len(truth), MONTH_STEPS):
            period = slice(first, first + MONTH_STEPS)
            if hidden[period].sum() >= SHORTEST:
                months.append(
                    (
                        own[period].sum(keepdims=True) / size[period].sum(),
                        drawn[:, period].sum(axis=1, keepdims=True) / size[period].sum(),
                    )
                )
    found = {}
    for name, parts in (("totals", totals), ("monthly means", months)):
        if parts:
            found[name] = np.concatenate([t for t, _ in parts]), np.concatenate([m for _, m in parts], axis=1)
    return found


def _areas(shape: tuple[int, ...]) -> list[npt.NDArray[np.bool_]]:
    if len(shape) == 1:
        return [np.arange(shape[0]) == n for n in range(shape[0])]
    parts = AREAS if shape[0] >= shape[1] else AREAS[::-1]
    rows, columns = (np.minimum(np.arange(n) * part // n, part - 1) for n, part in zip(shape, parts, strict=True))
    return [(rows[:, None] == r) & (columns == c) for r in range(parts[0]) for c in range(parts[1])]


def inside_90(truth: Floats, members: Floats) -> float:
    """Return the share of truths within the 90 % interval of the members."""
    low, high = np.quantile(members, (0.05, 0.95), axis=0)
    return float(np.mean((truth >= low) & (truth <= high)))


def scores_of(of: Withheld) -> dict[str, float]:
    """Return all scores of the members of one variable."""
    truth, members = of.truth[of.hidden], of.members[:, of.hidden]
    found = {
        "reliability index": reliability_index(truth, members),
        "CRPS": crps(truth, members),
        "energy": energy_score(of),
    }
    found |= {"coverage": inside_90(truth, members)}
    found |= {f"variogram {k}": v for k, v in variogram_ratios(of).items()}
    for name, (own, drawn) in sums(of).items():
        found |= {
            f"{name} CRPS": crps(own, drawn),
            f"{name} inside 90": inside_90(own, drawn),
            f"{name} n": float(len(own)),
        }
    return found
