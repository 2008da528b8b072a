"""The daily water balance of soil and groundwater in each land cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RUNOFF_SHAPE = 2.5  # exponent of runoff against soil wetness: HBV's beta (Bergstrom 1992, SMHI RH 4)
STRESS = (
    0.55  # share of the capacity below which water limits evaporation (FAO 56, table 22: p = 0.45 for grass and crops)
)
DRAIN_MM_DAY, DRAIN_SHAPE = 1.2, 4.0  # percolation of a full soil, and the exponent of its decrease as the soil dries
QUICK_DAYS = 1.6  # e-folding time of quick flow over and just below the ground
SLOW_DAYS = (25.0, 140.0)  # of groundwater, from tight to permeable rock


@dataclass(frozen=True, eq=False)
class Soil:
    """Properties of the soil, each (n,) float64: capacity mm, woodland and permeability as shares."""

    capacity: np.ndarray
    woodland: np.ndarray
    permeability: np.ndarray


@dataclass(frozen=True, eq=False)
class Stores:
    """Water stored in each cell, (n,) float64 mm: soil, quick flow, groundwater, channel."""

    soil: np.ndarray
    quick: np.ndarray
    ground: np.ndarray
    channel: np.ndarray

    def total(self) -> np.ndarray:
        """Return the sum of all stores, (n,) mm."""
        return self.soil + self.quick + self.ground + self.channel


@dataclass(frozen=True, eq=False)
class Day:
    """One day of the balance, (n,) mm: the stores after it, the evaporation and the runoff."""

    stores: Stores
    evaporation: np.ndarray
    runoff: np.ndarray


def half_full(soil: Soil) -> Stores:
    """Return stores to start from: soils half full."""
    nothing = np.zeros_like(soil.capacity)
    return Stores(0.5 * soil.capacity, nothing, np.full_like(nothing, 20.0), nothing)


def balance_day(stores: Stores, rain: np.ndarray, potential: np.ndarray, soil: Soil) -> Day:
    """Return one day of the balance; channels are left to `routing`.

    Evaporation is limited by energy (`potential`, more over woodland) and by soil water (below `STRESS`).

    Args:
        stores: water stored before the day.
        rain: (n,) float64 mm.
        potential: (n,) float64 mm of potential evaporation.
        soil: properties of the soil.
    """
    direct = rain * (stores.soil / soil.capacity) ** RUNOFF_SHAPE
    water = stores.soil + rain - direct
    excess = np.maximum(water - soil.capacity, 0)
    water = water - excess
    demand = potential * (0.9 + 0.25 * soil.woodland)
    evaporation = np.minimum(demand * np.minimum(water / (STRESS * soil.capacity), 1), water)
    water = water - evaporation
    drained = np.minimum(DRAIN_MM_DAY * (water / soil.capacity) ** DRAIN_SHAPE, water)
    to_ground = soil.permeability * (drained + 0.7 * direct)
    quick = stores.quick + (direct + excess + drained - to_ground)
    ground = stores.ground + to_ground
    low, high = SLOW_DAYS
    quick_out = quick * -np.expm1(-1 / QUICK_DAYS)
    ground_out = ground * -np.expm1(-1 / (low + (high - low) * soil.permeability))
    after = Stores(water - drained, quick - quick_out, ground - ground_out, stores.channel)
    return Day(after, evaporation, quick_out + ground_out)
