"""Makes the page's built-in sample from random numbers; `python frontend/sample.py` writes the file.

The sample covers two autumn months on the grid of the Lez (France, 27 x 14 cells of 1 km), with the variables of the
bundle lez-daily: rain from drifting storms, potential evapotranspiration from the season and a smooth field, river flow
from the rain upstream, and static fields. Cells under clouds, whole days and gauge outages are then removed. The sample
holds no measurement.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter

SEED = 11
STEPS, ROWS, COLUMNS = 62, 27, 14
GAUGES = {"upper": (6_291_800.0, 767_400.0), "middle": (6_284_100.0, 770_200.0), "lower": (6_276_300.0, 772_300.0)}
TARGET = Path(__file__).parent / "public" / "page" / "sample.nc"
UNIT_ONE = {"units": "1"}


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], reach: tuple[float, ...]) -> np.ndarray:
    """Return standard normal noise of `shape`, correlated over `reach` cells along each axis."""
    noise = gaussian_filter(rng.normal(size=shape), reach, mode="nearest")
    standard: np.ndarray = (noise - noise.mean()) / noise.std()
    return standard


def make_rain(rng: np.random.Generator) -> np.ndarray:
    """Return rain (T, H, W) in mm per day: wet spells, drifting cells, more rain in the hills of the north."""
    wet = smooth_noise(rng, (STEPS,), (1.2,)) > 0.35
    depth = rng.gamma(2.0, 5.5, STEPS) * wet
    field = smooth_noise(rng, (STEPS, ROWS, COLUMNS), (0.4, 4.0, 3.0))
    hills = np.linspace(1.35, 0.75, ROWS)[:, None]
    rain = depth[:, None, None] * np.maximum(field + 0.9, 0.0) * hills
    rain[rain < 0.1] = 0.0
    drawn: np.ndarray = rain.astype(np.float32)
    return drawn


def make_pet(rng: np.random.Generator, rain: np.ndarray) -> np.ndarray:
    """Return potential evapotranspiration (T, H, W) in mm per day: less late in the season, on wet days and inland."""
    season = np.linspace(3.1, 0.9, STEPS) + 0.35 * smooth_noise(rng, (STEPS,), (1.5,))
    wetness = 1.0 - 0.25 * np.tanh(rain.mean(axis=(1, 2)) / 10.0)
    shore = np.linspace(-0.22, 0.28, ROWS)[:, None]
    local = 0.12 * smooth_noise(rng, (STEPS, ROWS, COLUMNS), (2.0, 5.0, 4.0))
    drawn: np.ndarray = np.maximum((season * wetness)[:, None, None] * (1.0 + shore + local), 0.05).astype(np.float32)
    return drawn


def make_flow(rain: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return river flow (T, N) in m3 s-1 from a quick and a slow reservoir below the cells north of each gauge."""
    flows = []
    for place_y, _ in GAUGES.values():
        upstream = rain[:, y >= place_y].mean(axis=(1, 2)) * (y >= place_y).sum() * COLUMNS * 0.45
        quick, slow, flow = 0.0, 1.4, []
        for inflow in upstream * 1000.0 / 86_400.0:
            quick = 0.45 * quick + 0.30 * inflow
            slow = 0.96 * slow + 0.010 * inflow
            flow.append(0.25 + quick + slow)
        flows.append(flow)
    return np.array(flows, np.float32).T


def take_out(rng: np.random.Generator, values: np.ndarray, lost_days: slice) -> np.ndarray:
    """Return `values` (T, H, W) without the third under drifting clouds, and without the days `lost_days`."""
    clouds = smooth_noise(rng, values.shape, (0.7, 3.2, 2.6))
    gappy = np.where(clouds > np.quantile(clouds, 0.68), np.nan, values).astype(np.float32)
    gappy[lost_days] = np.nan
    return gappy


def make_static(rng: np.random.Generator) -> dict[str, tuple[tuple[str, str], np.ndarray, dict[str, str]]]:
    """Return the static fields that the bundle uses, as smooth fields in their usual ranges."""
    ranges = {
        "drainage_density": (5.0, 25.0, UNIT_ONE),
        "karst": (0.0, 1.0, UNIT_ONE),
        "slope": (0.0, 0.9, UNIT_ONE),
        "soil_water_storage": (40.0, 330.0, {"units": "mm"}),
        "urban": (0.0, 0.8, UNIT_ONE),
        "woodland": (0.0, 0.7, UNIT_ONE),
    }
    fields = {}
    for name, (low, high, attrs) in ranges.items():
        share = 0.5 + 0.5 * np.tanh(smooth_noise(rng, (ROWS, COLUMNS), (3.0, 3.0)))
        attrs = {**attrs, "long_name": name.replace("_", " ")}
        fields[name] = (("y", "x"), (low + (high - low) * share).astype(np.float32), attrs)
    return fields


def make_sample() -> xr.Dataset:
    """Return the sample with its gaps."""
    rng = np.random.default_rng(SEED)
    y, x = 6_301_500.0 - 1000.0 * np.arange(ROWS), 761_500.0 + 1000.0 * np.arange(COLUMNS)
    rain = make_rain(rng)
    pet = make_pet(rng, rain)
    flow = make_flow(rain, y)
    flow[26:39, 1], flow[14:20, 2], flow[8:12, 0] = np.nan, np.nan, np.nan
    gridded, gauged = ("time", "y", "x"), ("time", "site")
    rate = {"units": "mm day-1", "cell_methods": "time: mean"}
    rain_attrs = {**rate, "long_name": "precipitation", "standard_name": "lwe_precipitation_rate"}
    pet_attrs = {
        **rate,
        "long_name": "potential evapotranspiration",
        "standard_name": "water_potential_evaporation_flux",
        "comment": "1 mm day-1 of liquid water stands for a flux of 1 kg m-2 day-1",
    }
    flow_attrs = {
        "units": "m3 s-1",
        "long_name": "river flow",
        "standard_name": "water_volume_transport_in_river_channel",
    }
    places = np.array(list(GAUGES.values()))
    return xr.Dataset(
        {
            "precipitation": (gridded, take_out(rng, rain, slice(36, 38)), rain_attrs),
            "pet": (gridded, take_out(rng, pet, slice(44, 46)), pet_attrs),
            "river_flow": (gauged, flow, flow_attrs),
            **make_static(rng),
        },
        {
            "time": np.datetime64("2012-10-01", "ns") + np.arange(STEPS) * np.timedelta64(1, "D"),
            "y": ("y", y, {"units": "m", "axis": "Y", "standard_name": "projection_y_coordinate"}),
            "x": ("x", x, {"units": "m", "axis": "X", "standard_name": "projection_x_coordinate"}),
            "site": ("site", list(GAUGES), {"cf_role": "timeseries_id", "long_name": "gauge"}),
            "site_y": ("site", places[:, 0], {"units": "m"}),
            "site_x": ("site", places[:, 1], {"units": "m"}),
        },
        {
            "title": "Synthetic sample of hydrofill: two autumn months on the grid of the Lez",
            "Conventions": "CF-1.10",
            "source": f"random numbers (frontend/sample.py, seed {SEED}); no measurement is in it",
            "license": "CC0-1.0",
        },
    )


def main() -> None:
    """Write the file that the page offers."""
    sample = make_sample()
    packing = {"zlib": True, "complevel": 9, "shuffle": True}
    encoding = {str(name): packing for name in sample.data_vars}
    sample["time"].encoding = {"units": "days since 2012-10-01", "dtype": "int32"}
    sample.to_netcdf(TARGET, engine="h5netcdf", encoding=encoding)
    sys.stdout.write(f"{TARGET.name}: {TARGET.stat().st_size / 1e3:.0f} kB\n")


if __name__ == "__main__":
    main()
