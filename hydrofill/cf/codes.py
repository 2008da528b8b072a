"""Tell codes from data: integers that stand for something, such as quality, masks and classes, are never averaged."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

FLAG_ATTRIBUTES = ("flag_values", "flag_masks", "flag_meanings")
# Units of numbers that count or compare something, and words in place of units.
UNITLESS = frozenset({"1", "count", "counts", "number", "dimensionless", "unitless"})
NO_UNITS = frozenset(
    {"", "-", "none", "n/a", "na", "code", "codes", "flag", "flags", "class", "category", "bit", "bits"}
)
NAMED_CODE = re.compile(
    r"(^|[^a-z])(qc|qa|qf|quality|flags?|masks?|class(es)?|classification|categor(y|ies)|codes?|sensors?|status|type"
    r"|land_?(use|cover_?(class|type)))($|[^a-z])"
)
AS_DATA = "hydrofill_data"  # key of the encoding of a variable that the user calls data
FEW_CODES = 10  # distinct numbers: of integers in units such as "1", no more are codes
MANY_CODES = 32  # the same, of variables that are named like codes
CELLS_PER_CODE = 4  # of a static variable of classes, at least
SAMPLED_STEPS = 8
MAX_SAMPLE = 200_000  # values


def code_attribute(variable: xr.Variable) -> str | None:
    """Return why the attributes of a variable alone say that it holds codes; None if they do not say so."""
    if not _is_plain_integer(variable) or variable.encoding.get(AS_DATA):
        return None
    if any(key in variable.attrs for key in FLAG_ATTRIBUTES):
        return "has flag_values, flag_masks or flag_meanings"
    return "holds integers without scale and units" if _units(variable) in NO_UNITS else None


def code_reason(variable: xr.Variable, name: str) -> str | None:
    """Return why a variable holds codes; None if it holds data.

    A sample of the values is read where the attributes do not say: of integers in units such as "1", and of whole
    numbers that are named like codes.
    """
    if (reason := code_attribute(variable)) is not None or variable.encoding.get(AS_DATA):
        return reason
    if _units(variable) not in NO_UNITS | UNITLESS or _is_packed(variable) or variable.size == 0:
        return None
    named = NAMED_CODE.search(f"{name} {variable.attrs.get('standard_name', '')}".lower()) is not None
    if not named and not _is_plain_integer(variable):
        return None
    distinct = count_codes(variable)
    few = distinct is not None and distinct <= (MANY_CODES if named else FEW_CODES)
    return f"holds {distinct} different whole numbers without units" if few else None


def static_code_reason(variable: xr.Variable) -> str | None:
    """Return why a static variable holds classes; None if it holds data, or is a mask of zeros and ones."""
    if code_attribute(variable) is None or not variable.size:
        return None
    distinct = np.unique(variable.values)
    if np.isin(distinct, (0, 1)).all() or len(distinct) > MANY_CODES or variable.size < CELLS_PER_CODE * len(distinct):
        return None
    return f"holds {len(distinct)} different integers without scale and units"


def count_codes(variable: xr.Variable) -> int | None:
    """Return how many different numbers a sample of the values holds; None if some are not whole, or none is there."""
    values = _sample(variable)
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
        if (values != np.round(values)).any():
            return None
    return len(np.unique(values)) or None


def kept_as_stored(raw: xr.Dataset) -> set[str]:
    """Return the variables of a file that is not decoded yet whose attributes alone say that they hold codes."""
    described = {str(name) for v in raw.variables.values() for name in _named_in(v)} | set(map(str, raw.sizes))
    return {
        str(name)
        for name, variable in raw.variables.items()
        if str(name) not in described and variable.ndim > 0 and code_attribute(variable) is not None
    }


def _named_in(variable: xr.Variable) -> list[str]:
    """Return the coordinates and bounds that the attributes of a variable name."""
    return " ".join(str(variable.attrs.get(key, "")) for key in ("coordinates", "bounds", "climatology")).split()


def _is_plain_integer(variable: xr.Variable) -> bool:
    stored = np.dtype(variable.encoding.get("dtype", variable.dtype))
    return variable.dtype.kind in "iuf" and stored.kind in "iu" and not _is_packed(variable)


def _is_packed(variable: xr.Variable) -> bool:
    return any(key in held for key in ("scale_factor", "add_offset") for held in (variable.encoding, variable.attrs))


def _units(variable: xr.Variable) -> str:
    return str(variable.attrs.get("units", "")).strip().lower()


def _sample(variable: xr.Variable) -> np.ndarray:
    """Return values of a few steps that are spread over the first dimension."""
    if variable.ndim == 0:
        return np.asarray(variable.values)
    length = variable.shape[0]
    steps = np.unique(
        np.linspace(0, length - 1, min(length, max(SAMPLED_STEPS, length * 1000 // max(variable.size, 1))))
    )
    part = variable[steps.astype(np.int64)]
    return np.asarray(part.values).ravel()[:MAX_SAMPLE]
