"""Crops of real files are valid cubes, come from no excluded file, and keep what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from model.pretraining.real_data import MAX_VALUES, RealData


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a radar, a climate model with 360 days a year, gauges, and masks; values tell their file."""
    path = tmp_path_factory.mktemp("real")
    rng = np.random.default_rng(0)
    days = np.datetime64("2020-01-01", "ns") + np.arange(40) * np.timedelta64(1, "D")
    space = {"y": ("y", 1e3 * np.arange(96.0)), "x": ("x", 1e3 * np.arange(90.0))}
    rain = xr.DataArray(
        rng.random((40, 96, 90), np.float32),
        dims=("time", "y", "x"),
        coords={"time": days, **space},
        attrs={"units": "mm"},
    )
    xr.Dataset({"rainfall_rate": rain}).to_netcdf(path / "radar.nc", engine="h5netcdf")
    lat_lon = {"lat": ("lat", 10.0 + np.arange(20.0)), "lon": ("lon", np.arange(30.0))}
    years = xr.date_range("1860-06-01", periods=50, freq="YS-JUN", calendar="360_day", use_cftime=True)
    model = xr.DataArray(
        10 + rng.random((50, 20, 30), np.float32), dims=("time", "lat", "lon"), coords={"time": years, **lat_lon}
    )
    climate = xr.Dataset({"air_temperature": model, "uwind": model + 10})
    climate["air_temperature"].attrs["units"], climate["uwind"].attrs["units"] = "K", "m s-1"
    climate.to_netcdf(path / "climate.nc", engine="h5netcdf")
    sites = {
        "station": ("site", np.array([f"s{n}" for n in range(30)])),
        "lat": ("site", rng.random(30), {"units": "degrees_north"}),
        "lon": ("site", rng.random(30), {"units": "degrees_east"}),
        "elevation": ("site", 100 * rng.random(30), {"units": "m"}),
    }
    values = 100 + rng.random((300, 30), np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    times = np.datetime64("1990-01-01", "ns") + np.arange(300) * np.timedelta64(1, "D")
    gauges = xr.DataArray(values, dims=("time", "site"), coords={"time": times, **sites}, attrs={"units": "degC"})
    xr.Dataset({"tmax": gauges}).to_netcdf(path / "gauges.nc", engine="h5netcdf")
    xr.Dataset({"cloud": (("step", "y", "x"), np.ones((3, 4, 5), np.int8))}).to_netcdf(
        path / "masks.nc", engine="h5netcdf"
    )
    return path


@pytest.fixture(scope="module")
def data(folder: Path) -> RealData:
    return RealData(folder)


def lowest(data: RealData, draws: int = 40) -> set[int]:
    """Hundreds and tens of the values drawn, which tell the variables apart."""
    found = set()
    for seed in range(draws):
        for variable in data.draw(np.random.default_rng(seed)).of_kind("grid", "series").values():
            found.add(int(np.nanmin(variable.values) // 10 * 10))
    return found


def test_all_files_but_the_masks_are_drawn(data: RealData) -> None:
    assert data.names() == ["climate", "gauges", "radar"]
    assert lowest(data) == {0, 10, 20, 100}


def test_a_calendar_of_360_days_becomes_even_steps(folder: Path) -> None:
    drawn = RealData(folder, exclude=("radar", "gauges")).draw(np.random.default_rng(3))
    assert drawn.time.dtype == np.dtype("datetime64[us]")
    assert len(np.unique(np.diff(drawn.time))) <= 1


def test_an_excluded_file_is_never_drawn(folder: Path) -> None:
    data = RealData(folder, exclude=("radar",))
    assert "radar" not in data.names()
    assert 0 not in lowest(data)


@pytest.mark.parametrize(("kind", "gone"), [("rain", {0}), ("temperature", {10, 100}), ("wind", {20})])
def test_an_excluded_kind_is_never_drawn_from_any_file(folder: Path, kind: str, gone: set[int]) -> None:
    assert lowest(RealData(folder, exclude=(kind,))) == {0, 10, 20, 100} - gone


def test_an_unknown_exclusion_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="snow"):
        RealData(folder, exclude=("snow",))


def test_a_folder_without_data_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no data"):
        RealData(tmp_path)
    with pytest.raises(FileNotFoundError, match="no data"):
        RealData(folder, exclude=("rain", "wind", "temperature"))


def test_a_seed_gives_one_draw_and_draws_differ_in_size(data: RealData) -> None:
    sizes = set()
    for seed in range(30):
        first, again = (data.draw(np.random.default_rng(seed)) for _ in range(2))
        assert list(first.variables) == list(again.variables)
        for name, variable in first.variables.items():
            np.testing.assert_array_equal(variable.values, again.variables[name].values)
        sizes.add((first.shape, len(first.sites)))
        assert sum(v.values.size for v in first.of_kind("grid", "series").values()) <= MAX_VALUES
    assert len(sizes) > 20


def test_sites_are_all_or_some_and_keep_their_static_values(folder: Path) -> None:
    data = RealData(folder, exclude=("radar", "climate"))
    drawn = [data.draw(np.random.default_rng(seed)) for seed in range(30)]
    counts = {len(cube.sites) for cube in drawn}
    assert min(counts) >= 5 and max(counts) > 15
    assert any(cube.of_kind("static_site") for cube in drawn)


def test_some_grids_are_thinned_and_coarsened_and_copied(folder: Path) -> None:
    data = RealData(folder, exclude=("gauges", "climate"))
    drawn = [data.draw(np.random.default_rng(seed)) for seed in range(80)]
    cells = {round(float(abs(np.diff(cube.x)[0]))) for cube in drawn}
    assert min(cells) < 1000 < max(cells)
    assert {int(np.diff(c.time)[0] / np.timedelta64(1, "D")) for c in drawn if len(c.time) > 1} >= {1, 2}
    copied = [c for c in drawn if abs(np.diff(c.x)[0]) < 999]
    for cube in copied:
        (variable,) = cube.of_kind("grid").values()
        assert float((variable.values[..., :-1] == variable.values[..., 1:]).mean()) > 0.4
