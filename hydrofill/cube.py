"""The data type that all of hydrofill works on: gridded, gauged and static variables with common coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np

from hydrofill.constants import CALENDAR_YEAR_DAYS, DAY_S, STANDARD
from hydrofill.errors import CoordinateError, StructureError, ValueRangeError

Kind = Literal["grid", "series", "static_grid", "static_site"]

DIMS: Mapping[Kind, tuple[str, ...]] = {
    "grid": ("time", "y", "x"),
    "series": ("time", "site"),
    "static_grid": ("y", "x"),
    "static_site": ("site",),
}


@dataclass(frozen=True, eq=False)
class Variable:
    """One variable: `values` is float32 in physical `units`, with the dimensions of its `kind`; NaN is missing."""

    name: str
    kind: Kind
    values: np.ndarray
    units: str
    standard_name: str = ""
    long_name: str = ""

    @property
    def valid(self) -> np.ndarray:
        """True where a value is present, with the shape of `values`."""
        present: np.ndarray = ~np.isnan(self.values)
        return present


@dataclass(frozen=True, eq=False)
class Sites:
    """Gauges or catchments: `ids` (N,) strings, `y` and `x` (N,) float64 in the grid's coordinates, NaN if unknown."""

    ids: np.ndarray
    y: np.ndarray
    x: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: np.ndarray) -> Sites:
        """Return the sites at `index` (integers or booleans)."""
        return Sites(self.ids[index], self.y[index], self.x[index])


def no_sites() -> Sites:
    """Return an empty set of sites, for a cube without sites."""
    return Sites(np.array([], dtype=str), np.array([]), np.array([]))


@dataclass(frozen=True, eq=False)
class WaterCube:
    """Gridded, series and static variables on one time axis, one grid and one set of sites.

    time: (T,) datetime64, increasing: dates, or in other calendars than the standard one elapsed time as
    `hydrofill.cf.calendars` counts it. y: (H,), x: (W,) float64, monotonic; empty without a grid. domain: for each
    variable, (H, W) or (N,) bool, True at the cells or sites where the variable has values. The domain of a variable
    that is not named is every cell or site with a value at any time.
    calendar: a key of CALENDAR_YEAR_DAYS.

    Raises:
        StructureError: a shape or type does not match the coordinates; names the variable.
        CoordinateError: a coordinate is empty, not finite or not ordered; names the coordinate.
        ValueRangeError: a value is infinite; names the variable.
    """

    time: np.ndarray
    y: np.ndarray
    x: np.ndarray
    sites: Sites = field(default_factory=no_sites)
    variables: Mapping[str, Variable] = field(default_factory=dict)
    domain: Mapping[str, np.ndarray] = field(default_factory=dict)
    calendar: str = STANDARD

    def __post_init__(self) -> None:
        _check_time(self.time)
        _check_axis("y", self.y)
        _check_axis("x", self.x)
        for axis, place in (("y", self.sites.y), ("x", self.sites.x)):
            if np.isinf(place).any():
                raise CoordinateError("the coordinate of a site is infinite", where=f"sites/{axis}")
        for name, variable in self.variables.items():
            self._check_variable(name, variable)
        for name, inside in self.domain.items():
            of_series = name in self.variables and self.variables[name].kind == "series"
            expected = (len(self.sites),) if of_series else (len(self.y), len(self.x))
            if inside.shape != expected or inside.dtype != bool:
                raise StructureError(
                    f"the domain must be boolean with the shape of the {'sites' if of_series else 'grid'}",
                    where=f"{name}_domain",
                    got=inside.shape,
                    expected=expected,
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of time steps, rows and columns, (T, H, W)."""
        return len(self.time), len(self.y), len(self.x)

    @property
    def year_s(self) -> float:
        """Mean length of a year in the calendar, in seconds."""
        return CALENDAR_YEAR_DAYS[self.calendar] * DAY_S

    def of_kind(self, *kinds: Kind) -> dict[str, Variable]:
        """Return the variables of these kinds, in the cube's order."""
        return {name: v for name, v in self.variables.items() if v.kind in kinds}

    def inside(self, name: str) -> np.ndarray:
        """Return the domain of a variable, (H, W) or (N,) bool: the cells or sites where gaps count as gaps."""
        if name in self.domain:
            return self.domain[name]
        return np.asarray(self.variables[name].valid.any(axis=0))

    def gaps(self, name: str) -> np.ndarray:
        """Return the gaps of a variable, bool of its shape: missing values inside the domain."""
        return ~self.variables[name].valid & self.inside(name)

    def with_values(self, values: Mapping[str, np.ndarray]) -> WaterCube:
        """Return the same cube with other values for some variables."""
        variables = dict(self.variables)
        for name, array in values.items():
            variables[name] = replace(variables[name], values=array)
        return replace(self, variables=variables)

    def window(self, time: slice, y: slice, x: slice) -> WaterCube:
        """Return the part of the cube within the slices, with the sites of `sites_in`."""
        taken = self.sites_in(y, x)
        index = {
            "grid": (time, y, x),
            "series": (time, taken),
            "static_grid": (y, x),
            "static_site": (taken,),
        }
        return WaterCube(
            calendar=self.calendar,
            time=self.time[time],
            y=self.y[y],
            x=self.x[x],
            sites=self.sites.take(taken),
            variables={n: replace(v, values=v.values[index[v.kind]]) for n, v in self.variables.items()},
            domain={n: inside[taken] if inside.ndim == 1 else inside[y, x] for n, inside in self.domain.items()},
        )

    def sites_in(self, y: slice, x: slice) -> np.ndarray:
        """Return the sites whose nearest cell is within the slices, (N,) bool."""
        taken: np.ndarray = np.ones(len(self.sites), bool)
        for length, cells, part in zip(self.shape[1:], self._cells_of_sites, (y, x), strict=True):
            if length:
                start, stop, _ = part.indices(length)
                taken &= (cells >= start) & (cells < stop)
        return taken

    @cached_property
    def _cells_of_sites(self) -> tuple[np.ndarray, np.ndarray]:
        """The row and the column nearest to each site, (N,) each; windows are many, so they are found once."""
        return nearest_cells(self.y, self.sites.y), nearest_cells(self.x, self.sites.x)

    def _check_variable(self, name: str, variable: Variable) -> None:
        size = {"time": len(self.time), "y": len(self.y), "x": len(self.x), "site": len(self.sites)}
        expected = tuple(size[dim] for dim in DIMS[variable.kind])
        if variable.values.shape != expected:
            raise StructureError(
                f"the shape does not match the dimensions {DIMS[variable.kind]}",
                where=name,
                got=variable.values.shape,
                expected=expected,
            )
        if variable.values.dtype != np.float32:
            raise StructureError("the values must be float32", where=name, got=variable.values.dtype)
        if np.isinf(variable.values).any():
            raise ValueRangeError("has an infinite value; missing values must be NaN", where=name)


@np.errstate(over="ignore")  # a distance may be infinite
def nearest_cells(axis: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the index of the coordinate of a monotonic axis (H,) nearest to each place (N,), the first of several.

    Memory and time grow with N and the logarithm of H. Of an empty axis all indices are 0, of an unknown place the
    middle one.
    """
    unknown = np.isnan(places)
    if unknown.any():
        return np.where(unknown, len(axis) // 2, nearest_cells(axis, np.nan_to_num(places)))
    first = np.zeros(len(places), np.int64)
    if len(axis) == 0:
        return first
    turn = 1.0 if axis[0] <= axis[-1] else -1.0
    after = np.clip(np.searchsorted(turn * axis, turn * places), 0, len(axis) - 1)
    before = np.maximum(after - 1, 0)
    of_before, of_after = (np.abs(axis[cell] - places) for cell in (before, after))
    last, least = np.where(of_before <= of_after, before, after), np.minimum(of_before, of_after)
    while (first < last).any():  # rounding makes cells further up the axis as near as the nearest
        middle = (first + last) // 2
        near = np.abs(axis[middle] - places) <= least
        first, last = np.where(near, first, middle + 1), np.where(near, middle, last)
    return first


def draw_slices(rng: np.random.Generator, shape: Sequence[int], size: Sequence[int]) -> tuple[slice, slice, slice]:
    """Draw the place of a part of this size in a cube of this shape, (T, H, W) each; a larger part begins at 0."""
    starts = [int(rng.integers(0, max(n - part, 0) + 1)) for n, part in zip(shape, size, strict=True)]
    time, y, x = (slice(start, start + part) for start, part in zip(starts, size, strict=True))
    return time, y, x


def _check_time(time: np.ndarray) -> None:
    if not np.issubdtype(time.dtype, np.datetime64):
        raise CoordinateError("is not a CF time axis", where="time", got=time.dtype)
    if time.ndim != 1 or len(time) == 0:
        raise CoordinateError("must have at least one time", where="time", got=time.shape)
    if np.isnat(time).any():
        raise CoordinateError("has a missing time", where="time")
    if (np.diff(time) <= np.timedelta64(0)).any():
        at = int(np.argmax(np.diff(time) <= np.timedelta64(0))) + 1
        raise CoordinateError("must increase", where="time", got=f"{time[at]} after {time[at - 1]}")


def _check_axis(name: str, axis: np.ndarray) -> None:
    if axis.ndim != 1 or not np.isfinite(axis).all():
        raise CoordinateError("must be one-dimensional and finite", where=name)
    steps = np.diff(axis)
    if len(steps) and not ((steps > 0).all() or (steps < 0).all()):
        raise CoordinateError("must be strictly monotonic", where=name)
