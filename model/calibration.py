"""Conformal stretching of predicted spreads, and dry fills, from cells that were hidden on purpose.

Source: Lei et al. 2018 (split conformal prediction with a locally weighted score).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from export.contract.calibration import CLASSES, Calibration, distance_classes
from export.contract.cube import WaterCube
from export.contract.fill import Predictor, reconstruct
from export.contract.layout import Layout, VariableSpec
from model.config import MaskingConfig
from model.data.records import draw_gaps, extent
from model.metrics.measures import Z90

COVERAGE = 0.9
FEWEST = 100  # hidden cells of a class from which it has a factor of its own
PASSES = 3  # times that gaps of all kinds are drawn, the data's own first of all
FRAME_PASSES = 2  # times that whole frames alone are: few are hidden among the others
HIDDEN_SHARE = 0.2  # of the steps in a pass: about as much is seen as when the data itself is filled
HIDDEN_STEPS = 120  # in a pass at most; more tells little more
OWN_GAPS = 0.8  # share of them that gets the data's own gaps
FACTORS = (0.05, 20.0)
SMALLEST = 1e-9  # of a spread: a sure answer that is wrong counts as very wrong, and not as a division by zero
WET_QUANTILE = 0.2  # of the values above zero: what lies below counts as dry
DRYING_COST = 1.005  # times the error: as far as that, the smallest fills are dried where too many cells are wet
CANDIDATES = 25  # thresholds tried


def calibrate(
    cube: WaterCube, layout: Layout, predict: Predictor, config: MaskingConfig, seed: int
) -> dict[str, Calibration]:
    """By variable, what makes the 90 % interval hold 90 % of the cells hidden in `cube`, class by class of distance."""
    rng = np.random.default_rng((seed, 90))
    pairs: dict[str, list[np.ndarray]] = {spec.name: [] for spec in layout.variables}
    for number in range(PASSES + FRAME_PASSES):
        part = cube.window(*extent(rng, cube, layout))
        share = min(HIDDEN_SHARE, HIDDEN_STEPS / len(part.time))
        drawn = replace(config, untouched=1 - share, own_gaps=OWN_GAPS)
        if number >= PASSES:
            drawn = replace(config, untouched=1 - 2 * share, own_gaps=0.0, kinds=("frames",))
        for name, found in _hide_and_fill(rng, part, layout, predict, drawn).items():
            pairs[name].append(found)
    specs = {spec.name: spec for spec in layout.variables}
    return {name: _of_variable(np.concatenate(p, axis=1), specs[name]) for name, p in pairs.items() if p}


def _hide_and_fill(
    rng: np.random.Generator, part: WaterCube, layout: Layout, predict: Predictor, config: MaskingConfig
) -> dict[str, np.ndarray]:
    """By variable, (4, n): truth, mean, standard deviation and distance class of the cells hidden."""
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
        known = (dynamic[name].values, filled[name].mean, filled[name].std, distance)
        found[name] = np.stack([a[at].astype(np.float64) for a in known])
    return {name: f for name, f in found.items() if f.size}


def stretch(truth: np.ndarray, mean: np.ndarray, std: np.ndarray) -> float:
    """The factor on `std` with which COVERAGE of the truths lie within the central interval of a normal."""
    score = np.sort(np.abs(truth - mean) / np.maximum(std, SMALLEST))
    rank = min(len(score) - 1, int(np.ceil((len(score) + 1) * COVERAGE)) - 1)
    return float(np.clip(score[rank] / Z90, *FACTORS))


def dry_threshold(truth: np.ndarray, mean: np.ndarray, wet: float) -> float:
    """The fill below which a cell is dry: as many as have a truth below `wet`, or as DRYING_COST allows; 0 if none."""
    share = float((truth < wet).mean())
    if float((mean < wet).mean()) >= share:
        return 0.0
    allowed = DRYING_COST**2 * float(np.mean((mean - truth) ** 2))
    candidates = np.linspace(wet, float(np.quantile(mean, share)), CANDIDATES)
    fitting = [t for t in candidates if np.mean((np.where(mean < t, 0, mean) - truth) ** 2) <= allowed]
    return float(max(fitting, default=0.0))


def _of_variable(pairs: np.ndarray, spec: VariableSpec) -> Calibration:
    truth, mean, std, distance = pairs
    every = stretch(truth, mean, std)
    positive = truth[truth > 0]
    wet = float(np.quantile(positive, WET_QUANTILE)) if spec.transform == "sqrt" and len(positive) else 0.0
    factors, dry = [], []
    for number in range(len(CLASSES)):
        own = distance == number
        enough = own.sum() >= FEWEST
        factors.append(stretch(truth[own], mean[own], std[own]) if enough else every)
        dry.append(dry_threshold(truth[own], mean[own], wet) if enough and wet > 0 else 0.0)
    return Calibration(std_factor=tuple(factors), dry_below=tuple(dry))
