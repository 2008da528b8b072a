"""The results of a simulation: counts, CF variables, gaps, files written in blocks, and refused settings."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from hydrofill.cf.dataset import read_dataset
from model.config import ConfigError
from model.datasets.simulator import simulation
from model.datasets.simulator.config import GREAT_BRITAIN, PRESETS, SimulationConfig, choose_config
from model.datasets.simulator.cycle import World, build_world
from model.datasets.simulator.gaps import NO_GAPS, GapConfig
from model.datasets.simulator.simulation import simulate, write_simulation
from model.datasets.simulator.terrain import patch_maxima

pytestmark = pytest.mark.slow

FEW_DAYS = PRESETS["small"].updated(days=50, spin_up_days=20)


@pytest.fixture(scope="module")
def great_britain() -> World:
    return build_world(GREAT_BRITAIN, seed=1)


def test_great_britain_has_the_counts_of_the_design(great_britain: World) -> None:
    land = great_britain.terrain.land
    patches = patch_maxima(land.astype(float), 10)
    assert land.shape == (290, 180)
    assert len(patches) == 522
    assert (patches > 0).sum() == 94
    assert len(great_britain.gauges) == 671
    assert len(np.unique(great_britain.gauges)) == 671


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_great_britain_has_them_with_every_seed(seed: int) -> None:
    world = build_world(GREAT_BRITAIN, seed)
    assert (patch_maxima(world.terrain.land.astype(float), 10) > 0).sum() == 94
    assert len(world.gauges) == 671


def test_same_seed_makes_the_same_data_and_another_seed_does_not() -> None:
    first, again, other = (simulate(FEW_DAYS, seed, GapConfig()).dataset for seed in (5, 5, 6))
    xr.testing.assert_identical(first, again)
    assert not first["elevation"].equals(other["elevation"])


def test_more_days_begin_with_the_same_days() -> None:
    short, long = simulate(FEW_DAYS, 5).dataset, simulate(FEW_DAYS.updated(days=60), 5).dataset
    for name in simulation.DYNAMIC:
        np.testing.assert_array_equal(long[name].values[:50], short[name].values)


def test_reader_finds_the_expected_kinds_and_units() -> None:
    cube = read_dataset(simulate(FEW_DAYS, 5).dataset).cube
    units = {name: (v.kind, v.units) for name, v in cube.of_kind("grid", "series").items()}
    assert units == {
        "precipitation": ("grid", "mm day-1"),
        "soil_moisture": ("grid", "m3 m-3"),
        "temperature": ("grid", "degC"),
        "evaporation": ("series", "mm day-1"),
        "river_flow": ("series", "m3 s-1"),
    }
    assert set(cube.of_kind("static_grid")) == {"elevation", "slope", "soil_capacity", "woodland", "permeability"}
    assert {"area", "elevation_mean", "slope_mean", "aridity"} < set(cube.of_kind("static_site"))
    assert cube.shape == (50, 40, 30)
    assert len(cube.sites) == 12


def test_gaps_take_values_away_and_change_none() -> None:
    whole, gappy = simulate(FEW_DAYS, 5).dataset, simulate(FEW_DAYS, 5, GapConfig(flow_starts=0.3)).dataset
    for name in simulation.DYNAMIC:
        left = ~np.isnan(gappy[name].values)
        np.testing.assert_array_equal(gappy[name].values[left], whole[name].values[left])
        assert left.sum() < (~np.isnan(whole[name].values)).sum(), name
    assert np.isnan(gappy["river_flow"].values[:15]).all()
    assert not np.isnan(gappy["river_flow"].values[15:]).all(axis=1).any()
    np.testing.assert_array_equal(gappy["elevation"], whole["elevation"])


@pytest.mark.parametrize("name", ["water.nc", "water.zarr"])
@pytest.mark.parametrize("gaps", [NO_GAPS, GapConfig()])
def test_file_written_in_blocks_is_the_dataset(
    name: str, gaps: GapConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "BLOCK_CELLS", 20 * 40 * 30)
    seen: list[tuple[str, int, int]] = []
    write_simulation(tmp_path / name, FEW_DAYS, 5, gaps, lambda *progress: seen.append(progress))
    assert seen == [("days", 20, 50), ("days", 40, 50), ("days", 50, 50)]
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with xr.open_dataset(tmp_path / name, engine="zarr" if name.endswith("zarr") else "h5netcdf") as opened:
        written = opened.load()
    expected = simulate(FEW_DAYS, 5, gaps).dataset
    xr.testing.assert_identical(written, expected.assign_coords(site=written["site"]))


def test_file_is_replaced_only_by_a_whole_one(tmp_path: Path) -> None:
    out = tmp_path / "water.nc"
    out.write_text("what was there")

    def stop(_what: str, _done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_simulation(out, FEW_DAYS, 5, progress=stop)
    assert out.read_text() == "what was there"
    assert [p.name for p in tmp_path.iterdir()] == ["water.nc"]


def test_memory_does_not_grow_with_the_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "BLOCK_CELLS", 20 * 40 * 30)
    peaks = []
    for days in (40, 160):
        tracemalloc.start()
        write_simulation(tmp_path / "water.nc", FEW_DAYS.updated(days=days), 5)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


# What is refused.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"days": 0}, "days must be above 0, got 0"),
        ({"spin_up_days": -1}, "spin_up_days must be at least 0"),
        ({"rows": 3}, "rows x columns"),
        ({"land_share": 1.0}, "land_share must be below 1"),
        ({"south_latitude": 80.0}, "south_latitude must be at most 60"),
        ({"land_patches": 12}, "land_patches must be 1 to 11, got 12"),
        ({"start": "spring"}, "start must be a date"),
    ],
)
def test_impossible_world_is_refused_by_name(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SimulationConfig().updated(**settings)


def test_more_sites_than_catchments_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"the land has \d+ catchments of 4 cells or more, 500 sites requested"):
        build_world(FEW_DAYS.updated(sites=500), seed=1)


@pytest.mark.parametrize(("settings", "message"), [({"outages": 1.0}, "outages"), ({"frame_run": 0.5}, "frame_run")])
def test_impossible_gaps_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GapConfig(**settings)


def test_presets_are_chosen_by_name_and_length() -> None:
    assert choose_config("gb", years=2).days == 730
    assert choose_config("small", days=9).days == 9
    with pytest.raises(ConfigError, match="no preset is called 'moon'; there are small, gb"):
        choose_config("moon")
    with pytest.raises(ConfigError, match="not both"):
        choose_config("small", years=1, days=9)


def test_other_file_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"water\.csv must end in \.nc or \.zarr"):
        write_simulation(tmp_path / "water.csv", FEW_DAYS, 5)
