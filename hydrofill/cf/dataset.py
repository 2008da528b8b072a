"""Read a CF-like xarray.Dataset as a WaterCube."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from hydrofill.cancellation import checkpoint
from hydrofill.cf.axes import Dimension, check_names_of_dimensions, find_time, one_of, recognise
from hydrofill.cf.coordinates import (
    coordinate_units,
    coordinate_values,
    has_longitudes,
    site_names,
    site_place,
    time_values,
)
from hydrofill.cf.domains import read_domains, with_mask_domain, with_model_domain
from hydrofill.cf.longitudes import turns_towards
from hydrofill.cf.missing import as_data
from hydrofill.cf.units import Conversion
from hydrofill.cf.variables import classify, kind_of, match_variables, ordered_dims, unit_conversion
from hydrofill.cube import DIMS, Sites, Variable, WaterCube, no_sites
from hydrofill.errors import CoordinateError, StructureError, UnitsError, UnknownVariableError
from hydrofill.layout import Layout, Place, VariableSpec

STEP_TOLERANCE = 0.15  # relative; calendar months differ from their mean length by up to 8 %
NO_GRID = np.array([], dtype=np.float64)


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
    chosen = choose_variables(dataset, layout, dimensions)
    used = dimensions_of(dataset, dimensions, chosen.values())
    _, time_coordinate = find_time(dataset, used)
    y, x, site = (one_of(used, axis) for axis in ("y", "x", "site"))
    variables, converted = {}, {}
    for name, source in chosen.items():
        checkpoint()
        spec = layout.spec(name) if layout else None
        variables[name], converted[name] = _read_variable(dataset.variables[source], source, dimensions, name, spec)
    times = time_values(dataset, time_coordinate)
    rows, columns = (coordinate_values(dataset, d) if d else NO_GRID for d in (y, x))
    cube = WaterCube(
        time=times.elapsed,
        y=rows,
        x=columns,
        sites=_read_sites(dataset, site, rows, columns) if site else no_sites(),
        variables=variables,
        domain=read_domains(dataset, dimensions, chosen),
        calendar=times.calendar,
    )
    cube = with_mask_domain(cube)
    axis = y or x
    grid_units = coordinate_units(dataset, axis) if axis else ""
    if layout:
        check_step(cube, layout.place, time_coordinate)
        _check_grid_units(grid_units, layout.place, (axis.coordinate or axis.name) if axis else "")
        _check_places(cube.sites, site, layout.place)
        cube = _turned_towards(cube, layout.place) if has_longitudes(dataset, x, site) else cube
        cube = with_model_domain(cube, layout)
    return Reading(cube, dimensions, chosen, converted, grid_units)


def _turned_towards(cube: WaterCube, place: Place) -> WaterCube:
    """Return the cube with its longitudes in the range of the model's, which may be -180 to 180 or 0 to 360."""
    turns = turns_towards(
        np.concatenate([cube.x, cube.sites.x]), place.x_origin + place.x_spacing * (place.columns - 1) / 2
    )
    return replace(cube, x=cube.x + turns, sites=replace(cube.sites, x=cube.sites.x + turns)) if turns else cube


def choose_variables(dataset: xr.Dataset, layout: Layout | None, dimensions: Mapping[str, Dimension]) -> dict[str, str]:
    """Return the variables that are read, by name in the cube, with the name in `dataset`; see `read_dataset`.

    Raises:
        UnknownVariableError: no variable can be used.
    """
    chosen = match_variables(dataset, layout) if layout else _all_readable(dataset, dimensions)
    if not chosen:
        check_names_of_dimensions(dataset)
        expected = f"some of {[s.name for s in layout.variables]}" if layout else "dimensions such as (time, y, x)"
        raise UnknownVariableError(
            "the dataset has no variable that can be used", got=sorted(map(str, dataset.data_vars)), expected=expected
        )
    return chosen


def typical_step_s(time: np.ndarray) -> float | None:
    """Return the median step of a time axis, (T,) datetime64, in seconds; None for a single frame."""
    steps = np.diff(time) / np.timedelta64(1, "s")
    return float(np.median(steps)) if len(steps) else None


def _all_readable(dataset: xr.Dataset, dimensions: Mapping[str, Dimension]) -> dict[str, str]:
    """Return the variables that can be read without a layout; the names in the cube are those in the dataset."""
    found = classify(dataset, dimensions)
    return {name: name for name, classification in found.items() if classification.kind is not None}


def dimensions_of(dataset: xr.Dataset, dimensions: Mapping[str, Dimension], sources: Iterable[str]) -> list[Dimension]:
    """Return the recognised dimensions of these variables, each once, in the order in which they occur."""
    names = dict.fromkeys(str(d) for source in sources for d in dataset.variables[source].dims)
    return [dimensions[name] for name in names if name in dimensions]


def _read_variable(
    variable: xr.Variable, source: str, dimensions: Mapping[str, Dimension], name: str, spec: VariableSpec | None
) -> tuple[Variable, Conversion]:
    """Return the variable as float32 in the model's units, and the conversion to these units."""
    variable = as_data(variable, source)
    kind = kind_of(variable, source, dimensions)
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
    change = unit_conversion(variable, spec, name)
    read = Variable(
        name=name,
        kind=kind,
        values=np.ascontiguousarray(change.apply(values)),
        units=spec.units if spec else str(variable.attrs.get("units", "")),
        standard_name=str(variable.attrs.get("standard_name", "")),
        long_name=str(variable.attrs.get("long_name", "")),
    )
    return read, change


def _read_sites(dataset: xr.Dataset, dimension: Dimension, rows: np.ndarray, columns: np.ndarray) -> Sites:
    return Sites(
        ids=site_names(dataset, dimension),
        y=site_place(dataset, dimension.name, "y", rows),
        x=site_place(dataset, dimension.name, "x", columns),
    )


def has_step(cube: WaterCube, place: Place) -> bool:
    """Return whether the median time step is the model's, within STEP_TOLERANCE; a single frame has any step."""
    step = typical_step_s(cube.time)
    return step is None or abs(step / place.step_s - 1) <= STEP_TOLERANCE


def check_step(cube: WaterCube, place: Place, where: str = "time") -> None:
    """Check that the median time step is the model's; `where` is the name of the time coordinate.

    Raises:
        CoordinateError: the time steps differ by more than STEP_TOLERANCE.
    """
    if not has_step(cube, place):
        step = typical_step_s(cube.time)
        raise CoordinateError(
            "the time step differs from the model's", where=where, got=f"{step:g} s", expected=f"{place.step_s:g} s"
        )


def _check_grid_units(grid_units: str, place: Place, where: str) -> None:
    if grid_units and place.units and grid_units != place.units:
        raise UnitsError(
            "the units of the grid's coordinates differ from the model's",
            where=where,
            got=grid_units,
            expected=place.units,
        )


def _check_places(sites: Sites, dimension: Dimension | None, place: Place) -> None:
    """Raise CoordinateError if a model that knows its gauges by their places is to fill gauges without."""
    for axis, values in (("y", sites.y), ("x", sites.x)):
        if dimension is not None and place.known and np.isnan(values).any():
            raise CoordinateError(
                f"the sites have no {axis} coordinate, which this bundle needs; the general bundle fills without",
                where=dimension.name,
                expected=f"a coordinate such as site_{axis}({dimension.name})",
            )
