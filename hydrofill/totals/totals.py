"""Sums and means over areas and periods, with their uncertainty from members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from hydrofill.cf.axes import Dimension, bounds_of, one_of, recognise
from hydrofill.cf.calendars import as_microseconds, read_times
from hydrofill.cf.coordinates import site_names, time_values
from hydrofill.cf.variables import classify
from hydrofill.errors import StructureError, UnknownVariableError
from hydrofill.reconstruct import FILLED, OUTSIDE
from hydrofill.totals.areas import Over, areas_of, sites_in
from hydrofill.totals.grid import grid_of
from hydrofill.totals.measures import How, Measure, measure_of
from hydrofill.totals.periods import Periods, periods_of
from hydrofill.totals.shares import Areas

READ_VALUES = 4_000_000  # of all members together, that are read at a time
QUANTILES = (0.05, 0.5, 0.95)
UNCERTAINTY = "hydrofill_uncertainty"  # attribute of a total whose uncertainty is not known
NOT_KNOWN = "not known without members: fill with --members 50"
MEMBER = "member"


@dataclass(frozen=True, eq=False)
class Place:
    """Where the values of a kind of variable lie: dimensions of its cells, their sizes in square metres, and areas."""

    dims: tuple[str, ...]
    sizes: np.ndarray
    areas: Areas

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sums over each area (A, T) of values (T, N), times the sizes of the cells."""
        return self.areas.sums(values, self.sizes)


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over the cells of areas and the steps of periods; a cell counts by its size, a step by its factor.

    value: (A, P) of V. members: (M, A, P) of its members, M of 0 without. covered, observed, filled: (A, P), size times
    seconds of the cells that have a value, that were observed, and that were filled. inside: (A,) size of the cells
    that ever have a value or were to be filled.
    """

    value: np.ndarray
    members: np.ndarray
    covered: np.ndarray
    observed: np.ndarray
    filled: np.ndarray
    inside: np.ndarray


def total(
    dataset: xr.Dataset,
    *,
    over: Over = None,
    every: str = "month",
    variables: Sequence[str] = (),
    how: How | None = None,
    name_property: str | None = None,
) -> xr.Dataset:
    """Return sums and means of a filled dataset over areas and periods, with their uncertainty.

    An amount or a rate of water is summed, and a flow too; the mean of anything else is taken. Cells that stay missing
    are left out: `V_missing` says how much of the area and the time they are. The uncertainty is the spread of the
    totals of the members (`V_members`), whose errors hang together in space and time as those of the fill do.

    Args:
        dataset: what `fill` returned, with `members` for the uncertainty; any other dataset of fields or gauges.
        over: areas: GeoJSON or its path (longitudes and latitudes, with a share of each cell that an area cuts), a map
            of numbers (y, x) or of shares (area, y, x) or its path; None for the whole grid, and for each gauge.
        every: "day", "week", "month", "season", "year", "all", or a number of days such as "10d".
        variables: the variables; by default all fields and gauges.
        how: "sum" or "mean", whatever the units.
        name_property: the property of the polygons that names them.

    Returns:
        A dataset on (area, period); with fields and gauges together, on grid_area and gauge_area. For each variable V:
        `V_sum` or `V_mean`, and `V_volume` (m3) where V is a depth of water on a grid, each with `_std`, `_q05`, `_q50`
        and `_q95` if there are members; the shares `V_observed`, `V_filled` and `V_missing` of area and time. `covered`
        is the share of a period that the data cover.

    Raises:
        ContractError: the areas, the period or the variables do not suit the dataset; says how.
        FileRefusedError: the areas cannot be read, or need a package that is not installed.
    """
    dimensions = recognise(dataset)
    time = one_of(dimensions.values(), "time")
    names = _chosen(dataset, dimensions, variables, time)
    periods = _periods(dataset, time, every)
    places: dict[str, Place] = {}
    made: dict[str, xr.Variable] = {}
    for name, kind in names.items():
        if kind not in places:
            mapping = _grid_mapping(dataset, name)
            places[kind] = _place(dataset, dimensions, kind, over, mapping, name_property)
        measure = measure_of(dataset[name].variable, name, how)
        sums = _sums(dataset, name, places[kind], periods, measure, time)
        made |= _results(name, sums, measure, periods, f"{kind}_area" if len(set(names.values())) > 1 else "area")
    return _dataset(made, names, places, periods, every)


def _chosen(
    dataset: xr.Dataset, dimensions: Mapping[str, Dimension], variables: Sequence[str], time: Dimension | None
) -> dict[str, str]:
    """Return the variables to add up, and for each "grid" or "gauge"."""
    kinds = {"grid": "grid", "series": "gauge"} | ({} if time else {"static_grid": "grid", "static_site": "gauge"})
    found = classify(dataset, dimensions)
    suited = {
        name: kinds[c.kind]
        for name, c in found.items()
        if c.kind in kinds and name not in bounds_of(dataset) and not name.endswith("_members")
    }
    for name in variables:
        if name not in found:
            raise UnknownVariableError(
                "the data do not hold this variable", where=name, expected=f"some of {sorted(suited)}"
            )
        if name not in suited:
            raise StructureError("cannot be added up", where=name, got=found[name].reason)
    chosen = {name: kind for name, kind in suited.items() if not variables or name in variables}
    if not chosen:
        raise StructureError("no variable to add up", got=sorted(map(str, dataset.data_vars)))
    return chosen


def _periods(dataset: xr.Dataset, time: Dimension | None, every: str) -> Periods:
    if time is None or time.coordinate is None:
        return Periods(np.zeros(1, int), np.zeros(1, np.int64), np.ones(1, np.int64), np.ones(1, np.int64), "")
    times = time_values(dataset, time.coordinate)
    variable = dataset.variables[time.coordinate]
    name = str(variable.attrs.get("bounds") or variable.encoding.get("bounds") or "")
    bounds = None
    if name in dataset.variables and dataset.variables[name].shape == (len(times.elapsed), 2):
        of_bounds = dataset.variables[name]
        said = {key: variable.attrs[key] for key in ("units", "calendar") if key in variable.attrs}  # CF 1.11, 7.1
        sides = [xr.Variable(time.name, of_bounds.values[:, side], {**said, **of_bounds.attrs}) for side in (0, 1)]
        bounds = np.stack([as_microseconds(read_times(s, name).elapsed, name).astype(np.int64) for s in sides], axis=1)
        if not (bounds[:, 1] > bounds[:, 0]).all():
            bounds = None
    return periods_of(times, every, bounds)


def _place(
    dataset: xr.Dataset,
    dimensions: Mapping[str, Dimension],
    kind: str,
    over: Over,
    mapping: Mapping[str, Any] | None,
    name_property: str | None,
) -> Place:
    if kind == "gauge":
        site = one_of(dimensions.values(), "site")
        assert site is not None
        number = dataset.sizes[site.name]
        if over is None:
            areas = Areas.of([str(name) for name in site_names(dataset, site)], list(np.eye(number)))
        else:
            areas = sites_in(over, dataset, site, name_property)
        return Place((site.name,), np.ones(number), areas)
    y, x = (one_of(dimensions.values(), axis) for axis in ("y", "x"))
    assert y is not None
    assert x is not None
    grid = grid_of(dataset, y, x)
    return Place((y.name, x.name), grid.areas.reshape(-1), areas_of(over, grid, mapping, name_property))


def _grid_mapping(dataset: xr.Dataset, name: str) -> Mapping[str, Any] | None:
    variable = dataset.variables[name]
    text = str(variable.attrs.get("grid_mapping") or variable.encoding.get("grid_mapping") or "")
    mapping = text.split(":")[0].strip()
    return dict(dataset.variables[mapping].attrs) if mapping in dataset.variables else None


def _sums(
    dataset: xr.Dataset, name: str, place: Place, periods: Periods, measure: Measure, time: Dimension | None
) -> Sums:
    """Add up one variable, some steps at a time."""
    along = () if time is None else (time.name,)
    dims = (*along, *place.dims)
    own, flag = dataset[name], dataset.get(f"{name}_flag")
    members = dataset.get(f"{name}_members")
    number = 0 if members is None else members.sizes[MEMBER]
    shape = (len(place.areas.names), len(periods.start))
    value, covered, observed, filled_sums = (np.zeros(shape) for _ in range(4))
    sums = Sums(value, np.zeros((number, *shape)), covered, observed, filled_sums, np.zeros(shape[0]))
    steps, cells = len(periods.of_step), len(place.sizes)
    seconds = periods.step_us / 1e6
    factor = measure.scale * (seconds if measure.per_time else np.ones(steps))
    ever = np.zeros(cells, bool)
    for start in range(0, steps, max(1, READ_VALUES // (cells * (1 + number)))):
        cut = slice(start, start + max(1, READ_VALUES // (cells * (1 + number))))

        def read(array: xr.DataArray, *first: str, cut: slice = cut) -> np.ndarray:
            part = array.isel(dict.fromkeys(along, cut)).squeeze([d for d in array.dims if d not in (*first, *dims)])
            values = np.asarray(part.transpose(*first, *dims).values)
            return values.reshape(*values.shape[: len(first)], -1, cells)

        values = read(own)
        seen = ~np.isnan(values)
        flags = read(flag) if flag is not None else np.where(seen, 0, OUTSIDE)
        ever |= (seen | (flags != OUTSIDE)).any(axis=0)
        of_steps = _by_period(periods.of_step[cut], shape[1])
        value_by, cover_by = of_steps * factor[cut][:, None], of_steps * seconds[cut][:, None]
        filled = seen & (flags == FILLED)
        sums.value[:] += place.sums(np.where(seen, values, 0)) @ value_by
        for total_of, which in ((sums.covered, seen), (sums.observed, seen & ~filled), (sums.filled, filled)):
            total_of[:] += place.sums(which) @ cover_by
        if members is not None:
            for at, member in enumerate(read(members, MEMBER)):
                sums.members[at] += place.sums(np.where(seen, member, 0)) @ value_by
    sums.inside[:] = place.sums(ever[None])[:, 0]
    return sums


def _by_period(of_step: np.ndarray, number: int) -> np.ndarray:
    """Return 1 where a step belongs to a period, (T, P)."""
    return (of_step[:, None] == np.arange(number)).astype(np.float64)


def _results(name: str, sums: Sums, measure: Measure, periods: Periods, area: str) -> dict[str, xr.Variable]:
    """Return the variables that describe the totals of a variable."""
    seconds = np.bincount(periods.of_step, periods.step_us / 1e6, len(periods.start))
    whole = sums.inside[:, None] * seconds
    with np.errstate(divide="ignore", invalid="ignore"):
        # A mean or a depth is that of the cells with values; a volume is the water in these cells.
        per = sums.inside[:, None] if measure.units == "m3" else sums.covered / (seconds if measure.metres else 1)
        value, members = (np.where(sums.covered > 0, of / per, np.nan) for of in (sums.value, sums.members))
        shares = {
            "observed": sums.observed / whole,
            "filled": sums.filled / whole,
            "missing": 1 - sums.covered / whole,
        }
    known = {} if len(sums.members) or not sums.filled.any() else {UNCERTAINTY: NOT_KNOWN}
    said = {"long_name": f"{measure.how} of {name}", "units": measure.units, "hydrofill_total": measure.reason, **known}
    made = _with_spread(f"{name}_{measure.how}", value, members, said, area)
    if measure.metres:
        depth_to_volume = measure.metres * sums.covered / seconds
        volume = {"long_name": f"volume of {name} over the area", "units": "m3", **known}
        made |= _with_spread(f"{name}_volume", value * depth_to_volume, members * depth_to_volume, volume, area)
    for key, share in shares.items():
        text = f"share of the area and the time in which {name} is {key}"
        made[f"{name}_{key}"] = xr.Variable((area, "period"), np.clip(share, 0, 1), {"long_name": text, "units": "1"})
    return made


def _with_spread(
    name: str, value: np.ndarray, members: np.ndarray, said: Mapping[str, str], area: str
) -> dict[str, xr.Variable]:
    dims = (area, "period")
    made = {name: xr.Variable(dims, value, dict(said))}
    if len(members) > 1:
        about = {"units": said["units"]}
        std = members.std(axis=0, ddof=1)
        made[f"{name}_std"] = xr.Variable(dims, std, {"long_name": f"standard deviation of {name}", **about})
        for quantile, found in zip(
            QUANTILES, np.quantile(members, QUANTILES, axis=0, method="median_unbiased"), strict=True
        ):
            text = f"{100 * quantile:g} % quantile of {name}"
            made[f"{name}_q{round(100 * quantile):02d}"] = xr.Variable(dims, found, {"long_name": text, **about})
    return made


def _dataset(
    made: Mapping[str, xr.Variable],
    names: Mapping[str, str],
    places: Mapping[str, Place],
    periods: Periods,
    every: str,
) -> xr.Dataset:
    coords: dict[str, xr.Variable] = {}
    for kind, place in places.items():
        dim = f"{kind}_area" if len(places) > 1 else "area"
        coords[dim] = xr.Variable(dim, np.array(place.areas.names, dtype=object))
        if kind == "grid":
            of_area = {"long_name": "share of the area that lies on the grid", "units": "1"}
            coords[f"{dim}_within"] = xr.Variable(dim, np.round(place.areas.within, 6), of_area)
            said = {"long_name": "area of the cells", "units": "m2"}
            coords[f"{dim}_size"] = xr.Variable(dim, place.sums(np.ones((1, len(place.sizes))))[:, 0], said)
    if periods.calendar:
        coords["period"] = xr.Variable("period", periods.dates(periods.start), {"long_name": "start of the period"})
        coords["period_end"] = xr.Variable("period", periods.dates(periods.end), {"long_name": "end of the period"})
        covered = {"long_name": "share of the period that the data cover", "units": "1"}
        coords["covered"] = xr.Variable("period", periods.covered, covered)
    title = f"Totals of {', '.join(names)} over {sum(len(p.areas.names) for p in places.values())} areas, every {every}"
    return xr.Dataset(dict(made), coords, {"title": title, "Conventions": "CF-1.11"})
