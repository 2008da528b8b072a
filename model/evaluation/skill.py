"""Skill on cells that were hidden on purpose, by variable and kind of gap, with baselines beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from hydrofill.bundle import Skill
from hydrofill.calibration import Calibration
from hydrofill.cube import WaterCube
from hydrofill.layout import Layout
from hydrofill.reconstruct import Predictor, reconstruct
from model.baselines.in_time import cell_mean, linear_in_time
from model.config import MaskingConfig
from model.data.training_records import hide
from model.evaluation.metrics.measures import scores

KINDS = ("clouds", "squares", "swaths", "frames")
HIDDEN_SHARE = 0.4
OUTAGE = "outages"


def evaluate(
    cube: WaterCube,
    layout: Layout,
    predict: Predictor,
    steps: np.ndarray,
    seed: int,
    calibration: Mapping[str, Calibration] | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Skill, ...]:
    """Scores of `predict` on cells hidden at `steps` (T,) bool, each kind of gap in its own pass.

    Everything else that the cube holds is visible, as it is to somebody who fills this file.
    """
    rng = np.random.default_rng(seed)
    rows: list[Skill] = []
    for number, kind in enumerate(KINDS):
        if progress is not None:
            progress(kind)
        hidden = _hidden(rng, cube, layout, kind, steps, series=number == 0)
        if hidden:
            rows += _score(cube, layout, predict, kind, hidden, calibration)
    return tuple(sorted(rows, key=lambda row: [v.name for v in layout.variables].index(row.variable)))


def _hidden(
    rng: np.random.Generator, cube: WaterCube, layout: Layout, kind: str, steps: np.ndarray, series: bool
) -> dict[str, np.ndarray]:
    hidden = {}
    for spec in layout.variables:
        variable = cube.variables[spec.name]
        if spec.kind == "series" and not series:
            continue
        drawn = np.zeros(variable.values.shape, bool)
        for block in np.split(np.flatnonzero(steps), np.flatnonzero(np.diff(np.flatnonzero(steps)) > 1) + 1):
            shape = (len(block), *variable.values.shape[1:])
            drawn[block] = hide(rng, kind, shape, HIDDEN_SHARE, layout, MaskingConfig())
        hidden[spec.name] = drawn & variable.valid
    return {name: h for name, h in hidden.items() if h.any()}


def _score(
    cube: WaterCube,
    layout: Layout,
    predict: Predictor,
    kind: str,
    hidden: dict[str, np.ndarray],
    calibration: Mapping[str, Calibration] | None,
) -> list[Skill]:
    gappy = cube.with_values({n: np.where(h, np.float32(np.nan), cube.variables[n].values) for n, h in hidden.items()})
    filled = reconstruct(gappy, layout, predict, names=list(hidden), only=hidden, calibration=calibration)
    rows = []
    for name, cells in hidden.items():
        cells = cells & ~np.isnan(filled[name].mean)
        if not cells.any():
            continue
        truth, values = cube.variables[name].values[cells], gappy.variables[name].values
        ours = scores(truth, filled[name].mean[cells], filled[name].std[cells])
        rows.append(
            Skill(
                variable=name,
                gap=OUTAGE if cube.variables[name].kind == "series" else kind,
                cells=ours.n,
                rmse=ours.rmse,
                bias=ours.bias,
                crps=ours.crps if ours.crps is not None else float("nan"),
                coverage90=ours.coverage90 if ours.coverage90 is not None else float("nan"),
                linear_rmse=_rmse(truth, linear_in_time(values, cube.time)[cells]),
                mean_rmse=_rmse(truth, cell_mean(values)[cells]),
            )
        )
    return rows


def _rmse(truth: np.ndarray, filled: np.ndarray) -> float | None:
    there = ~np.isnan(filled)
    return float(np.sqrt(np.mean((truth[there] - filled[there]) ** 2))) if there.any() else None
