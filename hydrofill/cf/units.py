"""Convert values between the units of the data and the units of the model."""

from __future__ import annotations

import logging
import re
import warnings
from dataclasses import dataclass
from functools import cache, lru_cache
from threading import Lock
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

import numpy as np

from hydrofill.errors import UnitsError

if TYPE_CHECKING:  # slow to import, and most fills convert nothing
    import pint
    from pint.facets.plain import PlainQuantity

# The accepted form of units. pint evaluates a text as arithmetic, and `9**9**9 mm` would take minutes.
NUMBER = r"(?!0*\.?0*(?![0-9.]))[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?"  # not zero: a unit may be divided by it
NAME = r"[A-Za-z_%°µμΩÅ]+"
RAISED = r"\s*(?:\*\*|\^)\s*[-+]?[0-9]{1,2}"
POWER = rf"(?:{RAISED}|[-+]?[0-9]{{1,2}}|[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹])"
FACTOR = rf"(?:{NUMBER}(?:{RAISED})?|{NAME}(?:{POWER})?)"
BETWEEN = r"(?:\s*[./*·]\s*|\s+)"
PRODUCT = rf"{FACTOR}(?:{BETWEEN}{FACTOR})*"
TERM = rf"(?:{FACTOR}|\(\s*{PRODUCT}\s*\)(?:{POWER})?)"
UNIT = re.compile(rf"\s*(?:{TERM}(?:{BETWEEN}{TERM})*)?\s*")
MAX_UNITS_LENGTH = 80
WATER_DENSITY = "1000 kg m-3"  # fresh water at 4 degC; CF uses it to equate lwe rates with mass fluxes
# What pint raises, beside its own errors, for a text of the accepted form that is not a unit.
UNIT_ERRORS = (ValueError, TypeError, AttributeError, ArithmeticError, AssertionError, TokenError)


@dataclass(frozen=True)
class Conversion:
    """A linear conversion from one unit to another: converted = scale * value + offset."""

    scale: float = 1.0
    offset: float = 0.0

    @property
    def identical(self) -> bool:
        """True if the units are the same, so that values stay identical to the bit."""
        return self.scale == 1.0 and self.offset == 0.0

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Convert `values` to the other units; NaN stays NaN."""
        return values if self.identical else (values * self.scale + self.offset).astype(values.dtype)

    def invert(self, values: np.ndarray) -> np.ndarray:
        """Convert `values` back from the other units."""
        return values if self.identical else ((values - self.offset) / self.scale).astype(values.dtype)

    def invert_std(self, std: np.ndarray) -> np.ndarray:
        """Convert standard deviations back from the other units; an offset does not change them."""
        return std if self.scale == 1.0 else (std / self.scale).astype(std.dtype)


_loading = Lock()


def _registry() -> pint.UnitRegistry[Any]:
    with _loading:  # threads that ask at the same time must not both define the context
        return _load_registry()


@cache
def _load_registry() -> pint.UnitRegistry[Any]:
    # cf_xarray defines some units anew, and warns of matplotlib; neither concerns a user.
    logger = logging.getLogger("pint.util")
    level = logger.level
    logger.setLevel(logging.ERROR)
    import pint

    with warnings.catch_warnings(action="ignore"):
        from cf_xarray.units import units  # udunits spellings such as `m3 s-1` and `degrees_north`; slow to import
    logger.setLevel(level)
    registry: pint.UnitRegistry[Any] = units
    water = pint.Context("water")
    for rate in ("", " / [time]"):
        per_area, depth = f"[mass] / [length] ** 2{rate}", f"[length]{rate}"
        water.add_transformation(per_area, depth, _to_depth)
        water.add_transformation(depth, per_area, _to_mass)
    registry.add_context(water)
    return registry


@lru_cache(maxsize=256)
def conversion(units: str, wanted: str, where: str) -> Conversion:
    """Return the conversion from `units` to `wanted`; water converts between mass and depth (1 kg m-2 is 1 mm).

    Raises:
        UnitsError: `units` is empty, is not a unit, or cannot be converted; names `where`.
    """
    if units == wanted:
        return Conversion()
    if not units.strip():
        raise UnitsError("has no units", where=where, expected=repr(wanted))
    if len(units) > MAX_UNITS_LENGTH or not UNIT.fullmatch(units):
        raise UnitsError(
            "the units are not valid", where=where, got=repr(units[:MAX_UNITS_LENGTH]), expected=repr(wanted)
        )
    registry = _registry()
    from pint import PintError

    try:
        with registry.context("water"):
            at_zero, at_one = (registry.Quantity(x, _parse(units)).to(_parse(wanted)).magnitude for x in (0.0, 1.0))
    except (PintError, *UNIT_ERRORS) as error:
        raise UnitsError(
            "the units cannot be converted", where=where, got=repr(units), expected=repr(wanted)
        ) from error
    scale, offset = float(at_one - at_zero), float(at_zero)
    nearest = round(scale)
    if nearest and abs(scale - nearest) < 1e-12 * nearest:  # 'mm d-1' and 'mm day-1' are the same unit
        scale = float(nearest)
    return Conversion(scale=scale, offset=offset)


def _to_depth(ureg: pint.UnitRegistry[Any], value: PlainQuantity[Any], **_: Any) -> PlainQuantity[Any]:
    return value / ureg.Quantity(WATER_DENSITY)


def _to_mass(ureg: pint.UnitRegistry[Any], value: PlainQuantity[Any], **_: Any) -> PlainQuantity[Any]:
    return value * ureg.Quantity(WATER_DENSITY)


def _parse(units: str) -> pint.Unit:
    return _registry().Unit(units)
