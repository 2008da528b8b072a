"""Cubes of several grids, series and static fields that share structure to a varying degree."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from hydrofill.cube import Kind, Sites, Variable, WaterCube, no_sites
from model.pretraining.gauge_networks import RUN_IN, draw_kinds, draw_wetness, rain_from, series_of
from model.pretraining.gaussian_fields import log_uniform
from model.pretraining.marginals import GRID_THEMES, THEMES, in_units, quantised, to_theme
from model.pretraining.patterns import (
    blocky,
    cycles,
    interpolated,
    land_mask,
    latent_field,
    standardised,
    static_field,
    trends,
)
from model.pretraining.time_steps import TimeSteps

MAX_GRID_VALUES = 180_000  # of all grids of a cube
MAX_SERIES_VALUES = 15_000  # of the series beside grids
SITE_MARGIN = 0.02  # of the grid's width, that sites keep from its edge


@dataclass(frozen=True, eq=False)
class _Frame:
    """Common ground of the variables of a gridded cube.

    Attributes:
        steps: the time axis.
        shape: (T', H, W) with all even steps, among them those that are left out in the end.
        shared: standard Gaussian fields of that shape that variables may follow.
        link: share of variance that variables have from a shared field: 0 for independent variables.
        structure: mean pattern, trends and cycles that variables may share, broadcastable to `shape`.
        elevation: (H, W), standardised.
        land: (H, W) bool, cells without values.
    """

    steps: TimeSteps
    shape: tuple[int, int, int]
    shared: list[np.ndarray]
    link: float
    structure: np.ndarray
    elevation: np.ndarray
    land: np.ndarray


def gridded_cube(rng: np.random.Generator, steps: TimeSteps, sides: tuple[int, int], series: bool) -> WaterCube:
    """Simulate 1 to 4 grids on one frame, with statics and, where wanted, series at sites in the grid."""
    shape = (steps.n_even, *sides)
    elevation = static_field(rng, sides)
    frame = _Frame(
        steps=steps,
        shape=shape,
        shared=[latent_field(rng, shape) for _ in range(rng.choice([1, 2], p=[0.8, 0.2]))],
        link=float(rng.choice([0.0, rng.uniform(0.1, 0.95), rng.uniform(0.95, 1.0)], p=[0.25, 0.45, 0.3])),
        structure=_structure(rng, steps, shape, elevation),
        elevation=elevation,
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
    y, x = draw_axes(rng, sides)
    left = (MAX_GRID_VALUES - count * len(steps.time) * cells) // cells
    for _ in range(max(0, min(left, int(rng.choice([0, 1, 2, 3], p=[0.6, 0.25, 0.1, 0.05]))))):
        link = rng.choice([1.0, rng.uniform(0.0, 1.0)])
        field = link * frame.elevation + math.sqrt(1.0 - link**2) * static_field(rng, sides)
        variables.append(new_variable(len(variables), "static_grid", *in_metres(rng, field)))
    placed = Sites(sites.ids, np.interp(sites.y, np.arange(len(y)), y), np.interp(sites.x, np.arange(len(x)), x))
    return WaterCube(steps.time, y, x, placed, named(rng, variables))


def _grid_variable(rng: np.random.Generator, frame: _Frame, number: int) -> Variable:
    """Draw one variable of a frame: latent field, mean pattern, cycles, marginal, noise, blocks, steps, land."""
    theme = THEMES[str(rng.choice(GRID_THEMES))]
    field = _linked(rng, frame)
    analysis = rng.random() < 0.45  # without noise
    if analysis and min(frame.shape[1:]) >= 6 and rng.random() < 0.4:
        field = interpolated(rng, field)
    common = frame.link > 0.0 and rng.random() < 0.6
    structure = frame.structure if common else _structure(rng, frame.steps, frame.shape, frame.elevation)
    field = standardised(field * np.exp(rng.choice([0.0, 0.0, 0.3, 0.7]) * frame.elevation) + structure)
    noise = 0.0 if analysis else rng.choice([0.0, rng.uniform(0.0, 0.1), rng.uniform(0.0, 0.5)], p=[0.4, 0.35, 0.25])
    if noise:
        white = rng.standard_normal(frame.shape, dtype=np.float32)
        field = math.sqrt(1.0 - noise) * field + math.sqrt(noise) * white
    values, units = to_theme(rng, theme, field)
    if min(frame.shape[1:]) >= 4 and rng.random() < 0.2:
        values = blocky(rng, values)
    if frame.shape[0] > 12 and rng.random() < 0.04:
        values = values[np.arange(len(values)) // rng.integers(2, 8)]  # a coarse time axis, copied to finer steps
    if rng.random() < 0.2:
        values = quantised(rng, values)
    values = np.where(frame.land if rng.random() < 0.8 else np.zeros_like(frame.land), np.nan, values)
    return new_variable(number, "grid", values[frame.steps.chosen], units)


def _linked(rng: np.random.Generator, frame: _Frame) -> np.ndarray:
    """Draw a latent field that follows a shared one by the frame's link, with a lag at times."""
    shared = frame.shared[rng.integers(len(frame.shared))]
    link = frame.link if rng.random() < 0.85 else 0.0
    if rng.random() < 0.25 and frame.shape[0] > 6:
        shared = np.roll(shared, int(rng.integers(1, 4)), axis=0)
    followed = rng.choice([-1.0, 1.0], p=[0.3, 0.7]) * math.sqrt(link) * shared
    if link > 0.95:
        return np.asarray(followed)
    return followed + math.sqrt(1.0 - link) * latent_field(rng, frame.shape)


def _structure(
    rng: np.random.Generator, steps: TimeSteps, shape: tuple[int, int, int], elevation: np.ndarray
) -> np.ndarray:
    """Draw the mean pattern, trends and cycles of a variable, relative to fluctuations of size 1.

    What is returned can be broadcast to `shape`, (T', H, W); the mean pattern may follow the elevation (H, W).
    """
    structure = np.zeros((1, 1, 1))
    if rng.random() < 0.45:
        link = rng.uniform(-1.0, 1.0)
        mean = link * elevation + math.sqrt(1.0 - link**2) * static_field(rng, shape[1:])
        structure = structure + log_uniform(rng, 0.1, 20.0) * mean
    if rng.random() < 0.3:
        structure = structure + trends(rng, shape)
    if rng.random() < 0.6:
        structure = structure + cycles(rng, steps, shape)
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
        new_variable(first + n, "series", measured(rng, s.values[frame.steps.chosen]), s.units)
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


def measured(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """Return values with the error and the step of an instrument, at times."""
    if rng.random() < 0.3:
        values = values * np.exp(rng.uniform(0.0, 0.2) * rng.standard_normal(values.shape))
    return quantised(rng, values) if rng.random() < 0.4 else values


def draw_sides(rng: np.random.Generator, cells: float) -> tuple[int, int]:
    """Draw rows and columns of a grid of about so many cells, up to three times as long as wide."""
    ratio = log_uniform(rng, 1.0, 3.0) ** rng.choice([-1.0, 1.0])
    rows = max(2, round(math.sqrt(cells * ratio)))
    return rows, max(2, int(cells / rows))


def draw_axes(rng: np.random.Generator, sides: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw the coordinates of a grid, in degrees or metres; rows go north or south."""
    if rng.random() < 0.5:
        cell, origin = float(rng.choice([0.01, 0.05, 0.1, 0.25, 0.5, 1.0])), rng.uniform(-40.0, 40.0, 2)
    else:
        cell, origin = float(rng.choice([100.0, 250.0, 500.0, 1e3, 2e3, 4e3, 5e3, 25e3])), rng.uniform(-1e6, 1e6, 2)
    direction = rng.choice([-1.0, 1.0])
    return origin[0] + direction * cell * np.arange(sides[0]), origin[1] + cell * np.arange(sides[1])


def in_metres(rng: np.random.Generator, field: np.ndarray) -> tuple[np.ndarray, str]:
    """Return a standardised field as heights in metres or as another static property, and its units."""
    if rng.random() < 0.6:
        return (field - field.min()) * log_uniform(rng, 10.0, 800.0), "m"
    return in_units(rng, THEMES["cover"], 1.0 / (1.0 + np.exp(-field)))


def new_variable(number: int, kind: Kind, values: np.ndarray, units: str) -> Variable:
    """Return a variable with values as float32."""
    return Variable(f"v{number}", kind, np.ascontiguousarray(values, dtype=np.float32), units)


def named(rng: np.random.Generator, variables: list[Variable]) -> dict[str, Variable]:
    """Return the variables in a random order, named v0, v1, ..."""
    order = [variables[n] for n in rng.permutation(len(variables))]
    return {f"v{n}": replace(v, name=f"v{n}") for n, v in enumerate(order)}
