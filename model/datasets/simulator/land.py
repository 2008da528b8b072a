"""A day's water in each land cell's soil and ground: what falls evaporates, is kept or runs off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RUNOFF_SHAPE = 2.5  # the wetter the soil, the more of the rain runs off: HBV's beta (Bergstrom 1992, SMHI RH 4)
STRESS = 0.55  # share of the capacity below which plants lack water (FAO 56, table 22: p = 0.45 for grass and crops)
DRAIN_MM_DAY, DRAIN_SHAPE = 1.2, 4.0  # percolation of a full soil, and how fast it falls as the soil dries
QUICK_DAYS = 1.6  # e-folding time of flow over and just below the ground
SLOW_DAYS = (25.0, 140.0)  # of groundwater, from tight to permeable rock


@dataclass(frozen=True, eq=False)
class Soil:
    """What a cell's water depends on, each (n,) float64: capacity mm, woodland and permeability as shares."""

    capacity: np.ndarray
    woodland: np.ndarray
    permeability: np.ndarray


@dataclass(frozen=True, eq=False)
class Stores:
    """Water in each cell, (n,) float64 mm: in the soil, on its quick way, in the ground, in the channel."""

    soil: np.ndarray
    quick: np.ndarray
    ground: np.ndarray
    channel: np.ndarray

    def total(self) -> np.ndarray:
        """All of it, (n,) mm."""
        return self.soil + self.quick + self.ground + self.channel


@dataclass(frozen=True, eq=False)
class Day:
    """What one day did to the soil and the ground, (n,) mm: stores after it, and what evaporated and ran off."""

    stores: Stores
    evaporation: np.ndarray
    runoff: np.ndarray


def half_full(soil: Soil) -> Stores:
    """Somewhere to start from."""
    nothing = np.zeros_like(soil.capacity)
    return Stores(0.5 * soil.capacity, nothing, np.full_like(nothing, 20.0), nothing)


def balance_day(stores: Stores, rain: np.ndarray, potential: np.ndarray, soil: Soil) -> Day:
    """One day of rain and potential evaporation, (n,) float64 mm; the channel is left to `routing`.

    Evaporation is limited by energy (`potential`, more over woods) and by water (the soil's, below `STRESS`).
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
