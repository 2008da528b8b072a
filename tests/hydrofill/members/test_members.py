"""Members of a fill, from the Python interface and the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import hydrofill
from hydrofill.cli import cli
from hydrofill.errors import BundleError, StructureError
from hydrofill.inference.model import Model

NUMBER = 3


def rain_and_flow() -> xr.Dataset:
    """Return hourly rain with a cloud and an empty frame, and two gauges with an outage."""
    rng = np.random.default_rng(0)
    steps, rows, columns = 24, 8, 9
    waves = np.sin(np.arange(steps)[:, None, None] / 3 + np.arange(rows)[:, None] / 4 + np.arange(columns) / 5)
    rain = np.maximum(6 * waves + rng.normal(0, 0.3, waves.shape), 0).astype(np.float32)
    rain[3:9, 2:6, 3:8] = np.nan
    rain[15] = np.nan
    flow = (5 + waves[:, :2, 0] + rng.normal(0, 0.1, (steps, 2))).astype(np.float64)
    flow[5:9, 0] = np.nan
    return xr.Dataset(
        {
            "rain": (("time", "y", "x"), rain, {"units": "mm h-1", "standard_name": "rainfall_rate"}),
            "flow": (("time", "site"), flow, {"units": "m3 s-1"}),
        },
        {
            "time": np.datetime64("2020-01-01", "ns") + np.arange(steps) * np.timedelta64(1, "h"),
            "y": ("y", np.arange(rows) * 1000.0, {"units": "m"}),
            "x": ("x", np.arange(columns) * 1000.0, {"units": "m"}),
            "site": ["a", "b"],
        },
    )


@pytest.fixture(scope="module")
def model() -> Model:
    return hydrofill.open_bundle()


@pytest.fixture(scope="module")
def filled(model: Model) -> xr.Dataset:
    return hydrofill.fill(rain_and_flow(), bundle=model, members=NUMBER)


@pytest.mark.parametrize("name", ["rain", "flow"])
def test_members_have_the_documented_form(filled: xr.Dataset, name: str) -> None:
    drawn = filled[f"{name}_members"]
    assert drawn.dims == ("member", *filled[name].dims)
    assert drawn.dtype == filled[name].dtype
    assert drawn.attrs["units"] == filled[name].attrs["units"]
    assert f"{name}_members" in filled[name].attrs["ancillary_variables"].split()
    assert filled["member"].attrs["standard_name"] == "realization"
    assert filled["member"].values.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["rain", "flow"])
def test_observed_values_are_in_every_member_and_gaps_differ(filled: xr.Dataset, name: str) -> None:
    given, drawn = rain_and_flow()[name].values, filled[f"{name}_members"].values
    seen = ~np.isnan(given)
    for member in drawn:
        assert member[seen].tobytes() == given[seen].tobytes()
    assert not np.isnan(drawn).any()
    assert (drawn[0][~seen] != drawn[1][~seen]).any()


def test_rain_is_never_negative_and_dry_where_the_fill_is_dry(filled: xr.Dataset) -> None:
    drawn = filled["rain_members"].values
    assert drawn.min() == 0
    assert not drawn[:, filled["rain"].values == 0].any()


def test_the_mean_of_many_members_is_the_fill(model: Model) -> None:
    many = hydrofill.fill(rain_and_flow(), bundle=model, members=200)
    gaps = many["rain_flag"].values == 1
    mean = many["rain_members"].values[:, gaps].mean()
    assert mean == pytest.approx(float(many["rain"].values[gaps].mean()), rel=0.02)


def test_the_same_data_give_the_same_members_and_more_members_begin_with_fewer(
    model: Model, filled: xr.Dataset
) -> None:
    again = hydrofill.fill(rain_and_flow(), bundle=model, members=5)
    xr.testing.assert_identical(again["rain_members"][:NUMBER], filled["rain_members"])


def test_without_members_nothing_changes(model: Model, filled: xr.Dataset) -> None:
    plain = hydrofill.fill(rain_and_flow(), bundle=model)
    assert "member" not in plain.variables
    for name in ("rain", "rain_std", "rain_flag", "flow", "flow_std", "flow_flag"):
        np.testing.assert_array_equal(plain[name].values, filled[name].values)
    assert "rain_members" not in plain["rain"].attrs["ancillary_variables"]


def test_refused_gaps_stay_missing_and_only_gaps_leaves_out_what_is_observed(model: Model) -> None:
    made = hydrofill.fill(rain_and_flow(), bundle=model, members=2, max_gap=2, only_gaps=True)
    np.testing.assert_array_equal(np.isnan(made["rain_members"].values).any(axis=0), made["rain_flag"].values != 1)


def test_the_command_writes_the_same_members(filled: xr.Dataset, tmp_path: Path) -> None:
    rain_and_flow().to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    done = CliRunner().invoke(cli, ["fill", str(tmp_path / "in.nc"), str(tmp_path / "out.nc"), "--members", "3"])
    assert done.exit_code == 0, done.output
    with xr.open_dataset(tmp_path / "out.nc", engine="h5netcdf") as written:
        np.testing.assert_array_equal(written["rain_members"].values, filled["rain_members"].values)
        assert written["rain_members"].encoding["dtype"] == np.float32


def test_a_map_of_a_slice_has_members_of_its_own(model: Model) -> None:
    one = rain_and_flow()[["rain"]]
    both = xr.concat([one, one * 2], xr.Variable("level", [1.0, 2.0]), join="exact")
    both["rain"].attrs = one["rain"].attrs
    made = hydrofill.fill(both.transpose("time", "level", "y", "x"), bundle=model, members=2)
    drawn = made["rain_members"]
    assert drawn.dims == ("member", "time", "level", "y", "x")
    assert not np.isnan(drawn.values).any()


def test_members_are_refused_where_they_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="general bundle"):
        hydrofill.fill(rain_and_flow(), bundle="lez-daily", members=2)
    with pytest.raises(StructureError, match="member"):
        hydrofill.fill(rain_and_flow().rename(site="member"), members=2)
    with pytest.raises(ValueError, match="at least 0"):
        hydrofill.fill(rain_and_flow(), members=-1)
    rain_and_flow().to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    done = CliRunner().invoke(cli, ["fill", str(tmp_path / "in.nc"), str(tmp_path / "out.csv"), "--members", "3"])
    assert done.exit_code == 2
