"""Gaps filled by empirical orthogonal functions of the gappy record itself, as DINEOF does.

Gaps start at each cell's mean. A truncated singular value decomposition of the record replaces them, again and again,
until they converge. The number of modes grows from one for as long as the error on withheld cells falls.

Sources: Beckers and Rixen 2003, J. Atmos. Oceanic Technol. 20:1839; Alvera-Azcarate et al. 2005, Ocean Modelling
9:325; cloud-shaped cells for cross-validation: Beckers et al. 2006, Ocean Sci. 2:183; the filter in time:
Alvera-Azcarate et al. 2009, Ocean Sci. 5:475.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from hydrofill.gaps.masks import moved_gaps
from model.baselines.fill import is_rain_like

Floats = npt.NDArray[np.floating[Any]]
Singles = npt.NDArray[np.float32]
Cells = npt.NDArray[np.bool_]

MAX_MODES = 30
MAX_ROUNDS = 100  # of decomposing and replacing, for each number of modes
CONVERGED = 1e-3  # of the standard deviation: a smaller change of the gaps ends the rounds, as in DINEOF itself
PATIENCE = 3  # numbers of modes without a smaller error, after which no more are tried
WITHHELD = 0.03  # share of the observed values that choose the number of modes
MIN_FRAMES = 3  # that values are withheld from: a single frame may be unlike all others
MAX_PRODUCTS = 1000  # rows or columns, whichever are fewer, up to which all their products are formed: 8 MB
MORE_VECTORS, POWERS = 10, 8  # vectors beside those wanted, and products with each, where there are more rows
FILTER_STEPS = 3
# Diffusions of the record in time that are tried, each 0 (none) to 0.5 a step: without, frames stay independent; with,
# a short record borrows from neighbouring steps.
FILTER_STRENGTHS = (0.0, 0.1)


def dineof(values: Floats, *, square_root: bool | None = None, seed: int = 0) -> Floats:
    """Return a copy of (T, H, W) or (T, N) with gaps filled from a few modes of the record.

    Empty frames are at the cells' means. A cell with nothing observed stays NaN.

    Args:
        values: NaN = missing.
        square_root: decompose the values' square roots; None does so if the values are like rain.
        seed: of the cells withheld to choose the number of modes and the filter.
    """
    root = is_rain_like(values) if square_root is None else square_root
    flat = values.reshape(len(values), -1).astype(np.float32)
    roots = np.sqrt(np.maximum(flat, 0)) if root else flat
    observed = ~np.isnan(values).reshape(flat.shape)
    filled = _means_everywhere(roots, observed)
    frames, cells = observed.any(axis=1), observed.any(axis=0)
    record = roots[np.ix_(frames, cells)]
    if record.size:
        mean = filled[np.ix_(frames, cells)]
        filled[np.ix_(frames, cells)] = mean + _decomposed(record - mean, np.random.default_rng(seed))
    filled = np.square(np.maximum(filled, 0)) if root else filled
    return np.where(np.isnan(values), filled.reshape(values.shape), values).astype(values.dtype)


def _means_everywhere(values: Singles, observed: Cells) -> Singles:
    """Return (T, N) each cell's mean at all steps; NaN where nothing is observed."""
    number = observed.sum(axis=0)
    total = np.where(observed, values, 0).sum(axis=0, dtype=np.float64)
    mean = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    return np.repeat(mean.astype(np.float32)[None], len(values), axis=0)


def _decomposed(anomaly: Singles, rng: np.random.Generator) -> Singles:
    """Return the anomalies (T, N) with gaps, NaN, filled from the best modes; no frame and no cell is empty."""
    seen = ~np.isnan(anomaly)
    withheld = choose_withheld(rng, seen)
    tried = [_Choice.of(anomaly, seen, withheld, strength) for strength in FILTER_STRENGTHS]
    best = min(tried, key=lambda choice: choice.error)
    whole = np.where(seen, anomaly, best.record).astype(np.float32)
    return whole if best.modes == 0 else _iterate(whole, seen, best.modes, best.strength)


@dataclass(frozen=True, eq=False)
class _Choice:
    """The number of modes with the smallest mean squared error on withheld cells, for one strength of the filter.

    record: (T, N) as filled with these modes.
    """

    strength: float
    modes: int
    error: float
    record: Singles

    @classmethod
    def of(cls, anomaly: Singles, seen: Cells, withheld: Cells, strength: float) -> _Choice:
        kept, worse = seen & ~withheld, 0
        record = np.where(kept, anomaly, 0).astype(np.float32)
        best = cls(strength, 0, _mean_square(anomaly[withheld]), record)
        for modes in range(1, min(MAX_MODES, min(anomaly.shape) - 1) + 1):
            record = _iterate(record, kept, modes, strength)
            error = _mean_square(record[withheld] - anomaly[withheld])
            if error < best.error:
                best, worse = cls(strength, modes, error, record), 0
            else:
                worse += 1
                if worse == PATIENCE:
                    break
        return best


def choose_withheld(rng: np.random.Generator, seen: Cells) -> Cells:
    """Return (T, N) bool: the observed values that the number of modes is chosen by.

    They lie in the record's own gaps moved to other times or, where it has none to move, anywhere. Every frame and cell
    keeps at least one value.
    """
    wanted = max(1, round(WITHHELD * int(seen.sum())))
    moved = moved_gaps(seen, int(rng.integers(1, max(len(seen), 2)))) & seen
    moved &= (seen & ~moved).any(axis=1, keepdims=True)
    order = rng.permutation(np.flatnonzero(moved.any(axis=1)))
    before = np.cumsum(moved[order].sum(axis=1)) - moved[order].sum(axis=1)
    frames = order[(before < wanted) | (np.arange(len(order)) < MIN_FRAMES)]
    chosen = np.zeros_like(seen)
    chosen[frames] = moved[frames]
    if chosen.sum() < wanted / 4:
        chosen = seen & (rng.random(seen.shape) < WITHHELD)
    chosen &= (seen & ~chosen).any(axis=1, keepdims=True)
    return chosen & (seen & ~chosen).any(axis=0)


def _iterate(record: Singles, seen: Cells, modes: int, strength: float) -> Singles:
    """Return the record with what is not `seen` replaced by its first `modes` modes until it converges."""
    record, gaps = record.copy(), (~seen).astype(np.float32)
    number = float(gaps.sum())
    if number == 0:
        return record
    enough = (CONVERGED * float(np.std(record[seen]))) ** 2
    wide = record.shape[0] <= record.shape[1]
    basis = _leading(record if wide else record.T, modes)
    for _ in range(MAX_ROUNDS):
        smooth = filtered_in_time(record, strength)
        sides = smooth if wide else smooth.T
        basis, _ = np.linalg.qr(sides @ (sides.T @ basis))  # one step on from the last round's modes
        projected = basis @ (basis.T @ sides)
        change = ((projected if wide else projected.T) - record) * gaps
        record += change
        if float(np.vdot(change, change)) <= enough * number:
            break
    return record


def _leading(sides: Singles, modes: int) -> Singles:
    """Return (n, modes): left singular vectors of the (n, m) matrix with the largest values, n <= m.

    All n x n products of the rows are formed only where n <= MAX_PRODUCTS. More rows are multiplied with random
    vectors again and again, whose cost is linear in n x m; the vectors found are as near as the rounds need to begin.

    Source: Halko, Martinsson and Tropp 2011, SIAM Review 53:217, algorithms 4.4 and 5.3.
    """
    n = len(sides)
    if n <= MAX_PRODUCTS:
        _, vectors = eigh((sides @ sides.T).astype(np.float64), subset_by_index=(n - modes, n - 1))
        return np.asarray(vectors, np.float32)
    basis = np.random.default_rng(0).standard_normal((n, modes + MORE_VECTORS), np.float32)
    for _ in range(POWERS):
        basis, _ = np.linalg.qr(sides @ (sides.T @ basis))
    small, _, _ = np.linalg.svd(basis.T @ sides, full_matrices=False)
    return np.asarray(basis @ small[:, :modes], np.float32)


def filtered_in_time(record: Singles, strength: float) -> Singles:
    """Return (T, N) after FILTER_STEPS steps of diffusion in time, with closed ends; the record itself without any.

    Each step moves `strength` times the difference of two neighbours from one to the other, so that the cost is linear
    in T, and each cell's sum stays.
    """
    if strength == 0 or len(record) < 2:
        return record
    smooth = record.copy()
    for _ in range(FILTER_STEPS):
        flow = np.diff(smooth, axis=0)
        flow *= np.float32(strength)
        smooth[:-1] += flow
        smooth[1:] -= flow
    return smooth


def _mean_square(errors: Singles) -> float:
    """Return the mean square of the errors; 0 if there are none."""
    return float(np.mean(np.square(errors))) if errors.size else 0.0
