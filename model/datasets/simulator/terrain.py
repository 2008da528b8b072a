"""Random terrain: coast, elevation, soil and woodland."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from model.datasets.simulator.config import SimulationConfig
from model.datasets.simulator.noise import rough_field

COAST_ROUGHNESS = 0.4  # standard deviation of the noise added to an island of height 1
FRACTAL_SLOPE = 3.6  # power spectra of topography fall as k**-3 to k**-4 (Turcotte 1997, Fractals and Chaos, ch. 7)
SOIL_CAPACITY_MM = (70.0, 220.0)  # plant-available water of British soils over 1 m (HOST classes)


@dataclass(frozen=True, eq=False)
class Terrain:
    """Static fields (H, W) float64, NaN at sea: elevation m, slope m/m, soil capacity mm, two shares.

    `land` is bool; y (H,) and x (W,) are cell centres in metres, increasing.
    """

    y: np.ndarray
    x: np.ndarray
    land: np.ndarray
    elevation: np.ndarray
    slope: np.ndarray
    soil_capacity: np.ndarray
    woodland: np.ndarray
    permeability: np.ndarray

    def with_elevation(self, elevation: np.ndarray, cell_m: float) -> Terrain:
        """Return the same land with another elevation and its slopes."""
        return replace(self, elevation=elevation, slope=_slope(elevation, cell_m))


def build_terrain(config: SimulationConfig, rng: np.random.Generator) -> Terrain:
    """Return a random island with hills; the outermost cells are sea, so that every river ends inside the grid."""
    shape = (config.rows, config.columns)
    height = _island(shape) + COAST_ROUGHNESS * rough_field(shape, FRACTAL_SLOPE, rng)
    height[[0, -1], :] = height[:, [0, -1]] = -np.inf
    above = height - _sea_level(height, config)  # > 0 on land
    land = above > 0
    elevation = np.where(land, _relief(above, land, rng) * config.highest_m, np.nan)
    lowland = np.where(land, 1 - elevation / config.highest_m, 0)
    deep, woods, rock = (_share(rough_field(shape, 2.6, rng)) for _ in range(3))
    low, high = SOIL_CAPACITY_MM
    fields = {
        "soil_capacity": low + (high - low) * (0.6 * deep + 0.4 * lowland**2),
        "woodland": np.clip(1.4 * woods - 0.6, 0, 1) * lowland,
        "permeability": 0.1 + 0.75 * rock,
    }
    return Terrain(
        y=config.y_first_m + config.cell_m * np.arange(config.rows),
        x=config.x_first_m + config.cell_m * np.arange(config.columns),
        land=land,
        elevation=elevation,
        slope=_slope(elevation, config.cell_m),
        **{name: np.where(land, field, np.nan) for name, field in fields.items()},
    )


def patch_maxima(field: np.ndarray, side: int) -> np.ndarray:
    """Return the highest value of each patch of `side` x `side` cells, (patches,), row by row."""
    rows, columns = (-(-n // side) for n in field.shape)
    padded = np.full((rows * side, columns * side), -np.inf)
    padded[: field.shape[0], : field.shape[1]] = field
    return padded.reshape(rows, side, columns, side).max(axis=(1, 3)).ravel()


def _island(shape: tuple[int, int]) -> np.ndarray:
    """Return a tilted oval (H, W), 1 in its middle and decreasing outwards."""
    v, u = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    return 1 - ((u + 0.3 * v) / 0.55) ** 2 - (v / 0.95) ** 2


def _sea_level(height: np.ndarray, config: SimulationConfig) -> float:
    """Return the sea level, halfway between lowest land and highest sea, for the requested amount of land."""
    if config.land_patches is not None:
        falling = np.sort(patch_maxima(height, config.patch_cells))[::-1]
        wanted = config.land_patches
    else:
        falling = np.sort(height[np.isfinite(height)])[::-1]
        wanted = min(max(1, round(config.land_share * height.size)), len(falling) - 1)
    return float(falling[wanted - 1 : wanted + 1].mean())


def _relief(above: np.ndarray, land: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the elevation (H, W) as a share of the highest: plains, and ridges that are higher in the north-west."""
    shape = above.shape
    ridges = 1 - np.abs(rough_field(shape, 3.0, rng)) / 1.5
    north_west = np.add.outer(np.linspace(-0.5, 0.5, shape[0]), np.linspace(0.5, -0.5, shape[1]))
    massif = 1 / (1 + np.exp(-3 * (rough_field(shape, 3.8, rng) + 1.5 * north_west)))
    inland = np.where(land, above, 0)
    relief = np.sqrt(inland / inland.max()) * (0.12 + massif * np.clip(ridges, 0.15, None))
    return relief / relief[land].max()


def _share(field: np.ndarray) -> np.ndarray:
    """Return a Gaussian field mapped to (0, 1)."""
    return 1 / (1 + np.exp(-1.7 * field))


def _slope(elevation: np.ndarray, cell_m: float) -> np.ndarray:
    """Return the slope (H, W) in m/m by central differences, the sea at 0 m; NaN at sea."""
    north, east = np.gradient(np.nan_to_num(elevation), cell_m)
    return np.where(np.isnan(elevation), np.nan, np.hypot(north, east))


def smooth_relief(elevation: np.ndarray, cells: float) -> np.ndarray:
    """Return the elevation (H, W), the sea at 0 m, smoothed with a Gaussian of this number of cells."""
    return gaussian_filter(np.nan_to_num(elevation), cells)
