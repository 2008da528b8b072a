"""Survey a record of any size in one pass: its moments, and where and when its variables have values.

A survey reads a record a few frames at a time, and depends neither on how many nor on how the record is stored: sums
are those of whole steps, added up in the order of time.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from hydrofill.blocks import Box, slabs
from hydrofill.cube import WaterCube
from hydrofill.outline import Outline
from hydrofill.progress import Progress, reported
from hydrofill.specification import specify_static
from hydrofill.summary import N_SUMS, Summary, joined_ends, summarise, sums_of_steps

SLAB_VALUES = 4_000_000  # values of a variable that a survey reads at a time
BAND_VALUES = 250_000  # values of a frame that are summed at a time


class Source(Protocol):
    """A record that is read in parts, for example a file."""

    @property
    def axes(self) -> WaterCube:
        """The axes of the record, without any variable."""

    @property
    def grid_units(self) -> str:
        """Units of the grid's coordinates, "" where unknown."""

    def read(self, box: Box) -> WaterCube:
        """Return a part of the record, with the sites whose nearest cell is in the part."""


@dataclass(frozen=True, eq=False)
class CubeSource:
    """A record in memory as a source."""

    cube: WaterCube
    grid_units: str = ""

    @property
    def axes(self) -> WaterCube:
        """The axes of the record."""
        return replace(self.cube, variables={}, domain={})

    def read(self, box: Box) -> WaterCube:
        """Return a part of the record."""
        return self.cube.window(*box)


@dataclass(frozen=True, eq=False)
class SurveyedVariable:
    """A variable in a survey.

    sums: (T, N_SUMS) float64, of its observed values at each step. ends: (T, 2, END_COLUMNS), both ends at each step.
    inside: (H, W) or (N,) bool, where it has values at any time, or where its domain says. factor: what the values
    count multiplied by.
    """

    sums: np.ndarray
    ends: np.ndarray
    inside: np.ndarray
    factor: float = 1.0

    @property
    def summary(self) -> Summary:
        """The summary of the observed values."""
        found = summarise(self.sums, self.ends)
        return found if self.factor == 1 else found.scaled(self.factor)

    @property
    def seen(self) -> np.ndarray:
        """Number of values at each step, (T,) int."""
        return self.sums[:, 0].astype(np.int64)


@dataclass(frozen=True, eq=False)
class Survey:
    """A survey: the outline of the record, and by name each variable that has a value."""

    outline: Outline
    variables: Mapping[str, SurveyedVariable]

    def scaled(self, factors: Mapping[str, float]) -> Survey:
        """Return the survey of the same record with the variables in `factors` multiplied."""
        scaled = {name: replace(v, factor=v.factor * factors[name]) for name, v in self.variables.items()}
        return replace(self, variables=scaled)

    def seed(self, name: str) -> int:
        """Return a seed that depends on the name of a variable and on where and when the variable is observed."""
        variable = self.variables[name]
        content = np.packbits(variable.inside).tobytes() + variable.seen.astype("<i8").tobytes()
        return zlib.crc32(content, zlib.crc32(name.encode()))


def survey(source: Source, progress: Progress | None = None) -> Survey:
    """Read a whole record once, and return its survey; `progress` is called with (slabs done, slabs in all)."""
    sums: dict[str, list[np.ndarray]] = {}
    ends: dict[str, list[np.ndarray]] = {}
    inside: dict[str, np.ndarray] = {}
    for box in reported(list(slabs(source.axes.shape, SLAB_VALUES)), progress):
        part = source.read(box)
        for name, variable in part.of_kind("grid", "series").items():
            of_part = [_sums(step) for step in variable.values]
            sums.setdefault(name, []).extend(total for total, _ in of_part)
            ends.setdefault(name, []).extend(found for _, found in of_part)
            inside[name] = inside.get(name, np.False_) | part.inside(name)
    found = {n: SurveyedVariable(np.stack(of_steps), np.stack(ends[n]), inside[n]) for n, of_steps in sums.items()}
    return outline_survey(source, found)


def outline_survey(source: Source, variables: Mapping[str, SurveyedVariable]) -> Survey:
    """Return the survey of a record whose variables were surveyed; those without any value are left out."""
    axes = source.axes
    first = source.read(Box(slice(0, 1), slice(0, len(axes.y)), slice(0, len(axes.x))))
    found = {name: variable for name, variable in variables.items() if variable.seen.any()}
    described = [(specify_static(first.variables[name]), variable.summary) for name, variable in found.items()]
    static = list(first.of_kind("static_grid", "static_site").values())
    return Survey(Outline(axes.time, axes.y, axes.x, axes.sites, described, static, source.grid_units), found)


def _sums(step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums (N_SUMS,) and the ends (2, END_COLUMNS) of one step, (H, W) or (N,), band by band."""
    flat = step.reshape(-1)
    bands = [
        sums_of_steps(flat[None, start : start + BAND_VALUES]) for start in range(0, max(len(flat), 1), BAND_VALUES)
    ]
    total = np.zeros(N_SUMS)
    for (of_band,), _ in bands:
        total += of_band
    return total, joined_ends(np.concatenate([ends for _, ends in bands]))


def read_part(source: Source, box: Box, found: Survey) -> WaterCube:
    """Return a part of a record in which each variable has the domain that the survey found."""
    part = source.read(box)
    sites = np.flatnonzero(source.axes.sites_in(box.y, box.x))
    domain = {
        name: variable.inside[sites] if variable.inside.ndim == 1 else variable.inside[box.y, box.x]
        for name, variable in found.variables.items()
    }
    return replace(part, domain=domain)
