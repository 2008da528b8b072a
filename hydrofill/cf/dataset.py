"""Read a CF-like xarray.Dataset as a WaterCube, and write a fill back into the dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, cast

import numpy as np
import xarray as xr

from hydrofill.cf.axes import (
    Axis,
    Dimension,
    coordinate_units,
    coordinate_values,
    one_of,
    recognise,
    site_names,
    site_place,
    time_values,
)
from hydrofill.cf.units import Conversion, conversion
from hydrofill.cube import DIMS, Kind, Sites, Variable, WaterCube, no_sites
from hydrofill.errors import CoordinateError, StructureError, UnitsError, UnknownVariableError
from hydrofill.layout import Layout, Place, VariableSpec
from hydrofill.reconstruct import FILLED, FLAG_MEANINGS, FilledVariable

# Endings of variables that belong to a variable V, such as V_std; they are neither filled nor used.
COMPANIONS = ("_truth", "_gap", "_std", "_flag", "_domain")
STEP_TOLERANCE = 0.15  # relative; calendar months differ from their mean length by up to 8 %
NO_GRID = np.array([], dtype=np.float64)


Role = Literal[
    "field", "gauge series", "static field", "site attribute", "flags", "companion", "coordinate", "left out"
]
ROLES: Mapping[Kind, Role] = {
    "grid": "field",
    "series": "gauge series",
    "static_grid": "static field",
    "static_site": "site attribute",
}


@dataclass(frozen=True)
class Classification:
    """What a variable of a dataset is taken as, the reason, and its kind in the cube; None if it is not read."""

    role: Role
    reason: str
    kind: Kind | None = None


@dataclass(frozen=True, eq=False)
class Reading:
    """A dataset that has been read.

    cube: its variables. dimensions: the recognised dimensions of the dataset, by name. source: by the cube's names,
    the name in the dataset. converted: by the cube's names, how units were converted. grid_units: units of the grid's
    coordinates, "" where the dataset does not say.
    """

    cube: WaterCube
    dimensions: Mapping[str, Dimension]
    source: Mapping[str, str]
    converted: Mapping[str, Conversion]
    grid_units: str


def read_dataset(
    dataset: xr.Dataset, layout: Layout | None = None, dimensions: Mapping[str, Dimension] | None = None
) -> Reading:
    """Read `dataset` as a cube.

    Args:
        dataset: CF-decoded; NaN is missing.
        layout: the layout of a model. Its variables are found by name or else by standard_name, and converted to its
            units; its domain is used for variables without one. If None, every variable whose dimensions are
            recognised is read in its own units.
        dimensions: the dimensions of `dataset`, if they were recognised before.

    Raises:
        UnknownVariableError: no variable can be used.
        StructureError: a variable has dimensions or values of the wrong kind.
        CoordinateError: a coordinate is missing or wrong, or the time step differs from the model's.
        UnitsError: units are missing or cannot be converted, or the grid's coordinates differ from the model's.
        ValueRangeError: a value is infinite.
    """
    if dimensions is None:
        dimensions = recognise(dataset)
    chosen = match_variables(dataset, layout) if layout else _all_readable(dataset, dimensions)
    if not chosen:
        expected = f"some of {[s.name for s in layout.variables]}" if layout else "dimensions such as (time, y, x)"
        raise UnknownVariableError(
            "the dataset has no variable that can be used", got=sorted(map(str, dataset.data_vars)), expected=expected
        )
    used = _dimensions_of(dataset, dimensions, chosen.values())
    time = one_of(used, "time")
    if time is None or time.coordinate is None:
        raise CoordinateError("the dataset has no time coordinate", where="time", got=sorted(map(str, dataset.sizes)))
    y, x, site = (one_of(used, axis) for axis in ("y", "x", "site"))
    variables, converted = {}, {}
    for name, source in chosen.items():
        spec = layout.spec(name) if layout else None
        variables[name], converted[name] = _read_variable(dataset.variables[source], source, dimensions, name, spec)
    cube = WaterCube(
        time=time_values(dataset, time.coordinate),
        y=coordinate_values(dataset, y) if y else NO_GRID,
        x=coordinate_values(dataset, x) if x else NO_GRID,
        sites=_read_sites(dataset, site) if site else no_sites(),
        variables=variables,
        domain=_read_domains(dataset, dimensions, chosen),
    )
    cube = _with_mask_domain(cube)
    grid_units = next((coordinate_units(dataset, d) for d in (y, x) if d), "")
    if layout:
        _check_place(cube, grid_units, layout.place)
        cube = _with_model_domain(cube, layout)
    return Reading(cube, dimensions, chosen, converted, grid_units)


def write_fill(
    dataset: xr.Dataset,
    reading: Reading,
    filled: Mapping[str, FilledVariable],
    provenance: Mapping[str, str],
    *,
    uncertainty: bool = True,
    only_gaps: bool = False,
) -> xr.Dataset:
    """Return `dataset` with its gaps filled: the same variables in the same order, then V_std and V_flag of each.

    Observed values stay identical to the bit.

    Args:
        dataset: the dataset that was read.
        reading: what `read_dataset` returned for it.
        filled: the fill of each variable.
        provenance: global attributes to add; a line is also added to `history`.
        uncertainty: whether V_std is written.
        only_gaps: whether V holds only the filled values.
    """
    made: dict[str, xr.Variable] = {}  # assigned all at once, because each assignment compares every coordinate
    for name, fill in filled.items():
        source = reading.source[name]
        original, convert = dataset.variables[source], reading.converted[name]
        order = ordered_dims(original, reading.dimensions, reading.cube.variables[name].kind)

        def as_in_dataset(
            values: np.ndarray, original: xr.Variable = original, order: tuple[str, ...] = order
        ) -> np.ndarray:
            if original.dims == order:
                return values
            extra = tuple(d for d in original.dims if d not in order)  # all of length 1
            widened = values.reshape(*(1 for _ in extra), *values.shape)
            return xr.Variable((*extra, *order), widened).transpose(*original.dims).values

        flag = as_in_dataset(fill.flag)
        values = original.values
        if np.issubdtype(values.dtype, np.floating):  # integers cannot be missing: nothing to fill
            mean = as_in_dataset(convert.invert(fill.mean)).astype(values.dtype, copy=False)
            kept = np.full_like(values, np.nan) if only_gaps else values
            values = np.where(flag == FILLED, mean, kept)
        companions = ([f"{source}_std"] if uncertainty else []) + [f"{source}_flag"]
        attributes = {**original.attrs, "ancillary_variables": " ".join(companions)}
        encoding = {"_FillValue": np.array(np.nan, values.dtype)} if values.dtype.kind == "f" else {}
        made[source] = xr.Variable(original.dims, values, attributes, encoding)
        if uncertainty:
            std = as_in_dataset(convert.invert_std(fill.std)).astype(np.float32, copy=False)
            made[f"{source}_std"] = xr.Variable(original.dims, std, _std_attributes(original, source))
        made[f"{source}_flag"] = xr.Variable(original.dims, flag, _flag_attributes(source))
    done = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} hydrofill: gaps of {', '.join(filled)} filled"
    earlier = str(dataset.attrs.get("history", ""))
    out = dataset.assign(made)
    out.attrs = {
        **dataset.attrs,
        **provenance,
        "history": "\n".join(filter(None, [earlier, done])),
    }
    return out


def typical_step_s(cube: WaterCube) -> float | None:
    """Return the median time step in seconds; None for a single frame."""
    steps = np.diff(cube.time) / np.timedelta64(1, "s")
    return float(np.median(steps)) if len(steps) else None


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


def _all_readable(dataset: xr.Dataset, dimensions: Mapping[str, Dimension]) -> dict[str, str]:
    """Return the variables that can be read without a layout; the names in the cube are those in the dataset."""
    found = classify(dataset, dimensions)
    return {name: name for name, classification in found.items() if classification.kind is not None}


def classify(dataset: xr.Dataset, dimensions: Mapping[str, Dimension]) -> dict[str, Classification]:
    """Return what each variable of `dataset` is taken as, and the reason."""
    return {str(name): _classify(dataset, str(name), dimensions) for name in dataset.variables}


def _classify(dataset: xr.Dataset, name: str, dimensions: Mapping[str, Dimension]) -> Classification:
    variable = dataset.variables[name]
    if name in dataset.coords:
        return Classification("coordinate", _coordinate_reason(name, dimensions))
    if (main := _main_of(name)) is not None:
        return Classification("companion", f"belongs to {main}")
    if "flag_values" in variable.attrs or "flag_masks" in variable.attrs:
        return Classification("flags", "has flag_values or flag_masks; flags are never filled")
    if not (np.issubdtype(variable.dtype, np.floating) or np.issubdtype(variable.dtype, np.integer)):
        return Classification("left out", f"is not numeric ({variable.dtype})")
    kind = _kind(variable, name, dimensions)
    if kind is None:
        return Classification("left out", _dims_reason(variable, name, dimensions))
    return Classification(ROLES[kind], f"has the dimensions {', '.join(DIMS[kind])}", kind)


def _main_of(name: str) -> str | None:
    """Return V for a name such as V_std or V_flag, whether or not the dataset has a variable V; else None."""
    end = next((end for end in COMPANIONS if name.endswith(end)), None)
    return None if end is None else name.removesuffix(end)


def _coordinate_reason(name: str, dimensions: Mapping[str, Dimension]) -> str:
    axes = [d.axis for d in dimensions.values() if d.coordinate == name]
    return f"gives the {axes[0]} axis" if axes else "is a coordinate"


def _dims_reason(variable: xr.Variable, name: str, dimensions: Mapping[str, Dimension]) -> str:
    extra = [str(d) for d in variable.dims if str(d) not in dimensions and variable.sizes[d] != 1]
    if extra:
        return f"has a dimension other than time, y, x and site: {', '.join(extra)}"
    if len(variable.dims) == 1 and _is_coordinate(name):
        return "is named like a coordinate"
    return f"has the dimensions ({', '.join(map(str, variable.dims))}), expected such as (time, y, x) or (time, site)"


def _kind(variable: xr.Variable, name: str, dimensions: Mapping[str, Dimension]) -> Kind | None:
    """Return the kind of a variable by its dimensions; None if it has none.

    Unrecognised dimensions of length 1 are ignored.
    """
    axes = {dimensions[str(d)].axis for d in variable.dims if str(d) in dimensions}
    extra = [d for d in variable.dims if str(d) not in dimensions and variable.sizes[d] != 1]
    if extra or variable.dims == () or len(axes) < sum(str(d) in dimensions for d in variable.dims):
        return None
    if len(variable.dims) == 1 and _is_coordinate(name):
        return None
    return next((kind for kind, wanted in DIMS.items() if axes == set(wanted)), None)


def _is_coordinate(name: str) -> bool:
    low = name.lower()
    return low.endswith(("_x", "_y", "_lat", "_lon", "_row", "_col")) or low in ("x", "y", "lat", "lon")


def _dimensions_of(dataset: xr.Dataset, dimensions: Mapping[str, Dimension], sources: Iterable[str]) -> list[Dimension]:
    """Return the recognised dimensions of these variables, each once, in the order in which they occur."""
    names = dict.fromkeys(str(d) for source in sources for d in dataset.variables[source].dims)
    return [dimensions[name] for name in names if name in dimensions]


def ordered_dims(variable: xr.Variable, dimensions: Mapping[str, Dimension], kind: Kind) -> tuple[str, ...]:
    """Return the names of the variable's dimensions in the order of its kind, without ignored ones."""
    by_axis = {dimensions[str(d)].axis: str(d) for d in variable.dims if str(d) in dimensions}
    return tuple(by_axis[cast(Axis, axis)] for axis in DIMS[kind])


def _read_variable(
    variable: xr.Variable, source: str, dimensions: Mapping[str, Dimension], name: str, spec: VariableSpec | None
) -> tuple[Variable, Conversion]:
    """Return the variable as float32 in the model's units, and the conversion to these units."""
    kind = _kind(variable, source, dimensions)
    if kind is None or (spec is not None and kind != spec.kind):
        raise StructureError(
            "has the wrong dimensions",
            where=name,
            got=variable.dims,
            expected=DIMS[spec.kind] if spec else "dimensions such as (time, y, x)",
        )
    if 0 in variable.shape:
        raise StructureError("has a dimension of length 0", where=name, got=dict(variable.sizes))
    if not np.issubdtype(variable.dtype, np.number):
        raise StructureError("is not numeric", where=name, got=variable.dtype)
    order = ordered_dims(variable, dimensions, kind)
    with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, and the cube refuses it by name
        narrow = variable.transpose(..., *order).values.astype(np.float32, copy=False)
    values = narrow.reshape([variable.sizes[d] for d in order])
    units = str(variable.attrs.get("units", ""))
    change = conversion(units, spec.units, name) if spec is not None and spec.units else Conversion()
    read = Variable(
        name=name,
        kind=kind,
        values=np.ascontiguousarray(change.apply(values)),
        units=spec.units if spec else units,
        standard_name=str(variable.attrs.get("standard_name", "")),
        long_name=str(variable.attrs.get("long_name", "")),
    )
    return read, change


def _read_sites(dataset: xr.Dataset, dimension: Dimension) -> Sites:
    return Sites(
        ids=site_names(dataset, dimension),
        y=site_place(dataset, dimension.name, "y"),
        x=site_place(dataset, dimension.name, "x"),
    )


def _read_domains(
    dataset: xr.Dataset, dimensions: Mapping[str, Dimension], chosen: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Return the domain of each variable V that has a variable V_domain, (H, W) bool."""
    domains = {}
    for name, source in chosen.items():
        companion = f"{source}_domain"
        if companion not in dataset.variables:
            continue
        mask = dataset.variables[companion]
        if _kind(mask, companion, dimensions) != "static_grid" or mask.dtype.kind not in "biuf":
            raise StructureError(
                "must be numeric with the dimensions of the grid",
                where=companion,
                got=(mask.dims, mask.dtype),
                expected="(y, x)",
            )
        values = mask.transpose(*ordered_dims(mask, dimensions, "static_grid")).values
        domains[name] = np.isfinite(values) & (values != 0)
    return domains


def _check_place(cube: WaterCube, grid_units: str, place: Place) -> None:
    """Raise an error if the time step or the units of the grid's coordinates differ from the model's."""
    step = typical_step_s(cube)
    if step is not None and abs(step / place.step_s - 1) > STEP_TOLERANCE:
        raise CoordinateError(
            "the time step differs from the model's", where="time", got=f"{step:g} s", expected=f"{place.step_s:g} s"
        )
    if grid_units and place.units and grid_units != place.units:
        raise UnitsError(
            "the units of the grid's coordinates differ from the model's",
            where="y",
            got=grid_units,
            expected=place.units,
        )


def _with_mask_domain(cube: WaterCube) -> WaterCube:
    """Return the cube with a land or sea mask as the domain of each variable without a domain.

    A mask is a static field of zeros and ones that is one wherever the variable has a value. Of several masks, the
    smallest is used.
    """
    domains = dict(cube.domain)
    masks = [v.values == 1 for v in cube.of_kind("static_grid").values() if np.isin(v.values, (0, 1)).all()]
    if not masks:
        return cube
    for name, variable in cube.of_kind("grid").items():
        observed = variable.valid.any(axis=0)
        fitting = [mask for mask in masks if not (observed & ~mask).any()]
        if name not in domains and fitting and observed.any():
            domains[name] = min(fitting, key=np.count_nonzero)
    return replace(cube, domain=domains)


def _with_model_domain(cube: WaterCube, layout: Layout) -> WaterCube:
    """Return the cube with the model's domain for each gridded variable without a domain.

    The model's domain is used for the cells that are also cells of the training grid.
    """
    domains = dict(cube.domain)
    for name, domain in layout.domain.items():
        if name in domains or name not in cube.variables:
            continue
        place, inside = layout.place, domain.to_array()
        row, on_row = _cell_numbers(cube.y, place.y_origin, place.y_spacing, domain.rows)
        column, on_column = _cell_numbers(cube.x, place.x_origin, place.x_spacing, domain.columns)
        known = on_row[:, None] & on_column[None, :]
        observed = cube.variables[name].valid.any(axis=0)
        domains[name] = np.where(known, inside[row][:, column], observed) | observed
    return WaterCube(cube.time, cube.y, cube.x, cube.sites, cube.variables, domains)


def _cell_numbers(axis: np.ndarray, origin: float, spacing: float, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest training cell of each coordinate, and whether it is within a quarter of a cell."""
    exact = (axis - origin) / spacing
    nearest = np.round(exact)
    on_grid = (np.abs(exact - nearest) < 0.25) & (nearest >= 0) & (nearest < number)
    return np.clip(nearest, 0, number - 1).astype(np.int64), on_grid


def _std_attributes(variable: xr.Variable, source: str) -> dict[str, str]:
    attrs = {"long_name": f"standard deviation of the filled {source}, 0 where observed"}
    if "units" in variable.attrs:
        attrs["units"] = variable.attrs["units"]
    if "standard_name" in variable.attrs:
        attrs["standard_name"] = f"{variable.attrs['standard_name']} standard_error"
    return attrs


def _flag_attributes(source: str) -> dict[str, object]:
    return {
        "long_name": f"what hydrofill did to {source}",
        "standard_name": "status_flag",
        "flag_values": np.arange(len(FLAG_MEANINGS), dtype=np.int8),
        "flag_meanings": " ".join(FLAG_MEANINGS),
    }
