"""Data larger than memory: windows are read when they are needed, statistics are added up block by block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from hydrofill.cf.axes import Axis, Dimension, find_time, recognise
from hydrofill.cf.coordinates import time_values
from hydrofill.cf.dataset import Reading, check_step, read_dataset, typical_step_s
from hydrofill.cf.units import Conversion
from hydrofill.cube import DIMS, Kind, Sites, Variable, WaterCube
from hydrofill.layout import Layout
from hydrofill.prepared_parts import check_reading
from hydrofill.summary import END_COLUMNS, N_SUMS, Summary, summarise, summary_of, sums_of_steps
from model.data.cubes import LoadedCube
from model.data.domain import domain_from_counts

SCAN_VALUES = 4_000_000  # of one variable, read at once for its sums: 16 MB, and about ten times that while summing
IN_MEMORY_VALUES = 100_000_000  # of all variables, 400 MB: data with no more than that is kept in memory
DYNAMIC: tuple[Kind, ...] = ("grid", "series")


@dataclass(frozen=True, eq=False)
class LazyVariable:
    """A variable on disk: a `Variable` whose values are read part by part from the opened `array`.

    dims: the dimension of `array` along each axis. change: how the array's units become `units`.
    """

    name: str
    kind: Kind
    units: str
    standard_name: str
    long_name: str
    array: xr.DataArray
    dims: Mapping[Axis, str]
    change: Conversion

    def read(self, parts: Mapping[Axis, slice | np.ndarray]) -> Variable:
        """Read the part within the slices or indices of each axis: float32 in `units`, in the dims of its kind."""
        order = [self.dims[axis] for axis in _axes(self.kind)]
        part = self.array.isel({self.dims[axis]: parts[axis] for axis in _axes(self.kind) if axis in parts})
        part = part.squeeze([d for d in part.dims if d not in order], drop=True).transpose(*order)
        values = self.change.apply(part.values.astype(np.float32))
        return Variable(self.name, self.kind, values, self.units, self.standard_name, self.long_name)

    def moved_to(self, values: np.ndarray) -> LazyVariable:
        """Return the same variable with a copy of its values, float32 in `units` and in the dims of its kind."""
        order = _axes(self.kind)
        return replace(self, array=xr.DataArray(values, dims=order), dims={a: a for a in order}, change=Conversion())


@dataclass(frozen=True, eq=False)
class LazyCube:
    """A cube whose values stay on disk; `window` reads a part of it as a `WaterCube`.

    frame: the cube's coordinates and static variables, loaded. domain: where each gridded or series variable lives,
    (H, W) or (N,) bool. sums, ends: sums (T, N_SUMS) and ends (T, 2, END_COLUMNS) of each of them.
    hidden_steps: (T,) bool, steps that are read as missing.
    """

    frame: WaterCube
    variables: Mapping[str, LazyVariable | Variable]
    domain: Mapping[str, np.ndarray]
    sums: Mapping[str, np.ndarray]
    ends: Mapping[str, np.ndarray]
    hidden_steps: np.ndarray

    @property
    def time(self) -> np.ndarray:
        """(T,) datetime64[ns]."""
        return self.frame.time

    @property
    def y(self) -> np.ndarray:
        """(H,) float64."""
        return self.frame.y

    @property
    def x(self) -> np.ndarray:
        """(W,) float64."""
        return self.frame.x

    @property
    def sites(self) -> Sites:
        """All sites."""
        return self.frame.sites

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, H, W)."""
        return self.frame.shape

    @property
    def step_s(self) -> float | None:
        """The median time step in seconds; None for a single frame."""
        return typical_step_s(self.frame.time)

    @property
    def size(self) -> int:
        """Number of values of all gridded and series variables together."""
        n_time, height, width = self.shape
        each = {"grid": n_time * height * width, "series": n_time * len(self.sites)}
        return sum(each.get(v.kind, 0) for v in self.variables.values())

    def of_kind(self, *kinds: Kind) -> dict[str, LazyVariable | Variable]:
        """Return the variables of these kinds, in the cube's order."""
        return {name: v for name, v in self.variables.items() if v.kind in kinds}

    def inside(self, name: str) -> np.ndarray:
        """Return (H, W) or (N,) bool: where the variable lives, over all steps, hidden ones too."""
        return self.domain[name] if name in self.domain else self.frame.inside(name)

    def summary(self, name: str) -> Summary:
        """Return the moments of the variable's observed values, hidden steps left out."""
        static = self.frame.variables.get(name)
        if static is not None:
            return summary_of(static.values)
        seen = ~self.hidden_steps
        return summarise(self.sums[name][seen], self.ends[name][seen])

    def without_steps(self, steps: np.ndarray) -> LazyCube:
        """Return the same cube with everything at these (T,) bool steps missing; its domain stays."""
        return replace(self, hidden_steps=self.hidden_steps | steps)

    def window(self, time: slice, y: slice, x: slice) -> WaterCube:
        """Read the part within the slices, and the sites in it; nothing else is read."""
        near = np.flatnonzero(self.frame.sites_in(y, x))
        part = self.frame.window(time, y, x)
        parts: dict[Axis, slice | np.ndarray] = {"time": time, "y": y, "x": x, "site": near}
        hidden = self.hidden_steps[time]
        variables = {}
        for name, variable in self.variables.items():
            if isinstance(variable, Variable):
                variables[name] = part.variables[name]
                continue
            read = variable.read(parts)
            read.values[hidden] = np.nan
            variables[name] = read
        domain = {n: self.domain[n][y, x] for n in self.of_kind("grid")}
        return replace(part, variables=variables, domain=domain)

    def load(self) -> LoadedCube:
        """Read all of the cube into memory."""
        return LoadedCube.of(self.window(*(slice(0, n) for n in self.shape)))

    def excerpt(self, steps: np.ndarray, reach: int, max_values: int) -> tuple[WaterCube, np.ndarray]:
        """Read the chosen (T,) bool steps and those around them; return the part and which of its steps are chosen.

        Args:
            steps: the steps of interest; from the first on, as many as fit are taken.
            reach: steps before and after that are read as well.
            max_values: at most so many values are read.
        """
        chosen = np.flatnonzero(steps)
        longest = max(1, max_values // max(1, self.size // len(self.time)))
        first = max(0, int(chosen[0]) - reach) if len(chosen) else 0
        last = min(int(chosen[-1]) + reach + 1 if len(chosen) else len(steps), first + longest)
        time = slice(first, last)
        return self.window(time, slice(0, self.shape[1]), slice(0, self.shape[2])), steps[time]


@dataclass(frozen=True, eq=False)
class LazyReading:
    """A dataset that has been opened and not loaded.

    cube: its variables. dimensions: the recognised dimensions of the dataset, by name. grid_units: units of the grid's
    coordinates, "" where the dataset does not say.
    """

    cube: LazyCube
    dimensions: Mapping[str, Dimension]
    grid_units: str


def read_lazily(dataset: xr.Dataset, layout: Layout | None = None, scratch: Path | None = None) -> LazyReading:
    """Read the cube in a dataset that may be larger than memory: as `read_dataset`, but values stay where they are.

    The data is read once, in blocks of time, to find where variables live and the moments of their values. Series stay
    in memory, and so do grids of up to `IN_MEMORY_VALUES`; larger grids are read again for every window.

    Args:
        dataset: as `open_sources` gives it, or any other whose variables are not loaded.
        layout: the model's variables and units; without a layout, everything as it stands.
        scratch: a folder for an uncompressed copy of the grids, 4 bytes a value, from which windows are read a hundred
            times as fast; no copy is made without a folder, or where the grids are in memory.

    Raises:
        ContractError: as `read_dataset`.
    """
    dimensions = recognise(dataset)
    time_name, time_coordinate = find_time(dataset, dimensions.values())
    first = read_dataset(dataset.isel({time_name: slice(0, 1)}), layout, dimensions)  # checks all but the later values
    frame = replace(
        first.cube,
        time=time_values(dataset, time_coordinate).elapsed,
        variables=first.cube.of_kind("static_grid", "static_site"),
        domain={},
    )
    if layout is not None:
        check_step(frame, layout.place, time_coordinate)
    variables = _variables(dataset, first)
    cube = LazyCube(frame, variables, {}, {}, {}, np.zeros(len(frame.time), bool))
    scans = _scan(cube, scratch if cube.size > IN_MEMORY_VALUES else None)
    given = {name for name, source in first.source.items() if f"{source}_domain" in dataset}
    cube = replace(
        cube,
        variables={**variables, **{n: scan.variable for n, scan in scans.items()}},
        domain={n: first.cube.domain[n] if n in given else _domain(first.cube, n, s.counts) for n, s in scans.items()},
        sums={n: scan.sums for n, scan in scans.items()},
        ends={n: scan.ends for n, scan in scans.items()},
    )
    check_reading(first, {name: cube.summary(name) for name in cube.variables}, dataset)
    return LazyReading(cube, first.dimensions, first.grid_units)


def _variables(dataset: xr.Dataset, first: Reading) -> dict[str, LazyVariable | Variable]:
    variables: dict[str, LazyVariable | Variable] = {}
    for name, known in first.cube.variables.items():
        if known.kind not in DYNAMIC:
            variables[name] = known
            continue
        array = dataset[first.source[name]]
        dims = {first.dimensions[str(d)].axis: str(d) for d in array.dims if str(d) in first.dimensions}
        variables[name] = LazyVariable(
            name, known.kind, known.units, known.standard_name, known.long_name, array, dims, first.converted[name]
        )
    return variables


@dataclass(frozen=True, eq=False)
class _Scan:
    """One variable read through: its sums (T, 7), minima (T,), and at how many steps each cell or site has a value."""

    variable: LazyVariable
    sums: np.ndarray
    ends: np.ndarray
    counts: np.ndarray


def _scan(cube: LazyCube, scratch: Path | None) -> dict[str, _Scan]:
    lazy = [v for v in cube.variables.values() if isinstance(v, LazyVariable)]
    n_time, scans = len(cube.time), {}
    for variable in lazy:
        shape = tuple(variable.array.sizes[variable.dims[axis]] for axis in _axes(variable.kind))
        kept = _room_for_copy(
            variable, shape, scratch, in_memory=cube.size <= IN_MEMORY_VALUES or variable.kind == "series"
        )
        sums, ends, counts = (
            np.zeros((n_time, N_SUMS)),
            np.zeros((n_time, 2, END_COLUMNS)),
            np.zeros(shape[1:], np.int64),
        )
        block = max(1, SCAN_VALUES // max(1, int(np.prod(shape[1:]))))
        for start in range(0, n_time, block):
            part = slice(start, min(start + block, n_time))
            values = variable.read({"time": part}).values
            sums[part], ends[part] = sums_of_steps(values)
            counts += (~np.isnan(values)).sum(axis=0)
            if kept is not None:
                kept[part] = values
        scans[variable.name] = _Scan(variable if kept is None else variable.moved_to(kept), sums, ends, counts)
    return scans


def _room_for_copy(
    variable: LazyVariable, shape: tuple[int, ...], scratch: Path | None, in_memory: bool
) -> np.ndarray | None:
    """Return an array for a copy of the variable's values, in memory or in a file; None if no copy is made."""
    if in_memory:
        return np.empty(shape, np.float32)
    if scratch is None:
        return None
    file: np.ndarray = np.lib.format.open_memmap(scratch / f"{variable.name}.npy", "w+", np.float32, shape)
    return file


def _domain(first: WaterCube, name: str, counts: np.ndarray) -> np.ndarray:
    """Return where the variable lives: what a mask or the model says, and else what the counts of values suggest."""
    if name in first.domain:
        inside: np.ndarray = first.domain[name] | (counts > 0)
        return inside
    return domain_from_counts(counts) if counts.ndim == 2 else counts > 0


def _axes(kind: Kind) -> tuple[Axis, ...]:
    axes: Mapping[str, Axis] = {"time": "time", "y": "y", "x": "x", "site": "site"}
    return tuple(axes[dim] for dim in DIMS[kind])
