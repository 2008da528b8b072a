"""Settings of the simulator: grid, climate and number of days."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from hydrofill.constants import YEAR_DAYS
from model.config import ConfigError, Count, Positive, Settings

MAX_GRID_CELLS = 4_000_000  # beyond that the weather alone takes tens of seconds a day


class SimulationConfig(Settings):
    """Size, climate and length of a simulation. The defaults give two years of a small coast in a few seconds.

    Attributes:
        y_first_m: northing of the centre of the first row, metres; rows go north.
        x_first_m: easting of the centre of the first column, metres.
        south_latitude: latitude of the first row, degrees north.
        land_share: share of the cells that is land, the highest cells; not used with `land_patches`.
        land_patches: number of patches of `patch_cells` x `patch_cells` that hold land.
        highest_m: elevation of the highest cell, metres.
        sites: number of river gauges.
        smallest_catchment: smallest number of cells that drain through a gauge.
        spin_up_days: days that are simulated before the start to fill the stores of water.
        sea_level_degc: mean air temperature at sea level in the first row, degrees Celsius.
    """

    rows: int = 40
    columns: int = 30
    cell_km: Positive = 5.0
    y_first_m: float = 2_500.0
    x_first_m: float = 2_500.0
    south_latitude: Annotated[float, Field(ge=-60, le=60)] = 50.0
    land_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    land_patches: int | None = None
    patch_cells: Count = 10
    highest_m: Positive = 1_100.0
    sites: Count = 12
    smallest_catchment: Count = 4
    start: str = "2000-01-01"
    days: Count = 731
    spin_up_days: Annotated[int, Field(ge=0)] = 240
    mean_rain_mm_day: Positive = 3.2
    sea_level_degc: float = 10.5

    @model_validator(mode="after")
    def _check_grid(self) -> Self:
        if self.rows < 4 or self.columns < 4 or self.rows * self.columns > MAX_GRID_CELLS:
            raise ConfigError(
                f"rows x columns must be 4 x 4 to {MAX_GRID_CELLS} cells, got {self.rows} x {self.columns}"
            )
        patches = -(-self.rows // self.patch_cells) * -(-self.columns // self.patch_cells)
        if self.land_patches is not None and not 0 < self.land_patches < patches:
            raise ConfigError(f"land_patches must be 1 to {patches - 1}, got {self.land_patches}")
        return self

    @field_validator("start")
    @classmethod
    def _check_start(cls, value: str) -> str:
        try:
            np.datetime64(value, "D")
        except ValueError as error:
            raise ConfigError(f"start must be a date such as 2000-01-01, got {value!r}") from error
        return value

    @property
    def time(self) -> np.ndarray:
        """(T,) datetime64[ns], one a day."""
        return (np.datetime64(self.start, "D") + np.arange(self.days)).astype("datetime64[ns]")

    @property
    def cell_m(self) -> float:
        """Side of a cell, metres."""
        return 1000.0 * self.cell_km


# The grid of HadUK-Grid at 5 km: 290 x 180 cells on the British National Grid. Counts from architecture: 522 patches
# a frame, 94 with land, the 671 catchments of CAMELS-GB. Source: Hollis et al. 2019, Geosci. Data J. 6:151.
GREAT_BRITAIN = SimulationConfig(
    rows=290,
    columns=180,
    cell_km=5.0,
    y_first_m=-197_500.0,
    x_first_m=-197_500.0,
    south_latitude=48.0,
    land_patches=94,
    highest_m=1_300.0,
    sites=671,
    smallest_catchment=2,
    start="1970-01-01",
    days=731,
)
PRESETS: Mapping[str, SimulationConfig] = {"small": SimulationConfig(), "gb": GREAT_BRITAIN}


def choose_config(preset: str, years: float | None = None, days: int | None = None) -> SimulationConfig:
    """Return a preset, with its length in mean years or in days where given.

    Raises:
        ConfigError: no preset has that name, or both years and days are given.
    """
    if preset not in PRESETS:
        raise ConfigError(f"no preset is called {preset!r}; there are {', '.join(PRESETS)}")
    if years is not None and days is not None:
        raise ConfigError("give years or days, not both")
    if years is not None:
        days = round(years * YEAR_DAYS)
    return PRESETS[preset] if days is None else PRESETS[preset].updated(days=days)
