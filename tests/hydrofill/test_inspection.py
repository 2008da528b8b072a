"""The answer of `hydrofill inspect`: each variable, the role it is given, and the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import hydrofill
from hydrofill.cf.writing import netcdf_bytes
from hydrofill.cli import cli
from hydrofill.inspection import InspectedVariable


def rows(dataset: xr.Dataset, bundle: str = "lez-daily") -> dict[str, InspectedVariable]:
    return {row.name: row for row in hydrofill.inspect(dataset, bundle=bundle).variables}


def test_every_variable_has_a_role_and_a_reason(dataset: xr.Dataset) -> None:
    whole = dataset.assign(
        precipitation_flag=dataset["precipitation"].copy(),
        quality=(("time", "y", "x"), np.zeros((20, 7, 5), np.int8), {"flag_values": [0]}),
        profile=(("time", "depth"), np.zeros((20, 3), np.float32)),
        name=(("site",), np.array(["a", "b"], dtype=object)),
        snow=(("time", "y", "x"), np.zeros((20, 7, 5), np.float32), {"units": "mm"}),
        river_flow=dataset["river_flow"].assign_attrs(units="kg"),
    )
    found = rows(whole)
    assert set(found) == set(map(str, whole.variables))
    assert {name: row.taken_as for name, row in found.items() if name not in whole.coords} == {
        "precipitation": "fill",
        "pet": "fill",
        "river_flow": "left out",
        "slope": "static field",
        "area": "site attribute",
        "precipitation_flag": "companion",
        "quality": "flags",
        "profile": "left out",
        "name": "left out",
        "snow": "left out",
    }
    assert {found[str(name)].taken_as for name in whole.coords} == {"coordinate"}
    for name, words in {
        "river_flow": "kg",
        "profile": "depth",
        "name": "not numeric",
        "snow": "lez-daily does not fill snow",
        "quality": "flag_values",
        "precipitation_flag": "belongs to precipitation",
        "time": "time axis",
    }.items():
        assert words in found[name].reason


def test_what_inspect_takes_for_filling_is_what_fill_fills(dataset: xr.Dataset) -> None:
    expected = {name for name, row in rows(dataset).items() if row.taken_as == "fill"}
    filled = hydrofill.fill(dataset, bundle="lez-daily")
    assert {str(name).removesuffix("_flag") for name in filled.data_vars if str(name).endswith("_flag")} == expected


def test_the_general_bundle_fills_whatever_varies_in_time_and_has_a_value(dataset: xr.Dataset) -> None:
    whole = dataset.assign(
        snow=(("time", "y", "x"), np.full((20, 7, 5), np.nan, np.float32), {"units": "mm"}),
        sst=(("time", "y", "x"), np.ones((20, 7, 5), np.float32), {"units": "no unit at all"}),
    )
    found = {name: row.taken_as for name, row in rows(whole, "general").items() if name not in whole.coords}
    assert found == {
        "precipitation": "fill",
        "pet": "fill",
        "river_flow": "fill",
        "slope": "static field",
        "area": "site attribute",
        "snow": "left out",
        "sst": "fill",
    }


def test_the_general_bundle_fills_a_single_map_with_gaps() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    values[1, 1] = np.nan
    place = {"y": ("y", np.arange(3.0), {"units": "m"}), "x": ("x", np.arange(4.0), {"units": "m"})}
    found = rows(xr.Dataset({"lst": (("y", "x"), values, {"units": "K"})}, place), "general")
    assert (found["lst"].taken_as, found["lst"].longest_gap) == ("fill", None)


def test_missing_share_longest_gap_and_range_are_counted() -> None:
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [np.nan, np.nan], [4.0, np.nan]], np.float32)
    level = xr.Dataset({"level": (("time", "site"), values, {"units": "m"})}, {"time": np.arange(4)})
    row = rows(level)["level"]
    assert (row.dims, row.units) == ((("time", 4), ("site", 2)), "m")
    assert (row.missing, row.longest_gap, row.lowest, row.highest) == (0.75, 2, 1.0, 4.0)  # the second site never lives


def test_a_time_axis_shows_its_first_and_last_time(dataset: xr.Dataset) -> None:
    row = rows(dataset)["time"]
    assert (row.lowest, row.highest) == ("2012-08-01T00:00:00", "2012-08-20T00:00:00")


def test_a_variable_known_by_its_standard_name_is_taken_under_the_bundle_s_name(dataset: xr.Dataset) -> None:
    assert "fills it as precipitation" in rows(dataset.rename(precipitation="rr"))["rr"].reason


def test_the_command_prints_a_row_a_variable(dataset: xr.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "in.nc"
    path.write_bytes(netcdf_bytes(dataset))
    result = CliRunner().invoke(cli, ["inspect", str(path), "--bundle", "lez-daily"])
    assert result.exit_code == 0, result.output
    (row,) = [line for line in result.stdout.splitlines() if line.strip().startswith("precipitation")]
    for words in ("time 20, y 7, x 5", "mm day-1", "%", "steps", "fill", "lez-daily fills it"):
        assert words in row
    assert "axes" in result.stdout


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no such file"), (b"text", "is not NetCDF"), (b"\x89HDF\r\n\x1a\nx", "damaged")]
)
def test_the_command_refuses_what_it_cannot_read_in_one_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "in.nc"
    if content is not None:
        path.write_bytes(content)
    result = CliRunner().invoke(cli, ["inspect", str(path)])
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_value_that_fill_would_refuse_is_told_with_what_declares_it(dataset: xr.Dataset) -> None:
    marked = dataset["precipitation"].fillna(-9999.0)
    with_mark = dataset.assign(precipitation=marked, slope=dataset["slope"].where(dataset["slope"]["x"] > 0))
    for bundle in ("lez-daily", "general"):
        row = rows(with_mark, bundle)["precipitation"]
        assert row.taken_as == "refused"
        assert "--missing precipitation=-9999" in row.reason
        assert rows(dataset, bundle)["precipitation"].taken_as == "fill"
    for missing in (-9999, "precipitation=none"):
        found = hydrofill.inspect(with_mark, missing=missing).variables
        assert {row.name: row.taken_as for row in found}["precipitation"] == "fill"
