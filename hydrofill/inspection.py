"""Describe what would be read in a dataset, and why, before anything is filled: the answer to `hydrofill inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hydrofill.cf.axes import Dimension, recognise
from hydrofill.cf.calendars import date_text, holds_times, read_times
from hydrofill.cf.experiments import merge_experiments
from hydrofill.cf.missing import as_data, real_variables
from hydrofill.cf.variables import Classification, match_variables, ordered_dims, unit_conversion
from hydrofill.cf.views import classify_all
from hydrofill.cube import DIMS, Kind, Variable
from hydrofill.errors import ContractError, ValueRangeError
from hydrofill.filling import single_maps
from hydrofill.guesses.interpolation import gap_lengths
from hydrofill.layout import Layout
from hydrofill.summary import summary_of
from hydrofill.undeclared import check_declared


@dataclass(frozen=True)
class InspectedVariable:
    """One variable of a dataset.

    dims: name and length of each dimension. missing: share of the values that are missing, 0 to 1. longest_gap: the
    longest run of missing values along time, in time steps, at places that have a value at some time. lowest, highest:
    of the values present, in `units`; ISO 8601 dates for a time axis. Those four are None where they do not apply.
    taken_as: "fill" if `hydrofill.fill` would fill the variable, "refused" if a value seems to stand for missing
    values; otherwise the role of the variable.
    """

    name: str
    dims: tuple[tuple[str, int], ...]
    units: str
    missing: float | None
    longest_gap: int | None
    lowest: float | str | None
    highest: float | str | None
    taken_as: str
    reason: str


@dataclass(frozen=True)
class Inspection:
    """The description of a dataset: `axes` by dimension name (time, y, x or site), and every variable."""

    bundle: str
    axes: Mapping[str, str]
    variables: tuple[InspectedVariable, ...]


def inspect_dataset(dataset: xr.Dataset, layout: Layout, bundle: str) -> Inspection:
    """Describe every variable of `dataset` as a bundle with this layout reads it.

    Values are read one variable at a time, so that memory holds one variable of a file that is opened lazily.

    Args:
        dataset: CF-decoded; it may be opened lazily.
        layout: the layout of the bundle.
        bundle: the bundle's name, for the reasons.
    """
    dataset = merge_experiments(dataset, check=False)
    dimensions = recognise(dataset)
    known = {source: name for name, source in match_variables(dataset, layout).items()}
    maps, rows = single_maps(dataset) if layout.general else [], []
    for name, found in classify_all(dataset, dimensions).items():
        if layout.general:
            taken_as, reason = _general_verdict(dataset.variables[name], found, bundle, name in maps)
        else:
            taken_as, reason = _verdict(dataset, name, known.get(name), found, layout, bundle)
        if found.kind is not None and taken_as in ("fill", found.role):
            mark = _undeclared(dataset, name, found.kind)
            taken_as, reason = (taken_as, reason) if mark is None else ("refused", mark)
        rows.append(_describe(dataset.variables[name], name, dimensions, found, taken_as, reason))
    axes = {dimension.name: str(dimension.axis) for dimension in dimensions.values()}
    return Inspection(bundle, axes, tuple(rows))


def _undeclared(dataset: xr.Dataset, name: str, kind: Kind) -> str | None:
    """Return what is wrong with a value that seems to stand for missing values; None if there is none."""
    variable = dataset.variables[name]
    values = as_data(variable, name).values.ravel()
    units, standard_name, long_name = (str(variable.attrs.get(k, "")) for k in ("units", "standard_name", "long_name"))
    info = Variable(name, kind, values, units, standard_name, long_name)
    try:
        check_declared(info, summary_of(values), real_variables(dataset), np.asarray)
    except ValueRangeError as error:
        return error.problem
    return None


def _general_verdict(variable: xr.Variable, found: Classification, bundle: str, single_map: bool) -> tuple[str, str]:
    """Return what a general bundle takes the variable as, and why."""
    if single_map:
        return "fill", f"is a single map with gaps; {bundle} fills any variable"
    if found.kind not in ("grid", "series"):
        return found.role, found.reason
    if not bool(variable.notnull().any()):
        return "left out", "has no value"
    return "fill", f"{found.reason}; {bundle} fills any variable"


def _verdict(
    dataset: xr.Dataset, name: str, known_as: str | None, found: Classification, layout: Layout, bundle: str
) -> tuple[str, str]:
    """Return what this bundle takes the variable as, and why."""
    if found.kind not in ("grid", "series"):
        return found.role, found.reason
    if known_as is None:
        return "left out", f"{bundle} does not fill {name}"
    spec = layout.spec(known_as)
    if spec.kind != found.kind:
        return "left out", f"has the dimensions {DIMS[found.kind]}; {bundle} expects {DIMS[spec.kind]}"
    try:
        unit_conversion(dataset.variables[name], spec, name)
    except ContractError as error:
        return "left out", str(error).removeprefix(f"{name}: ")
    return "fill", f"{found.reason}; {bundle} fills it" + ("" if known_as == name else f" as {known_as}")


def _describe(
    variable: xr.Variable,
    name: str,
    dimensions: Mapping[str, Dimension],
    found: Classification,
    taken_as: str,
    reason: str,
) -> InspectedVariable:
    missing: float | None = None
    longest: int | None = None
    lowest: float | str | None = None
    highest: float | str | None = None
    if holds_times(variable) and variable.size:
        lowest, highest = _first_and_last(variable, name)
    elif variable.dtype.kind in "fiu" and variable.size:
        values = as_data(variable, name).values
        present = ~np.isnan(values)
        missing = 1.0 - float(present.mean())
        if present.any():
            lowest, highest = float(np.nanmin(values)), float(np.nanmax(values))
        if found.kind in ("grid", "series"):
            order = ordered_dims(variable, dimensions, found.kind)
            longest = _longest_run(xr.Variable(variable.dims, present).transpose(*order, ...).values)
    dims = tuple((str(dim), size) for dim, size in variable.sizes.items())
    units = str(variable.attrs.get("units", variable.encoding.get("units", "")))
    return InspectedVariable(name, dims, units, missing, longest, lowest, highest, taken_as, reason)


def _first_and_last(variable: xr.Variable, name: str) -> tuple[str, str] | tuple[None, None]:
    """Return the first and the last of the dates of a variable; None if they cannot be read."""
    try:
        times = read_times(variable, name)
    except ContractError:
        return None, None
    known = times.elapsed[~np.isnat(times.elapsed)]
    if not known.size:
        return None, None
    return date_text(known.min(), times.calendar), date_text(known.max(), times.calendar)


def _longest_run(present: np.ndarray) -> int:
    """Return the longest run of missing values along the first axis, at places that have a value at some time."""
    return int(np.max(np.where(present.any(axis=0), gap_lengths(~present), 0), initial=0))
