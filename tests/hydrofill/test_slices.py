"""Variables with further dimensions are filled slice by slice; experiments are merged; single maps are filled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import hydrofill
from hydrofill import blocks
from hydrofill.cf.axes import recognise
from hydrofill.cf.experiments import merge_experiments
from hydrofill.cf.views import views_of
from hydrofill.cli import cli
from hydrofill.errors import StructureError
from hydrofill.general import self_check
from hydrofill.inference.model import Model
from hydrofill.reconstruct import OUTSIDE

STEPS, LEVELS = 24, 3
TIME = np.datetime64("2001-01-01", "ns") + np.arange(STEPS) * np.timedelta64(1, "D")


@pytest.fixture(scope="module")
def general() -> Model:
    return hydrofill.open_bundle("general", threads=1)


def profile() -> xr.Dataset:
    """A temperature on three levels, of which the second has no value, and a pressure without levels."""
    rng = np.random.default_rng(4)
    wave = np.sin(np.arange(STEPS) / 4)[:, None, None, None] + rng.normal(0, 0.05, (STEPS, LEVELS, 6, 7))
    values = (wave + 280 - 10 * np.arange(LEVELS)[:, None, None]).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[:, 1] = np.nan
    dataset = xr.Dataset(
        {
            "t": (("time", "level", "lat", "lon"), values, {"units": "K"}),
            "p": (("time", "lat", "lon"), values[:, 0], {"units": "hPa"}),
            "time_bnds": (("time", "bnds"), np.zeros((STEPS, 2))),
        },
        {
            "time": ("time", TIME, {"bounds": "time_bnds"}),
            "level": [850, 500, 200],
            "lat": np.arange(6.0),
            "lon": np.arange(7.0),
        },
    )
    dataset["time"].encoding["units"] = "days since 2001-01-01"
    return dataset


def test_each_level_is_filled_on_its_own(general: Model) -> None:
    dataset = profile()
    filled = hydrofill.fill(dataset, bundle=general)
    assert filled["t"].dims == filled["t_std"].dims == filled["t_flag"].dims == dataset["t"].dims
    seen = dataset["t"].notnull().values
    assert (filled["t"].values[seen] == dataset["t"].values[seen]).all()
    assert (filled["t_flag"].values[:, 1] == OUTSIDE).all()
    one = hydrofill.fill(dataset[["t"]].isel(level=2), bundle=general)
    assert filled["t"].values[:, 2].tobytes() == one["t"].values.tobytes()
    assert set(json.loads(filled["t"].attrs["hydrofill_expected_skill"])) == {"level=850", "level=200"}
    assert "t_std" not in hydrofill.fill(dataset, bundle=general, variables=["p"])


def test_the_slices_of_a_file_are_told(tmp_path: Path) -> None:
    profile().to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    reply = CliRunner().invoke(cli, ["fill", str(tmp_path / "in.nc"), str(tmp_path / "out.nc")])
    assert reply.exit_code == 0, reply.output
    assert "t level=850" in reply.output
    assert "warning: t level=500 is left out: all its values are missing" in reply.output
    reply = CliRunner().invoke(cli, ["inspect", str(tmp_path / "in.nc")])
    assert "3 along level, each filled on its own" in reply.output


@pytest.fixture
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_VALUES", 600)
        patch.setattr(blocks, "MIN_TILE_CELLS", 4)
        patch.setattr(blocks, "HALO_CELLS", 1)
        patch.setattr(blocks, "OVERLAP_CELLS", 1)
        patch.setattr(self_check, "SOURCE_DRAWS", 2)
        yield


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("target", ["out.nc", "out.zarr"])
@pytest.mark.filterwarnings("ignore::UserWarning:zarr", "ignore::FutureWarning:zarr", "ignore:The data type")
def test_the_levels_of_an_archive_are_filled_as_in_memory(tmp_path: Path, general: Model, target: str) -> None:
    profile().to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    counted = hydrofill.fill_archive(tmp_path / "in.nc", tmp_path / target, workers=1)
    assert [s.title for s in counted] == ["p", "t level=850", "t level=500", "t level=200"]
    engine = "h5netcdf" if target.endswith("nc") else "zarr"
    in_memory = hydrofill.fill(profile(), bundle=general)
    with xr.open_dataset(tmp_path / target, engine=engine) as filled:
        for name in ("t", "t_std", "t_flag", "p"):
            assert filled[name].dims == in_memory[name].dims
            np.testing.assert_array_equal(filled[name].values, in_memory[name].values)


def test_more_slices_than_allowed_are_refused() -> None:
    dataset = profile()
    with pytest.raises(StructureError, match="t: has too many slices"):
        views_of(dataset, recognise(dataset), max_slices=2)


def with_experiments() -> tuple[xr.Dataset, np.ndarray]:
    """Preliminary and final values that never overlap, and the merged values."""
    whole = profile()["p"].values
    apart = np.full((STEPS, 2, 6, 7), np.nan, np.float32)
    apart[:15, 0], apart[15:, 1] = whole[:15], whole[15:]
    coordinates = {"time": TIME, "expver": [1, 5], "lat": np.arange(6.0), "lon": np.arange(7.0)}
    return xr.Dataset({"p": (("time", "expver", "lat", "lon"), apart, {"units": "hPa"})}, coordinates), whole


def test_experiments_that_never_overlap_are_merged(tmp_path: Path) -> None:
    dataset, whole = with_experiments()
    dataset.to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    reply = CliRunner().invoke(cli, ["fill", str(tmp_path / "in.nc"), str(tmp_path / "out.nc")])
    assert reply.exit_code == 0, reply.output
    with xr.open_dataset(tmp_path / "out.nc", engine="h5netcdf") as filled:
        assert filled["p"].dims == ("time", "lat", "lon")
        seen = ~np.isnan(whole)
        assert (filled["p"].values[seen] == whole[seen]).all()
        assert "expver 1 and 5 of p merged" in filled.attrs["history"]
        assert "expver" not in filled.variables


def test_experiments_that_differ_are_refused() -> None:
    dataset, _ = with_experiments()
    dataset["p"][3, 1] = 7.0
    with pytest.raises(StructureError, match=r"p: has two different values at \d+ cells.*expver"):
        merge_experiments(dataset)


@pytest.mark.parametrize("time", ["none", "scalar", "one"])
def test_a_single_map_is_filled_from_space(tmp_path: Path, general: Model, time: str) -> None:
    rng = np.random.default_rng(6)
    values = np.add.outer(np.arange(8.0), np.arange(9.0)) + rng.normal(0, 0.1, (8, 9))
    values[2:4, 3:6] = np.nan
    dataset = xr.Dataset(
        {"sst": (("lat", "lon"), values, {"units": "K"})}, {"lat": np.arange(8.0), "lon": np.arange(9.0)}
    )
    if time != "none":
        dataset = dataset.assign_coords(time=TIME[0])
    if time == "one":
        dataset = dataset.expand_dims("time")
    dataset.to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    reply = CliRunner().invoke(cli, ["fill", str(tmp_path / "in.nc"), str(tmp_path / "out.nc")])
    assert reply.exit_code == 0, reply.output
    filled = hydrofill.fill(dataset, bundle=general)
    assert filled["sst"].dims == dataset["sst"].dims
    assert np.abs(filled["sst"].values - np.add.outer(np.arange(8.0), np.arange(9.0))).max() < 1
    with xr.open_dataset(tmp_path / "out.nc", engine="h5netcdf") as written:
        np.testing.assert_array_equal(written["sst"].values, filled["sst"].values)


def test_the_longest_gap_is_said_beside_what_was_measured(general: Model) -> None:
    dataset = profile()[["p"]]
    dataset["p"][5:12] = np.nan
    said = hydrofill.fill(dataset, bundle=general)["p"].attrs
    assert int(said["hydrofill_longest_gap_filled"]) >= 7
    assert int(said["hydrofill_longest_gap_measured"]) >= 1
