"""Calibrate a trained network on cells that are hidden on purpose."""

from __future__ import annotations

import numpy as np

from hydrofill.calibration import Calibration, distance_classes
from hydrofill.conformal import calibration_of
from hydrofill.cube import WaterCube
from hydrofill.layout import Layout
from hydrofill.reconstruct import Predictor
from model.config import MaskingConfig
from model.data.training_records import draw_extent
from model.evaluation.hidden_cells import fill_hidden, network_filler
from model.gaps.drawing import draw_gaps

PASS_VALUES = 3_000_000  # read in all passes together: small data is hidden more often
PASSES = (3, 12)  # fewest and most times that gaps of all kinds are drawn, above all the data's own
FRAME_PASSES = (2, 8)  # fewest and most times that whole frames alone are drawn: the other passes hide few
HIDDEN_STEP_SHARE = 0.2  # of the steps in a pass: about as much is visible as when the data itself is filled
MAX_HIDDEN_STEPS = 120  # in a pass: more steps add little
OWN_GAPS = 0.8  # share of the hidden steps that get the data's own gaps
FRAME = 4  # row of the frame's number in what is collected of hidden cells


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
    return {name: calibration_of(np.concatenate(p, axis=1), specs[name]) for name, p in pairs.items() if p}


def _hide_and_fill(
    rng: np.random.Generator, part: WaterCube, layout: Layout, predict: Predictor, config: MaskingConfig
) -> dict[str, np.ndarray]:
    """Return by variable (5, n): truth, mean, standard deviation, distance class and step of the cells hidden."""
    dynamic = part.of_kind("grid", "series")
    hidden = {name: drawn & dynamic[name].valid for name, drawn in draw_gaps(rng, part, layout, config).items()}
    if not any((dynamic[name].valid & ~cells).any() for name, cells in hidden.items()):
        return {}
    found = {}
    for name, cells in fill_hidden(part, network_filler(layout, predict), hidden).items():
        at = cells.filled
        distance = distance_classes(~np.isnan(cells.visible))
        step = np.broadcast_to(np.arange(len(part.time)).reshape(-1, *[1] * (at.ndim - 1)), at.shape)
        collected = (cells.truth, cells.mean, cells.std, distance, step)
        found[name] = np.stack([a[at].astype(np.float64) for a in collected])
    return {name: f for name, f in found.items() if f.size}


def _number_of_passes(cube: WaterCube, fewest: int, most: int) -> int:
    """Return as many passes as read PASS_VALUES, between `fewest` and `most`."""
    values = sum(v.values.size for v in cube.of_kind("grid", "series").values())
    return int(np.clip(PASS_VALUES // max(values, 1), fewest, most))
