"""Give xarray such fill values as it decodes without an error, and put back those that the file declares."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np
import xarray as xr

from hydrofill.cf.packing import Packing, numbers_in
from hydrofill.errors import StructureError

FILLS = ("_FillValue", "missing_value")
UNSIGNED = "_Unsigned"


def for_decoding(raw: xr.Dataset, stored: Set[str]) -> xr.Dataset:
    """Return a file that is not decoded yet with such fill values as xarray decodes without an error.

    Variables in `stored` and texts lose them, so that they stay as they are stored. Numbers have one, in their own
    type. `decoded_from` puts them back.

    Raises:
        StructureError: `_FillValue` of numbers is not one number; names the variable.
    """
    ready = raw.copy()
    for name, variable in ready.variables.items():
        own = _fills_in_own_type(variable, str(name))
        for key in (*FILLS, UNSIGNED) if str(name) in stored else FILLS:
            variable.attrs.pop(key, None)
        if own and str(name) not in stored:
            variable.attrs["_FillValue"] = np.ravel(next(own[key] for key in FILLS if key in own))[0]
    return ready


def decoded_from(decoded: xr.Dataset, raw: xr.Dataset, stored: Set[str]) -> xr.Dataset:
    """Return what `for_decoding` was decoded to, with the fill values that the file declares, in its own types."""
    for name, variable in decoded.variables.items():
        before = raw.variables[name]
        own = _fills_in_own_type(before, str(name))
        if str(name) in stored or before.dtype.kind not in "iuf":
            kept = [key for key in (*FILLS, UNSIGNED) if key in before.attrs]
            variable.attrs |= {key: own.get(key, before.attrs[key]) for key in kept}
            if before.dtype.kind == "S":  # a character, not a text
                variable.attrs |= {key: np.bytes_(str(variable.attrs[key]), "utf-8") for key in kept}
        else:
            variable.encoding.pop("_FillValue", None)
            variable.encoding |= own
    return decoded


def _fills_in_own_type(variable: xr.Variable, name: str) -> dict[str, Any]:
    """Return the fill values that a stored variable declares, in its own type: `_FillValue` one, `missing_value` any.

    Raises:
        StructureError: `_FillValue` is not one number; names the variable.
    """
    if variable.dtype.kind not in "iuf":
        return {}
    packing = Packing(variable.dtype, {})
    found: dict[str, Any] = {}
    for key in FILLS:
        if key not in variable.attrs:
            continue
        numbers = numbers_in(variable.attrs[key])
        if key == "_FillValue" and (numbers is None or len(numbers) != 1):
            raise StructureError("must be one number", where=f"{name}/{key}", got=variable.attrs[key])
        own = [packing.in_stored_type(number) for number in numbers or ()]
        typed = np.array([value for value in own if value is not None], variable.dtype)
        if len(typed):
            found[key] = typed[0] if len(typed) == 1 else typed
    return found
