"""What the total of a variable is: an amount of water, a volume, or a mean; by its units and its cell methods."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import xarray as xr

from hydrofill.cf.units import conversion
from hydrofill.errors import UnitsError, ValueRangeError

How = Literal["sum", "mean"]
AMOUNT = re.compile(r"amount|precip|rain|snowfall|evap|runoff|(^|_)(tp|pr|prcp|ppt|pet)($|_)")
LENGTH_RATE = re.compile(r"\s*m\b")  # metres a time, which may be a wind or a current too
SUMMED = re.compile(r"(^|[\s,:])sum\b")  # in cell_methods
OTHER_METHODS = re.compile(r"time:\s*(maximum|minimum|mid_range|range|standard_deviation|variance|median|mode)")


@dataclass(frozen=True)
class Measure:
    """How a variable is added up over the steps of a period and over an area.

    how: "sum" or "mean". units: of the result. scale: from the variable's units, per second where `per_time`, to
    `units`. per_time: whether a step counts by its length. metres: a unit of the result as a depth of water, 0 for
    none: times the area, that is a volume. reason: why, for people.
    """

    how: How
    units: str
    scale: float
    per_time: bool
    metres: float
    reason: str


def measure_of(variable: xr.Variable, name: str, how: How | None = None) -> Measure:
    """Return how a variable is added up.

    Raises:
        ValueRangeError: a sum is asked for, and its units are not those of an amount, a rate or a flow.
    """
    units = str(variable.attrs.get("units", ""))
    mean = Measure("mean", units, 1.0, True, 0.0, f"{units or 'no units'}: a state, whose mean is taken")
    if how == "mean":
        return Measure("mean", units, 1.0, True, 0.0, "a mean, as asked for")
    if OTHER_METHODS.search(str(variable.attrs.get("cell_methods", ""))) and how is None:
        return Measure("mean", units, 1.0, True, 0.0, f"cell_methods {variable.attrs['cell_methods']!r}: mean taken")
    may_be_speed = LENGTH_RATE.match(units) is not None and how is None and not _is_amount(variable, name)
    if (scale := _scale(units, "mm s-1")) is not None and not may_be_speed:
        return Measure("sum", "mm", scale, True, 1e-3, f"{units}: a rate, summed over time")
    if (scale := _scale(units, "m3 s-1")) is not None:
        return Measure("sum", "m3", scale, True, 0.0, f"{units}: a flow, summed over time")
    amount = _scale(units, "mm")
    if amount is not None and (how == "sum" or _is_amount(variable, name)):
        return Measure("sum", "mm", amount, False, 1e-3, f"{units} in each step: amounts, summed")
    if how == "sum":
        if _scale(units, "m3") is not None:
            return Measure("sum", "m3", _scale(units, "m3") or 1.0, False, 0.0, f"{units} in each step, summed")
        raise ValueRangeError(
            "cannot be summed",
            where=name,
            got=f"units {units!r}",
            expected="units of an amount, a rate or a flow of water",
        )
    return mean


def _is_amount(variable: xr.Variable, name: str) -> bool:
    """Return whether values are amounts of each step, and not a level or a depth that stays."""
    if SUMMED.search(str(variable.attrs.get("cell_methods", ""))):
        return True
    names = " ".join([name, *(str(variable.attrs.get(key, "")) for key in ("standard_name", "long_name"))])
    return AMOUNT.search(names.lower().replace(" ", "_")) is not None


def _scale(units: str, to: str) -> float | None:
    """Return the factor from units to others; None if they do not convert."""
    try:
        found = conversion(units, to, "units")
    except UnitsError:
        return None
    return found.scale if found.offset == 0 else None
