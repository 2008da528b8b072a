"""The interface of cubes for training, wherever the values lie, and the cube whose values are in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from hydrofill.cf.dataset import typical_step_s
from hydrofill.cube import Kind, Sites, WaterCube
from hydrofill.specification import VariableInfo
from hydrofill.summary import Summary, summary_of


class WindowedCube(Protocol):
    """A cube that windows are cut from: a `WaterCube`, or any `Cube`."""

    @property
    def time(self) -> np.ndarray:
        """(T,) datetime64[ns]."""

    @property
    def sites(self) -> Sites:
        """All sites."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, H, W)."""

    @property
    def variables(self) -> Mapping[str, VariableInfo]:
        """The variables by name."""

    def of_kind(self, *kinds: Kind) -> Mapping[str, VariableInfo]:
        """Return the variables of these kinds, in the cube's order."""

    def window(self, time: slice, y: slice, x: slice) -> WaterCube:
        """Return the part within the slices, and the sites in it, in memory."""


class Cube(WindowedCube, Protocol):
    """A cube that a layout and statistics can be chosen from, and a training can learn from."""

    @property
    def y(self) -> np.ndarray:
        """(H,) float64."""

    @property
    def x(self) -> np.ndarray:
        """(W,) float64."""

    @property
    def step_s(self) -> float | None:
        """The median time step in seconds; None for a single frame."""

    def inside(self, name: str) -> np.ndarray:
        """Return (H, W) or (N,) bool: where the variable lives."""

    def summary(self, name: str) -> Summary:
        """Return the moments of the variable's observed values."""

    def without_steps(self, steps: np.ndarray) -> Cube:
        """Return the same cube with everything at these (T,) bool steps missing; its domain stays."""

    def excerpt(self, steps: np.ndarray, reach: int, max_values: int) -> tuple[WaterCube, np.ndarray]:
        """Return a part in memory that holds the chosen (T,) bool steps, and which of its steps those are.

        Args:
            steps: the steps of interest.
            reach: steps before and after that are kept as well.
            max_values: how many values may be loaded; a cube in memory is returned whole.
        """


@dataclass(frozen=True, eq=False)
class LoadedCube(WaterCube):
    """A `WaterCube` that training can learn from: a `Cube` whose values are in memory."""

    @classmethod
    def of(cls, cube: WaterCube) -> LoadedCube:
        """Return `cube` as a `Cube`; no values are copied."""
        return cls(cube.time, cube.y, cube.x, cube.sites, cube.variables, cube.domain, cube.calendar)

    @property
    def step_s(self) -> float | None:
        """The median time step in seconds; None for a single frame."""
        return typical_step_s(self.time)

    def summary(self, name: str) -> Summary:
        """Return the moments of the variable's observed values."""
        return summary_of(self.variables[name].values)

    def without_steps(self, steps: np.ndarray) -> LoadedCube:
        """Return the same cube with everything at these (T,) bool steps missing; its domain stays."""
        emptied = {}
        for name, variable in self.of_kind("grid", "series").items():
            values = variable.values.copy()
            values[steps] = np.nan
            emptied[name] = values
        domain = {n: self.inside(n) for n in self.of_kind("grid")}
        return replace(self, variables=self.with_values(emptied).variables, domain=domain)

    def excerpt(self, steps: np.ndarray, reach: int, max_values: int) -> tuple[WaterCube, np.ndarray]:
        """Return the whole cube and `steps`: nothing has to be loaded."""
        del reach, max_values
        return self, steps
