"""Conformal stretching of predicted spreads, and dry fills, from cells that were hidden on purpose.

Source: Lei et al. 2018 (split conformal prediction with a locally weighted score).
"""

from __future__ import annotations

import numpy as np

from hydrofill.calibration import CLASSES, Calibration, Stretch, distance_classes
from hydrofill.constants import Z90
from hydrofill.cube import WaterCube
from hydrofill.layout import Layout, VariableSpec
from hydrofill.reconstruct import Predictor, reconstruct
from model.config import MaskingConfig
from model.data.training_records import draw_gaps, extent
from model.evaluation.metrics.measures import WET_QUANTILE

COVERAGE = 0.9
MIN_CELLS_PER_CLASS = 100  # hidden cells of a class from which it has factors of its own
MAX_STD_CLASSES = 8  # of spreads that have a factor of their own in a class, from the surest cells to the least sure
MIN_FRAMES_PER_STD_CLASS = 4  # at least: cells of one frame are wrong together, and tell as much as one
VALUES = 3_000_000  # read in all passes together: small data are hidden more often
PASSES = (3, 12)  # times that gaps of all kinds are drawn, the data's own first of all
FRAME_PASSES = (2, 8)  # times that whole frames alone are: few are hidden among the others
HIDDEN_SHARE = 0.2  # of the steps in a pass: about as much is seen as when the data itself is filled
HIDDEN_STEPS = 120  # in a pass at most; more tells little more
OWN_GAPS = 0.8  # share of them that gets the data's own gaps
FACTORS = (0.05, 20.0)
MIN_STD = 1e-9  # of a spread: a sure answer that is wrong counts as very wrong, and not as a division by zero
OFTEN_DRY = 0.1  # share of zeros of a variable whose small fills may be dried: rain, and not a river
# Times the error: as far as that, the smallest fills are dried where too many cells are wet. The mean of a frame that
# nothing tells of is wet nearly everywhere.
DRYING_COST, DRYING_COST_OF_FRAMES = 1.005, 1.02
EMPTY = CLASSES.index("next step")  # the first class of cells in empty frames
FRAME = 4  # row of the frame in what is found of hidden cells
CANDIDATES = 25  # thresholds tried


def calibrate(
    cube: WaterCube, layout: Layout, predict: Predictor, config: MaskingConfig, seed: int
) -> dict[str, Calibration]:
    """By variable, what makes the 90 % interval hold 90 % of the cells hidden in `cube`, class by class of distance."""
    rng = np.random.default_rng((seed, 90))
    pairs: dict[str, list[np.ndarray]] = {spec.name: [] for spec in layout.variables}
    passes, frame_passes = (_times(cube, *range_of) for range_of in (PASSES, FRAME_PASSES))
    for number in range(passes + frame_passes):
        part = cube.window(*extent(rng, cube, layout))
        share = min(HIDDEN_SHARE, HIDDEN_STEPS / len(part.time))
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
    """By variable, (5, n): truth, mean, standard deviation, distance class and step of the cells hidden."""
    dynamic = part.of_kind("grid", "series")
    hidden = draw_gaps(rng, part, layout, config)
    gappy = part.with_values({n: np.where(h, np.float32(np.nan), dynamic[n].values) for n, h in hidden.items()})
    if not any(gappy.variables[n].valid.any() for n in dynamic):
        return {}
    wanted = {n: hidden[n] & v.valid for n, v in dynamic.items()}
    filled = reconstruct(gappy, layout, predict, names=list(wanted), only=wanted)
    found = {}
    for name, cells in wanted.items():
        at = cells & ~np.isnan(filled[name].mean)
        distance = distance_classes(gappy.variables[name].valid)
        step = np.broadcast_to(np.arange(len(part.time)).reshape(-1, *[1] * (at.ndim - 1)), at.shape)
        known = (dynamic[name].values, filled[name].mean, filled[name].std, distance, step)
        found[name] = np.stack([a[at].astype(np.float64) for a in known])
    return {name: f for name, f in found.items() if f.size}


def stretch_by_size(truth: np.ndarray, mean: np.ndarray, std: np.ndarray, frame: np.ndarray) -> Stretch:
    """The factor at each size of `std` with which COVERAGE of the truths lie within the central interval of a normal.

    Cells are sorted by `std` and split into as many sizes as their number, and that of their frames, supports.
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
    """The fill below which a cell is dry: as many as have a truth below `wet`, or as the `cost` allows; 0 if none."""
    share = float((truth < wet).mean())
    if float((mean < wet).mean()) >= share:
        return 0.0
    allowed = cost**2 * float(np.mean((mean - truth) ** 2))
    candidates = np.linspace(wet, float(np.quantile(mean, share)), CANDIDATES)
    fitting = [t for t in candidates if np.mean((np.where(mean < t, 0, mean) - truth) ** 2) <= allowed]
    return float(max(fitting, default=0.0))


def _of_variable(pairs: np.ndarray, spec: VariableSpec) -> Calibration:
    truth, mean, std, distance, frame = pairs
    every = stretch_by_size(truth, mean, std, frame)
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
        stretches.append(stretch_by_size(truth[own], mean[own], std[own], frame[own]) if enough else every)
    return Calibration(stretch=tuple(stretches), dry_below=tuple(dry))


def _times(cube: WaterCube, fewest: int, most: int) -> int:
    """How many passes: as many as read VALUES, within bounds."""
    values = sum(v.values.size for v in cube.of_kind("grid", "series").values())
    return int(np.clip(VALUES // max(values, 1), fewest, most))
