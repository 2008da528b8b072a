"""Observed cells hidden on purpose and filled again: what every score and every calibration is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from hydrofill.calibration import Calibration
from hydrofill.cube import Kind, WaterCube
from hydrofill.layout import Layout
from hydrofill.reconstruct import FilledVariable, Predictor, reconstruct
from model.config import MaskingConfig
from model.gaps.drawing import gaps_of_kind

KINDS = ("clouds", "squares", "swaths", "frames")  # of gaps in grids, each hidden in a pass of its own
OUTAGES = "outages"  # gaps of series, which are hidden in the first pass
HIDDEN_SHARE = 0.4

# Fills a record with gaps: the record, and by variable the cells that are wanted (bool) -> the fill of each variable.
Filler = Callable[[WaterCube, Mapping[str, np.ndarray]], Mapping[str, FilledVariable]]


@dataclass(frozen=True, eq=False)
class HiddenCells:
    """Cells of one variable that were hidden on purpose, and what they were filled with.

    All arrays have the variable's shape, (T, H, W) or (T, N), and its units.

    hidden: bool, observed cells that were not seen by what filled them. truth: values as observed. visible: values as
    they were seen, NaN where hidden or missing. mean, std: the fill; NaN at cells that were not filled.
    """

    hidden: np.ndarray
    truth: np.ndarray
    visible: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    @property
    def filled(self) -> np.ndarray:
        """Bool: hidden cells that were filled; scores are taken there."""
        filled: np.ndarray = self.hidden & ~np.isnan(self.mean)
        return filled


def network_filler(layout: Layout, predict: Predictor, calibration: Mapping[str, Calibration] | None = None) -> Filler:
    """Return the filler of a network, which fills the wanted cells alone.

    Args:
        layout: the network's.
        predict: the network.
        calibration: by variable, as in a bundle.
    """

    def fill(gappy: WaterCube, only: Mapping[str, np.ndarray]) -> Mapping[str, FilledVariable]:
        return reconstruct(gappy, layout, predict, names=list(only), only=only, calibration=calibration)

    return fill


def fill_hidden(cube: WaterCube, fill: Filler, hidden: Mapping[str, np.ndarray]) -> dict[str, HiddenCells]:
    """Hide observed cells of `cube`, fill them, and return both by variable.

    Everything else that the cube holds stays visible, as it is when somebody fills the same file.

    Args:
        cube: physical units, NaN = missing.
        fill: what fills the cube with its gaps.
        hidden: by variable, bool of its shape; True only at observed cells.
    """
    truth = {name: cube.variables[name].values for name in hidden}
    gappy = cube.with_values({n: np.where(h, np.float32(np.nan), truth[n]) for n, h in hidden.items()})
    made = fill(gappy, hidden)
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
