"""Remove from simulated data what real sensors would miss."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from hydrofill.gaps.masks import clouds, gauge_outages, swaths, whole_frames
from model.config import Settings, ShareBelowOne
from model.datasets.simulator.cycle import SimulatedRecord

RunLength = Annotated[float, Field(ge=1)]


class GapConfig(Settings):
    """Shares of the values that are missing, by cause, and mean lengths of gaps in days.

    Attributes:
        soil_clouds: share of soil moisture that clouds hide from the satellite.
        soil_swaths: share of soil moisture outside the satellite's swath.
        frames: share of days on which a grid is missing as a whole; drawn for each grid.
        frame_run: mean length of those gaps.
        outages: share of days on which a gauge gives nothing.
        outage_run: mean length of those outages.
        flow_starts: share of all days that pass before the records of river flow begin.
    """

    soil_clouds: ShareBelowOne = 0.35
    soil_swaths: ShareBelowOne = 0.15
    frames: ShareBelowOne = 0.03
    frame_run: RunLength = 2.0
    outages: ShareBelowOne = 0.12
    outage_run: RunLength = 15.0
    flow_starts: ShareBelowOne = 0.15


NO_GAPS = GapConfig(soil_clouds=0, soil_swaths=0, frames=0, outages=0, flow_starts=0)


def cut_gaps(
    record: SimulatedRecord, first_day: int, all_days: int, gaps: GapConfig, rng: np.random.Generator
) -> SimulatedRecord:
    """Return the record with gaps; its first day is day `first_day` of the `all_days` of the simulation."""
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
