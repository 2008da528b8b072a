"""A bundle of named variables suits data that lie on its training grid, in its time step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from hydrofill.cf.dataset import read_dataset
from hydrofill.cube import WaterCube
from hydrofill.layout import Layout
from hydrofill.suitability import suits


@pytest.fixture
def basin(dataset: xr.Dataset, layout: Layout) -> WaterCube:
    return read_dataset(dataset, layout).cube


def test_training_grid_itself_suits(basin: WaterCube, layout: Layout) -> None:
    assert suits(layout, basin)


@pytest.mark.parametrize(("by", "expected"), [(490.0, True), (-490.0, True), (510.0, False), (-510.0, False)])
@pytest.mark.parametrize("axis", ["y", "x"])
def test_cells_may_lie_half_a_cell_outside_and_no_further(
    basin: WaterCube, layout: Layout, axis: str, by: float, expected: bool
) -> None:
    moved = replace(basin, **{axis: getattr(basin, axis) + by})
    assert suits(layout, moved) is expected


def test_part_of_the_grid_suits(basin: WaterCube, layout: Layout) -> None:
    assert suits(layout, basin.window(slice(0, 2), slice(1, 3), slice(1, 3)))


def test_gauge_outside_the_grid_does_not_suit(basin: WaterCube, layout: Layout) -> None:
    far = replace(basin.sites, x=basin.sites.x + 5_000)
    assert not suits(layout, replace(basin, sites=far))


def test_another_time_step_does_not_suit(basin: WaterCube, layout: Layout) -> None:
    hourly = basin.time[0] + np.arange(len(basin.time)) * np.timedelta64(1, "h")
    assert not suits(layout, replace(basin, time=hourly))


def test_single_frame_suits_in_any_time_step(basin: WaterCube, layout: Layout) -> None:
    assert suits(layout, basin.window(slice(0, 1), slice(None), slice(None)))
