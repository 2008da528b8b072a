"""CF names, units and encodings of the simulated variables."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from model.datasets.simulator.config import SimulationConfig
from model.datasets.simulator.cycle import Ledger, World

ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    "precipitation": {
        "standard_name": "lwe_precipitation_rate",
        "long_name": "precipitation",
        "units": "mm day-1",
        "cell_methods": "time: mean",
    },
    "soil_moisture": {
        "standard_name": "volume_fraction_of_condensed_water_in_soil",
        "long_name": "soil moisture of the upper metre at the end of the day",
        "units": "m3 m-3",
        "cell_methods": "time: point",
    },
    "temperature": {
        "standard_name": "air_temperature",
        "long_name": "air temperature",
        "units": "degC",
        "cell_methods": "time: mean",
    },
    "evaporation": {
        "standard_name": "lwe_water_evaporation_rate",
        "long_name": "evaporation, mean over the catchment",
        "units": "mm day-1",
        "cell_methods": "time: mean",
    },
    "river_flow": {
        "standard_name": "water_volume_transport_in_river_channel",
        "long_name": "river flow",
        "units": "m3 s-1",
        "cell_methods": "time: mean",
    },
    "elevation": {"standard_name": "surface_altitude", "long_name": "elevation without hollows", "units": "m"},
    "slope": {"long_name": "slope", "units": "1"},
    "soil_capacity": {"long_name": "plant-available water that the soil can hold", "units": "mm"},
    "woodland": {"long_name": "share of woodland", "units": "1"},
    "permeability": {"long_name": "share of runoff that passes through the ground", "units": "1"},
    "area": {"long_name": "drained area", "units": "km2"},
    "elevation_mean": {"long_name": "mean elevation of the catchment", "units": "m"},
    "slope_mean": {"long_name": "mean slope of the catchment", "units": "1"},
    "soil_capacity_mean": {"long_name": "mean plant-available water of the catchment's soils", "units": "mm"},
    "woodland_share": {"long_name": "share of woodland in the catchment", "units": "1"},
    "permeability_mean": {"long_name": "mean permeability of the catchment", "units": "1"},
    "precipitation_mean": {"long_name": "mean precipitation over all days, gaps included", "units": "mm day-1"},
    "aridity": {"long_name": "potential evaporation over precipitation, all days, gaps included", "units": "1"},
    "y": {"standard_name": "projection_y_coordinate", "long_name": "northing", "units": "m", "axis": "Y"},
    "x": {"standard_name": "projection_x_coordinate", "long_name": "easting", "units": "m", "axis": "X"},
    "time": {"standard_name": "time", "axis": "T"},
    "site": {"long_name": "gauge", "cf_role": "timeseries_id"},
    "site_y": {"standard_name": "projection_y_coordinate", "long_name": "northing of the gauge", "units": "m"},
    "site_x": {"standard_name": "projection_x_coordinate", "long_name": "easting of the gauge", "units": "m"},
}
MEANS = {  # site attribute: the static field whose catchment mean it is
    "elevation_mean": "elevation",
    "slope_mean": "slope",
    "soil_capacity_mean": "soil_capacity",
    "woodland_share": "woodland",
    "permeability_mean": "permeability",
}
CHUNK_OF_SERIES = (365, 1000)  # days, sites
CHUNK = (32, 100, 100)  # days, rows, columns; a window of 90 days reads about four chunks


def static_fields(world: World, ledger: Ledger) -> xr.Dataset:
    """Return static fields (y, x), site attributes (site) and coordinates; climate means are over the days so far."""
    config, terrain, cells = world.config, world.terrain, world.drainage.cells
    row, column = np.unravel_index(cells[world.gauges], terrain.land.shape)
    fields = {name: getattr(terrain, name) for name in MEANS.values()}
    rain = world.mean_over_catchments(ledger.precipitation)
    sites = {name: world.mean_over_catchments(world.on_land(fields[field])) for name, field in MEANS.items()}
    sites["area"] = world.catchments.sum(axis=1) * config.cell_km**2
    sites["precipitation_mean"] = rain / max(1.0, float(ledger.days))
    sites["aridity"] = world.mean_over_catchments(ledger.potential) / np.maximum(rain, 1e-9)
    width = len(str(config.sites))
    return xr.Dataset(
        {
            **{name: (("y", "x"), field.astype(np.float32)) for name, field in fields.items()},
            **{name: ("site", values.astype(np.float32)) for name, values in sites.items()},
        },
        {
            "y": terrain.y,
            "x": terrain.x,
            "site": [f"g{number:0{width}d}" for number in range(1, config.sites + 1)],
            "site_y": ("site", terrain.y[row]),
            "site_x": ("site", terrain.x[column]),
        },
    )


def describe(dataset: xr.Dataset, config: SimulationConfig, seed: int) -> xr.Dataset:
    """Return the dataset with CF attributes and with the encodings for files."""
    for name, variable in dataset.variables.items():
        variable.attrs.update(ATTRIBUTES[str(name)])
        if variable.ndim > 1 and "time" in variable.dims:
            wanted = CHUNK if variable.ndim == 3 else CHUNK_OF_SERIES
            chunk = tuple(min(c, n) for c, n in zip(wanted, variable.shape, strict=True))
            # `chunksizes` is for NetCDF, `chunks` for Zarr, which compresses by default.
            variable.encoding = {"chunksizes": chunk, "chunks": chunk, "zlib": True, "complevel": 1, "shuffle": True}
    dataset["time"].encoding = {"units": f"days since {config.start}", "dtype": "int64"}
    return dataset.assign_attrs(
        Conventions="CF-1.11",
        title=f"simulated water cycle, {config.rows} x {config.columns} cells of {config.cell_km:g} km, seed {seed}",
        source="hydrofill simulate",
        license="CC0-1.0",
        comment="no place on Earth; the grids, series and attributes are one closed water balance",
    )
