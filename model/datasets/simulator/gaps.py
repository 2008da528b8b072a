"""Gaps as sensors have them, cut out of a simulated truth."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from model.config import ConfigError
from model.datasets.simulator.cycle import SimulatedRecord
from model.gaps.masks import clouds, gauge_outages, swaths, whole_frames


@dataclass(frozen=True, kw_only=True)
class GapConfig:
    """Shares of values that are missing, by cause, and the mean lengths of runs in days.

    Satellites see no soil under clouds and beside their swath; all grids lose whole frames; gauges fail for weeks;
    and the gauges' records begin later than the grids, by a share of all days.
    """

    soil_clouds: float = 0.35
    soil_swaths: float = 0.15
    frames: float = 0.03
    frame_run: float = 2.0
    outages: float = 0.12
    outage_run: float = 15.0
    flow_starts: float = 0.15

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not field.name.endswith("_run") and not 0 <= value < 1:
                raise ConfigError(f"{field.name} must lie in [0, 1), got {value}")
            if field.name.endswith("_run") and value < 1:
                raise ConfigError(f"{field.name} must be at least 1, got {value}")


NO_GAPS = GapConfig(soil_clouds=0, soil_swaths=0, frames=0, outages=0, flow_starts=0)


def cut_gaps(
    record: SimulatedRecord, first_day: int, all_days: int, gaps: GapConfig, rng: np.random.Generator
) -> SimulatedRecord:
    """The record with gaps; it starts on the simulation's day `first_day` of `all_days`."""
    n_time, height, width = record.precipitation.shape
    grid = (n_time, height, width)
    lost = [whole_frames(rng, n_time, gaps.frames, gaps.frame_run)[:, None, None] for _ in range(3)]
    unseen = clouds(rng, grid, gaps.soil_clouds) if gaps.soil_clouds else np.zeros(grid, bool)
    if gaps.soil_swaths:
        unseen |= swaths(rng, grid, gaps.soil_swaths)
    too_early = first_day + np.arange(n_time) < round(gaps.flow_starts * all_days)
    down = [gauge_outages(rng, record.river_flow.shape, gaps.outages, gaps.outage_run) for _ in range(2)]
    return replace(
        record,
        precipitation=_without(record.precipitation, lost[0]),
        temperature=_without(record.temperature, lost[1]),
        soil_moisture=_without(record.soil_moisture, lost[2] | unseen),
        evaporation=_without(record.evaporation, down[0]),
        river_flow=_without(record.river_flow, down[1] | too_early[:, None]),
    )


def _without(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    return np.where(missing, np.float32(np.nan), values)
