"""River routing: the channel of every cell is a linear reservoir that flows into the next."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from hydrofill.constants import DAY_S
from model.datasets.simulator.drainage import Drainage

WAVE_M_S = 0.8  # celerity of a flood wave in a medium-sized river (Beven 2012, Rainfall-Runoff Modelling, ch. 5)


class Channels:
    """Linear reservoirs along the drainage tree with daily time steps; a flood wave crosses many cells in one day.

    Backward Euler: outflow q = c (stored + runoff + q of the cells upstream), c = 1 / (1 + travel time in days), one
    triangular system for all cells. The outflow of a cell is exactly the inflow of the next, so that rounding in the
    solver does not create or lose water.
    """

    def __init__(self, drainage: Drainage) -> None:
        self.inflow = drainage.inflow
        self.share = 1 / (1 + drainage.reach / WAVE_M_S / DAY_S)  # (n,)
        system = sparse.eye_array(len(self.share)) - sparse.diags_array(self.share) @ self.inflow
        self.solver = splu(sparse.csc_matrix(system), permc_spec="NATURAL", diag_pivot_thresh=0.0)

    def route(self, stored: np.ndarray, runoff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the water stored after the day and the day's outflow of each cell, both (n,) mm over a cell."""
        outflow = self.solver.solve(self.share * (stored + runoff))
        return stored + runoff + self.inflow @ outflow - outflow, outflow


def to_flow(depth_mm: np.ndarray, cell_m: float) -> np.ndarray:
    """Return a day's outflow, mm over one cell, as a mean flow in m3 s-1."""
    return depth_mm * (cell_m**2 / 1000 / DAY_S)
