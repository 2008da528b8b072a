"""Fill every variable at a size near one, whatever its units: rain in m s-1 is as small as 1e-8.

Values are multiplied by powers of two, which is exact, so that observed values and fills lose nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from hydrofill.blocks import Box
from hydrofill.cube import WaterCube
from hydrofill.general.context import scale_of
from hydrofill.layout import Layout
from hydrofill.reconstruct import FilledVariable
from hydrofill.survey import Source

MAX_EXPONENT = 100  # of a power of two: float32 ends at 127


def factors_of(cube: WaterCube, layout: Layout) -> dict[str, float]:
    """Return by variable the power of two that brings the standard deviation of its values near one."""
    return factors_by(
        {s.name: scale_of(cube.variables[s.name].values, square_root=False).std for s in layout.variables}
    )


def factors_by(stds: Mapping[str, float]) -> dict[str, float]:
    """Return by variable the power of two that brings these standard deviations near one."""
    factors = {}
    for name, std in stds.items():
        exponent = min(max(round(math.log2(std)), -MAX_EXPONENT), MAX_EXPONENT)
        factors[name] = 2.0**-exponent
    return factors


@dataclass(frozen=True, eq=False)
class ScaledSource:
    """A record whose variables in `factors` are multiplied when they are read."""

    source: Source
    factors: Mapping[str, float]

    @property
    def axes(self) -> WaterCube:
        """The axes of the record."""
        return self.source.axes

    @property
    def grid_units(self) -> str:
        """Units of the grid's coordinates."""
        return self.source.grid_units

    @property
    def chunk(self) -> tuple[int, int, int]:
        """Steps, rows and columns that are stored together."""
        return self.source.chunk

    def read(self, box: Box) -> WaterCube:
        """Return a part of the record."""
        return scaled_cube(self.source.read(box), self.factors)


def scaled_cube(cube: WaterCube, factors: Mapping[str, float]) -> WaterCube:
    """Return the cube with the variables in `factors` multiplied."""
    return cube.with_values(
        {n: cube.variables[n].values * cube.variables[n].values.dtype.type(f) for n, f in factors.items()}
    )


def scaled_layout(layout: Layout, factors: Mapping[str, float]) -> Layout:
    """Return the layout with the bounds of the variables multiplied."""
    specs = tuple(
        spec.model_copy(
            update={
                side: None if (bound := getattr(spec, side)) is None else bound * factors[spec.name]
                for side in ("lower", "upper")
            }
        )
        for spec in layout.variables
    )
    return layout.model_copy(update={"variables": specs})


def unscaled_fill(filled: FilledVariable, factor: float) -> FilledVariable:
    """Return a fill of a multiplied variable in the variable's own units."""
    own = filled.mean.dtype.type(1 / factor)
    return replace(filled, mean=filled.mean * own, std=filled.std * own)
