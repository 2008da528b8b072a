"""Simulate a water cycle as a CF dataset, in memory or written to a file block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from hydrofill.cf.on_disk import hdf5_on_disk
from hydrofill.paths import written_whole
from model.config import ConfigError
from model.datasets.simulator.config import SimulationConfig
from model.datasets.simulator.cycle import Ledger, SimulatedRecord, WaterCycle, build_world
from model.datasets.simulator.description import describe, static_fields
from model.datasets.simulator.gaps import NO_GAPS, GapConfig, cut_gaps

Progress = Callable[[str, int, int], None]

BLOCK_CELLS = 6_000_000  # values of one variable in memory: about 25 MB, and ten times that while gaps are drawn
DYNAMIC = ("precipitation", "soil_moisture", "temperature", "evaporation", "river_flow")
SERIES = ("evaporation", "river_flow")


@dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated dataset, float32 and possibly with gaps, and its complete water balance, float64."""

    dataset: xr.Dataset
    ledger: Ledger


def simulate(
    config: SimulationConfig, seed: int, gaps: GapConfig = NO_GAPS, progress: Progress | None = None
) -> Simulation:
    """Simulate a water cycle as one dataset in memory.

    Args:
        config: size, climate and days.
        seed: the same seed gives the same data, bit for bit.
        gaps: shares of the values that are missing; none by default.
        progress: called with (what, done, total).

    Raises:
        ConfigError: the land has fewer catchments than the requested number of sites.
    """
    world = build_world(config, seed)
    cycle = WaterCycle(world, seed)
    parts = [_dynamic(record) for record in _records(cycle, seed, gaps, progress)]
    dynamic = parts[0] if len(parts) == 1 else xr.concat(parts, "time")
    return Simulation(describe(dynamic.merge(static_fields(world, cycle.ledger)), config, seed), cycle.ledger)


def write_simulation(
    out: Path, config: SimulationConfig, seed: int, gaps: GapConfig = NO_GAPS, progress: Progress | None = None
) -> Ledger:
    """Write the same dataset to a NetCDF file or, where the name ends in .zarr, to a Zarr store.

    One block of days is in memory at a time. The file appears when it is complete.

    Raises:
        ConfigError: as `simulate`, or the name ends in neither .nc nor .zarr.
    """
    if out.suffix not in (".nc", ".zarr"):
        raise ConfigError(f"{out.name} must end in .nc or .zarr")
    world = build_world(config, seed)
    cycle = WaterCycle(world, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(out, folder=out.suffix == ".zarr") as part:
        for number, record in enumerate(_records(cycle, seed, gaps, progress)):
            # Attributes of sites that take the whole run, such as aridity, are written again with the last block.
            block = describe(_dynamic(record).merge(static_fields(world, cycle.ledger)), config, seed)
            (_add_to_zarr if out.suffix == ".zarr" else _add_to_netcdf)(part, block, first=number == 0)
    return cycle.ledger


def _records(cycle: WaterCycle, seed: int, gaps: GapConfig, progress: Progress | None) -> Iterator[SimulatedRecord]:
    """Yield blocks of days with gaps. Blocks, and with them the gaps, depend on the size of the grid alone."""
    config = cycle.world.config
    block = max(1, BLOCK_CELLS // (config.rows * config.columns))
    for first in range(0, config.days, block):
        record = cycle.advance(min(block, config.days - first))
        if gaps != NO_GAPS:
            record = cut_gaps(record, first, config.days, gaps, np.random.default_rng([seed, 3, first]))
        if progress is not None:
            progress("days", first + len(record.time), config.days)
        yield record


def _dynamic(record: SimulatedRecord) -> xr.Dataset:
    dims = {name: ("time", "site") if name in SERIES else ("time", "y", "x") for name in DYNAMIC}
    return xr.Dataset({name: (dims[name], getattr(record, name)) for name in DYNAMIC}, {"time": record.time})


def _add_to_zarr(path: Path, block: xr.Dataset, first: bool) -> None:
    if first:
        block.to_zarr(path, mode="w", zarr_format=2)  # format 3 does not specify text
        return
    fixed = [n for n, v in block.variables.items() if "time" not in v.dims]
    of_sites = [n for n, v in block.data_vars.items() if v.dims == ("site",)]
    block.drop_vars(fixed).drop_encoding().to_zarr(path, append_dim="time", zarr_format=2)
    block[of_sites].reset_coords(drop=True).drop_vars("site").drop_encoding().to_zarr(path, mode="r+", zarr_format=2)


def _add_to_netcdf(path: Path, block: xr.Dataset, first: bool) -> None:
    if first:
        with hdf5_on_disk(path) as content:
            block.to_netcdf(content, engine="h5netcdf", unlimited_dims=["time"])
        return
    with hdf5_on_disk(path, "r+") as content, h5py.File(content, "a") as file:
        start = len(file["time"])
        moving = {str(n): v.values for n, v in block.data_vars.items() if "time" in v.dims}
        moving["time"] = start + np.arange(block.sizes["time"])  # days since the first
        for name, values in moving.items():
            file[name].resize(start + len(values), axis=0)
            file[name][start:] = values
        for site_name, variable in block.data_vars.items():
            if variable.dims == ("site",):
                file[str(site_name)][:] = variable.values
