"""Random daily weather: rain, temperature and potential evaporation over the grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.integrate import quad
from scipy.stats import norm

from hydrofill.constants import YEAR_DAYS
from model.datasets.simulator.config import SimulationConfig
from model.datasets.simulator.noise import DriftingField
from model.datasets.simulator.terrain import Terrain, smooth_relief

LAPSE_DEGC_M = 0.0065  # ICAO standard atmosphere
NORTHWARD_DEGC_M = 4.5e-6  # means at sea level: some 4.5 degC over the 1,000 km from Cornwall to Caithness
SEASON_DEGC = 6.0  # half the difference between the warmest and the coldest month (UK climate averages 1991-2020)
WARMEST_DAY = 205.0  # late July
WEATHER_DEGC, WEATHER_KM, WEATHER_DAYS = (
    2.6,
    450.0,
    3.0,
)  # standard deviation, length and e-folding time of warm and cold spells
CLOUD_DEGC = 1.5  # rainy days are cooler in summer and milder in winter

PARTS_PER_DAY = 4  # rain is summed over parts of a day, because fronts move within a day
FRONT_KM, FRONT_DAYS, FRONT_HEADING = (320.0, 110.0), 1.5, np.deg2rad(55.0)  # the long axis points north-east
SHOWER_KM, SHOWER_DAYS = 25.0, 0.3
REGIME_DAYS = 4.0  # e-folding time of wet and dry spells over the whole land
SHARES = {"regime": 0.35, "front": 0.45, "shower": 0.20}  # shares of the latent field's variance
WET_SHARE, WET_SEASON = 0.20, 0.12  # share of time with rain; amplitude of the latent field's yearly cycle
RAIN_POWER = 1.4  # exponent from the latent field's excess to a rain rate; larger is more skewed
MIN_RAIN_MM = 0.05  # a day with less counts as dry, as for a gauge
# Mean (north, east) of the wind, which blows from the south-west, its standard deviation and e-folding time.
WIND_KM_DAY, WIND_STD, WIND_DAYS = (120.0, 500.0), 250.0, 2.0
RELIEF_KM = 12.0  # smaller hills do not affect rain

SOLAR_CONSTANT = 0.0820  # MJ m-2 min-1 (Allen et al. 1998, FAO 56, equation 21)
LATENT_HEAT = 2.45  # MJ kg-1 (Allen et al. 1998, annex 3)
METRES_PER_DEGREE = 111_200.0  # of latitude


@dataclass(frozen=True, eq=False)
class Weather:
    """One day over the grid, (H, W) float32: rain mm, temperature degC, potential evaporation mm."""

    rain: np.ndarray
    temperature: np.ndarray
    potential: np.ndarray


class WeatherMachine:
    """Draws the weather day by day: spells, fronts and showers that the wind moves over the land."""

    def __init__(self, terrain: Terrain, config: SimulationConfig, rng: np.random.Generator) -> None:
        self.rng, self.cell_km = rng, config.cell_km
        shape = terrain.land.shape
        front = (FRONT_KM[0] / config.cell_km, FRONT_KM[1] / config.cell_km)
        shower, warm = SHOWER_KM / config.cell_km, WEATHER_KM / config.cell_km
        self.front = DriftingField(shape, _limited(front, shape), FRONT_HEADING, FRONT_DAYS, rng)
        self.shower = DriftingField(shape, _limited((shower, shower), shape), 0.0, SHOWER_DAYS, rng)
        self.air = DriftingField(shape, _limited((warm, warm), shape), 0.0, WEATHER_DAYS, rng)
        self.regime, self.spell, self.wind = (rng.standard_normal(n) for n in (1, 1, 2))
        self.threshold = float(norm.isf(WET_SHARE))
        self.rate = config.mean_rain_mm_day / _mean_excess(self.threshold)
        self.lift = _orographic(terrain, config)
        self.usual = config.sea_level_degc - LAPSE_DEGC_M * np.nan_to_num(terrain.elevation)  # (H, W) mean of the year
        self.usual -= NORTHWARD_DEGC_M * (terrain.y - terrain.y[0])[:, None]
        self.latitude = np.deg2rad(config.south_latitude + (terrain.y - terrain.y[0]) / METRES_PER_DEGREE)  # (H,)

    def day(self, day_of_year: float) -> Weather:
        """Return the weather of the next day."""
        season = float(np.cos(2 * np.pi * (day_of_year - WARMEST_DAY) / YEAR_DAYS))  # 1 when warmest
        self.wind = _renew(self.wind, WIND_DAYS, self.rng.standard_normal(2))
        rain = self._rain(season)
        temperature = self._temperature(season, rain)
        return Weather(rain, temperature, _potential(temperature, self.latitude, day_of_year))

    def _rain(self, season: float) -> np.ndarray:
        self.regime = _renew(self.regime, REGIME_DAYS, self.rng.standard_normal(1))
        drift = tuple((np.array(WIND_KM_DAY) + WIND_STD * self.wind) / self.cell_km)
        parts = 1 / PARTS_PER_DAY
        total = np.zeros(self.lift.shape, np.float32)
        for _ in range(PARTS_PER_DAY):
            latent = np.sqrt(SHARES["front"]) * self.front.step(parts, drift)
            latent += np.sqrt(SHARES["shower"]) * self.shower.step(parts, drift)
            latent += np.sqrt(SHARES["regime"]) * self.regime - WET_SEASON * season - self.threshold
            total += np.maximum(latent, 0) ** RAIN_POWER
        rain = total * (self.rate * parts) * self.lift
        return np.where(rain < MIN_RAIN_MM, 0, rain).astype(np.float32)

    def _temperature(self, season: float, rain: np.ndarray) -> np.ndarray:
        self.spell = _renew(self.spell, WEATHER_DAYS, self.rng.standard_normal(1))
        drift = tuple(np.array(WIND_KM_DAY) / self.cell_km)
        weather = np.sqrt(0.5) * (self.air.step(1.0, drift) + self.spell)
        cloud = -CLOUD_DEGC * season * np.tanh(rain / 5.0)
        return (self.usual + SEASON_DEGC * season + WEATHER_DEGC * weather + cloud).astype(np.float32)


def extraterrestrial_radiation(latitude: np.ndarray, day_of_year: float) -> np.ndarray:
    """Return the daily extraterrestrial radiation, MJ m-2, for latitudes in radians.

    Source: Allen et al. 1998, FAO 56, equations 21-25.
    """
    angle = 2 * np.pi * day_of_year / 365
    inverse_distance, declination = 1 + 0.033 * np.cos(angle), 0.409 * np.sin(angle - 1.39)
    sunset = np.arccos(np.clip(-np.tan(latitude) * np.tan(declination), -1, 1))
    height = sunset * np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.sin(sunset)
    return 24 * 60 / np.pi * SOLAR_CONSTANT * inverse_distance * height


def _potential(temperature: np.ndarray, latitude: np.ndarray, day_of_year: float) -> np.ndarray:
    """Return the potential evaporation, mm per day, (H, W).

    Source: Oudin et al. 2005, J. Hydrol. 303:290, equation 3.
    """
    energy = extraterrestrial_radiation(latitude, day_of_year)[:, None] / LATENT_HEAT
    return (energy * np.maximum(temperature + 5, 0) / 100).astype(np.float32)


def _orographic(terrain: Terrain, config: SimulationConfig) -> np.ndarray:
    """Return the factor by which hills and windward slopes increase rain, (H, W) float32, 1 on average over land.

    Its dependence on height follows UK rainfall, which doubles to triples from the lowlands to 600 m.
    """
    relief = smooth_relief(terrain.elevation, RELIEF_KM / config.cell_km)
    north, east = np.gradient(relief, config.cell_m)
    wind = np.array(WIND_KM_DAY) / np.hypot(*WIND_KM_DAY)
    lift = np.clip(0.7 + relief / 450 + 60 * (north * wind[0] + east * wind[1]), 0.45, 5.0)
    return (lift / lift[terrain.land].mean()).astype(np.float32)


def _mean_excess(threshold: float) -> float:
    """Return the mean of max(z - threshold, 0)**RAIN_POWER for a standard Gaussian z."""
    value, _ = quad(lambda z: (z - threshold) ** RAIN_POWER * norm.pdf(z), threshold, threshold + 10)
    return float(value)


def _limited(length: tuple[float, float], shape: tuple[int, int]) -> tuple[float, float]:
    """Return length scales of at most the grid's diagonal; larger ones change little and cost time."""
    longest = float(np.hypot(*shape))
    return min(length[0], longest), min(length[1], longest)


def _renew(state: np.ndarray, memory_days: float, noise: np.ndarray) -> np.ndarray:
    """Return the next day of an AR(1) process of variance 1."""
    kept = float(np.exp(-1 / memory_days))
    return kept * state + np.sqrt(1 - kept**2) * noise
