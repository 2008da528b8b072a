"""Layout and statistics are chosen from what was observed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from hydrofill.cf.dataset import read_dataset
from hydrofill.errors import NothingObservedError, StructureError, UnknownVariableError
from hydrofill.layout import Layout
from model.config import TokensConfig
from model.data.cubes import LoadedCube
from model.data.layout import choose_layout, choose_statistics


def choose(dataset: xr.Dataset, **tokens: Any) -> Layout:
    reading = read_dataset(dataset)
    return choose_layout(LoadedCube.of(reading.cube), reading.grid_units, TokensConfig(**tokens))


def test_variables_kinds_and_units_are_the_datas(dataset: xr.Dataset) -> None:
    layout = choose(dataset)
    assert [(v.name, v.kind, v.units) for v in layout.variables] == [
        ("precipitation", "grid", "mm day-1"),
        ("pet", "grid", "mm day-1"),
        ("river_flow", "series", "m3 s-1"),
    ]
    assert [v.name for v in layout.static] == ["slope", "area"]


def test_rain_with_dry_days_is_learnt_as_its_square_root_and_temperature_as_it_is(dataset: xr.Dataset) -> None:
    warm = dataset.assign(pet=(dataset.pet + 12).assign_attrs(units="degC"))
    layout = choose(warm)
    assert (layout.spec("precipitation").transform, layout.spec("precipitation").lower) == ("sqrt", 0)
    assert (layout.spec("pet").transform, layout.spec("pet").lower) == ("identity", None)


@pytest.mark.parametrize(
    ("units", "floor"), [("degC", None), ("degree_Celsius", None), ("celsius", None), ("K", 0), ("mm", 0), ("", 0)]
)
def test_zero_degrees_are_not_a_floor(dataset: xr.Dataset, units: str, floor: float | None) -> None:
    pet = dataset.pet.copy(data=np.abs(dataset.pet.values)).assign_attrs(units=units)
    pet.values[0, 0, 0] = 0.01
    layout = choose(dataset.assign(pet=pet))
    assert layout.spec("pet").lower == floor


def test_place_is_the_grids_own_whatever_its_direction(dataset: xr.Dataset) -> None:
    here, there = choose(dataset).place, choose(dataset.isel(y=slice(None, None, -1))).place
    assert here == there
    assert (here.y_origin, here.y_spacing, here.rows, here.units, here.step_s) == (6_294_000, 1000, 7, "m", 86_400)


def test_the_domain_is_where_a_value_was_observed_at_any_time(dataset: xr.Dataset) -> None:
    lost = dataset.copy(deep=True)
    lost.pet.values[:, 0, 0] = np.nan  # highest y, lowest x
    inside = choose(lost).domain["pet"].to_array()
    assert not inside[-1, 0] and inside.sum() == 34


def test_statistics_come_from_observed_cells_only(dataset: xr.Dataset) -> None:
    cube = LoadedCube.of(read_dataset(dataset).cube)
    layout = choose(dataset)
    statistics = choose_statistics(cube, layout)
    rain = dataset.precipitation.values
    np.testing.assert_allclose(statistics.center[0], np.nanmean(np.sqrt(rain)), rtol=1e-5)
    np.testing.assert_allclose(statistics.std[1], np.nanstd(dataset.pet.values), rtol=1e-5)
    np.testing.assert_allclose(statistics.center[4, 0], 141)


def test_what_is_given_is_kept(dataset: xr.Dataset) -> None:
    layout = choose(dataset, window_steps=5, patch_rows=2, patch_columns=4, patch_steps=2)
    assert (layout.window.steps, layout.patch.rows, layout.patch.columns, layout.patch.steps) == (5, 2, 4, 2)


@pytest.mark.parametrize("shape", [(10, 201, 301), (1461, 14, 31), (3, 1, 1), (5, 1, 40), (1, 9, 9)])
def test_any_grid_gets_a_window_that_it_holds(shape: tuple[int, int, int]) -> None:
    time = np.datetime64("2000-01-01", "ns") + np.arange(shape[0]) * np.timedelta64(1, "D")
    values = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    grid = xr.Dataset(
        {"sst": (("time", "lat", "lon"), values, {"units": "degC"})},
        {"time": time, "lat": np.arange(shape[1]) / 10, "lon": np.arange(shape[2]) / 10},
    )
    layout = choose(grid)
    window = layout.window
    assert window.steps <= shape[0] and window.rows <= shape[1] and window.columns <= shape[2]


def test_sites_without_a_grid_are_enough(dataset: xr.Dataset) -> None:
    layout = choose(dataset[["river_flow"]])
    assert layout.place.rows == 33 and layout.place.y_spacing == pytest.approx(2500 / 32)


@pytest.mark.parametrize("name", ["window_steps", "window_rows", "window_columns"])
def test_a_window_larger_than_the_data_is_refused(dataset: xr.Dataset, name: str) -> None:
    with pytest.raises(StructureError, match=f"window {name.removeprefix('window_')} are more than the data holds"):
        choose(dataset, **{name: 21})


def test_a_variable_without_observations_is_refused_by_name(dataset: xr.Dataset) -> None:
    with pytest.raises(NothingObservedError, match="pet: has no value"):
        choose(dataset.assign(pet=dataset.pet * np.nan))


def test_data_without_time_are_refused(dataset: xr.Dataset) -> None:
    cube = read_dataset(dataset).cube
    still = LoadedCube(cube.time, cube.y, cube.x, variables={"slope": cube.variables["slope"]})
    with pytest.raises(UnknownVariableError, match="no variable on"):
        choose_layout(still, "m", TokensConfig())
