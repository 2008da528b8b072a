"""Whether a text has the form of a unit, seen before the units library computes with it.

That library evaluates what it is given as arithmetic: `9**9**9 mm` takes it minutes.
"""

from __future__ import annotations

import re

import xarray as xr

from export.contract.errors import UnitsError
from export.contract.layout import Layout

NUMBER = r"(?!0*\.?0*(?![0-9.]))[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?"  # not zero: nothing is divided by it
NAME = r"[A-Za-z_%°µμΩÅ]+"
RAISED = r"\s*(?:\*\*|\^)\s*[-+]?[0-9]{1,2}"
POWER = rf"(?:{RAISED}|[-+]?[0-9]{{1,2}}|[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹])"
FACTOR = rf"(?:{NUMBER}(?:{RAISED})?|{NAME}(?:{POWER})?)"
BETWEEN = r"(?:\s*[./*·]\s*|\s+)"
PRODUCT = rf"{FACTOR}(?:{BETWEEN}{FACTOR})*"
TERM = rf"(?:{FACTOR}|\(\s*{PRODUCT}\s*\)(?:{POWER})?)"
UNIT = re.compile(rf"\s*(?:{TERM}(?:{BETWEEN}{TERM})*)?\s*")
LONGEST = 80


def check_units(dataset: xr.Dataset, layout: Layout) -> None:
    """Returns if the units of every variable that the model knows look like units, or are not given.

    Raises:
        UnitsError: they do not; names the variable.
    """
    for spec in (*layout.variables, *layout.static):
        for name, variable in dataset.data_vars.items():
            same = spec.standard_name and variable.attrs.get("standard_name") == spec.standard_name
            units = str(variable.attrs.get("units", ""))
            if (name == spec.name or same) and (len(units) > LONGEST or not UNIT.fullmatch(units)):
                raise UnitsError("is not a unit", where=str(name), got=repr(units[:LONGEST]), expected=repr(spec.units))
