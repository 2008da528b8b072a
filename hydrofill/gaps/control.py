"""Options that say which gaps are filled, and how these options are read from text."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from hydrofill.errors import OptionError
from hydrofill.reconstruct import (
    LOW_SUPPORT,
    NOT_INTERIOR,
    NOT_SELECTED,
    TOO_FAR,
    USUAL_FLAGS,
)

if TYPE_CHECKING:
    import xarray as xr

METRES = {"m": 1.0, "km": 1000.0}  # units of a length, in metres
CELLS = ("", "cell", "cells")
NUMBER = re.compile(r"\+?[0-9]{1,9}(\.[0-9]+)?")
LENGTH = re.compile(rf"({NUMBER.pattern})\s*([A-Za-z]*)")
MONTHS = re.compile(r"[0-9]\s*M$")  # pandas takes this for minutes once it is in lower case

MaxGap = int | str | timedelta | np.timedelta64 | None
MaxDistance = float | str | None


@dataclass(frozen=True)
class Distance:
    """A distance in space: `metres` or, if these are None, `cells` of the grid."""

    cells: float = 0.0
    metres: float | None = None

    def __str__(self) -> str:
        return f"{self.cells:g} cells" if self.metres is None else f"{self.metres:g} m"


@dataclass(frozen=True, eq=False)
class GapControl:
    """Which gaps are filled; by default all.

    max_gap: longest gap to fill: so many missing values in a row, or the time between the values at both ends; None for
    any. max_distance: longest distance in space from a value of the same frame; None for any. interior_only: whether a
    cell needs a value before and one after. where: the variable, or the array, that is true where cells are filled.
    support: least share of observed cells around a cell, 0 to 1.
    """

    max_gap: int | np.timedelta64 | None = None
    max_distance: Distance | None = None
    interior_only: bool = False
    where: str | xr.DataArray | None = None
    support: float = 0.0

    @classmethod
    def of(
        cls,
        max_gap: MaxGap = None,
        max_distance: MaxDistance = None,
        interior_only: bool = False,
        where: str | xr.DataArray | None = None,
        support: float | None = None,
    ) -> GapControl:
        """Read the options as they are given in Python, in a command or in a query.

        Raises:
            OptionError: a value is not possible; names the option and the value.
        """
        gap = None if max_gap is None else read_gap(max_gap)
        distance = None if max_distance is None else read_distance(max_distance)
        return cls(gap, distance, interior_only, where, read_support(support))

    @property
    def active(self) -> bool:
        """Whether any gap may be refused."""
        return self.max_gap is not None or len(self.flags) > len(USUAL_FLAGS)

    @property
    def flags(self) -> tuple[int, ...]:
        """The flags that a fill with these options can yield, ascending."""
        used = {
            TOO_FAR: self.max_distance is not None,
            NOT_INTERIOR: self.interior_only,
            NOT_SELECTED: self.where is not None,
            LOW_SUPPORT: self.support > 0,
        }
        return (*USUAL_FLAGS, *(int(flag) for flag, on in used.items() if on))

    def described(self) -> dict[str, Any]:
        """Return the options as JSON, to compare them with those of another fill."""
        gap = self.max_gap
        return {
            "max_gap": gap if gap is None or isinstance(gap, int) else str(gap),
            "max_distance": None if self.max_distance is None else str(self.max_distance),
            "interior_only": self.interior_only,
            "where": self.where if self.where is None or isinstance(self.where, str) else "an array",
            "support": self.support,
        }


def read_gap(given: int | str | timedelta | np.timedelta64) -> int | np.timedelta64:
    """Return a number of steps, or a duration such as "6h", "3D" or "PT6H".

    Raises:
        OptionError: the value is neither, or not above zero.
    """
    if isinstance(given, str) and re.fullmatch(r"[+-]?[0-9]+", given.strip()):
        given = int(given) if len(given) < 20 else 0
    if isinstance(given, int) and not isinstance(given, bool | np.timedelta64):
        if not 1 <= given <= 1_000_000:
            raise _wrong("max_gap", given, "at least 1 time step, and at most 1000000")
        return given
    duration = _duration(given)
    if duration is None or not duration > np.timedelta64(0):
        raise _wrong("max_gap", given, 'a number of time steps such as 6, or a duration such as "6h", "3D" or "PT6H"')
    return duration


def _duration(given: object) -> np.timedelta64 | None:
    import pandas as pd

    if isinstance(given, str):
        text = given.strip()
        if len(text) > 40 or not re.search(r"[A-Za-z]", text) or MONTHS.search(text):
            return None
        given = text if text.startswith("P") else text.replace("H", "h")
    if not isinstance(given, str | timedelta | np.timedelta64):
        return None
    try:
        with warnings.catch_warnings(action="ignore"):
            read = pd.Timedelta(given).to_timedelta64()
    except (ValueError, OverflowError, AttributeError):
        return None
    return read.astype("timedelta64[us]")  # as the times of a cube


def read_distance(given: float | str) -> Distance:
    """Return a distance in cells, such as 3 or "3", or a length such as "20 km" or "500 m".

    Raises:
        OptionError: the value is neither, or not above zero.
    """
    expected = 'a number of cells such as 3, or a length such as "20 km" or "500 m"'
    if isinstance(given, str):
        found = LENGTH.fullmatch(given.strip())
        unit = found[3] if found else "?"
        if found is None or (unit not in CELLS and unit not in METRES):
            raise _wrong("max_distance", given, expected)
        value = float(found[1])
        distance = Distance(value) if unit in CELLS else Distance(0.0, value * METRES[unit])
    elif isinstance(given, bool):
        raise _wrong("max_distance", given, expected)
    else:
        distance = Distance(float(given))
    size = distance.cells if distance.metres is None else distance.metres
    if not (math.isfinite(size) and size > 0):
        raise _wrong("max_distance", given, expected)
    return distance


def read_support(given: float | None) -> float:
    """Return the least share of observed cells; 0 for None.

    Raises:
        OptionError: the share is not between 0 and 1.
    """
    if given is None:
        return 0.0
    if isinstance(given, bool) or not 0 <= given <= 1:
        raise _wrong("support", given, "a share from 0 to 1")
    return float(given)


def _wrong(option: str, given: object, expected: str) -> OptionError:
    return OptionError("is not a possible value", where=option, got=repr(str(given)[:60]), expected=expected)
