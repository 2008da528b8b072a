"""Conformal calibration: standard deviations stretched and small fills dried, from cells hidden on purpose.

Source: Lei et al. 2018 (split conformal prediction with a locally weighted score).
"""

from __future__ import annotations

import numpy as np

from hydrofill.calibration import CLASSES, Calibration, Stretch
from hydrofill.constants import Z90
from hydrofill.layout import VariableSpec

COVERAGE = 0.9
MIN_CELLS_PER_CLASS = 100  # hidden cells of a class, from which the class has factors of its own
MAX_STD_CLASSES = 8  # sizes of standard deviation that have a factor of their own in a class
MIN_FRAMES_PER_STD_CLASS = 4  # cells of one frame are wrong together, and count as little more than one cell
FACTORS = (0.05, 20.0)  # bounds of a stretch
MIN_STD = 1e-9  # a certain answer that is wrong counts as very wrong, not as a division by zero
OFTEN_DRY = 0.1  # share of zeros from which a variable's small fills may be dried: rain, but not a river
# How many times as large the RMSE may become when small fills are dried where too many cells are wet. The mean of a
# frame about which nothing is known is wet nearly everywhere.
DRYING_COST, DRYING_COST_OF_FRAMES = 1.005, 1.02
EMPTY = CLASSES.index("next step")  # the first class of cells in empty frames
CANDIDATES = 25  # thresholds tried
NARROWING = 15.0  # times as many groups are needed for a factor below 1 as for one above
WET_QUANTILE = 0.2  # of the values above zero: smaller values count as dry, in any unit


def stretch_by_size(
    truth: np.ndarray, mean: np.ndarray, std: np.ndarray, frame: np.ndarray, prior_groups: float = 0.0
) -> Stretch:
    """Return for each size of `std` the factor with which COVERAGE of the truths lie in a normal's central interval.

    Cells are sorted by `std` and split into as many sizes as the number of cells and of frames supports.

    Args:
        truth: (n,) values that were hidden.
        mean: (n,) the fill.
        std: (n,) its standard deviation.
        frame: (n,) number of the frame, or of another group of cells that are wrong together, of each cell.
        prior_groups: groups at which the measured factors count as much as a factor of 1.
    """
    n_groups = len(np.unique(frame))
    score = np.abs(truth - mean) / np.maximum(std, MIN_STD)
    sizes = min(MAX_STD_CLASSES, len(std) // MIN_CELLS_PER_CLASS, n_groups // MIN_FRAMES_PER_STD_CLASS)
    knots: dict[float, float] = {}
    for part in np.array_split(np.argsort(std, kind="stable"), max(sizes, 1)):
        ordered = np.sort(score[part])
        rank = min(len(ordered) - 1, int(np.ceil((len(ordered) + 1) * COVERAGE)) - 1)
        factor = _drawn(ordered[rank] / Z90, n_groups, prior_groups)
        knots[max(float(np.median(std[part])), MIN_STD)] = float(np.clip(factor, *FACTORS))
    return Stretch(std=tuple(knots), factor=tuple(knots.values()))


def _drawn(factor: float, n_groups: int, prior_groups: float) -> float:
    """Return a factor that was measured on `n_groups`, drawn towards 1.

    A factor below 1 is drawn more strongly: an interval that is too narrow misleads more than one that is too wide.
    """
    prior = prior_groups if factor >= 1 else NARROWING * prior_groups
    return float(factor ** (n_groups / (n_groups + prior))) if n_groups else 1.0


def dry_threshold(truth: np.ndarray, mean: np.ndarray, wet: float, cost: float) -> float:
    """Return the fill below which a cell counts as dry; 0 if no cell is dried.

    As many cells become dry as have a truth below `wet`, or fewer where the RMSE would rise to more than `cost` times.
    """
    share = float((truth < wet).mean())
    if float((mean < wet).mean()) >= share:
        return 0.0
    allowed = cost**2 * float(np.mean((mean - truth) ** 2))
    candidates = np.linspace(wet, float(np.quantile(mean, share)), CANDIDATES)
    fitting = [t for t in candidates if np.mean((np.where(mean < t, 0, mean) - truth) ** 2) <= allowed]
    return float(max(fitting, default=0.0))


def calibration_of(pairs: np.ndarray, spec: VariableSpec, prior_groups: float = 0.0) -> Calibration:
    """Return the calibration of one variable from its hidden cells.

    Args:
        pairs: (5, n) truth, mean, standard deviation, distance class and frame (or other group) of each cell.
        spec: the variable.
        prior_groups: groups at which the measured factors count as much as a factor of 1.
    """
    truth, mean, std, distance, frame = pairs
    overall = stretch_by_size(truth, mean, std, frame, prior_groups)
    positive = truth[truth > 0]
    has_dry_spells = spec.transform == "sqrt" and np.mean(truth <= 0) >= OFTEN_DRY and len(positive) > 0
    wet = float(np.quantile(positive, WET_QUANTILE)) if has_dry_spells else 0.0

    def dry_below(of: np.ndarray, cost: float) -> float:
        return dry_threshold(truth[of], mean[of], wet, cost) if of.sum() >= MIN_CELLS_PER_CLASS and wet > 0 else 0.0

    dry = [dry_below(distance == number, DRYING_COST) for number in range(EMPTY)]
    dry += [dry_below(distance >= EMPTY, DRYING_COST_OF_FRAMES)] * (len(CLASSES) - EMPTY)
    stretches = []
    for number in range(len(CLASSES)):
        own = distance == number
        enough = own.sum() >= MIN_CELLS_PER_CLASS
        stretches.append(
            stretch_by_size(truth[own], mean[own], std[own], frame[own], prior_groups) if enough else overall
        )
    return Calibration(stretch=tuple(stretches), dry_below=tuple(dry))
