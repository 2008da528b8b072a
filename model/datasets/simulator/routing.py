"""Runoff on its way down the rivers: every cell's channel is a linear reservoir that feeds the next."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from hydrofill.constants import DAY_S
from model.datasets.simulator.drainage import Drainage

WAVE_M_S = 0.8  # celerity of a flood wave in a middling river (Beven 2012, Rainfall-Runoff Modelling, ch. 5)


class Channels:
    """Linear reservoirs along the drainage tree, a day at a time; a wave crosses many cells in one day.

    Backward Euler: outflow q = c (stored + runoff + q of the cells above), c = 1 / (1 + travel time in days), one
    triangular system for all cells. Water leaves a store exactly as it enters the next, whatever the solver rounds.
    """

    def __init__(self, drainage: Drainage) -> None:
        self.inflow = drainage.inflow
        self.share = 1 / (1 + drainage.reach / WAVE_M_S / DAY_S)  # (n,)
        system = sparse.eye_array(len(self.share)) - sparse.diags_array(self.share) @ self.inflow
        self.solver = splu(sparse.csc_matrix(system), permc_spec="NATURAL", diag_pivot_thresh=0.0)

    def route(self, stored: np.ndarray, runoff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is stored after the day and what flows out of each cell in it, both (n,) mm over a cell."""
        outflow = self.solver.solve(self.share * (stored + runoff))
        return stored + runoff + self.inflow @ outflow - outflow, outflow


def to_flow(depth_mm: np.ndarray, cell_m: float) -> np.ndarray:
    """A day's outflow in mm over one cell as a mean flow in m3 s-1."""
    return depth_mm * (cell_m**2 / 1000 / DAY_S)
