"""Gradient boosting on classical first guesses: how good a fill they give without a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hydrofill.gaps.masks import moved_gaps
from hydrofill.guesses.first_guesses import guess
from model.baselines.fill import is_rain_like

Floats = npt.NDArray[np.floating[Any]]
Singles = npt.NDArray[np.float32]
Hidden = npt.NDArray[np.bool_]

SHIFTS = 3  # how often the data's own gaps are moved to other times
MAX_ROWS = 150_000  # to learn from; more rows take longer and change the third digit
TREES, LEAVES, RATE = 300, 63, 0.06
HIDDEN_STEP_SHARE = 0.25  # of a record whose own gaps, when moved, hide nothing


class StackedUnavailableError(ImportError):
    """scikit-learn, which only this baseline needs, is not installed."""


def stacked(values: Floats, *, seed: int = 0) -> Floats:
    """Return a copy of (T, H, W) or (T, N) with gaps predicted by boosted trees from first guesses and position.

    The trees learn from observed values that the record's own gaps hide when moved to other times. A record in which
    nothing can be hidden, or nothing is missing, stays as it is.

    Raises:
        StackedUnavailableError: scikit-learn is not installed.
    """
    missing = np.isnan(values)
    if not missing.any():
        return values.copy()
    rng = np.random.default_rng(seed)
    root = is_rain_like(values)
    visible = values.astype(np.float32)
    rows, truth = _examples(rng, visible, root)
    if len(truth) == 0:
        return values.copy()
    there = ~np.isnan(rows)
    varies = np.where(there, rows, -np.inf).max(axis=0) > np.where(there, rows, np.inf).min(axis=0)
    model = _learner(seed).fit(rows[:, varies], truth)  # a column without values stops scikit-learn
    filled = values.copy()
    filled[missing] = model.predict(_features(visible, missing, root)[:, varies])
    if not (values < 0).any():
        filled[missing] = np.maximum(filled[missing], 0)
    return filled


def _learner(seed: int) -> Any:
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
    except ImportError as error:
        raise StackedUnavailableError("the baseline `stacked` needs scikit-learn: pip install scikit-learn") from error
    return HistGradientBoostingRegressor(
        max_iter=TREES, max_leaf_nodes=LEAVES, learning_rate=RATE, early_stopping=True, random_state=seed
    )


def _examples(rng: np.random.Generator, visible: Singles, root: bool) -> tuple[Singles, Singles]:
    """Return features (R, F) and truths (R,) of values hidden by the record's own gaps moved to other times."""
    seen = ~np.isnan(visible)
    n_time = len(visible)
    rows, truth = [], []
    for shift in rng.permutation(np.arange(1, n_time))[:SHIFTS]:
        hidden = moved_gaps(seen, int(shift)) & seen
        if not hidden.any():
            hidden = seen & (rng.random(n_time) < HIDDEN_STEP_SHARE).reshape(-1, *(1 for _ in visible.shape[1:]))
        chosen = _sample(rng, hidden, MAX_ROWS // SHIFTS)
        left = np.where(hidden, np.float32(np.nan), visible)
        if not chosen.any() or np.isnan(left).all():
            continue
        rows.append(_features(left, chosen, root))
        truth.append(visible[chosen])
    if not rows:
        return np.zeros((0, 0), np.float32), np.zeros(0, np.float32)
    return np.concatenate(rows), np.concatenate(truth)


def _features(visible: Singles, cells: Hidden, root: bool) -> Singles:
    """Return (R, F): first guesses, distances, position and frame mean of the record's `cells`, in its own order."""
    made = guess(visible, square_root=root)
    position = np.argwhere(cells).astype(np.float32)
    frame_mean = _frame_means(visible)[position[:, 0].astype(int)]
    return np.concatenate([made.values[cells], made.distances[cells], position, frame_mean[:, None]], axis=1)


def _frame_means(visible: Singles) -> Singles:
    """Return (T,) the mean of each step's observed values; NaN where a step has none."""
    flat = visible.reshape(len(visible), -1)
    number = (~np.isnan(flat)).sum(axis=1)
    return np.where(number > 0, np.nansum(flat, axis=1) / np.maximum(number, 1), np.nan).astype(np.float32)


def _sample(rng: np.random.Generator, cells: Hidden, number: int) -> Hidden:
    """Return the cells, or `number` of them at random where there are more."""
    flat = np.flatnonzero(cells)
    if len(flat) <= number:
        return cells
    chosen = np.zeros(cells.size, bool)
    chosen[rng.choice(flat, number, replace=False)] = True
    return chosen.reshape(cells.shape)
