"""Outline a record: its axes, and what is known of its variables without their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hydrofill.cube import Kind, Sites, Variable, WaterCube
from hydrofill.specification import VariableInfo
from hydrofill.summary import Summary, summary_of


@dataclass(frozen=True, eq=False)
class Outline:
    """A record without its values.

    time, y, x, sites: the axes of the record, as in a WaterCube. variables: the variables to fill, each with the
    summary of its values. static: the static variables with their values. grid_units: units of the grid's coordinates.
    """

    time: np.ndarray
    y: np.ndarray
    x: np.ndarray
    sites: Sites
    variables: Sequence[tuple[VariableInfo, Summary]]
    static: Sequence[Variable]
    grid_units: str = ""

    @classmethod
    def of(cls, cube: WaterCube, grid_units: str = "") -> Outline:
        """Return the outline of a cube: all its variables that have a value."""
        present = [v for v in cube.of_kind("grid", "series").values() if v.valid.any()]
        static = list(cube.of_kind("static_grid", "static_site").values())
        found = [(v, summary_of(v.values)) for v in present]
        return cls(cube.time, cube.y, cube.x, cube.sites, found, static, grid_units)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of time steps, rows and columns, (T, H, W)."""
        return len(self.time), len(self.y), len(self.x)

    def named(self, kind: Kind) -> list[str]:
        """Return the names of the variables to fill that are of this kind."""
        return [info.name for info, _ in self.variables if info.kind == kind]

    @property
    def num_series_values(self) -> int:
        """Number of values of series in each step."""
        return len(self.named("series")) * len(self.sites)
