"""Files laid out as people have them are filled by the command and written back as they came, or refused in words."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner, Result

from hydrofill.cf import netcdf
from hydrofill.cli import cli
from hydrofill.layout import Layout, Place
from tests.support.field_files import FILLED, REFUSED, as_netcdf4, cdf5, field, stored
from tests.support.tiny import LAYOUT, write_bundle

MONTH_S = 30 * 86_400.0


def anywhere(step_s: float = 86_400.0) -> Layout:
    return LAYOUT.model_copy(update={"place": Place(rows=8, columns=8, step_s=step_s)})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles"))


def run(bundle: Path, content: bytes, folder: Path, *options: str) -> tuple[Result, Path]:
    source, target = folder / "in.nc", folder / "out.nc"
    source.write_bytes(content)
    return CliRunner().invoke(cli, ["fill", str(source), str(target), "--bundle", str(bundle), *options]), target


def groups_of(path: Path) -> dict[str, xr.Dataset]:
    return {name: ds.load() for name, ds in netcdf.open_groups(path, "h5netcdf").items()}


@pytest.mark.parametrize("kind", FILLED)
def test_a_layout_is_filled_and_its_coordinates_come_back_as_they_were(kind: str, bundle: Path, tmp_path: Path) -> None:
    result, target = run(bundle, FILLED[kind](), tmp_path)
    assert result.exit_code == 0, result.output
    engine = netcdf.engine_of(tmp_path / "in.nc")
    before = {n: ds.load() for n, ds in netcdf.open_groups(tmp_path / "in.nc", engine).items()}
    after = groups_of(target)
    assert before.keys() == after.keys()
    for path, group in before.items():
        for name, variable in group.variables.items():
            if name == "precipitation":
                seen = ~np.isnan(field())
                values = after[path][name].values
                assert values[seen].tobytes() == field()[seen].tobytes()
                assert np.isfinite(values).all()
                continue
            again = after[path].variables[name]
            assert again.dims == variable.dims
            assert again.dtype == variable.dtype.newbyteorder("=")
            assert again.values.tobytes() == variable.values.astype(again.dtype).tobytes()
            assert again.attrs == variable.attrs
        assert group.attrs.get("title") == after[path].attrs.get("title")


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refusal_names_what_is_wrong_in_the_users_words(kind: str, bundle: Path, tmp_path: Path) -> None:
    make, message = REFUSED[kind]
    result, target = run(bundle, make(), tmp_path)
    assert result.exit_code == 2
    assert message in result.output
    assert not target.exists()


def test_a_group_that_is_named_is_filled_and_the_other_stays(bundle: Path, tmp_path: Path) -> None:
    result, target = run(bundle, REFUSED["two groups"][0](), tmp_path, "--group", "PM")
    assert result.exit_code == 0, result.output
    with h5py.File(target) as file:
        assert {"precipitation_flag", "precipitation_std"} <= set(file["PM"])
        assert "precipitation_flag" not in file["AM"]
        assert file["AM/precipitation"][()].tobytes() == field().tobytes()


def test_a_group_that_does_not_exist_is_refused(bundle: Path, tmp_path: Path) -> None:
    result, _ = run(bundle, as_netcdf4(stored()), tmp_path, "--group", "Grid")
    assert result.exit_code == 2
    assert "Grid: the file has no such group" in result.output


def test_months_in_years_of_360_days_are_steps_of_one_month(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, layout=anywhere(MONTH_S))
    months = stored(np.float32(252.5) + np.arange(6, dtype=np.float32), {"units": "months since 1960-01-01"})
    months["time"].attrs["calendar"] = "360"
    result, target = run(bundle, as_netcdf4(months), tmp_path)
    assert result.exit_code == 0, result.output
    time = groups_of(target)["/"]["time"]
    assert time.dtype == np.float32
    assert (time.attrs["units"], time.attrs["calendar"]) == ("months since 1960-01-01", "360")
    np.testing.assert_array_equal(time.values, months["time"].values)


def test_files_that_count_time_from_their_own_start_are_joined_in_units_of_the_first(
    bundle: Path, tmp_path: Path
) -> None:
    for number, start in enumerate(("2001-02-28", "2001-03-04")):
        part = stored(np.arange(6.0), {"units": f"days since {start}", "calendar": "360_day"})
        (tmp_path / f"part{number}.nc").write_bytes(as_netcdf4(part))
    target = tmp_path / "out.nc"
    arguments = ["fill", str(tmp_path / "part*.nc"), str(target), "--bundle", str(bundle)]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    time = groups_of(target)["/"]["time"]
    assert (time.attrs["units"], time.attrs["calendar"]) == ("days since 2001-02-28", "360_day")
    np.testing.assert_array_equal(time.values, np.arange(12.0))


def test_a_group_of_a_zarr_store_is_found_and_kept(bundle: Path, tmp_path: Path) -> None:
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs={"title": "the whole"}), "/Grid": stored()})
    tree.to_zarr(tmp_path / "in.zarr", zarr_format=2)
    target = tmp_path / "out.zarr"
    result = CliRunner().invoke(cli, ["fill", str(tmp_path / "in.zarr"), str(target), "--bundle", str(bundle)])
    assert result.exit_code == 0, result.output
    found = xr.open_groups(target, engine="zarr")
    assert found["/"].attrs["title"] == "the whole"
    assert not found["/Grid"]["precipitation"].isnull().any()


def test_cdf5_is_read_by_netcdf4_or_the_message_says_how_to_convert_it(
    monkeypatch: pytest.MonkeyPatch, bundle: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(netcdf, "find_spec", lambda name: None)
    result, _ = run(bundle, cdf5(), tmp_path)
    assert result.exit_code == 2
    assert "nccopy -k nc4 IN OUT" in result.output
    monkeypatch.undo()
    pytest.importorskip("netCDF4")
    with netcdf.open_netcdf(tmp_path / "in.nc") as dataset:
        assert dataset["v"].values.tolist() == [2.5]
