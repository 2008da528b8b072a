"""The simulated water cycle conserves water, has plausible weather, and its rivers run to the sea."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.datasets.simulator.config import PRESETS
from model.datasets.simulator.cycle import build_world
from model.datasets.simulator.drainage import SEA, drain, fill_depressions
from model.datasets.simulator.land import Soil, balance_day, half_full
from model.datasets.simulator.noise import DriftingField
from model.datasets.simulator.routing import Channels, to_flow
from model.datasets.simulator.simulation import Simulation, simulate
from model.datasets.simulator.weather import extraterrestrial_radiation

FEW_DAYS = PRESETS["small"].updated(days=50, spin_up_days=20)


@pytest.fixture(scope="module")
def small() -> Simulation:
    return simulate(PRESETS["small"], seed=1)


def rain_on_land(simulation: Simulation) -> np.ndarray:
    """Return the rain of land cells (T, n), mm per day."""
    rain = simulation.dataset["precipitation"].values
    return rain[:, ~np.isnan(rain).all(axis=0)]


# Water is conserved.


def test_every_catchment_conserves_water(small: Simulation) -> None:
    balance = small.ledger.of_catchments()
    assert balance.residual.shape == (12,)
    assert (np.abs(balance.residual) < 1e-9 * balance.precipitation).all()
    stored = np.abs(balance.stored_after - balance.stored_before)
    assert (stored > 1e-3 * balance.precipitation).any(), "the balance must not close because nothing is stored"


def test_all_runoff_of_the_land_reaches_the_sea(small: Simulation) -> None:
    balance = small.ledger.of_land()
    assert abs(balance.residual[0]) < 1e-9 * balance.precipitation[0]
    assert 0.2 < balance.outflow[0] / balance.precipitation[0] < 0.9


def test_dataset_has_the_same_balance_as_the_ledger(small: Simulation) -> None:
    """The balance of the float32 dataset closes as well, to its precision."""
    data, balance = small.dataset, small.ledger.of_catchments()
    volume_mm = data["river_flow"].astype(np.float64).sum("time") * 86_400 / (data["area"] * 1e6) * 1000
    np.testing.assert_allclose(volume_mm, balance.outflow, rtol=1e-5)
    np.testing.assert_allclose(data["evaporation"].astype(np.float64).sum("time"), balance.evaporation, rtol=1e-5)
    np.testing.assert_allclose(data["precipitation_mean"] * 731, balance.precipitation, rtol=1e-5)


def test_one_day_of_one_cell_by_hand() -> None:
    soil = Soil(np.array([100.0]), np.array([0.0]), np.array([0.0]))
    day = balance_day(half_full(soil), np.array([0.0]), np.array([2.0]), soil)
    np.testing.assert_allclose(day.evaporation, 2.0 * 0.9 * 50 / 55)  # half full is below the onset of stress, 55 mm
    left = 50 - day.evaporation
    np.testing.assert_allclose(day.stores.soil, left - 1.2 * (left / 100) ** 4)


def test_evaporation_is_limited_by_energy_and_by_water() -> None:
    soil = Soil(np.full(3, 100.0), np.zeros(3), np.full(3, 0.5))
    stores = replace(half_full(soil), soil=np.array([100.0, 100.0, 0.0]))
    day = balance_day(stores, np.zeros(3), np.array([0.0, 3.0, 3.0]), soil)
    np.testing.assert_allclose(day.evaporation, [0.0, 2.7, 0.0])


def test_full_soil_sheds_all_further_rain() -> None:
    soil = Soil(np.array([100.0]), np.array([0.0]), np.array([0.3]))
    stores = replace(half_full(soil), soil=np.array([100.0]))
    day = balance_day(stores, np.array([40.0]), np.array([0.0]), soil)
    before = stores.total() + 40.0
    np.testing.assert_allclose(day.stores.total() + day.runoff, before, rtol=1e-15)
    assert day.stores.soil[0] < 100.0


# The land and its rivers.


def test_every_land_cell_drains_downhill_to_the_sea() -> None:
    world = build_world(FEW_DAYS, seed=4)
    cells, downstream = world.drainage.cells, world.drainage.downstream
    assert len(cells) == world.terrain.land.sum()
    height = world.on_land(world.terrain.elevation)
    onward = downstream != SEA
    assert (height[downstream[onward]] < height[onward]).all()
    at = np.arange(len(cells))
    for _ in range(len(cells)):
        at = np.where(at == SEA, SEA, downstream[at])
    assert (at == SEA).all()


def test_depression_is_filled_to_its_rim_and_no_higher() -> None:
    relief = np.full((5, 5), np.nan)
    relief[1:4, 1:4] = [[9, 9, 9], [9, 1, 4], [9, 9, 9]]
    filled = fill_depressions(relief)
    assert filled[2, 3] == 4.0
    assert filled[2, 2] == pytest.approx(4.05)
    drainage = drain(filled, 1000.0)
    middle = int(np.flatnonzero(drainage.cells == 12)[0])
    assert drainage.cells[drainage.downstream[middle]] == 13


def test_sea_is_missing_everywhere_and_land_nowhere(small: Simulation) -> None:
    land = build_world(PRESETS["small"], seed=1).terrain.land
    for name in ("precipitation", "soil_moisture", "temperature", "elevation", "soil_capacity"):
        missing = small.dataset[name].isnull().values
        assert (missing == ~land).all(), name
    edge = np.ones_like(land)
    edge[1:-1, 1:-1] = False
    assert not land[edge].any()


def test_catchments_of_nested_gauges_hold_each_other() -> None:
    world = build_world(FEW_DAYS, seed=4)
    catchments, gauges = world.catchments.toarray() > 0, world.gauges
    size = world.drainage.upstream_cells()
    np.testing.assert_array_equal(catchments.sum(axis=1), size[gauges])
    nested = 0
    for upper, gauge in enumerate(gauges):
        for lower in np.flatnonzero(catchments[:, gauge]):
            assert (catchments[lower] | ~catchments[upper]).all()
            nested += lower != upper
    assert nested > 0


def test_wave_reaches_the_gauges_below_it_and_no_others() -> None:
    world = build_world(FEW_DAYS, seed=4)
    n, channels = len(world.drainage.cells), Channels(world.drainage)
    pulse = np.zeros(n)
    pulse[0] = 1.0  # the highest cell of all
    stored, arrived, first = np.zeros(n), np.zeros(n), np.zeros(n)
    for day in range(60):
        stored, outflow = channels.route(stored, pulse if day == 0 else np.zeros(n))
        arrived += outflow
        first = outflow if day == 0 else first
    below = world.catchments[:, [0]].toarray().ravel() > 0
    np.testing.assert_allclose(arrived[world.gauges], below, atol=1e-12)
    path = [0]
    while (after := int(world.drainage.downstream[path[-1]])) != SEA:
        path.append(after)
    assert (np.diff(first[path]) < 0).all(), "further down, less has come on the first day"


def test_a_millimetre_a_day_over_a_square_kilometre_is_a_known_flow() -> None:
    np.testing.assert_allclose(to_flow(np.array([1.0]), 1000.0), 1 / 86.4)


def test_flow_answers_rain_upstream_and_not_before_it(small: Simulation) -> None:
    world = build_world(PRESETS["small"], seed=1)
    rain = np.nan_to_num(small.dataset["precipitation"].values.reshape(731, -1))[:, world.drainage.cells]
    upstream = np.stack([world.mean_over_catchments(day) for day in rain.astype(np.float64)])
    rise = np.diff(small.dataset["river_flow"].values, axis=0)  # (T - 1, N): from the day before
    for site in range(12):
        same_or_next = max(np.corrcoef(upstream[1 - lag : 730 - lag, site], rise[:729, site])[0, 1] for lag in (0, 1))
        too_early = np.corrcoef(upstream[3:, site], rise[:-2, site])[0, 1]  # rain two days after the rise
        assert same_or_next > 0.5 > 0.3 > too_early, site


# The weather.


def test_rain_is_never_negative_and_dry_days_are_dry(small: Simulation) -> None:
    rain = rain_on_land(small)
    assert rain.min() == 0.0
    assert 0.25 < (rain >= 1).mean() < 0.55
    assert 0.35 < (rain == 0).mean() < 0.70
    assert not ((rain > 0) & (rain < 0.05)).any()


def test_rain_comes_in_spells_and_areas(small: Simulation) -> None:
    rain = rain_on_land(small)
    today, tomorrow = rain[:-1] - rain.mean(axis=0), rain[1:] - rain.mean(axis=0)
    assert 0.1 < (today * tomorrow).mean() / rain.var(axis=0).mean() < 0.6
    wet = small.dataset["precipitation"].values
    near = np.corrcoef(wet[:, 20, 14], wet[:, 20, 15])[0, 1]
    far = np.corrcoef(wet[:, 10, 14], wet[:, 30, 14])[0, 1]
    assert near > 0.9 > far > 0.1
    dry = (rain.mean(axis=1) < 0.2).astype(int)
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], dry, [0]]))))[::2]
    assert runs.max() >= 7


def test_fields_have_unit_variance_and_move_with_the_wind() -> None:
    field = DriftingField((40, 31), (5.0, 5.0), 0.0, 2.0, np.random.default_rng(0))
    frames = np.stack([field.step(1.0, (3.0, -2.0)) for _ in range(400)])
    assert frames.var() == pytest.approx(1.0, abs=0.1)
    with_the_wind = np.corrcoef(frames[:-1, :-3, 2:].ravel(), frames[1:, 3:, :-2].ravel())[0, 1]
    assert with_the_wind == pytest.approx(np.exp(-1 / 2.0), abs=0.05)
    assert with_the_wind > np.corrcoef(frames[:-1].ravel(), frames[1:].ravel())[0, 1] + 0.1


def test_summer_is_warm_and_heights_are_cold(small: Simulation) -> None:
    data = small.dataset
    months = data["temperature"].mean(("y", "x")).groupby("time.month").mean()
    assert int(months.idxmax()) in (7, 8) and int(months.idxmin()) in (1, 2)
    yearly, height = data["temperature"].mean("time").values, data["elevation"].values
    land = ~np.isnan(height)
    assert np.polyfit(height[land], yearly[land], 1)[0] == pytest.approx(-0.0065, abs=0.001)


def test_sun_above_the_air_is_that_of_fao_56() -> None:
    """Example 8 of FAO 56: 3 September (day 246), 20 degrees south, 32.2 MJ m-2."""
    assert extraterrestrial_radiation(np.deg2rad(np.array([-20.0])), 246)[0] == pytest.approx(32.2, abs=0.05)


def test_soil_is_driest_in_late_summer_and_never_beyond_its_bounds(small: Simulation) -> None:
    soil = small.dataset["soil_moisture"]
    assert int(soil.mean(("y", "x")).groupby("time.month").mean().idxmin()) in (7, 8, 9)
    full = 0.10 + small.dataset["soil_capacity"].values / 1000
    assert float(soil.min()) >= 0.10
    assert (np.nan_to_num(soil.values - full).max(axis=0) < 1e-6).all()
