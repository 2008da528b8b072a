"""Simulated water data of wide variety, from which a general model learns to fill data that it has never seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from hydrofill.constants import DAY_S, YEAR_S
from hydrofill.cube import Sites, WaterCube, no_sites
from model.datasets.simulator.config import SimulationConfig
from model.datasets.simulator.cycle import WaterCycle, build_world
from model.pretraining.gauge_networks import draw_network
from model.pretraining.gaussian_fields import Covariance, draw_wind, gaussian_field, log_uniform
from model.pretraining.linked_variables import (
    MAX_GRID_VALUES,
    draw_axes,
    draw_sides,
    gridded_cube,
    in_metres,
    measured,
    named,
    new_variable,
)
from model.pretraining.marginals import THEMES, quantised, to_theme
from model.pretraining.patterns import blobs, standardised, trends
from model.pretraining.time_steps import draw_time_steps

MAX_VALUES = 200_000  # of all variables of a cube
NO_AXIS = np.array([], dtype=np.float64)
MINUTE_S = 60.0


def simulate_cube(rng: np.random.Generator) -> WaterCube:
    """Simulate one complete cube; only cells of land masks are NaN, at all times.

    The kind of cube, its size (up to MAX_VALUES values in all), its variables and everything about them is drawn.
    Names are v0, v1, ... in an order without meaning.
    """
    makers = list(KINDS.values())
    maker = makers[rng.choice(len(makers), p=KIND_SHARES)]
    return maker(rng)


def _single_map(rng: np.random.Generator) -> WaterCube:
    """Simulate maps of one time."""
    cells = log_uniform(rng, 500, 100_000)
    return gridded_cube(rng, draw_time_steps(rng, 1, MINUTE_S, YEAR_S), draw_sides(rng, cells), series=False)


def _short_stack(rng: np.random.Generator) -> WaterCube:
    """Simulate 2 to 12 frames, far apart or near each other in time."""
    steps = int(rng.integers(2, 13))
    cells = log_uniform(rng, 5_000, 180_000) / steps
    return gridded_cube(rng, draw_time_steps(rng, steps, MINUTE_S, YEAR_S), draw_sides(rng, cells), series=False)


def _film(rng: np.random.Generator) -> WaterCube:
    """Simulate tens to hundreds of frames of a grid of medium size, with series at times."""
    steps = int(log_uniform(rng, 12, 400))
    cells = np.clip(log_uniform(rng, 8_000, 150_000) / steps, 16, 10_000)
    return gridded_cube(
        rng, draw_time_steps(rng, steps, MINUTE_S, YEAR_S), draw_sides(rng, cells), series=rng.random() < 0.4
    )


def _long_record(rng: np.random.Generator) -> WaterCube:
    """Simulate hundreds to thousands of frames of a small grid."""
    steps = int(log_uniform(rng, 400, 2500))
    cells = np.clip(log_uniform(rng, 20_000, 120_000) / steps, 9, 200)
    return gridded_cube(
        rng, draw_time_steps(rng, steps, MINUTE_S, 31 * DAY_S), draw_sides(rng, cells), series=rng.random() < 0.3
    )


def _radar(rng: np.random.Generator) -> WaterCube:
    """Simulate rain radar: frames 2 to 15 minutes apart, cells that move fast, grow and decay."""
    frames = int(log_uniform(rng, 6, 60))
    steps = draw_time_steps(rng, frames, 2 * MINUTE_S, 15 * MINUTE_S)
    shape = (steps.n_even, *draw_sides(rng, log_uniform(rng, 20_000, 180_000) / steps.n_even))
    covariance = Covariance(
        range_cells=log_uniform(rng, 2.0, 0.5 * max(shape[1:]) + 2.0),
        smoothness=float(rng.choice([0.3, 0.5, 1.0, 1.5])),
        anisotropy=log_uniform(rng, 1.0, 4.0),
        heading=float(rng.uniform(0.0, math.pi)),
        memory_steps=log_uniform(rng, 2.0, 80.0),
        memory_slope=float(rng.uniform(0.0, 1.0)),
        wind=draw_wind(rng, 0.1, 5.0),
    )
    field = gaussian_field(rng, shape, covariance)
    if rng.random() < 0.4:
        field = field + rng.uniform(0.3, 2.0) * standardised(blobs(rng, shape))
    field = standardised(field + rng.choice([0.0, 0.5]) * trends(rng, shape))
    values, units = to_theme(rng, THEMES["rain rate"], field)
    if rng.random() < 0.3:
        values = quantised(rng, values)
    y, x = draw_axes(rng, shape[1:])
    grid = new_variable(0, "grid", values[steps.chosen], units)
    return WaterCube(steps.time, y, x, variables={grid.name: grid})


def _gauges(rng: np.random.Generator) -> WaterCube:
    """Simulate a network of 5 to 80 gauges over 100 to 3000 steps, without a grid."""
    sites = int(log_uniform(rng, 5, 81))
    n_steps = int(np.clip(log_uniform(rng, 100, 3000), 100, MAX_GRID_VALUES // (3 * sites)))
    steps = draw_time_steps(rng, n_steps, 15 * MINUTE_S, 31 * DAY_S)
    places = rng.uniform(0.0, 100.0, (sites, 2))
    if rng.random() < 0.4:  # gauges lie in clusters
        places = rng.uniform(0.0, 100.0, (5, 2))[rng.integers(0, 5, sites)] + rng.normal(0.0, 8.0, (sites, 2))
    elevation = standardised(np.sin(places @ rng.normal(0.0, 0.05, 2)) + 0.3 * rng.standard_normal(sites))
    variables = [
        new_variable(number, "series", measured(rng, series.values[steps.chosen]), series.units)
        for number, series in enumerate(draw_network(rng, steps, places, elevation))
    ]
    if rng.random() < 0.4:
        variables.append(new_variable(len(variables), "static_site", *in_metres(rng, elevation)))
    cell, origin = log_uniform(rng, 1e-3, 1e4), rng.uniform(-1e2, 1e2)
    found = Sites(np.array([f"s{n}" for n in range(sites)]), places[:, 0] * cell + origin, places[:, 1] * cell + origin)
    return WaterCube(steps.time, NO_AXIS, NO_AXIS, found, named(rng, variables))


def _water_cycle(rng: np.random.Generator) -> WaterCube:
    """Simulate days of rain, soil moisture, temperature, evaporation and river flow by the simulator."""
    rows, columns = (int(n) for n in rng.integers(8, 21, 2))
    days = min(int(rng.integers(60, 260)), MAX_GRID_VALUES // (3 * rows * columns))
    config = SimulationConfig(
        rows=rows,
        columns=columns,
        cell_km=log_uniform(rng, 1.0, 25.0),
        land_share=rng.uniform(0.4, 0.95),
        highest_m=log_uniform(rng, 100.0, 3000.0),
        sites=int(rng.integers(2, 6)),
        smallest_catchment=2,
        south_latitude=rng.uniform(-50.0, 55.0),
        days=days,
        spin_up_days=30,
        mean_rain_mm_day=log_uniform(rng, 0.5, 8.0),
        sea_level_degc=rng.uniform(5.0, 25.0),
        start=f"{rng.integers(1900, 2020)}-{rng.integers(1, 13):02}-01",
    )
    seed = int(rng.integers(2**31))
    world = build_world(config, seed)
    record = WaterCycle(world, seed).advance(days)
    grids = [("precipitation", "mm d-1"), ("soil_moisture", "m3 m-3"), ("temperature", "degC")]
    series = [("evaporation", "mm d-1"), ("river_flow", "m3 s-1")]
    chosen = [grids[n] for n in rng.permutation(3)[: rng.integers(1, 4)]]
    added = [series[n] for n in rng.permutation(2)[: rng.integers(0, 3)]]
    variables = [new_variable(n, "grid", getattr(record, name), units) for n, (name, units) in enumerate(chosen)]
    variables += [new_variable(n + 3, "series", getattr(record, name), units) for n, (name, units) in enumerate(added)]
    y = config.y_first_m + config.cell_m * np.arange(config.rows)
    x = config.x_first_m + config.cell_m * np.arange(config.columns)
    if rng.random() < 0.5:
        land = np.isnan(record.temperature[0])
        elevation = np.where(land, np.nan, world.terrain.elevation)
        variables.append(new_variable(6, "static_grid", elevation, "m"))
    row, column = np.divmod(world.drainage.cells[world.gauges], config.columns)
    sites = Sites(np.array([f"s{n}" for n in range(config.sites)]), y[row], x[column]) if added else no_sites()
    return WaterCube(record.time, y, x, sites, named(rng, variables))


KINDS: Mapping[str, Callable[[np.random.Generator], WaterCube]] = {
    "map": _single_map,
    "stack": _short_stack,
    "film": _film,
    "long": _long_record,
    "radar": _radar,
    "gauges": _gauges,
    "cycle": _water_cycle,
}
KIND_SHARES = (0.1, 0.15, 0.28, 0.1, 0.14, 0.16, 0.07)
