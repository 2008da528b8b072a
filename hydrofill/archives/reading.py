"""Read a dataset on disk in parts, as the record that a fill goes through."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import dask
import numpy as np
import xarray as xr

from hydrofill.blocks import Box
from hydrofill.cf.axes import Dimension, find_time, plane_coordinates, recognise
from hydrofill.cf.calendars import date_text
from hydrofill.cf.coordinates import time_values
from hydrofill.cf.dataset import Reading, choose_variables, dimensions_of, read_dataset
from hydrofill.cf.domains import with_whole_maps
from hydrofill.cube import WaterCube
from hydrofill.errors import UnreadableError
from hydrofill.layout import Layout

AXES = ("time", "y", "x")  # in the order of a Box


@dataclass(frozen=True, eq=False)
class DatasetSource:
    """A dataset whose values are read from disk part by part: a source of `hydrofill.survey`.

    dataset: lazily opened, decoded by CF. name: of the input, for errors. layout: of a bundle of named variables, else
    None. used: its dimensions that variables lie on. first: how the first step was read. record: the axes of the whole
    record. skip_bad: whether chunks that cannot be read count as missing. ahead_values: number of values of one
    variable that are read at once for blocks beside each other, so that a stored frame is read less often.
    """

    dataset: xr.Dataset
    name: str
    layout: Layout | None
    used: Sequence[Dimension]
    first: Reading
    record: WaterCube
    skip_bad: bool = False
    ahead_values: int = 0
    kept: dict[tuple[int, ...], xr.Dataset] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        dataset: xr.Dataset,
        name: str,
        bundle: Layout,
        *,
        skip_bad: bool = False,
        ahead_values: int = 0,
    ) -> DatasetSource:
        """Read the axes of a dataset, for a bundle with this layout.

        Raises:
            ContractError: the dataset cannot be used; names the variable, what was found and what was expected.
        """
        layout = None if bundle.general else bundle
        dimensions = recognise(dataset)
        used = dimensions_of(dataset, dimensions, choose_variables(dataset, layout, dimensions).values())
        time, coordinate = find_time(dataset, used)
        chosen = _needed(dataset, dimensions, layout)
        first = read_dataset(_loaded(chosen.isel({time: slice(0, 1)})), layout, dimensions)
        times = time_values(dataset, coordinate)
        record = replace(first.cube, time=times.elapsed, variables={}, domain={})
        return cls(chosen, name, layout, used, first, record, skip_bad, ahead_values)

    @property
    def axes(self) -> WaterCube:
        """The axes of the record, without any variable."""
        return self.record

    @property
    def grid_units(self) -> str:
        """Units of the grid's coordinates, "" where unknown."""
        return self.first.grid_units

    @property
    def chunk(self) -> tuple[int, int, int]:
        """Steps, rows and columns that are stored together, of the variable with the largest chunks."""
        names = {str(d.axis): d.name for d in self.used}
        found = [(1, 1, 1)]
        for source in self.first.source.values():
            chunks = self.dataset[source].encoding.get("preferred_chunks", {})
            time, y, x = (int(chunks.get(names.get(axis, ""), 1)) for axis in AXES)
            found.append((time, y, x))
        return max(found, key=math.prod)

    @property
    def counts(self) -> tuple[int, int]:
        """Number of gridded variables, and number of values of series in each step; see `plan_blocks`."""
        variables = self.first.cube
        return len(variables.of_kind("grid")), len(variables.of_kind("series")) * len(variables.sites)

    def read(self, box: Box) -> WaterCube:
        """Return a part of the record, with the sites whose nearest cell is in the part.

        Raises:
            UnreadableError: a chunk cannot be read; names the input, the variable, the chunk and its time.
            ValueRangeError: a value is infinite.
        """
        read = read_dataset(self.load(box), self.layout, self.first.dimensions).cube
        sites = np.flatnonzero(self.record.sites_in(box.y, box.x))
        variables = {
            name: replace(v, values=v.values[..., sites]) if v.kind in ("series", "static_site") else v
            for name, v in read.variables.items()
        }
        part = replace(
            self.record,
            time=self.record.time[box.time],
            y=self.record.y[box.y],
            x=self.record.x[box.x],
            sites=self.record.sites.take(sites),
            variables=variables,
            domain=read.domain,
        )
        return with_whole_maps(part) if len(self.record.time) == 1 else part

    def load(self, box: Box) -> xr.Dataset:
        """Return the variables of the dataset in a box, in memory, with all sites.

        Raises:
            UnreadableError: a chunk cannot be read.
        """
        ahead = Box(box.time, box.y, slice(0, len(self.record.x)))
        if ahead == box or int(np.prod(ahead.shape)) > self.ahead_values:
            return self._load(box)
        key = (box.time.start, box.time.stop, box.y.start, box.y.stop)
        if key not in self.kept:
            self.kept.clear()
            self.kept[key] = self._load(ahead)
        return self.kept[key].isel(self._index(box.within(ahead)))

    def values(self, name: str, cells: Mapping[str, slice]) -> np.ndarray:
        """Return values of one variable of the dataset by slices of its dimensions, as they are stored.

        Raises:
            UnreadableError: a chunk cannot be read.
        """
        array = self.dataset[name].isel(cells)
        try:
            with dask.config.set(scheduler="synchronous"):
                return np.asarray(array.values)
        except Exception:  # noqa: BLE001 (damaged files make the libraries raise anything)
            return self._load_by_chunk(name, array, {dim: cut.start for dim, cut in cells.items()}).values

    def box_of(self, cells: Mapping[str, slice]) -> Box:
        """Return the part of the record in slices of the dataset's dimensions; whole along those not named."""
        box = [slice(0, n) for n in self.record.shape]
        for dimension in self.used:
            if dimension.axis in AXES and dimension.name in cells:
                box[AXES.index(dimension.axis)] = cells[dimension.name]
        return Box(*box)

    def _index(self, box: Box) -> dict[str, slice]:
        return {d.name: box[AXES.index(d.axis)] for d in self.used if d.axis in AXES}

    def _load(self, box: Box) -> xr.Dataset:
        index = self._index(box)
        part = self.dataset.isel(index)
        try:
            return _loaded(part)
        except Exception:  # noqa: BLE001 (damaged files make the libraries raise anything)
            starts = {name: cut.start for name, cut in index.items()}
            return part.assign({n: self._load_by_chunk(str(n), v, starts) for n, v in part.data_vars.items()})

    def _load_by_chunk(self, name: str, array: xr.DataArray, starts: Mapping[str, int]) -> xr.Variable:
        """Return a variable read chunk by chunk; a chunk that cannot be read is missing, or else an error."""
        values = np.empty(array.shape, array.dtype)
        cuts = [list(_cuts(array, str(dim), starts.get(str(dim), 0))) for dim in array.dims]
        for cells in product(*cuts):
            try:
                values[cells] = array.variable[cells].values
            except Exception as error:
                if not self.skip_bad or array.dtype.kind != "f":
                    raise self._unreadable(name, array, cells, starts, error) from error
                values[cells] = np.nan
        return xr.Variable(array.dims, values, array.attrs)

    def _unreadable(
        self,
        name: str,
        array: xr.DataArray,
        cells: Sequence[slice],
        starts: Mapping[str, int],
        error: Exception,
    ) -> UnreadableError:
        at = {str(dim): starts.get(str(dim), 0) + cut.start for dim, cut in zip(array.dims, cells, strict=True)}
        chunk = ", ".join(f"{dim} from {start}" for dim, start in at.items())
        time = next(d.name for d in self.used if d.axis == "time")
        when = f", time {date_text(self.record.time[at[time]], self.record.calendar)}" if time in at else ""
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return UnreadableError(
            f"a chunk of {self.name} cannot be read; with skip_bad it is filled like a gap",
            where=name,
            got=f"chunk {chunk}{when}: {reason}",
        )


def _needed(dataset: xr.Dataset, dimensions: Mapping[str, Dimension], layout: Layout | None) -> xr.Dataset:
    """Return the dataset without what a fill does not read: other variables of two and more dimensions."""
    sources = set(choose_variables(dataset, layout, dimensions).values())
    needed = sources | {f"{source}_domain" for source in sources} | set(plane_coordinates(dataset).values())
    return dataset.drop_vars([n for n, v in dataset.variables.items() if v.ndim > 1 and str(n) not in needed])


def _loaded(part: xr.Dataset) -> xr.Dataset:
    with dask.config.set(scheduler="synchronous"):
        return part.load()


def _cuts(array: xr.DataArray, dim: str, start: int) -> Iterator[slice]:
    """Yield the slices of a dimension by the chunks in which the variable is stored; single steps without chunks.

    Args:
        array: a part of the variable.
        dim: the dimension.
        start: where the part begins in the whole variable.
    """
    length = array.sizes[dim]
    size = array.encoding.get("preferred_chunks", {}).get(dim)
    if size is None:
        size = 1 if dim == array.dims[0] else length
    first = -(start % size)
    for begin in range(first, length, size):
        yield slice(max(begin, 0), min(begin + size, length))
