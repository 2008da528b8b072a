"""Skill on steps held out from training, by variable and kind of gap, with two baselines to compare with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hydrofill.bundle import Skill
from hydrofill.calibration import Calibration
from hydrofill.cube import WaterCube
from hydrofill.layout import Layout
from hydrofill.reconstruct import Predictor
from model.baselines.in_time import cell_mean, linear_in_time
from model.evaluation.hidden_cells import KINDS, HiddenCells, draw_kind, fill_hidden, gap_name, in_pass, network_filler
from model.evaluation.metrics.measures import scores


def evaluate(
    cube: WaterCube,
    layout: Layout,
    predict: Predictor,
    steps: np.ndarray,
    seed: int,
    calibration: Mapping[str, Calibration] | None = None,
) -> tuple[Skill, ...]:
    """Score `predict` on cells hidden at `steps` (T,) bool, each kind of gap in its own pass.

    Everything else that the cube holds is visible, as it is when somebody fills this file.
    """
    rng = np.random.default_rng(seed)
    fill = network_filler(layout, predict, calibration)
    rows: list[Skill] = []
    for kind in KINDS:
        hidden = _draw(rng, cube, layout, kind, steps)
        if not hidden:
            continue
        for name, cells in fill_hidden(cube, fill, hidden).items():
            if cells.filled.any():
                rows.append(_skill(name, gap_name(cube.variables[name].kind, kind), cells, cube.time))
    return tuple(sorted(rows, key=lambda row: [v.name for v in layout.variables].index(row.variable)))


def _draw(
    rng: np.random.Generator, cube: WaterCube, layout: Layout, kind: str, steps: np.ndarray
) -> dict[str, np.ndarray]:
    """Draw by variable the observed cells to hide in each block of `steps`."""
    hidden = {}
    for spec in layout.variables:
        if not in_pass(spec.kind, kind):
            continue
        variable = cube.variables[spec.name]
        drawn = np.zeros(variable.values.shape, bool)
        for block in np.split(np.flatnonzero(steps), np.flatnonzero(np.diff(np.flatnonzero(steps)) > 1) + 1):
            drawn[block] = draw_kind(rng, kind, (len(block), *variable.values.shape[1:]), layout)
        hidden[spec.name] = drawn & variable.valid
    return {name: h for name, h in hidden.items() if h.any()}


def _skill(name: str, gap: str, cells: HiddenCells, time: np.ndarray) -> Skill:
    at = cells.filled
    truth = cells.truth[at]
    ours = scores(truth, cells.mean[at], cells.std[at])
    return Skill(
        variable=name,
        gap=gap,
        cells=ours.n,
        rmse=ours.rmse,
        bias=ours.bias,
        crps=ours.crps if ours.crps is not None else float("nan"),
        coverage90=ours.coverage90 if ours.coverage90 is not None else float("nan"),
        linear_rmse=_rmse(truth, linear_in_time(cells.visible, time)[at]),
        mean_rmse=_rmse(truth, cell_mean(cells.visible)[at]),
    )


def _rmse(truth: np.ndarray, filled: np.ndarray) -> float | None:
    """Return the root mean squared error of the cells that a baseline filled; None without any."""
    there = ~np.isnan(filled)
    return float(np.sqrt(np.mean((truth[there] - filled[there]) ** 2))) if there.any() else None
