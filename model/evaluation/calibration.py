"""Conformal calibration: standard deviations stretched and small fills dried, from cells hidden on purpose.

Source: Lei et al. 2018 (split conformal prediction with a locally weighted score).
"""

from __future__ import annotations

import numpy as np

from hydrofill.calibration import CLASSES, Calibration, Stretch, distance_classes
from hydrofill.constants import Z90
from hydrofill.cube import WaterCube
from hydrofill.layout import Layout, VariableSpec
from hydrofill.reconstruct import Predictor
from model.config import MaskingConfig
from model.data.training_records import draw_extent
from model.evaluation.hidden_cells import fill_hidden
from model.evaluation.metrics.measures import WET_QUANTILE
from model.gaps.drawing import draw_gaps

COVERAGE = 0.9
MIN_CELLS_PER_CLASS = 100  # hidden cells of a class, from which the class has factors of its own
MAX_STD_CLASSES = 8  # sizes of standard deviation that have a factor of their own in a class
MIN_FRAMES_PER_STD_CLASS = 4  # cells of one frame are wrong together, and count as little more than one cell
PASS_VALUES = 3_000_000  # read in all passes together: small data is hidden more often
PASSES = (3, 12)  # fewest and most times that gaps of all kinds are drawn, above all the data's own
FRAME_PASSES = (2, 8)  # fewest and most times that whole frames alone are drawn: the other passes hide few
HIDDEN_STEP_SHARE = 0.2  # of the steps in a pass: about as much is visible as when the data itself is filled
MAX_HIDDEN_STEPS = 120  # in a pass: more steps add little
OWN_GAPS = 0.8  # share of the hidden steps that get the data's own gaps
FACTORS = (0.05, 20.0)  # bounds of a stretch
MIN_STD = 1e-9  # a certain answer that is wrong counts as very wrong, not as a division by zero
OFTEN_DRY = 0.1  # share of zeros from which a variable's small fills may be dried: rain, but not a river
# How many times as large the RMSE may become when small fills are dried where too many cells are wet. The mean of a
# frame about which nothing is known is wet nearly everywhere.
DRYING_COST, DRYING_COST_OF_FRAMES = 1.005, 1.02
EMPTY = CLASSES.index("next step")  # the first class of cells in empty frames
FRAME = 4  # row of the frame's number in what is collected of hidden cells
CANDIDATES = 25  # thresholds tried


def calibrate(
    cube: WaterCube, layout: Layout, predict: Predictor, config: MaskingConfig, seed: int
) -> dict[str, Calibration]:
    """Return by variable the calibration with which 90 % intervals hold 90 % of the cells hidden in `cube`.

    Factors are found for each class of distance from what is observed.
    """
    rng = np.random.default_rng((seed, 90))
    pairs: dict[str, list[np.ndarray]] = {spec.name: [] for spec in layout.variables}
    passes, frame_passes = (_number_of_passes(cube, *bounds) for bounds in (PASSES, FRAME_PASSES))
    for number in range(passes + frame_passes):
        part = cube.window(*draw_extent(rng, cube, layout))
        share = min(HIDDEN_STEP_SHARE, MAX_HIDDEN_STEPS / len(part.time))
        drawn = config.updated(untouched=1 - share, own_gaps=OWN_GAPS)
        if number >= passes:
            drawn = config.updated(untouched=1 - 2 * share, own_gaps=0.0, kinds=("frames",))
        for name, found in _hide_and_fill(rng, part, layout, predict, drawn).items():
            found[FRAME] += number * len(cube.time)
            pairs[name].append(found)
    specs = {spec.name: spec for spec in layout.variables}
    return {name: _of_variable(np.concatenate(p, axis=1), specs[name]) for name, p in pairs.items() if p}


def _hide_and_fill(
    rng: np.random.Generator, part: WaterCube, layout: Layout, predict: Predictor, config: MaskingConfig
) -> dict[str, np.ndarray]:
    """Return by variable (5, n): truth, mean, standard deviation, distance class and step of the cells hidden."""
    dynamic = part.of_kind("grid", "series")
    hidden = {name: drawn & dynamic[name].valid for name, drawn in draw_gaps(rng, part, layout, config).items()}
    if not any((dynamic[name].valid & ~cells).any() for name, cells in hidden.items()):
        return {}
    found = {}
    for name, cells in fill_hidden(part, layout, predict, hidden).items():
        at = cells.filled
        distance = distance_classes(~np.isnan(cells.visible))
        step = np.broadcast_to(np.arange(len(part.time)).reshape(-1, *[1] * (at.ndim - 1)), at.shape)
        collected = (cells.truth, cells.mean, cells.std, distance, step)
        found[name] = np.stack([a[at].astype(np.float64) for a in collected])
    return {name: f for name, f in found.items() if f.size}


def stretch_by_size(truth: np.ndarray, mean: np.ndarray, std: np.ndarray, frame: np.ndarray) -> Stretch:
    """Return for each size of `std` the factor with which COVERAGE of the truths lie in a normal's central interval.

    Cells are sorted by `std` and split into as many sizes as the number of cells and of frames supports.

    Args:
        truth: (n,) values that were hidden.
        mean: (n,) the fill.
        std: (n,) its standard deviation.
        frame: (n,) number of the frame that each cell is in.
    """
    score = np.abs(truth - mean) / np.maximum(std, MIN_STD)
    sizes = min(MAX_STD_CLASSES, len(std) // MIN_CELLS_PER_CLASS, len(np.unique(frame)) // MIN_FRAMES_PER_STD_CLASS)
    knots: dict[float, float] = {}
    for part in np.array_split(np.argsort(std, kind="stable"), max(sizes, 1)):
        ordered = np.sort(score[part])
        rank = min(len(ordered) - 1, int(np.ceil((len(ordered) + 1) * COVERAGE)) - 1)
        knots[max(float(np.median(std[part])), MIN_STD)] = float(np.clip(ordered[rank] / Z90, *FACTORS))
    return Stretch(std=tuple(knots), factor=tuple(knots.values()))


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


def _of_variable(pairs: np.ndarray, spec: VariableSpec) -> Calibration:
    """Return the calibration of one variable from what `_hide_and_fill` collects of it, (5, n)."""
    truth, mean, std, distance, frame = pairs
    overall = stretch_by_size(truth, mean, std, frame)
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
        stretches.append(stretch_by_size(truth[own], mean[own], std[own], frame[own]) if enough else overall)
    return Calibration(stretch=tuple(stretches), dry_below=tuple(dry))


def _number_of_passes(cube: WaterCube, fewest: int, most: int) -> int:
    """Return as many passes as read PASS_VALUES, between `fewest` and `most`."""
    values = sum(v.values.size for v in cube.of_kind("grid", "series").values())
    return int(np.clip(PASS_VALUES // max(values, 1), fewest, most))
