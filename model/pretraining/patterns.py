"""Patterns of water fields: cycles, trends, fronts, eddies, rain cells, few patterns, blocks and land."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
from scipy import ndimage, signal

from hydrofill.constants import DAY_S, YEAR_S
from model.pretraining.gaussian_fields import (
    Covariance,
    draw_covariance,
    draw_memory,
    draw_wind,
    gaussian_field,
    log_uniform,
    site_field,
)
from model.pretraining.time_steps import TimeSteps

Shape = tuple[int, int, int]

TIDE_S = 12.4206 * 3600.0  # the principal lunar tide, M2
MAX_BLOBS = 120
MIN_STD = 1e-6


def standardised(field: np.ndarray) -> np.ndarray:
    """Return the field with mean 0 and standard deviation 1, float32; a constant field becomes 0."""
    centred = field - field.mean(dtype=np.float64)
    std = float(centred.std(dtype=np.float64))
    return np.asarray(centred / std if std > MIN_STD else centred * 0.0, dtype=np.float32)


def static_field(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw a standardised field (H, W) that does not change: rough as land, or smooth."""
    covariance = replace(draw_covariance(rng, (1, *shape)), wind=(0.0, 0.0))
    return standardised(gaussian_field(rng, (1, *shape), covariance)[0])


def latent_field(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Draw a standardised field (T, H, W) of one of many kinds."""
    makers = (_one_scale, _two_scales, _two_regions, fronts, blobs, stirred, few_patterns, wetting)
    maker = makers[rng.choice(len(makers), p=[0.36, 0.12, 0.1, 0.07, 0.07, 0.07, 0.12, 0.09])]
    return standardised(maker(rng, shape))


def _one_scale(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return gaussian_field(rng, shape, draw_covariance(rng, shape))


def _two_scales(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return _one_scale(rng, shape) + rng.uniform(0.2, 1.0) * _one_scale(rng, shape)


def _two_regions(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Draw a field whose covariance varies in space."""
    share = 0.5 + 0.5 * np.tanh(2.0 * static_field(rng, shape[1:]))
    return np.sqrt(share) * _one_scale(rng, shape) + np.sqrt(1.0 - share) * _one_scale(rng, shape)


def fronts(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Draw sharp edges: regions of different values whose borders move."""
    smooth = replace(draw_covariance(rng, shape), smoothness=2.5, time_smoothness=1.5)
    field = gaussian_field(rng, shape, smooth)
    edges = np.tanh(log_uniform(rng, 3.0, 100.0) * (field - rng.uniform(-0.7, 0.7)))
    return edges + rng.uniform(0.0, 0.5) * _one_scale(rng, shape)


def blobs(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Draw round bodies that drift, grow and decay: eddies of both signs, or rain cells."""
    steps, rows, columns = shape
    side = max(rows, columns)
    life = log_uniform(rng, 2.0, 2.0 * steps + 2.0)
    count = int(min(MAX_BLOBS, rng.integers(4, 30) * (1.0 + steps / life)))
    radius = np.exp(rng.normal(math.log(log_uniform(rng, 1.5, 0.3 * side + 1.5)), 0.4, (count, 1)))
    start = rng.uniform(-0.5 * life, steps + 0.5 * life, (count, 1))
    age = np.arange(steps) - start  # (n, T), 0 at the highest
    north, east = draw_wind(rng, 0.02, 3.0)
    y = rng.uniform(-0.2, 1.2, (count, 1)) * rows + north * age
    x = rng.uniform(-0.2, 1.2, (count, 1)) * columns + east * age
    height = rng.gamma(1.5, size=(count, 1)) * np.exp(-0.5 * (2.0 * age / life) ** 2)
    if rng.random() < 0.6:
        height *= rng.choice([-1.0, 1.0], (count, 1))
    in_y = np.exp(-0.5 * ((np.arange(rows) - y[..., None]) / radius[..., None]) ** 2)  # (n, T, H)
    in_x = np.exp(-0.5 * ((np.arange(columns) - x[..., None]) / radius[..., None]) ** 2)
    field = np.matmul((height[..., None] * in_y).transpose(1, 2, 0), in_x.transpose(1, 0, 2))
    return field + rng.uniform(0.0, 0.5) * field.std() * _one_scale(rng, shape)


def stirred(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Draw a field with filaments: cells take their values from places displaced by a smooth flow."""
    reach = log_uniform(rng, 1.0, 0.4 * max(shape[1:]) + 1.0)
    flow = replace(draw_covariance(rng, shape), smoothness=2.5, wind=(0.0, 0.0))
    rows, columns = np.meshgrid(*map(np.arange, shape[1:]), indexing="ij")
    moved = [n + reach * gaussian_field(rng, (1, *shape[1:]), flow)[0] for n in (rows, columns)]
    field = _one_scale(rng, shape)
    return np.stack([ndimage.map_coordinates(frame, moved, order=1, mode="reflect") for frame in field])


def wetting(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Draw a store that rain fills within a step and that empties slowly, as soil does."""
    fleeting = replace(draw_covariance(rng, shape), memory_steps=log_uniform(rng, 0.3, 5.0))
    field = gaussian_field(rng, shape, fleeting)
    inflow = np.maximum(field - rng.uniform(0.3, 2.0), 0.0)
    kept = math.exp(-1.0 / log_uniform(rng, 3.0, 2.0 * shape[0] + 4.0))
    start = inflow.mean() / (1.0 - kept) * np.exp(0.3 * static_field(rng, shape[1:]))  # the mean of the store
    return np.asarray(signal.lfilter([1.0], [1.0, -kept], inflow, axis=0, zi=kept * start[None])[0])


def few_patterns(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Draw the sum of 1 to 6 patterns in space, each times a series in time."""
    field = np.zeros(shape, np.float32)
    for size in np.cumprod(np.full(rng.integers(1, 7), rng.uniform(0.4, 0.95))):
        memory = Covariance(1.0, memory_steps=draw_memory(rng, shape[0]), time_smoothness=rng.choice([0.5, 1.5]))
        series = site_field(rng, np.zeros((1, 1)), shape[0], memory)[:, 0]
        field += size * series[:, None, None] * static_field(rng, shape[1:])
    return field


def cycles(rng: np.random.Generator, steps: TimeSteps, shape: Shape) -> np.ndarray:
    """Draw cycles of a year, a day or a tide, (T, H, W), with amplitude and phase that vary in space.

    Cycles are left out that the step cannot resolve; a record may hold a small part of a cycle.
    """
    seconds = np.arange(shape[0])[:, None, None] * steps.step_s
    length = shape[0] * steps.step_s
    field = np.zeros(shape, np.float32)
    for period, shortest in ((YEAR_S, 20 * DAY_S), (DAY_S, 3 * 3600.0), (TIDE_S, 3600.0)):
        if steps.step_s > period / 4.0 or length < shortest or rng.random() < (0.9 if period == TIDE_S else 0.4):
            continue
        phase = rng.uniform(0.0, 2.0 * math.pi) + rng.choice([0.0, 0.3, 1.0]) * static_field(rng, shape[1:])
        amplitude = log_uniform(rng, 0.2, 5.0) * np.exp(rng.choice([0.0, 0.3, 0.6]) * static_field(rng, shape[1:]))
        wave = 2.0 * math.pi * seconds / period + phase
        field += (amplitude * (np.cos(wave) + rng.choice([0.0, 0.3]) * np.cos(2.0 * wave + phase))).astype(np.float32)
    return field


def trends(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Draw linear trends in time and a plane in space, broadcastable to (T, H, W)."""
    time, y, x = (np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1) for n in shape)
    heading = rng.uniform(0.0, 2.0 * math.pi)
    slope = log_uniform(rng, 0.1, 3.0)
    plane = slope * (math.sin(heading) * y[:, None] + math.cos(heading) * x)
    return np.asarray(plane + rng.choice([0.0, 1.0]) * rng.normal() * time[:, None, None])


def block_numbers(rng: np.random.Generator, cells: int, width: float) -> np.ndarray:
    """Return the block that each cell of an axis lies in, (n,), from 0; blocks are `width` cells wide on average."""
    numbers = np.floor((np.arange(cells) + rng.uniform(0.0, width)) / width).astype(np.int64)
    return numbers - numbers[0]


def blocky(rng: np.random.Generator, field: np.ndarray) -> np.ndarray:
    """Return the means of blocks of 2 to 12 cells, copied to all their cells: a coarse field on a finer grid."""
    width = float(rng.integers(2, 13)) if rng.random() < 0.7 else rng.uniform(2.0, 12.0)
    width = min(width, max(2.0, min(field.shape[1:]) / 2.0))
    rows, columns = (block_numbers(rng, n, width) for n in field.shape[1:])
    means = block_means(field, rows, columns)
    return np.asarray(means[:, rows][:, :, columns])


def interpolated(rng: np.random.Generator, field: np.ndarray) -> np.ndarray:
    """Return every second to eighth cell's values with linear or cubic interpolation between them, as analyses are."""
    width = min(int(rng.integers(2, 9)), max(2, min(field.shape[1:]) // 3))
    coarse = field[:, ::width, ::width]
    order: Literal[1, 3] = 1 if rng.random() < 0.5 else 3
    rows, columns = (np.arange(n) / width for n in field.shape[1:])
    places = np.stack(np.meshgrid(rows, columns, indexing="ij"))
    return np.stack([ndimage.map_coordinates(frame, places, order=order, mode="nearest") for frame in coarse])


def block_means(field: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the means (T, H', W') over blocks with the numbers `rows` (H,) and `columns` (W,), NaN left out."""
    first = [np.flatnonzero(np.diff(n, prepend=-1)) for n in (rows, columns)]
    valid = ~np.isnan(field)
    total, count = (
        np.add.reduceat(np.add.reduceat(part, first[0], axis=1), first[1], axis=2)
        for part in (np.where(valid, field, 0.0).astype(np.float64), valid.astype(np.float64))
    )
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0).astype(np.float32)


def land_mask(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw the cells that are never observed, (H, W) bool: a coast, or everything outside a region."""
    share = rng.uniform(0.05, 0.7)
    length = log_uniform(rng, 0.05, 1.0) * max(shape)
    coast = gaussian_field(rng, (1, *shape), Covariance(length, float(rng.choice([1.0, 1.5, 2.5]))))[0]
    if rng.random() < 0.3:
        y, x = (np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1) for n in shape)
        coast = np.hypot(y[:, None] - rng.uniform(-0.3, 0.3), x) + 0.1 * coast
    return np.asarray(coast > np.quantile(coast, 1.0 - share))
