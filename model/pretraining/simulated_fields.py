"""Simulated water data of wide variety, from which a general model learns to fill data that it has never seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from hydrofill.constants import DAY_S, YEAR_S
from hydrofill.cube import Kind, Sites, Variable, WaterCube, no_sites
from model.datasets.simulator.config import SimulationConfig
from model.datasets.simulator.cycle import WaterCycle, build_world
from model.pretraining.gauge_networks import RUN_IN, draw_kinds, draw_network, draw_wetness, rain_from, series_of
from model.pretraining.gaussian_fields import (
    Covariance,
    draw_wind,
    gaussian_field,
    log_uniform,
)
from model.pretraining.marginals import GRID_THEMES, THEMES, in_units, quantised, to_theme
from model.pretraining.patterns import (
    blobs,
    blocky,
    cycles,
    interpolated,
    land_mask,
    latent_field,
    standardised,
    static_field,
    trends,
)
from model.pretraining.time_steps import TimeSteps, draw_time_steps

MAX_VALUES = 200_000  # of all variables of a cube
MAX_GRID_VALUES = 180_000  # of the grids among them
MAX_SERIES_VALUES = 15_000  # of the series beside grids
NO_AXIS = np.array([], dtype=np.float64)
MINUTE_S = 60.0
SITE_MARGIN = 0.02  # of the grid's width, that sites keep from its edge


@dataclass(frozen=True, eq=False)
class _Frame:
    """What the variables of a gridded cube share.

    Attributes:
        steps: the time axis.
        shape: (T', H, W) with all even steps, among them those that are left out in the end.
        shared: standard Gaussian fields of that shape that variables may follow.
        elevation: (H, W), standardised.
        land: (H, W) bool, cells without values.
    """

    steps: TimeSteps
    shape: tuple[int, int, int]
    shared: list[np.ndarray]
    elevation: np.ndarray
    land: np.ndarray


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
    return _gridded(rng, draw_time_steps(rng, 1, MINUTE_S, YEAR_S), _sides(rng, cells), series=False)


def _short_stack(rng: np.random.Generator) -> WaterCube:
    """Simulate 2 to 12 frames, far apart or near each other in time."""
    steps = int(rng.integers(2, 13))
    cells = log_uniform(rng, 5_000, 180_000) / steps
    return _gridded(rng, draw_time_steps(rng, steps, MINUTE_S, YEAR_S), _sides(rng, cells), series=False)


def _film(rng: np.random.Generator) -> WaterCube:
    """Simulate tens to hundreds of frames of a grid of medium size, with series at times."""
    steps = int(log_uniform(rng, 12, 400))
    cells = np.clip(log_uniform(rng, 8_000, 150_000) / steps, 16, 10_000)
    return _gridded(rng, draw_time_steps(rng, steps, MINUTE_S, YEAR_S), _sides(rng, cells), series=rng.random() < 0.4)


def _long_record(rng: np.random.Generator) -> WaterCube:
    """Simulate hundreds to thousands of frames of a small grid."""
    steps = int(log_uniform(rng, 400, 2500))
    cells = np.clip(log_uniform(rng, 20_000, 120_000) / steps, 9, 200)
    return _gridded(
        rng, draw_time_steps(rng, steps, MINUTE_S, 31 * DAY_S), _sides(rng, cells), series=rng.random() < 0.3
    )


def _radar(rng: np.random.Generator) -> WaterCube:
    """Simulate rain radar: frames 2 to 15 minutes apart, cells that move fast, grow and decay."""
    frames = int(log_uniform(rng, 6, 60))
    steps = draw_time_steps(rng, frames, 2 * MINUTE_S, 15 * MINUTE_S)
    shape = (steps.n_even, *_sides(rng, log_uniform(rng, 20_000, 180_000) / steps.n_even))
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
    y, x = _axes(rng, shape[1:])
    grid = _variable(0, "grid", values[steps.chosen], units)
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
        _variable(number, "series", _measured(rng, series.values[steps.chosen]), series.units)
        for number, series in enumerate(draw_network(rng, steps, places, elevation))
    ]
    if rng.random() < 0.4:
        variables.append(_variable(len(variables), "static_site", *_metres(rng, elevation)))
    cell, origin = log_uniform(rng, 1e-3, 1e4), rng.uniform(-1e2, 1e2)
    found = Sites(np.array([f"s{n}" for n in range(sites)]), places[:, 0] * cell + origin, places[:, 1] * cell + origin)
    return WaterCube(steps.time, NO_AXIS, NO_AXIS, found, _named(rng, variables))


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
    variables = [_variable(n, "grid", getattr(record, name), units) for n, (name, units) in enumerate(chosen)]
    variables += [_variable(n + 3, "series", getattr(record, name), units) for n, (name, units) in enumerate(added)]
    y = config.y_first_m + config.cell_m * np.arange(config.rows)
    x = config.x_first_m + config.cell_m * np.arange(config.columns)
    if rng.random() < 0.5:
        land = np.isnan(record.temperature[0])
        elevation = np.where(land, np.nan, world.terrain.elevation)
        variables.append(_variable(6, "static_grid", elevation, "m"))
    row, column = np.divmod(world.drainage.cells[world.gauges], config.columns)
    sites = Sites(np.array([f"s{n}" for n in range(config.sites)]), y[row], x[column]) if added else no_sites()
    return WaterCube(record.time, y, x, sites, _named(rng, variables))


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


def _gridded(rng: np.random.Generator, steps: TimeSteps, sides: tuple[int, int], series: bool) -> WaterCube:
    """Simulate 1 to 4 grids on one frame, with statics and, where wanted, series at sites in the grid."""
    shape = (steps.n_even, *sides)
    frame = _Frame(
        steps=steps,
        shape=shape,
        shared=[latent_field(rng, shape) for _ in range(rng.choice([1, 2], p=[0.7, 0.3]))],
        elevation=static_field(rng, sides),
        land=land_mask(rng, sides) if rng.random() < 0.25 and min(sides) > 3 else np.zeros(sides, bool),
    )
    cells = sides[0] * sides[1]
    most = MAX_GRID_VALUES // (len(steps.time) * cells)
    count = min(max(1, most), int(rng.choice([1, 2, 3, 4], p=[0.55, 0.22, 0.13, 0.1])))
    variables = [_grid_variable(rng, frame, number) for number in range(count)]
    sites = no_sites()
    if series:
        sites, added = _series_in_grid(rng, frame, len(variables))
        variables += added
    y, x = _axes(rng, sides)
    left = (MAX_GRID_VALUES - count * len(steps.time) * cells) // cells
    for _ in range(max(0, min(left, int(rng.choice([0, 1, 2, 3], p=[0.6, 0.25, 0.1, 0.05]))))):
        link = rng.choice([1.0, rng.uniform(0.0, 1.0)])
        field = link * frame.elevation + math.sqrt(1.0 - link**2) * static_field(rng, sides)
        variables.append(_variable(len(variables), "static_grid", *_metres(rng, field)))
    placed = Sites(sites.ids, np.interp(sites.y, np.arange(len(y)), y), np.interp(sites.x, np.arange(len(x)), x))
    return WaterCube(steps.time, y, x, placed, _named(rng, variables))


def _grid_variable(rng: np.random.Generator, frame: _Frame, number: int) -> Variable:
    """Draw one variable of a frame: latent field, mean pattern, cycles, marginal, noise, blocks, steps, land."""
    theme = THEMES[str(rng.choice(GRID_THEMES))]
    field = _linked(rng, frame)
    analysis = rng.random() < 0.45  # without noise
    if analysis and min(frame.shape[1:]) >= 6 and rng.random() < 0.4:
        field = interpolated(rng, field)
    field = standardised(field * np.exp(rng.choice([0.0, 0.0, 0.3, 0.7]) * frame.elevation) + _structure(rng, frame))
    noise = 0.0 if analysis else rng.choice([0.0, rng.uniform(0.0, 0.1), rng.uniform(0.0, 0.5)], p=[0.4, 0.35, 0.25])
    if noise:
        white = rng.standard_normal(frame.shape, dtype=np.float32)
        field = math.sqrt(1.0 - noise) * field + math.sqrt(noise) * white
    values, units = to_theme(rng, theme, field)
    if min(frame.shape[1:]) >= 4 and rng.random() < 0.15:
        values = blocky(rng, values)
    if frame.shape[0] > 12 and rng.random() < 0.04:
        values = values[np.arange(len(values)) // rng.integers(2, 8)]  # a coarse time axis, copied to finer steps
    if rng.random() < 0.2:
        values = quantised(rng, values)
    values = np.where(frame.land if rng.random() < 0.8 else np.zeros_like(frame.land), np.nan, values)
    return _variable(number, "grid", values[frame.steps.chosen], units)


def _linked(rng: np.random.Generator, frame: _Frame) -> np.ndarray:
    """Draw a latent field that follows a shared one: not at all, in part, or nearly wholly, with a lag at times."""
    shared = frame.shared[rng.integers(len(frame.shared))]
    link = float(rng.choice([0.0, rng.uniform(0.1, 0.95), rng.uniform(0.95, 1.0)], p=[0.25, 0.5, 0.25]))
    if rng.random() < 0.25 and frame.shape[0] > 6:
        shared = np.roll(shared, int(rng.integers(1, 4)), axis=0)
    followed = rng.choice([-1.0, 1.0], p=[0.3, 0.7]) * math.sqrt(link) * shared
    if link > 0.95:
        return np.asarray(followed)
    return followed + math.sqrt(1.0 - link) * latent_field(rng, frame.shape)


def _structure(rng: np.random.Generator, frame: _Frame) -> np.ndarray:
    """Draw the mean pattern, trends and cycles of a variable, (T', H, W), relative to fluctuations of size 1."""
    structure = np.zeros((1, 1, 1))
    if rng.random() < 0.45:
        link = rng.uniform(-1.0, 1.0)
        mean = link * frame.elevation + math.sqrt(1.0 - link**2) * static_field(rng, frame.shape[1:])
        structure = structure + log_uniform(rng, 0.1, 20.0) * mean
    if rng.random() < 0.3:
        structure = structure + trends(rng, frame.shape)
    if rng.random() < 0.6:
        structure = structure + cycles(rng, frame.steps, frame.shape)
    return structure


def _series_in_grid(rng: np.random.Generator, frame: _Frame, first: int) -> tuple[Sites, list[Variable]]:
    """Draw 1 to 3 series at sites in the grid, in cells, that follow a shared field's mean around each site."""
    rows, columns = frame.shape[1:]
    count = min(int(rng.integers(2, 31)), max(2, MAX_SERIES_VALUES // (3 * len(frame.steps.time))))
    margins = SITE_MARGIN * rows, SITE_MARGIN * columns
    places = np.stack([rng.uniform(m, n - 1 - m, count) for n, m in zip((rows, columns), margins, strict=True)], 1)
    elevation = frame.elevation[tuple(np.round(places).astype(int).T)]
    wetness = draw_wetness(rng, frame.steps, places, elevation)
    link, shared = rng.uniform(0.0, 1.0), frame.shared[0]
    wetness[RUN_IN:] = math.sqrt(link) * _around(rng, shared, places) + math.sqrt(1.0 - link) * wetness[RUN_IN:]
    rainfall = rain_from(rng, wetness)
    kinds = draw_kinds(rng, int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1])))
    drawn = [series_of(rng, kind, wetness, rainfall, frame.steps, places, elevation) for kind in kinds]
    variables = [
        _variable(first + n, "series", _measured(rng, s.values[frame.steps.chosen]), s.units)
        for n, s in enumerate(drawn)
    ]
    return Sites(np.array([f"s{n}" for n in range(count)]), places[:, 0], places[:, 1]), variables


def _around(rng: np.random.Generator, field: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the standardised mean (T, N) of the cells around each place, out to a reach that is drawn."""
    rows, columns = field.shape[1:]
    reach = rng.integers(0, max(2, min(rows, columns) // 3))
    means = []
    for row, column in np.round(places).astype(int):
        part = field[:, max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        means.append(part.mean(axis=(1, 2)))
    return standardised(np.stack(means, axis=1))


def _measured(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """Return values with the error and the step of an instrument, at times."""
    if rng.random() < 0.3:
        values = values * np.exp(rng.uniform(0.0, 0.2) * rng.standard_normal(values.shape))
    return quantised(rng, values) if rng.random() < 0.4 else values


def _sides(rng: np.random.Generator, cells: float) -> tuple[int, int]:
    """Draw rows and columns of a grid of about so many cells, up to three times as long as wide."""
    ratio = log_uniform(rng, 1.0, 3.0) ** rng.choice([-1.0, 1.0])
    rows = max(2, round(math.sqrt(cells * ratio)))
    return rows, max(2, int(cells / rows))


def _axes(rng: np.random.Generator, sides: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw the coordinates of a grid, in degrees or metres; rows go north or south."""
    if rng.random() < 0.5:
        cell, origin = float(rng.choice([0.01, 0.05, 0.1, 0.25, 0.5, 1.0])), rng.uniform(-40.0, 40.0, 2)
    else:
        cell, origin = float(rng.choice([100.0, 250.0, 500.0, 1e3, 2e3, 4e3, 5e3, 25e3])), rng.uniform(-1e6, 1e6, 2)
    direction = rng.choice([-1.0, 1.0])
    return origin[0] + direction * cell * np.arange(sides[0]), origin[1] + cell * np.arange(sides[1])


def _metres(rng: np.random.Generator, field: np.ndarray) -> tuple[np.ndarray, str]:
    """Return a standardised field as heights in metres or as another static property, and its units."""
    if rng.random() < 0.6:
        return (field - field.min()) * log_uniform(rng, 10.0, 800.0), "m"
    return in_units(rng, THEMES["cover"], 1.0 / (1.0 + np.exp(-field)))


def _variable(number: int, kind: Kind, values: np.ndarray, units: str) -> Variable:
    return Variable(f"v{number}", kind, np.ascontiguousarray(values, dtype=np.float32), units)


def _named(rng: np.random.Generator, variables: list[Variable]) -> dict[str, Variable]:
    """Return the variables in a random order, named v0, v1, ..."""
    order = [variables[n] for n in rng.permutation(len(variables))]
    return {f"v{n}": replace(v, name=f"v{n}") for n, v in enumerate(order)}
