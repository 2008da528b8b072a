"""Conformal stretching of predicted spreads, and dry fills, from cells that were hidden on purpose.

Source: Lei et al. 2018 (split conformal prediction with a locally weighted score).
"""

from __future__ import annotations

import numpy as np

from export.contract.calibration import CLASSES, Calibration, distance_classes
from export.contract.cube import WaterCube
from export.contract.fill import Predictor, reconstruct
from export.contract.layout import Layout, VariableSpec
from model.config import MaskingConfig
from model.data.records import hide_in_record

COVERAGE = 0.9
Z90 = 1.6448536269514722  # 95th percentile of N(0, 1)
FEWEST = 200  # hidden cells of a class from which it has a factor of its own
PASSES = 2  # times that gaps are drawn
MOST_STEPS = 160  # of a record in which cells are hidden; more tells little more
FACTORS = (0.05, 20.0)
SMALLEST = 1e-9  # of a spread: a sure answer that is wrong counts as very wrong, and not as a division by zero
WET_QUANTILE = 0.2  # of the values above zero: what lies below counts as dry


def calibrate(
    cube: WaterCube, layout: Layout, predict: Predictor, config: MaskingConfig, seed: int
) -> dict[str, Calibration]:
    """By variable, what makes the 90 % interval hold 90 % of the cells hidden in `cube`, class by class of distance."""
    rng = np.random.default_rng((seed, 90))
    pairs: dict[str, list[np.ndarray]] = {spec.name: [] for spec in layout.variables}
    for _ in range(PASSES):
        part = _part(rng, cube, layout)
        shift = int(rng.integers(1, max(len(part.time), 2)))
        dynamic = {n: v for n, v in part.of_kind("grid", "series").items() if n in pairs}
        hidden = {n: hide_in_record(rng, v.valid, layout, config, shift) & v.valid for n, v in dynamic.items()}
        hidden = {n: h for n, h in hidden.items() if h.any()}
        gappy = part.with_values({n: np.where(h, np.float32(np.nan), dynamic[n].values) for n, h in hidden.items()})
        if not any(gappy.variables[n].valid.any() for n in dynamic):
            continue
        filled = reconstruct(gappy, layout, predict, names=list(hidden))
        for name, cells in hidden.items():
            at = cells & ~np.isnan(filled[name].mean)
            known = (
                dynamic[name].values,
                filled[name].mean,
                filled[name].std,
                distance_classes(gappy.variables[name].valid),
            )
            pairs[name].append(np.stack([a[at].astype(np.float64) for a in known]))
    specs = {spec.name: spec for spec in layout.variables}
    return {name: _of_variable(np.concatenate(p, axis=1), specs[name]) for name, p in pairs.items() if p}


def stretch(truth: np.ndarray, mean: np.ndarray, std: np.ndarray) -> float:
    """The factor on `std` with which COVERAGE of the truths lie within the central interval of a normal."""
    score = np.sort(np.abs(truth - mean) / np.maximum(std, SMALLEST))
    rank = min(len(score) - 1, int(np.ceil((len(score) + 1) * COVERAGE)) - 1)
    return float(np.clip(score[rank] / Z90, *FACTORS))


def dry_threshold(truth: np.ndarray, mean: np.ndarray, wet: float) -> float:
    """The fill below which as many cells lie as have a truth below `wet`; 0 where no cell is dry."""
    dry = float((truth < wet).mean())
    return float(np.quantile(mean, dry)) if dry > 0 else 0.0


def _part(rng: np.random.Generator, cube: WaterCube, layout: Layout) -> WaterCube:
    """A run of steps long enough for guesses, short enough to be filled soon."""
    n_time, height, width = cube.shape
    steps = min(n_time, max(MOST_STEPS, 2 * layout.window.steps))
    start = int(rng.integers(0, n_time - steps + 1))
    return cube.window(slice(start, start + steps), slice(0, height), slice(0, width))


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
