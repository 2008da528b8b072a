"""The daily water cycle and its water balance, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from model.datasets.simulator.config import SimulationConfig
from model.datasets.simulator.drainage import SEA, Drainage, choose_gauges, drain, fill_depressions
from model.datasets.simulator.land import Soil, Stores, balance_day, half_full
from model.datasets.simulator.routing import Channels, to_flow
from model.datasets.simulator.terrain import Terrain, build_terrain
from model.datasets.simulator.weather import WeatherMachine

ROOT_DEPTH_MM = 1000.0  # depth of the soil whose moisture is given
WILTING = 0.10  # m3 m-3: water that plants cannot take up; the capacity comes on top of it


@dataclass(frozen=True, eq=False)
class World:
    """The land, its rivers and its gauges, which do not change.

    Attributes:
        config: the settings.
        terrain: the land, without depressions.
        drainage: the rivers over the n land cells.
        gauges: (N,) positions of the gauges in `drainage.cells`.
        catchments: (N, n) sparse, 1 where a cell drains through a gauge.
    """

    config: SimulationConfig
    terrain: Terrain
    drainage: Drainage
    gauges: np.ndarray
    catchments: sparse.csr_array

    def on_land(self, field: np.ndarray) -> np.ndarray:
        """Return the land cells of a field (H, W), (n,) float64."""
        return field.ravel()[self.drainage.cells].astype(np.float64)

    def mean_over_catchments(self, cells: np.ndarray) -> np.ndarray:
        """Return the mean of land cells (n,) over each catchment, (N,)."""
        return (self.catchments @ cells) / self.catchments.sum(axis=1)


@dataclass(frozen=True, eq=False)
class Balance:
    """The water balance of N areas over a whole simulation, each (N,) float64, mm; `outflow` leaves by the river."""

    precipitation: np.ndarray
    evaporation: np.ndarray
    outflow: np.ndarray
    stored_before: np.ndarray
    stored_after: np.ndarray

    @property
    def residual(self) -> np.ndarray:
        """Water that was lost (> 0) or created (< 0), (N,) mm; only rounding errors."""
        return self.precipitation - self.evaporation - self.outflow - (self.stored_after - self.stored_before)


@dataclass(eq=False)
class Ledger:
    """The water balance of each land cell, (n,) float64 mm: sums over `days`, and the stored water before and after."""

    world: World
    precipitation: np.ndarray
    evaporation: np.ndarray
    outflow: np.ndarray
    potential: np.ndarray
    stored_before: np.ndarray
    stored_after: np.ndarray
    days: int = 0

    @classmethod
    def opened(cls, world: World, stores: Stores) -> Ledger:
        """Return an empty ledger for the first day."""
        rain, evaporation, outflow, potential = np.zeros((4, len(world.drainage.cells)))
        return cls(world, rain, evaporation, outflow, potential, stores.total(), stores.total())

    def of_catchments(self) -> Balance:
        """Return the balance of each gauge's catchment, in the order of the sites."""
        size = self.world.catchments.sum(axis=1)
        return self._balance(self.world.catchments, self.outflow[self.world.gauges] / size)

    def of_land(self) -> Balance:
        """Return the balance of all land, (1,); its outflow runs into the sea."""
        n = len(self.precipitation)
        to_sea = self.outflow[self.world.drainage.downstream == SEA].sum(keepdims=True)
        return self._balance(sparse.csr_array(np.ones((1, n))), to_sea / n)

    def _balance(self, areas: sparse.csr_array, outflow: np.ndarray) -> Balance:
        size = areas.sum(axis=1)
        rain, evaporation, before, after = (
            (areas @ cells) / size
            for cells in (self.precipitation, self.evaporation, self.stored_before, self.stored_after)
        )
        return Balance(rain, evaporation, outflow, before, after)


@dataclass(frozen=True, eq=False)
class SimulatedRecord:
    """Some days of simulated data without gaps, float32: grids (T, H, W), NaN at sea, and series (T, N)."""

    time: np.ndarray
    precipitation: np.ndarray
    soil_moisture: np.ndarray
    temperature: np.ndarray
    evaporation: np.ndarray
    river_flow: np.ndarray


def build_world(config: SimulationConfig, seed: int) -> World:
    """Return a random land with its rivers and gauges.

    Raises:
        ConfigError: the land has fewer catchments than the requested number of sites.
    """
    terrain_rng, gauge_rng = (np.random.default_rng([seed, stream]) for stream in (0, 1))
    terrain = build_terrain(config, terrain_rng)
    terrain = terrain.with_elevation(fill_depressions(terrain.elevation), config.cell_m)
    drainage = drain(terrain.elevation, config.cell_m)
    gauges = choose_gauges(drainage, config.sites, config.smallest_catchment, gauge_rng)
    return World(config, terrain, drainage, gauges, drainage.catchments(gauges))


class WaterCycle:
    """The state of the water, one day after another; the same world and seed give the same days."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, config, terrain = world, world.config, world.terrain
        self.weather = WeatherMachine(terrain, config, np.random.default_rng([seed, 2]))
        fields = (terrain.soil_capacity, terrain.woodland, terrain.permeability)
        self.soil = Soil(*(world.on_land(field) for field in fields))
        self.channels = Channels(world.drainage)
        self.stores = half_full(self.soil)
        self.today = np.datetime64(config.start, "D") - config.spin_up_days
        self.ledger = Ledger.opened(world, self.stores)
        for _ in range(config.spin_up_days):
            self._day()
        self.ledger = Ledger.opened(world, self.stores)

    def advance(self, days: int) -> SimulatedRecord:
        """Simulate the next days."""
        config, time = self.world.config, self.today + np.arange(days)
        grids = np.full((3, days, config.rows * config.columns), np.nan, np.float32)
        series = np.empty((2, days, config.sites), np.float32)
        for day in range(days):
            rain, temperature, evaporation, outflow = self._day()
            moisture = WILTING + self.stores.soil / ROOT_DEPTH_MM
            grids[:, day, self.world.drainage.cells] = rain, moisture, temperature
            series[0, day] = self.world.mean_over_catchments(evaporation)
            series[1, day] = to_flow(outflow[self.world.gauges], config.cell_m)
        shaped = grids.reshape(3, days, config.rows, config.columns)
        return SimulatedRecord(time.astype("datetime64[ns]"), *shaped, *series)

    def _day(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Simulate one day: rain mm, temperature degC, evaporation mm and outflow mm of each land cell, (n,) each."""
        since_new_year = (self.today - self.today.astype("datetime64[Y]")).astype(int)
        weather = self.weather.day(float(since_new_year + 1))
        rain, temperature, potential = (
            self.world.on_land(field) for field in (weather.rain, weather.temperature, weather.potential)
        )
        day = balance_day(self.stores, rain, potential, self.soil)
        channel, outflow = self.channels.route(day.stores.channel, day.runoff)
        self.stores = Stores(day.stores.soil, day.stores.quick, day.stores.ground, channel)
        self.today = self.today + 1
        ledger = self.ledger
        ledger.precipitation += rain
        ledger.evaporation += day.evaporation
        ledger.outflow += outflow
        ledger.potential += potential
        ledger.stored_after = self.stores.total()
        ledger.days += 1
        return rain, temperature, day.evaporation, outflow
