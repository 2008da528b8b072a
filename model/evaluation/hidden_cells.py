"""Observed cells hidden on purpose and filled again: what every score and every calibration is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hydrofill.calibration import Calibration
from hydrofill.cube import Kind, WaterCube
from hydrofill.layout import Layout
from hydrofill.reconstruct import Predictor, reconstruct
from model.config import MaskingConfig
from model.gaps.drawing import gaps_of_kind

KINDS = ("clouds", "squares", "swaths", "frames")  # of gaps in grids, each hidden in a pass of its own
OUTAGES = "outages"  # gaps of series, which are hidden in the first pass
HIDDEN_SHARE = 0.4


@dataclass(frozen=True, eq=False)
class HiddenCells:
    """Cells of one variable that were hidden on purpose, and what a network filled them with.

    All arrays have the variable's shape, (T, H, W) or (T, N), and its units.

    hidden: bool, observed cells that the network did not see. truth: values as observed. visible: values as the network
    saw them, NaN where hidden or missing. mean, std: the network's fill; NaN at cells it did not fill.
    """

    hidden: np.ndarray
    truth: np.ndarray
    visible: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    @property
    def filled(self) -> np.ndarray:
        """Bool: hidden cells that the network filled; scores are taken there."""
        filled: np.ndarray = self.hidden & ~np.isnan(self.mean)
        return filled


def fill_hidden(
    cube: WaterCube,
    layout: Layout,
    predict: Predictor,
    hidden: Mapping[str, np.ndarray],
    calibration: Mapping[str, Calibration] | None = None,
) -> dict[str, HiddenCells]:
    """Hide observed cells of `cube`, fill these cells alone, and return both by variable.

    Everything else that the cube holds stays visible, as it is when somebody fills the same file.

    Args:
        cube: physical units, NaN = missing.
        layout: the network's.
        predict: the network.
        hidden: by variable, bool of its shape; True only at observed cells.
        calibration: by variable, as in a bundle.
    """
    truth = {name: cube.variables[name].values for name in hidden}
    gappy = cube.with_values({n: np.where(h, np.float32(np.nan), truth[n]) for n, h in hidden.items()})
    made = reconstruct(gappy, layout, predict, names=list(hidden), only=hidden, calibration=calibration)
    return {
        n: HiddenCells(h, truth[n], gappy.variables[n].values, made[n].mean, made[n].std) for n, h in hidden.items()
    }


def draw_kind(rng: np.random.Generator, kind: str, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
    """Draw `HIDDEN_SHARE` of a variable's cells, bool of `shape`; series (T, N) have outages whatever the kind."""
    return gaps_of_kind(rng, kind, shape, HIDDEN_SHARE, layout, MaskingConfig())


def in_pass(of: Kind, kind: str) -> bool:
    """Return whether a variable `of` a kind has cells hidden in the pass of a kind of gap: series in the first."""
    return of == "grid" or kind == KINDS[0]


def gap_name(of: Kind, kind: str) -> str:
    """Return what a kind of gap is called in a variable `of` a kind: all drawn gaps of series are outages."""
    return OUTAGES if of == "series" and kind in KINDS else kind
