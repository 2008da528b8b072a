"""How large a simulated world is, and for how long its water is followed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hydrofill.constants import YEAR_DAYS
from model.config import ConfigError

MAX_GRID_CELLS = 4_000_000  # cells: weather alone would take tens of seconds a day beyond that


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """Size and climate; the defaults make two years of a small coast in a few seconds.

    `y_first_m` and `x_first_m` are the centre of the first cell, rows go north. Land is the highest `land_share` of
    cells or, with `land_patches`, as much as lies in exactly that many patches of `patch_cells` x `patch_cells`.
    Catchments hold at least `smallest_catchment` cells. Days before the start fill the stores (`spin_up_days`).
    """

    rows: int = 40
    columns: int = 30
    cell_km: float = 5.0
    y_first_m: float = 2_500.0
    x_first_m: float = 2_500.0
    south_latitude: float = 50.0
    land_share: float = 0.5
    land_patches: int | None = None
    patch_cells: int = 10
    highest_m: float = 1_100.0
    sites: int = 12
    smallest_catchment: int = 4
    start: str = "2000-01-01"
    days: int = 731
    spin_up_days: int = 240
    mean_rain_mm_day: float = 3.2
    sea_level_degc: float = 10.5

    def __post_init__(self) -> None:
        for name in ("cell_km", "highest_m", "sites", "smallest_catchment", "days", "mean_rain_mm_day", "patch_cells"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.spin_up_days < 0:
            raise ConfigError(f"spin_up_days must be at least 0, got {self.spin_up_days}")
        if self.rows < 4 or self.columns < 4 or self.rows * self.columns > MAX_GRID_CELLS:
            raise ConfigError(
                f"rows x columns must lie in 4 x 4 to {MAX_GRID_CELLS} cells, got {self.rows} x {self.columns}"
            )
        if not 0 < self.land_share < 1:
            raise ConfigError(f"land_share must lie in (0, 1), got {self.land_share}")
        if not -60 <= self.south_latitude <= 60:
            raise ConfigError(f"south_latitude must lie in [-60, 60], got {self.south_latitude}")
        patches = -(-self.rows // self.patch_cells) * -(-self.columns // self.patch_cells)
        if self.land_patches is not None and not 0 < self.land_patches < patches:
            raise ConfigError(f"land_patches must lie in 1 to {patches - 1}, got {self.land_patches}")
        self._check_start()

    def _check_start(self) -> None:
        try:
            np.datetime64(self.start, "D")
        except ValueError as error:
            raise ConfigError(f"start must be a date such as 2000-01-01, got {self.start!r}") from error

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
    """A preset, over so many mean years or days where given.

    Raises:
        ConfigError: no such preset, or both years and days.
    """
    if preset not in PRESETS:
        raise ConfigError(f"no preset is called {preset!r}; there are {', '.join(PRESETS)}")
    if years is not None and days is not None:
        raise ConfigError("give years or days, not both")
    if years is not None:
        days = round(years * YEAR_DAYS)
    return PRESETS[preset] if days is None else replace(PRESETS[preset], days=days)
