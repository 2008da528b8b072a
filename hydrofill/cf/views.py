"""Views of a dataset: what is filled together, as fields (time, y, x) and series (time, site).

A variable with a further dimension, such as a level or an ensemble member, has a view for each slice. Series along time
alone are one view, in which series of the same quantity are sites of one variable, so that they help each other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import xarray as xr

from hydrofill.cf.axes import Dimension, bounds_of
from hydrofill.cf.variables import (
    ROLES,
    Classification,
    classify,
    extra_dims,
    is_coordinate_name,
    kind_of,
    match_variables,
)
from hydrofill.cube import Kind
from hydrofill.errors import StructureError
from hydrofill.layout import Layout

DYNAMIC: tuple[Kind, ...] = ("grid", "series")
SITE = "site"  # the dimension of the series of a view
# Words of names that tell quantities apart where series have no units.
QUANTITY = re.compile(
    r"rain|precip|snow|swe|flow|discharge|runoff|level|stage|depth|head|temp|humid|pressure|wind|radiation|evap|pet"
    r"|moisture|turbidity|conductivity|oxygen|nitrate|salinity|storage|volume",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Target:
    """Where a filled variable of a view belongs: to the variable `name` of the dataset.

    at: indices along the further dimensions of that variable, in their order. site: the site that is the variable; None
    for all.
    """

    name: str
    at: tuple[int, ...] = ()
    site: int | None = None


@dataclass(frozen=True, eq=False)
class View:
    """What is filled together.

    dataset: the variables with dimensions such as (time, y, x) and (time, site). targets: by the name of a variable in
    `dataset`, where its fill belongs. label: the slice, such as "level=850"; "" for none.
    """

    dataset: xr.Dataset
    targets: Mapping[str, Sequence[Target]]
    label: str = ""


def views_of(
    dataset: xr.Dataset,
    dimensions: Mapping[str, Dimension],
    layout: Layout | None = None,
    max_slices: int | None = None,
) -> list[View]:
    """Return the views of a dataset, in the order of its variables; empty if no variable changes with time.

    Args:
        dataset: CF-decoded; it may be opened lazily.
        dimensions: its recognised dimensions.
        layout: of a bundle of named variables; only its variables count then.
        max_slices: number of slices that are allowed; None for any number.

    Raises:
        StructureError: there are more slices than allowed; names the variable.
    """
    plain = [name for name, found in classify(dataset, dimensions).items() if found.kind in DYNAMIC]
    known = None if layout is None else set(match_variables(dataset, layout).values())
    sliced = {n: d for n, d in sliced_variables(dataset, dimensions).items() if known is None or n in known}
    if not plain and not sliced:
        series = [name for name in single_series(dataset, dimensions) if known is None or name in known]
        return _series_view(dataset, series, dimensions, apart=layout is not None) if series else []
    _check_slices(dataset, sliced, max_slices)
    views = []
    if plain:
        own = dataset.drop_vars(sliced) if sliced else dataset
        views.append(View(own, {name: (Target(name),) for name in plain}))
    for dims in dict.fromkeys(sliced.values()):
        of_dims = [name for name, others in sliced.items() if others == dims]
        views += _slices(dataset.drop_vars([*plain, *(n for n in sliced if n not in of_dims)]), of_dims, dims)
    return views


def classify_all(dataset: xr.Dataset, dimensions: Mapping[str, Dimension]) -> dict[str, Classification]:
    """Return what each variable is taken as, with those that are filled slice by slice and series along time alone."""
    found = classify(dataset, dimensions)
    sliced = sliced_variables(dataset, dimensions)
    if not sliced and not any(classification.kind in DYNAMIC for classification in found.values()):
        reason = "is a series along time"
        found |= {n: Classification(ROLES["series"], reason, "series") for n in single_series(dataset, dimensions)}
    for name, dims in sliced.items():
        kind = kind_of(dataset[name].isel(dict.fromkeys(dims, 0)).variable, name, dimensions)
        assert kind is not None  # as of sliced variables
        slices = ", ".join(f"{dataset.sizes[dim]} along {dim}" for dim in dims)
        found[name] = Classification(ROLES[kind], f"has slices, {slices}, each filled on its own", kind)
    return found


def _check_slices(dataset: xr.Dataset, sliced: Mapping[str, tuple[str, ...]], allowed: int | None) -> None:
    number = 0
    for dims, name in {dims: name for name, dims in sliced.items()}.items():
        number += math.prod(dataset.sizes[dim] for dim in dims)
        if allowed is not None and number > allowed:
            raise StructureError(
                "has too many slices to fill at once", where=name, got=number, expected=f"{allowed} at most"
            )


def sliced_variables(dataset: xr.Dataset, dimensions: Mapping[str, Dimension]) -> dict[str, tuple[str, ...]]:
    """Return the variables that are filled slice by slice, with the names of their further dimensions."""
    described = bounds_of(dataset)
    further = {
        str(name): tuple(extra_dims(variable.variable, dimensions))
        for name, variable in dataset.data_vars.items()
        if name not in described and extra_dims(variable.variable, dimensions)
    }
    if not further:
        return {}
    first = dataset.isel({dim: 0 for dims in further.values() for dim in dims})
    found = classify(first, {n: d for n, d in dimensions.items() if n in first.dims})
    return {name: dims for name, dims in further.items() if found[name].kind in DYNAMIC}


def single_series(dataset: xr.Dataset, dimensions: Mapping[str, Dimension]) -> list[str]:
    """Return the numeric variables along time alone, without flags, coordinates and the like."""
    time = [d.name for d in dimensions.values() if d.axis == "time"]
    if len(time) != 1:
        return []
    found, described = classify(dataset, dimensions), bounds_of(dataset)
    return [
        name
        for name, classification in found.items()
        if classification.role == "left out"
        and name not in described
        and not is_coordinate_name(name)
        and dataset[name].dtype.kind == "f"
        and [d for d in dataset[name].dims if dataset.sizes[d] > 1 or d in dimensions] == time
    ]


def _slices(dataset: xr.Dataset, names: Sequence[str], dims: tuple[str, ...]) -> Iterator[View]:
    for at in product(*(range(dataset.sizes[dim]) for dim in dims)):
        label = ", ".join(f"{dim}={_label(dataset, dim, number)}" for dim, number in zip(dims, at, strict=True))
        part = dataset.isel(dict(zip(dims, at, strict=True)))
        yield View(part, {name: (Target(name, at),) for name in names}, label)


def _label(dataset: xr.Dataset, dim: str, number: int) -> str:
    """Return the coordinate of a slice, or its number where it has none."""
    if dim not in dataset.coords:
        return str(number)
    value = dataset[dim].values[number]
    return f"{value:g}" if isinstance(value, np.floating) else str(value)


def _series_view(
    dataset: xr.Dataset, names: Sequence[str], dimensions: Mapping[str, Dimension], *, apart: bool
) -> list[View]:
    """Return the view of series along time alone; each is a variable of its own if they are kept `apart`."""
    time = next(d for d in dimensions.values() if d.axis == "time")
    groups: dict[object, list[str]] = {}
    for name in names:
        groups.setdefault(name if apart else _quantity(dataset[name]), []).append(name)
    width = max(map(len, groups.values()))
    data, targets = {}, {}
    for group in groups.values():
        stacked = np.full((dataset.sizes[time.name], width), np.nan, np.result_type(*(dataset[n].dtype for n in group)))
        for site, name in enumerate(group):
            stacked[:, site] = dataset[name].values.reshape(-1)
        data[group[0]] = ((time.name, SITE), stacked, dataset[group[0]].attrs)
        targets[group[0]] = tuple(Target(name, (), site) for site, name in enumerate(group))
    along = {name: v.variable for name, v in dataset.coords.items() if v.dims == (time.name,)}
    view = xr.Dataset(data, along)
    view.encoding = dict(dataset.encoding)
    return [View(view, targets)]


def _quantity(series: xr.DataArray) -> object:
    """Return what the series of one quantity have in common: their units, or else what their names and signs tell."""
    units = str(series.attrs.get("units", "")).strip()
    if units:
        return units, str(series.attrs.get("standard_name", ""))
    words = QUANTITY.search(f"{series.name} {series.attrs.get('long_name', '')}")
    return words[0].lower() if words else "", bool((series < 0).any())
