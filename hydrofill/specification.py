"""Specify variables and places for a model from the data: floors, transforms, origin and spacing of the grid."""

from __future__ import annotations

import re
from typing import Protocol

import numpy as np

from hydrofill.cf.units import conversion
from hydrofill.constants import DAY_S
from hydrofill.cube import Kind, Sites
from hydrofill.errors import UnitsError
from hydrofill.layout import Place, VariableSpec
from hydrofill.summary import PILED_UP, Summary

# Words in the names of variables that have a floor at zero, or a ceiling where their units say so.
NEVER_NEGATIVE = re.compile(
    r"rain|precip|snow|swe\b|discharge|streamflow|river_?flow|runoff|humidity|fraction|cover|saturation|probability"
    r"|soil_?(moisture|water)|swvl|concentration|chlorophyll|turbidity|wind_speed|radiation|vapou?r_pressure"
)
SHARE = re.compile(r"fraction|cover|saturation|humidity|probability|albedo|emissivity|ndvi")
PER_CENT, UNITLESS = ("%", "percent", "per cent", "pct"), ("", "1", "-", "fraction")


class VariableInfo(Protocol):
    """A variable without its values."""

    @property
    def name(self) -> str:
        """Its name in the cube."""

    @property
    def kind(self) -> Kind:
        """Which dimensions it has."""

    @property
    def units(self) -> str:
        """Physical units; "" where the data does not say."""

    @property
    def standard_name(self) -> str:
        """The CF standard name, or ""."""

    @property
    def long_name(self) -> str:
        """The long name, or ""."""


def specify_variable(variable: VariableInfo, summary: Summary) -> VariableSpec:
    """Return the specification of a variable to fill: floor, ceiling and transform by its name, units and values."""
    floor = _floor(variable, summary)
    return specify_static(variable).model_copy(
        update={
            "lower": floor,
            "upper": _ceiling(variable, summary) if floor == 0.0 else None,
            "transform": "sqrt" if floor == 0.0 and summary.suits_square_root else "identity",
        }
    )


def never_negative(variable: VariableInfo) -> bool:
    """Return whether the names of a variable say that its values cannot be below zero."""
    return NEVER_NEGATIVE.search(_names(variable)) is not None


def _floor(variable: VariableInfo, summary: Summary) -> float | None:
    """Return zero for a variable that cannot be negative, by its values or by its name; else None."""
    if zero_is_a_convention(variable.units) or not summary.is_negative_by_noise_at_most:
        return None
    return 0.0 if summary.has_zero_floor or never_negative(variable) else None


def _ceiling(variable: VariableInfo, summary: Summary) -> float | None:
    """Return 100 or 1 for a variable that cannot be larger, by its units, its name and its values; else None."""
    units = variable.units.strip().lower()
    if units in PER_CENT and summary.stays_below(100):
        return 100.0
    of_share = units in UNITLESS and SHARE.search(_names(variable)) is not None
    if summary.stays_below(1) and (of_share or summary.one_share >= PILED_UP):
        return 1.0
    return 100.0 if summary.stays_below(100) and summary.hundred_share >= PILED_UP else None


def _names(variable: VariableInfo) -> str:
    return f"{variable.name} {variable.standard_name} {variable.long_name}".lower()


def specify_static(variable: VariableInfo) -> VariableSpec:
    """Return the specification of a variable that is seen and not filled: without bounds and transform."""
    return VariableSpec(
        name=variable.name,
        kind=variable.kind,
        units=variable.units,
        standard_name=variable.standard_name,
        long_name=variable.long_name,
    )


def zero_is_a_convention(units: str) -> bool:
    """Return whether values below zero are possible whatever was observed: degrees Celsius and Fahrenheit."""
    try:
        return conversion(units, "K", "units").offset != 0
    except UnitsError:
        return False


def place_of(y: np.ndarray, x: np.ndarray, sites: Sites, *, grid_units: str, step_s: float | None) -> Place:
    """Return the place of a grid and of sites.

    Args:
        y: (H,) coordinates of the rows; empty without a grid.
        x: (W,) coordinates of the columns; empty without a grid.
        sites: the gauges.
        grid_units: units of the coordinates, "" if unknown.
        step_s: the time step in seconds; None for a single frame, which counts as a day.
    """
    (y_origin, y_spacing, rows), (x_origin, x_spacing, columns) = _axis(y, sites.y), _axis(x, sites.x)
    return Place(
        y_origin=y_origin,
        x_origin=x_origin,
        y_spacing=y_spacing,
        x_spacing=x_spacing,
        rows=rows,
        columns=columns,
        units=grid_units,
        step_s=step_s or DAY_S,
    )


def _axis(values: np.ndarray, sites: np.ndarray) -> tuple[float, float, int]:
    """Return origin, spacing and number of cells of an axis; of sites alone, a notional grid of 32 cells over them."""
    if len(values) > 1:
        return float(values.min()), float(np.abs(np.diff(values)).mean()), len(values)
    if len(values) == 1:
        return float(values[0]), 1.0, 1
    extent = float(np.ptp(sites)) or 1.0
    return float(sites.min()), extent / 32, 33
