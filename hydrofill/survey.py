"""Survey a record of any size in one pass: its moments, and where and when its variables have values.

A survey reads each stored chunk once where memory allows, and depends neither on what is read at a time nor on how the
record is stored: values are added up in the order of columns, rows and steps.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

import numpy as np

from hydrofill.blocks import Box, chunked_boxes, whole
from hydrofill.cube import WaterCube
from hydrofill.outline import Outline
from hydrofill.progress import Progress, reported
from hydrofill.specification import specify_static
from hydrofill.summary import RunningSums, Summary, summarise, sums_of_steps

READ_VALUES = 4_000_000  # values of a variable that a survey reads at a time, more if a stored chunk has more


class Source(Protocol):
    """A record that is read in parts, for example a file."""

    @property
    def axes(self) -> WaterCube:
        """The axes of the record, without any variable."""

    @property
    def grid_units(self) -> str:
        """Units of the grid's coordinates, "" where unknown."""

    @property
    def chunk(self) -> tuple[int, int, int]:
        """Steps, rows and columns that are stored together; 1 along an axis where any part is read alone."""

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

    @property
    def chunk(self) -> tuple[int, int, int]:
        """Any part is read alone."""
        return 1, 1, 1

    def read(self, box: Box) -> WaterCube:
        """Return a part of the record."""
        return self.cube.window(*box)


@dataclass(frozen=True, eq=False)
class SurveyedVariable:
    """A variable in a survey.

    sums: (T, N_SUMS) float64, of its observed values at each step. ends: (T, 2, END_COLUMNS), both ends at each step.
    inside: (H, W) or (N,) bool, where it has values at any time, or where its domain says. factor: what the values
    count multiplied by. span: (2, H, W) or (2, N) int64, the first and the last step with a value, (T, -1) of no value;
    None if the survey did not look.
    """

    sums: np.ndarray
    ends: np.ndarray
    inside: np.ndarray
    factor: float = 1.0
    span: np.ndarray | None = None

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


def survey(source: Source, progress: Progress | None = None, *, spans: bool = False) -> Survey:
    """Read a whole record once, and return its survey.

    Args:
        source: the record.
        progress: called with (parts done, parts in all).
        spans: whether the first and the last value of each cell are looked for.
    """
    boxes = _boxes(source)
    found: dict[str, list[SurveyedVariable]] = {}
    for time, of_time in groupby(reported(boxes, progress), key=lambda box: box.time):
        for name, of_run in _survey_run(source, time, of_time, spans).items():
            found.setdefault(name, []).append(of_run)
    return outline_survey(source, {name: _joined(of_name) for name, of_name in found.items()})


def _boxes(source: Source) -> list[Box]:
    """Return the boxes in which a record is read: parts of the grid, or runs of the series where there is no grid."""
    n_time, height, width = source.axes.shape
    if height * width:
        return list(chunked_boxes((n_time, height, width), source.chunk, READ_VALUES))
    runs = chunked_boxes((n_time, 1, len(source.axes.sites)), (1, 1, len(source.axes.sites)), READ_VALUES)
    return [whole((n_time, height, width))._replace(time=box.time) for box in runs]


def _survey_run(source: Source, time: slice, boxes: Iterable[Box], with_spans: bool) -> dict[str, SurveyedVariable]:
    """Survey a run of steps, of which the boxes are in the order of rows and columns."""
    axes, steps = source.axes, time.stop - time.start
    running: dict[str, RunningSums] = {}
    inside: dict[str, np.ndarray] = {}
    series: dict[str, np.ndarray] = {}
    spans: dict[str, np.ndarray] = {}
    for _, of_rows in groupby(boxes, key=lambda box: box.y):
        of_names: dict[str, np.ndarray] = {}
        for box in of_rows:
            part = source.read(box)
            sites = np.flatnonzero(axes.sites_in(box.y, box.x))
            for name, variable in part.of_kind("grid").items():
                sums = running.setdefault(name, RunningSums.of(steps))
                of_names[name] = sums.add(variable.values, of_names.get(name))
                inside.setdefault(name, np.zeros(axes.shape[1:], bool))[box.y, box.x] = part.inside(name)
                if with_spans:
                    span = spans.setdefault(name, np.zeros((2, *axes.shape[1:]), np.int64))
                    span[:, box.y, box.x] = span_of(variable.valid, len(axes.time), time.start)
            for name, variable in part.of_kind("series").items():
                series.setdefault(name, np.full((steps, len(axes.sites)), np.nan, np.float32))[:, sites] = (
                    variable.values
                )
                inside.setdefault(name, np.zeros(len(axes.sites), bool))[sites] = part.inside(name)
                if with_spans:
                    span = spans.setdefault(name, np.zeros((2, len(axes.sites)), np.int64))
                    span[:, sites] = span_of(variable.valid, len(axes.time), time.start)
        for name, sums_of_rows in of_names.items():
            running[name].close(sums_of_rows)
    for name, values in series.items():
        running[name] = RunningSums(*sums_of_steps(values))
    return {
        name: SurveyedVariable(sums.sums, sums.ends, inside[name], span=spans.get(name))
        for name, sums in running.items()
    }


def span_of(valid: np.ndarray, steps: int, start: int = 0) -> np.ndarray:
    """Return the first and the last step with a value, (2, ...) int64; (`steps`, -1) of no value.

    Args:
        valid: (T, ...) bool, where values are, in a run of steps.
        steps: number of steps of the record.
        start: the step of the record with which the run begins.
    """
    last = start + len(valid) - 1 - valid[::-1].argmax(axis=0)
    seen = valid.any(axis=0)
    return np.stack([np.where(seen, start + valid.argmax(axis=0), steps), np.where(seen, last, -1)]).astype(np.int64)


def _joined(runs: Sequence[SurveyedVariable]) -> SurveyedVariable:
    """Return the survey of runs of steps that follow each other."""
    sums, ends = (np.concatenate([getattr(run, of) for run in runs]) for of in ("sums", "ends"))
    spans = [run.span for run in runs if run.span is not None]
    first_last = [np.min([s[0] for s in spans], axis=0), np.max([s[1] for s in spans], axis=0)] if spans else None
    span = None if first_last is None else np.stack(first_last)
    return SurveyedVariable(sums, ends, np.any([run.inside for run in runs], axis=0), span=span)


def outline_survey(source: Source, variables: Mapping[str, SurveyedVariable]) -> Survey:
    """Return the survey of a record whose variables were surveyed; those without any value are left out."""
    axes = source.axes
    first = source.read(Box(slice(0, 1), slice(0, len(axes.y)), slice(0, len(axes.x))))
    found = {name: variable for name, variable in variables.items() if variable.seen.any()}
    described = [(specify_static(first.variables[name]), variable.summary) for name, variable in found.items()]
    static = list(first.of_kind("static_grid", "static_site").values())
    return Survey(Outline(axes.time, axes.y, axes.x, axes.sites, described, static, source.grid_units), found)


def read_part(source: Source, box: Box, found: Survey) -> WaterCube:
    """Return a part of a record in which each variable has the domain that the survey found."""
    part = source.read(box)
    sites = np.flatnonzero(source.axes.sites_in(box.y, box.x))
    domain = {
        name: variable.inside[sites] if variable.inside.ndim == 1 else variable.inside[box.y, box.x]
        for name, variable in found.variables.items()
    }
    return replace(part, domain=domain)
