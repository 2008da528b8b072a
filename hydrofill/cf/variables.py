"""Classify the variables of a dataset: fields, series of gauges, static fields, flags, coordinates, others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from hydrofill.cf.axes import Axis, Dimension
from hydrofill.cf.calendars import holds_times
from hydrofill.cf.codes import AS_DATA, MANY_CODES, code_reason, count_codes, static_code_reason
from hydrofill.cf.missing import as_data
from hydrofill.cf.units import Conversion, conversion
from hydrofill.cube import DIMS, Kind
from hydrofill.errors import StructureError
from hydrofill.layout import Layout, VariableSpec

# Endings of variables that belong to a variable V, such as V_std; they are neither filled nor used.
COMPANIONS = ("_truth", "_gap", "_std", "_flag", "_domain", "_members")

Role = Literal[
    "field",
    "gauge series",
    "static field",
    "site attribute",
    "flags",
    "codes",
    "companion",
    "coordinate",
    "left out",
]
ROLES: Mapping[Kind, Role] = {
    "grid": "field",
    "series": "gauge series",
    "static_grid": "static field",
    "static_site": "site attribute",
}


@dataclass(frozen=True)
class Classification:
    """Role of a variable of a dataset, the reason, and the kind in the cube; None if the variable is not read."""

    role: Role
    reason: str
    kind: Kind | None = None


def match_variables(dataset: xr.Dataset, layout: Layout) -> dict[str, str]:
    """Find the variables of `layout` in `dataset`, by name or else by standard_name.

    Returns:
        The name in the dataset for each name in the layout; empty if no variable that can be filled is found.
    """
    data = {str(n): str(v.attrs.get("standard_name")) for n, v in dataset.variables.items() if n not in dataset.coords}
    chosen = {}
    for spec in (*layout.variables, *layout.static):
        if spec.name in data:
            chosen[spec.name] = spec.name
            continue
        same = [n for n, standard in data.items() if standard == spec.standard_name and not n.endswith(COMPANIONS)]
        if spec.standard_name and len(same) == 1:
            chosen[spec.name] = same[0]
    return chosen if any(s.name in chosen for s in layout.variables) else {}


def classify(dataset: xr.Dataset, dimensions: Mapping[str, Dimension]) -> dict[str, Classification]:
    """Return what each variable of `dataset` is taken as, and the reason."""
    axes = {d.coordinate: d.axis for d in dimensions.values()}
    return {str(name): _classify(dataset, str(name), dimensions, axes) for name in dataset.variables}


def _classify(
    dataset: xr.Dataset, name: str, dimensions: Mapping[str, Dimension], axes: Mapping[str | None, Axis]
) -> Classification:
    variable = dataset.variables[name]
    if name in dataset.coords:
        return Classification("coordinate", f"gives the {axes[name]} axis" if name in axes else "is a coordinate")
    if (main := _main_of(name)) is not None:
        return Classification("companion", f"belongs to {main}")
    if "flag_values" in variable.attrs or "flag_masks" in variable.attrs:
        return Classification("flags", "has flag_values or flag_masks; flags are not data")
    if holds_times(variable):
        return Classification("left out", "holds times")
    if not (np.issubdtype(variable.dtype, np.floating) or np.issubdtype(variable.dtype, np.integer)):
        return Classification("left out", f"is not numeric ({variable.dtype})")
    kind = kind_of(variable, name, dimensions)
    if kind is None:
        return Classification("left out", _dims_reason(variable, name, dimensions))
    varies = kind in ("grid", "series")
    if (reason := code_reason(variable, name) if varies else static_code_reason(variable)) is not None:
        return Classification("codes", f"{reason}; codes are not data")
    return Classification(ROLES[kind], f"has the dimensions {', '.join(DIMS[kind])}", kind)


def _main_of(name: str) -> str | None:
    """Return V for a name such as V_std or V_flag, whether or not the dataset has a variable V; else None."""
    end = next((end for end in COMPANIONS if name.endswith(end)), None)
    return None if end is None else name.removesuffix(end)


def _dims_reason(variable: xr.Variable, name: str, dimensions: Mapping[str, Dimension]) -> str:
    if extra := extra_dims(variable, dimensions):
        return f"has a dimension other than time, y, x and site: {', '.join(extra)}"
    if len(variable.dims) == 1 and is_coordinate_name(name):
        return "is named like a coordinate"
    return f"has the dimensions ({', '.join(map(str, variable.dims))}), expected such as (time, y, x) or (time, site)"


def kind_of(variable: xr.Variable, name: str, dimensions: Mapping[str, Dimension]) -> Kind | None:
    """Return the kind of a variable by its dimensions; None if it has none.

    Unrecognised dimensions of length 1 are ignored.
    """
    axes = [dimensions[str(d)].axis for d in variable.dims if str(d) in dimensions]
    if extra_dims(variable, dimensions) or variable.dims == () or len(set(axes)) < len(axes):
        return None
    if len(variable.dims) == 1 and is_coordinate_name(name):
        return None
    return next((kind for kind, wanted in DIMS.items() if set(axes) == set(wanted)), None)


def extra_dims(variable: xr.Variable, dimensions: Mapping[str, Dimension]) -> list[str]:
    """Return the names of the unrecognised dimensions of a variable that are longer than 1."""
    return [str(d) for d in variable.dims if str(d) not in dimensions and variable.sizes[d] != 1]


def is_coordinate_name(name: str) -> bool:
    """Return whether a variable is named like the place of something."""
    low = name.lower()
    return low.endswith(("_x", "_y", "_lat", "_lon", "_row", "_col")) or low in ("x", "y", "lat", "lon")


def with_named_as_data(
    dataset: xr.Dataset, names: Sequence[str], dimensions: Mapping[str, Dimension], *, lazily: bool
) -> xr.Dataset:
    """Return `dataset` with the integers that the user names as data, though nothing else says that they are.

    Raises:
        StructureError: a variable that is named holds few different numbers, and so codes.
    """
    found = {}
    roles = (
        {name: classification.role for name, classification in classify(dataset, dimensions).items()} if names else {}
    )
    for name in names:
        if name not in dataset.data_vars or roles[name] not in ("codes", "flags"):
            continue
        variable = dataset.variables[name]
        distinct = count_codes(variable)
        if distinct is None or distinct <= MANY_CODES or "flag_values" in variable.attrs:
            raise StructureError(
                "holds codes, which are not filled like data",
                where=name,
                got=f"{distinct} different whole numbers",
                expected=f"more than {MANY_CODES}, or units; --codes nearest and --codes frequent fill codes",
            )
        found[name] = as_data(variable, name, lazily=lazily).copy(deep=False)
        found[name].encoding[AS_DATA] = True
    return dataset.assign(found) if found else dataset


def ordered_dims(variable: xr.Variable, dimensions: Mapping[str, Dimension], kind: Kind) -> tuple[str, ...]:
    """Return the names of the variable's dimensions in the order of its kind, without ignored ones.

    A series of one gauge may have no dimension of sites.
    """
    by_axis = {dimensions[str(d)].axis: str(d) for d in variable.dims if str(d) in dimensions}
    return tuple(by_axis[axis] for axis in DIMS[kind] if axis in by_axis)


def unit_conversion(variable: xr.Variable, spec: VariableSpec | None, name: str) -> Conversion:
    """Return the conversion of the variable's units to those of `spec`; no change without a spec or its units.

    Raises:
        UnitsError: the units are missing or cannot be converted; names `name`.
    """
    if spec is None or not spec.units:
        return Conversion()
    return conversion(str(variable.attrs.get("units", "")), spec.units, name)
