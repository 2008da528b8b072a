"""Gauges as people have them are filled: without places, along time alone, and as a CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import hydrofill
from hydrofill.cf.csv import absent_steps, read_csv
from hydrofill.cli import cli
from hydrofill.errors import ContractError, CoordinateError, StructureError, UnreadableError
from hydrofill.inference.model import Model

STEPS = 60
TIME = np.datetime64("2001-01-01", "ns") + np.arange(STEPS) * np.timedelta64(1, "D")


@pytest.fixture(scope="module")
def general() -> Model:
    return hydrofill.open_bundle("general", threads=1)


@pytest.fixture(scope="module")
def levels() -> np.ndarray:
    """Four gauges that follow the same wave, (T, 4) float32, a fifth of the values missing."""
    rng = np.random.default_rng(5)
    values = 5 + np.sin(np.arange(STEPS) / 5)[:, None] + rng.normal(0, 0.05, (STEPS, 4))
    values[rng.random(values.shape) < 0.2] = np.nan
    return values.astype(np.float32)


def assert_filled(before: np.ndarray, after: np.ndarray) -> None:
    seen = ~np.isnan(before)
    assert (after[seen] == before[seen]).all()
    assert not np.isnan(after).any()
    wave = 5 + np.sin(np.arange(STEPS) / 5).reshape(-1, *[1] * (before.ndim - 1))
    assert np.abs(after - wave)[~seen].max() < 0.5


@pytest.mark.parametrize("dim", ["site", "gauge_id", "rivid", "my_gauges"])
def test_gauges_without_places_are_filled_under_any_name(levels: np.ndarray, general: Model, dim: str) -> None:
    dataset = xr.Dataset({"level": (("time", dim), levels, {"units": "m"})}, {"time": TIME})
    filled = hydrofill.fill(dataset, bundle=general)
    assert_filled(levels, filled["level"].values)
    assert set(filled.variables) == {"time", "level", "level_std", "level_flag"}  # no place is invented


def test_gauges_of_which_some_have_a_place_are_filled_beside_a_grid(levels: np.ndarray, general: Model) -> None:
    grid = np.ones((STEPS, 3, 4), np.float32)
    dataset = xr.Dataset(
        {"level": (("time", "site"), levels, {"units": "m"}), "rain": (("time", "y", "x"), grid)},
        {
            "time": TIME,
            "y": np.arange(3.0),
            "x": np.arange(4.0),
            "site_y": ("site", [np.nan, 1.0, 2.0, np.nan]),
            "site_x": ("site", [np.nan, 1.0, np.nan, 0.0]),
        },
    )
    assert_filled(levels, hydrofill.fill(dataset, bundle=general)["level"].values)


def test_a_bundle_that_knows_places_refuses_gauges_without(levels: np.ndarray) -> None:
    dataset = xr.Dataset({"river_flow": (("time", "site"), levels, {"units": "m3 s-1"})}, {"time": TIME})
    with pytest.raises(CoordinateError, match="site: the sites have no y coordinate"):
        hydrofill.fill(dataset, bundle="lez-daily")


def test_series_along_time_alone_help_each_other(levels: np.ndarray, general: Model) -> None:
    apart = xr.Dataset({f"gauge{n}": ("time", levels[:, n], {"units": "m"}) for n in range(4)}, {"time": TIME})
    filled = hydrofill.fill(apart, bundle=general)
    together = np.stack([filled[f"gauge{n}"].values for n in range(4)], axis=1)
    assert_filled(levels, together)
    sites = xr.Dataset({"gauge0": (("time", "site"), levels, {"units": "m"})}, {"time": TIME})
    assert together.tobytes() == hydrofill.fill(sites, bundle=general)["gauge0"].values.tobytes()
    assert list(filled)[:4] == list(apart)


def test_series_of_other_quantities_stay_apart(levels: np.ndarray, general: Model) -> None:
    cold = np.where(np.isnan(levels), np.nan, levels - 8).astype(np.float32)
    data = {"level": ("time", np.abs(levels[:, 0] - 5)), "temperature": ("time", cold[:, 1])}
    filled = hydrofill.fill(xr.Dataset(data, {"time": TIME}), bundle=general, variables=["level"])
    assert filled["level"].min() >= 0
    assert "temperature_flag" not in filled
    with pytest.raises(hydrofill.UnknownVariableError, match="snow"):
        hydrofill.fill(xr.Dataset(data, {"time": TIME}), bundle=general, variables=["snow"])


def csv_of(levels: np.ndarray, separator: str, decimal: str, date: str) -> str:
    lines = [separator.join(["time", "a [m]", "b [m]", "remark"])]
    for time, row in zip(TIME, levels, strict=True):
        cells = ["" if np.isnan(value) else f"{value:.4f}0".replace(".", decimal) for value in row[:2]]
        lines.append(separator.join([time.astype("datetime64[s]").item().strftime(date), *cells, "ok"]))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("separator", "decimal", "date"),
    [(",", ".", "%Y-%m-%d"), (";", ",", "%d/%m/%Y"), ("\t", ",", "%d.%m.%Y %H:%M"), (";", ".", "%Y-%m-%dT%H:%M:%SZ")],
)
def test_a_csv_keeps_the_text_of_what_was_observed(
    levels: np.ndarray, tmp_path: Path, separator: str, decimal: str, date: str
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(csv_of(levels, separator, decimal, date))
    reply = CliRunner().invoke(cli, ["fill", str(source), str(target)])
    assert reply.exit_code == 0, reply.output
    before, after = ([line.split(separator) for line in p.read_text().splitlines()] for p in (source, target))
    assert after[0] == [*before[0], "a_std [m]", "a_flag", "b_std [m]", "b_flag"]
    for old, new in zip(before[1:], after[1:], strict=True):
        assert all(there == here for here, there in zip(old, new[:4], strict=True) if here)
        assert [new[5], new[7]] == ["0" if cell else "1" for cell in old[1:3]]
        assert all(new)
    reply = CliRunner().invoke(cli, ["inspect", str(source)])
    assert "general fills any variable" in reply.output


def test_a_csv_is_filled_into_a_netcdf_file(levels: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(csv_of(levels, ",", ".", "%Y-%m-%d"))
    reply = CliRunner().invoke(cli, ["fill", str(tmp_path / "in.csv"), str(tmp_path / "out.nc")])
    assert reply.exit_code == 0, reply.output
    with xr.open_dataset(tmp_path / "out.nc", engine="h5netcdf") as filled:
        assert filled["a"].attrs["units"] == "m"
        assert int((filled["a_flag"] == 1).sum()) == int(np.isnan(levels[:, 0]).sum())


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("time,a\n2001-01-01,1\n2001-01-01,2\n", CoordinateError, "line 3 .*there before"),
        ("time,a\n2001-01-02,1\n2001-01-01,2\n", CoordinateError, "line 3 .*earlier"),
        ("time,a\n2001-01-01,1\nsoon,2\n", CoordinateError, "line 3 .*not a time"),
        ("time;a\n01/02/2001;1\n01/03/2001;2\n", CoordinateError, "day and month"),
        ("time,a\n2001-01-01,1\n2001-01-02,x\n", StructureError, "a: line 3 is not a number"),
        ("time,a,a\n2001-01-01,1,2\n", StructureError, "a: two columns"),
        ("time,a\n2001-01-01,1,5\n2001-01-02,1,6\n", UnreadableError, "line 2 .*semicolons"),
        ("time;a\n2001-01-01;1,5\n2001-01-02;1.5\n", StructureError, "commas and points"),
        ("time\n2001-01-01\n", UnreadableError, "one column"),
        ("time,a\n", UnreadableError, "no row"),
        ("time,a\n2001-01-01,text\n", StructureError, "no column of numbers"),
    ],
)
def test_what_is_wrong_in_a_csv_is_named(text: str, error: type[ContractError], says: str) -> None:
    with pytest.raises(error, match=says):
        read_csv(text.encode())


def test_steps_without_a_row_are_told() -> None:
    lost = read_csv(b"time,a\n2001-01-01,1\n2001-01-02,1\n2001-01-03,1\n2001-01-07,1\n")
    assert absent_steps(lost).startswith("3 steps have no row and are not filled, the first after 2001-01-03")
    assert absent_steps(read_csv(b"time,a\n2001-01-31,1\n2001-02-28,1\n2001-03-31,1\n")) == ""


def test_the_command_tells_steps_without_a_row(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("time,a\n2001-01-01,1\n2001-01-02,2\n2001-01-03,1\n2001-01-07,1\n")
    reply = CliRunner().invoke(cli, ["inspect", str(tmp_path / "in.csv")])
    assert "note: 3 steps have no row" in reply.output


def test_values_of_a_csv_that_are_declared_missing_are_filled(levels: np.ndarray, tmp_path: Path) -> None:
    text = csv_of(levels, ",", ".", "%Y-%m-%d").replace(",,", ",-9999,")
    (tmp_path / "in.csv").write_text(text)
    command = ["fill", str(tmp_path / "in.csv"), str(tmp_path / "out.csv")]
    refused = CliRunner().invoke(cli, command)
    assert refused.exit_code == 2
    assert "-9999" in refused.output
    filled = CliRunner().invoke(cli, [*command, "--missing", "-9999"])
    assert filled.exit_code == 0, filled.output
    assert "-9999" not in (tmp_path / "out.csv").read_text()
