"""Series of gauges: rain, temperature, river flow along a drainage, groundwater and soil moisture."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import signal
from scipy.spatial.distance import cdist

from hydrofill.constants import DAY_S
from model.pretraining.gaussian_fields import Covariance, draw_covariance, log_uniform, site_field
from model.pretraining.marginals import THEMES, in_units, to_theme
from model.pretraining.patterns import cycles, standardised, trends
from model.pretraining.time_steps import TimeSteps

KINDS = ("rain", "temperature", "flow", "groundwater", "soil moisture", "anything")
KIND_SHARES = (0.35, 0.2, 0.17, 0.09, 0.09, 0.1)
RUN_IN = 400  # steps before the first, after which stores have forgotten how they began


@dataclass(frozen=True, eq=False)
class Series:
    """One variable of gauges: `values` (T, N) float64 and their units."""

    values: np.ndarray
    units: str


def draw_network(rng: np.random.Generator, steps: TimeSteps, places: np.ndarray, elevation: np.ndarray) -> list[Series]:
    """Draw 1 to 3 variables of the gauges at `places` (N, 2), in cells, with a standardised elevation (N,)."""
    wetness = draw_wetness(rng, steps, places, elevation)
    rainfall = rain_from(rng, wetness)
    kinds = draw_kinds(rng, int(rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2])))
    return [series_of(rng, kind, wetness, rainfall, steps, places, elevation) for kind in kinds]


def draw_kinds(rng: np.random.Generator, count: int) -> list[str]:
    """Draw kinds of series, of KINDS. Only temperature comes twice at times, as a day's highest and lowest."""
    kinds = [str(kind) for kind in rng.choice(KINDS, size=count, replace=False, p=KIND_SHARES)]
    if count > 1 and rng.random() < 0.2:
        kinds[:2] = ["temperature", "temperature"]
    return kinds


def draw_wetness(rng: np.random.Generator, steps: TimeSteps, places: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """Draw a standard Gaussian series (RUN_IN + T, N) that rain follows, with seasons and an effect of elevation."""
    memory = float(rng.choice([0.0, log_uniform(rng, 0.3, 3.0), log_uniform(rng, 2.0, 20.0)], p=[0.2, 0.6, 0.2]))
    length = log_uniform(rng, 0.05, 3.0) * _extent(places)
    covariance = Covariance(length, float(rng.choice([0.5, 1.5])), memory_steps=memory)
    field = site_field(rng, cdist(places, places), RUN_IN + steps.n_even, covariance)
    season = _at_sites(rng, steps, places, RUN_IN + steps.n_even)
    local = math.sqrt(rng.uniform(0.0, 0.3)) * rng.standard_normal(field.shape)
    return standardised(field + rng.uniform(0.0, 0.5) * season + rng.choice([0.0, 0.3]) * elevation + local)


def rain_from(rng: np.random.Generator, wetness: np.ndarray) -> np.ndarray:
    """Return rain (RUN_IN + T, N), dry on 10 to 95 % of all steps, from a Gaussian series; gauges differ in amount."""
    rate, _ = to_theme(rng, replace(THEMES["rain"], units=(("", 1.0, 1.0),)), wetness)
    return np.asarray(rate * np.exp(rng.uniform(0.0, 0.5) * rng.standard_normal(rate.shape[1])))


def series_of(
    rng: np.random.Generator,
    kind: str,
    wetness: np.ndarray,
    rainfall: np.ndarray,
    steps: TimeSteps,
    places: np.ndarray,
    elevation: np.ndarray,
) -> Series:
    """Draw one variable of the gauges, (T, N), after the run-in."""
    if kind == "rain":
        values, units = in_units(rng, THEMES["rain"], rainfall)
    elif kind == "flow":
        values, units = in_units(rng, THEMES["flow"], river_flow(rng, rainfall))
    elif kind == "groundwater":
        values, units = in_units(rng, THEMES["level"], groundwater(rng, rainfall))
    elif kind == "soil moisture":
        store = standardised(emptied(rainfall, log_uniform(rng, 3.0, 60.0)))
        values, units = to_theme(rng, THEMES["soil moisture"], store)
    else:
        theme = THEMES["temperature" if kind == "temperature" else "anything"]
        values, units = to_theme(rng, theme, _smooth_series(rng, wetness, steps, places, elevation))
    return Series(values[RUN_IN:], units)


def emptied(inflow: np.ndarray, memory: float) -> np.ndarray:
    """Return the outflow of a linear store (T, N) with an e-folding time in steps; its sum is that of the inflow."""
    kept = math.exp(-1.0 / memory)
    return np.asarray(signal.lfilter([1.0 - kept], [1.0, -kept], inflow, axis=0))


def river_flow(rng: np.random.Generator, rainfall: np.ndarray) -> np.ndarray:
    """Return flow (T, N): rain convolved with quick and slow stores, and added up along a drainage with lags."""
    soil = emptied(rainfall, log_uniform(rng, 5.0, 60.0))
    runoff = rainfall * (soil / (soil.mean() + 1e-9)) ** rng.uniform(0.0, 1.0)
    quick_memory, slow_memory = log_uniform(rng, 0.5, 5.0), log_uniform(rng, 10.0, 150.0)
    slow_share = rng.uniform(0.1, 0.8)
    local = (1.0 - slow_share) * emptied(runoff, quick_memory) + slow_share * emptied(emptied(soil, 3.0), slow_memory)
    local = local * np.exp(rng.uniform(0.2, 1.2) * rng.standard_normal(local.shape[1]))
    flow = local + 1e-3 * local.mean()
    if rng.random() < 0.6:
        for site in range(flow.shape[1] - 1, 0, -1):  # each gauge but the last one drains to one with a lower number
            below, lag = int(rng.integers(max(0, site - 4), site)), int(rng.integers(0, 4))
            flow[lag:, below] += flow[: len(flow) - lag, site]
    return np.asarray(flow)


def groundwater(rng: np.random.Generator, rainfall: np.ndarray) -> np.ndarray:
    """Return levels (T, N): slow stores of recharge, with a memory, size and mean of each gauge."""
    recharge = np.maximum(rainfall - np.quantile(rainfall, 0.6), 0.0)
    memory = log_uniform(rng, 20.0, 300.0) * np.exp(0.4 * rng.standard_normal(rainfall.shape[1]))
    stores = np.stack([emptied(recharge[:, [n]], m)[:, 0] for n, m in enumerate(memory)], axis=1)
    stores = stores / (stores.std(axis=0) + 1e-9)
    return np.asarray(stores + rng.uniform(0.0, 5.0) * rng.standard_normal(rainfall.shape[1]))


def _smooth_series(
    rng: np.random.Generator, wetness: np.ndarray, steps: TimeSteps, places: np.ndarray, elevation: np.ndarray
) -> np.ndarray:
    """Draw a standardised series (RUN_IN + T, N) with seasons, linked to the wetness to a varying degree."""
    length = len(wetness)
    covariance = draw_covariance(rng, (length, 2, 2))
    covariance = replace(covariance, range_cells=log_uniform(rng, 0.1, 5.0) * _extent(places))
    if rng.random() < 0.7:
        covariance = replace(covariance, memory_steps=log_uniform(rng, 0.5, 15.0))
    own = site_field(rng, cdist(places, places), length, covariance)
    link = rng.choice([0.0, rng.uniform(-0.9, 0.9)])
    field = link * wetness + math.sqrt(1.0 - link**2) * own
    field = field + rng.choice([0.5, 1.5]) * _at_sites(rng, steps, places, length)
    field = field + rng.choice([0.0, 0.5, 1.5]) * elevation + trends(rng, (length, len(places), 1))[:, :, 0] * 0.2
    return standardised(field + math.sqrt(rng.uniform(0.0, 0.2)) * rng.standard_normal(field.shape))


def _at_sites(rng: np.random.Generator, steps: TimeSteps, places: np.ndarray, length: int) -> np.ndarray:
    """Draw cycles (length, N) whose amplitude and phase vary little from gauge to gauge."""
    return cycles(rng, steps, (length, len(places), 1))[:, :, 0] if steps.step_s <= 100 * DAY_S else np.zeros((1, 1))


def _extent(places: np.ndarray) -> float:
    """Return the longer side of the box around all places."""
    return float(max(np.ptp(places, axis=0).max(), 1e-6))
