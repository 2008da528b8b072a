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
from hydrofill.summary import NOISE, PILED_UP, Summary

# Names of variables that have a floor at zero, or a ceiling where their units say so. Words are joined by "_".
NEVER_NEGATIVE = re.compile(
    r"rain|precip|snow|(^|[ _])swe($|[ _])|discharge|streamflow|river_?flow|runoff|humidity|fraction|cover|saturation"
    r"|probability|soil_?(moisture|water)|swvl|moisture_content|concentration|chlorophyll|turbidity|wind_speed|radiation"
    r"|vapou?r_pressure|albedo|sunshine|visibility|volume_transport"
    r"|(^| )(tp|pr|rr|ppt|pcp|prcp|hurs?|rh|huss?|clt|tcc|cc|sm|ssm|swc|snd|sde|sic|mrsos?|mrros?|dis|qobs|flow)($| )"
)
SHARE = re.compile(
    r"fraction|cover|saturation|humidity|probability|albedo|emissivity|ndvi|soil_?(moisture|water)|swvl|moisture_content"
    r"|(^| )(hurs?|rh|clt|tcc|cc|sm|ssm|swc|sic)($| )"
)
PER_CENT, UNITLESS = ("%", "percent", "per cent", "pct"), ("", "1", "-", "fraction", "0-1", "(0 - 1)")
# Units of amounts of water in a time and of concentrations: their values are not negative unless some are.
AMOUNTS = ("mm s-1", "m3 s-1", "kg m-3")


KNOWN_NOISE = 0.05  # standard deviations: so little below zero, values of a variable that cannot be negative are noise


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
            "upper": _ceiling(variable, summary, floor),
            "transform": "sqrt" if floor == 0.0 and summary.suits_square_root else "identity",
        }
    )


def never_negative(variable: VariableInfo) -> bool:
    """Return whether the names of a variable say that its values cannot be below zero."""
    return NEVER_NEGATIVE.search(_names(variable)) is not None


def _floor(variable: VariableInfo, summary: Summary) -> float | None:
    """Return zero for a variable that cannot be negative, by its values, its names or its units; else None."""
    if zero_is_a_convention(variable.units):
        return None
    if never_negative(variable) and summary.is_negative_by_at_most(KNOWN_NOISE):
        return 0.0
    known = variable.units.strip().lower() in PER_CENT or any(_converts(variable.units, to) for to in AMOUNTS)
    return 0.0 if summary.has_zero_floor or (known and summary.is_negative_by_at_most(NOISE)) else None


def _ceiling(variable: VariableInfo, summary: Summary, floor: float | None) -> float | None:
    """Return 100 or 1 for a variable that cannot be larger, or the highest value where values pile up; else None."""
    whole = _whole(variable)
    if floor == 0.0 and whole is not None and summary.stays_below(whole):
        return whole
    if floor == 0.0 and summary.stays_below(1) and summary.one_share >= PILED_UP:
        return 1.0
    if floor == 0.0 and summary.stays_below(100) and summary.hundred_share >= PILED_UP:
        return 100.0
    return summary.highest if summary.is_capped else None


def _whole(variable: VariableInfo) -> float | None:
    """Return what the whole is in the units of a share: 100 for per cent, 1 for fractions; None if it is no share."""
    units = variable.units.strip().lower()
    if units in PER_CENT:
        return 100.0
    if SHARE.search(_names(variable)) is None:
        return None
    return 1.0 if units in UNITLESS or (units != "" and _converts(units, "1", scale=1.0)) else None


def _converts(units: str, to: str, scale: float | None = None) -> bool:
    """Return whether units convert to others, where given by this factor."""
    try:
        found = conversion(units, to, "units")
    except UnitsError:
        return False
    return scale is None or found.scale == scale


def _names(variable: VariableInfo) -> str:
    """Return the names of a variable in lower case, words joined by "_", with spaces between the names."""
    names = (variable.name, variable.standard_name, variable.long_name)
    return " ".join(re.sub(r"[\s\-]+", "_", name.strip().lower()) for name in names)


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
    """Return origin, spacing and number of cells of an axis.

    Of sites alone, a notional grid of 32 cells over those whose place is known, and one cell if none is.
    """
    if len(values) > 1:
        return float(values.min()), float(np.abs(np.diff(values)).mean()), len(values)
    if len(values) == 1:
        return float(values[0]), 1.0, 1
    known = sites[~np.isnan(sites)]
    if not len(known):
        return 0.0, 1.0, 1
    extent = float(np.ptp(known)) or 1.0
    return float(known.min()), extent / 32, 33
