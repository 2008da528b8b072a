"""Gaussian fields of many covariances, on grids by FFT and at sites by Cholesky's factor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft

PADDING = 1.5  # length scales added to the grid, so that opposite edges are independent; at most one grid
TIME_PADDING = 3.0  # e-folding times added to the record; at most one record
SMOOTHNESS = (0.5, 1.0, 1.5, 2.5, math.inf)  # Matern's nu: exponential (rough) to Gaussian (smooth)
SMOOTHNESS_SHARES = (0.35, 0.15, 0.2, 0.15, 0.15)


@dataclass(frozen=True)
class Covariance:
    """The covariance of a Gaussian field of variance 1 in space and time.

    Attributes:
        range_cells: length scale of Matern's covariance, cells.
        smoothness: Matern's nu in space; infinite for a Gaussian covariance.
        anisotropy: length along the long axis over the length across.
        heading: direction of the long axis, radians from the x axis.
        memory_steps: e-folding time in a frame that moves with the wind, steps; 0 for independent frames.
        time_smoothness: Matern's nu in time; 0.5 is an AR(1) process.
        memory_slope: power of the wavelength that the memory of a wave grows with; 0 for the same memory for all.
        wind: (north, east) in cells per step.
    """

    range_cells: float
    smoothness: float = 0.5
    anisotropy: float = 1.0
    heading: float = 0.0
    memory_steps: float = 0.0
    time_smoothness: float = 0.5
    memory_slope: float = 0.0
    wind: tuple[float, float] = (0.0, 0.0)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number between two positive numbers, uniform in its logarithm."""
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))


def draw_covariance(rng: np.random.Generator, shape: tuple[int, int, int]) -> Covariance:
    """Draw a covariance for a grid (T, H, W): rough to smooth, short to several grids long, fleeting to static."""
    steps, side = shape[0], max(shape[1:])
    return Covariance(
        range_cells=log_uniform(rng, 1.5, max(3.0 * side, 3.0)),
        smoothness=float(rng.choice(SMOOTHNESS, p=SMOOTHNESS_SHARES)),
        anisotropy=log_uniform(rng, 1.0, 6.0) if rng.random() < 0.4 else 1.0,
        heading=float(rng.uniform(0.0, math.pi)),
        memory_steps=draw_memory(rng, steps),
        time_smoothness=float(rng.choice([0.5, 1.5, 2.5], p=[0.6, 0.25, 0.15])),
        memory_slope=float(rng.uniform(0.3, 1.2)) if rng.random() < 0.4 else 0.0,
        wind=draw_wind(rng, 0.05, 5.0) if rng.random() < 0.35 else (0.0, 0.0),
    )


def draw_memory(rng: np.random.Generator, steps: int) -> float:
    """Draw an e-folding time in steps: none, within the record, or longer than the record."""
    kind = rng.choice(3, p=[0.1, 0.6, 0.3])
    if kind == 0:
        return 0.0
    return log_uniform(rng, 0.5, max(0.5 * steps, 2.0)) if kind == 1 else log_uniform(rng, 1.0, 20.0) * (steps + 2)


def draw_wind(rng: np.random.Generator, slowest: float, fastest: float) -> tuple[float, float]:
    """Draw a wind (north, east) of any direction with a speed between two limits, cells per step."""
    speed, heading = log_uniform(rng, slowest, fastest), rng.uniform(0.0, 2.0 * math.pi)
    return float(speed * math.sin(heading)), float(speed * math.cos(heading))


def gaussian_field(rng: np.random.Generator, shape: tuple[int, int, int], covariance: Covariance) -> np.ndarray:
    """Draw a Gaussian field (T, H, W) float32 of mean 0 and variance 1.

    White noise is coloured in Fourier space on a periodic domain that is longer and wider than `shape`. Each wave
    moves with the wind. Source: the spectral method of Paschalis et al. 2013, Water Resour. Res. 49:8430.
    """
    c = covariance
    steps = shape[0] + min(math.ceil(TIME_PADDING * c.memory_steps), shape[0]) if shape[0] > 1 else 1
    rows, columns = (n + min(math.ceil(PADDING * c.range_cells), n) for n in shape[1:])
    size = fft.next_fast_len(steps), fft.next_fast_len(rows), fft.next_fast_len(columns, real=True)
    waves = fft.rfftn(rng.standard_normal(size, dtype=np.float32))
    y, x = fft.fftfreq(size[1]).astype(np.float32)[:, None], fft.rfftfreq(size[2]).astype(np.float32)  # cycles a cell
    waves *= np.sqrt(_space_power(c, y, fft.fftfreq(size[2])))[:, : len(x)]
    if size[0] > 1:
        waves *= np.sqrt(_time_power(c, size[0], y, x))
    waves = fft.ifft(waves, axis=0)[: shape[0]]
    if any(c.wind):
        turn = np.exp(-2j * math.pi * (c.wind[0] * y + c.wind[1] * x)).astype(np.complex64)
        waves *= turn ** np.arange(shape[0], dtype=np.float32)[:, None, None]
    field: np.ndarray = fft.irfft2(waves, s=size[1:])[:, : shape[1], : shape[2]]
    return field.astype(np.float32)


def site_field(rng: np.random.Generator, distance: np.ndarray, steps: int, covariance: Covariance) -> np.ndarray:
    """Draw a Gaussian field (T, N) float32 of mean 0 and variance 1 at sites.

    Args:
        rng: source of randomness.
        distance: (N, N) distances between sites in the units of the covariance's range.
        steps: number of steps.
        covariance: the range, the smoothness in space and the memory are used; the wind is not.
    """
    factor = np.linalg.cholesky(_matern(distance / covariance.range_cells, covariance.smoothness))
    padded = fft.next_fast_len(steps + min(math.ceil(TIME_PADDING * covariance.memory_steps), steps), real=True)
    waves = fft.rfft(rng.standard_normal((padded, len(distance))), axis=0)
    waves *= np.sqrt(_time_power(covariance, padded, np.zeros(1), np.zeros(1))[: len(waves), 0])
    series: np.ndarray = fft.irfft(waves, n=padded, axis=0)[:steps] @ factor.T
    return series.astype(np.float32)


def _space_power(c: Covariance, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the power of each wave (H', W'), of mean 1."""
    squared = _squared_wave_number(c, y, x)
    power = np.exp(-0.5 * squared) if math.isinf(c.smoothness) else (1.0 + squared) ** -(c.smoothness + 1.0)
    return (power / power.mean()).astype(np.float32)


def _time_power(c: Covariance, steps: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the power of each frequency of each wave, (T', H', W') or (T', 1, 1), of mean 1 over frequencies."""
    memory = np.full((1, 1), c.memory_steps)
    if c.memory_slope:
        memory = c.memory_steps * (1.0 + _squared_wave_number(c, y, x)) ** (-0.5 * c.memory_slope)
    frequency = fft.fftfreq(steps)[:, None, None]
    power = (1.0 + (2.0 * math.pi * memory * frequency) ** 2) ** -(c.time_smoothness + 0.5)
    power /= power.mean(axis=0)
    return power.astype(np.float32)


def _squared_wave_number(c: Covariance, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the square of the wave number in units of the length scale; shorter across the long axis."""
    along = x * math.cos(c.heading) + y * math.sin(c.heading)
    across = y * math.cos(c.heading) - x * math.sin(c.heading)
    stretch = math.sqrt(c.anisotropy)
    scale = c.range_cells / (1.0 if math.isinf(c.smoothness) else math.sqrt(2.0 * c.smoothness))
    return np.asarray((2.0 * math.pi * scale) ** 2 * ((along * stretch) ** 2 + (across / stretch) ** 2))


def _matern(distance: np.ndarray, smoothness: float) -> np.ndarray:
    """Return Matern's correlation (N, N) at distances in length scales, with a little noise so that it factorises."""
    if math.isinf(smoothness):
        correlation = np.exp(-0.5 * distance**2)
    elif smoothness <= 1.0:
        correlation = np.exp(-distance)
    elif smoothness < 2.0:
        correlation = (1.0 + math.sqrt(3.0) * distance) * np.exp(-math.sqrt(3.0) * distance)
    else:
        scaled = math.sqrt(5.0) * distance
        correlation = (1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled)
    return np.asarray((correlation + 1e-4 * np.eye(len(distance))) / (1.0 + 1e-4))
