"""Data read lazily equals data read at once: windows, domains, statistics; and memory stays bounded."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from hydrofill.cf.dataset import read_dataset
from hydrofill.cube import WaterCube
from hydrofill.errors import ContractError, CoordinateError, StructureError, UnreadableError
from hydrofill.layout import Layout
from hydrofill.summary import summary_of
from model.config import MaskingConfig
from model.data import lazy_cube as lazy_module
from model.data.cubes import LoadedCube
from model.data.lazy_cube import LazyCube, LazyVariable, read_lazily
from model.data.sources import open_sources
from model.data.windows import WindowSampler

EVERYTHING = (slice(0, 20), slice(0, 7), slice(0, 5))
WINDOWS = [EVERYTHING, (slice(3, 11), slice(2, 6), slice(1, 4)), (slice(0, 1), slice(0, 2), slice(0, 1))]


@pytest.fixture
def file(dataset: xr.Dataset, tmp_path: Path) -> Path:
    dataset.to_netcdf(tmp_path / "data.nc", engine="h5netcdf")
    return tmp_path / "data.nc"


@pytest.fixture(autouse=True)
def nothing_fits_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_module, "IN_MEMORY_VALUES", 0)


@pytest.fixture
def lazy(file: Path) -> LazyCube:
    return read_lazily(open_sources([file])).cube


def assert_same(got: WaterCube, expected: WaterCube) -> None:
    np.testing.assert_array_equal(got.time, expected.time)
    np.testing.assert_array_equal(got.y, expected.y)
    np.testing.assert_array_equal(got.x, expected.x)
    np.testing.assert_array_equal(got.sites.ids, expected.sites.ids)
    assert list(got.variables) == list(expected.variables)
    for name, variable in expected.variables.items():
        ours = got.variables[name]
        assert (ours.kind, ours.units, ours.standard_name) == (variable.kind, variable.units, variable.standard_name)
        np.testing.assert_array_equal(ours.values, variable.values)


# Windows.


@pytest.mark.parametrize("part", WINDOWS)
def test_window_read_lazily_is_the_window_of_the_whole(
    lazy: LazyCube, dataset: xr.Dataset, part: tuple[slice, slice, slice]
) -> None:
    assert_same(lazy.window(*part), read_dataset(dataset).cube.window(*part))


def test_window_without_sites_has_series_of_none(lazy: LazyCube) -> None:
    window = lazy.window(slice(0, 4), slice(0, 2), slice(0, 1))
    assert window.variables["river_flow"].values.shape == (4, 0)


def test_units_and_names_become_those_of_the_model(dataset: xr.Dataset, layout: Layout, tmp_path: Path) -> None:
    other = dataset.rename(precipitation="pr")
    other["pr"] = other["pr"].astype(np.float64) / 86_400
    other["pr"].attrs = {"units": "kg m-2 s-1", "standard_name": "lwe_precipitation_rate"}
    other.transpose("x", "site", "time", "y").to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    cube = read_lazily(open_sources([tmp_path / "other.nc"]), layout).cube
    expected = read_dataset(other, layout).cube
    assert_same(cube.window(*WINDOWS[1]), expected.window(*WINDOWS[1]))
    for name in ("precipitation", "pet"):
        np.testing.assert_array_equal(cube.inside(name), expected.inside(name))


@pytest.mark.parametrize("files", [1, 2])
def test_grids_are_not_read_before_they_are_needed(files: int, dataset: xr.Dataset, tmp_path: Path) -> None:
    for number, steps in enumerate(np.array_split(np.arange(20), files)):
        dataset[["pet", "precipitation"]].isel(time=steps).to_netcdf(tmp_path / f"{number}.nc", engine="h5netcdf")
    cube = read_lazily(open_sources([tmp_path])).cube
    lazies = [v for v in cube.variables.values() if isinstance(v, LazyVariable)]
    assert len(lazies) == 2
    assert not any(isinstance(v.array.variable._data, np.ndarray) for v in lazies)


def test_series_are_kept_in_memory(lazy: LazyCube) -> None:
    flow = lazy.variables["river_flow"]
    assert isinstance(flow, LazyVariable) and isinstance(flow.array.variable._data, np.ndarray)


@pytest.mark.parametrize("kept", ["in memory", "in scratch files"])
@pytest.mark.parametrize("part", WINDOWS)
def test_window_is_the_same_wherever_values_are_kept(
    file: Path,
    dataset: xr.Dataset,
    tmp_path: Path,
    part: tuple[slice, slice, slice],
    kept: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lazy_module, "IN_MEMORY_VALUES", 10**6 if kept == "in memory" else 0)
    (tmp_path / "scratch").mkdir()
    cube = read_lazily(open_sources([file]), scratch=tmp_path / "scratch").cube
    assert_same(cube.window(*part), read_dataset(dataset).cube.window(*part))
    files = [] if kept == "in memory" else ["pet.npy", "precipitation.npy"]
    assert sorted(p.name for p in (tmp_path / "scratch").iterdir()) == files
    hidden = cube.without_steps(np.ones(20, bool)).window(*part)
    assert not hidden.variables["precipitation"].valid.any()
    assert_same(cube.window(*part), read_dataset(dataset).cube.window(*part))  # what is kept is not changed


@pytest.mark.slow
def test_sampler_draws_the_same_batches_from_disk(lazy: LazyCube, dataset: xr.Dataset, layout: Layout) -> None:
    held = np.arange(20) > 15
    eager = LoadedCube.of(read_dataset(dataset).cube).without_steps(held)
    ours = WindowSampler(lazy.without_steps(held), layout, MaskingConfig(), 2, 7)
    theirs = WindowSampler(eager, layout, MaskingConfig(), 2, 7)
    for number in (0, 9):
        got, expected = ours.batch(number), theirs.batch(number)
        np.testing.assert_array_equal(got.tokens.values, expected.tokens.values)
        np.testing.assert_array_equal(got.target, expected.target)


def test_hidden_steps_are_missing_and_the_domain_stays(lazy: LazyCube) -> None:
    held = np.zeros(20, bool)
    held[5:8] = True
    window = lazy.without_steps(held).window(slice(4, 9), slice(0, 7), slice(0, 5))
    valid = window.variables["precipitation"].valid.any(axis=(1, 2))
    np.testing.assert_array_equal(valid, [True, False, False, False, True])
    np.testing.assert_array_equal(lazy.without_steps(~held).inside("precipitation"), lazy.inside("precipitation"))


def test_domain_given_in_the_file_is_kept(dataset: xr.Dataset, tmp_path: Path) -> None:
    dataset["pet_domain"] = (("y", "x"), np.arange(35).reshape(7, 5) % 2)
    dataset.to_netcdf(tmp_path / "domain.nc", engine="h5netcdf")
    cube = read_lazily(open_sources([tmp_path / "domain.nc"])).cube
    np.testing.assert_array_equal(cube.inside("pet"), np.arange(35).reshape(7, 5) % 2 == 1)


def test_excerpt_holds_the_chosen_steps_and_what_is_around_them(lazy: LazyCube) -> None:
    steps = np.zeros(20, bool)
    steps[9:11] = True
    cube, chosen = lazy.excerpt(steps, 3, 10_000)
    assert len(cube.time) == 8
    np.testing.assert_array_equal(np.flatnonzero(chosen), [3, 4])
    short, chosen = lazy.excerpt(steps, 3, 5 * lazy.size // 20)
    assert len(short.time) == len(chosen) == 5


# Statistics.


@pytest.mark.parametrize("block", [1, 35 * 3, 10**6])
def test_summary_is_that_of_the_observed_training_cells_in_memory_and_lazily(
    file: Path, dataset: xr.Dataset, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy_module, "SCAN_VALUES", block)
    held = np.arange(20) % 7 == 0
    whole = read_dataset(dataset).cube
    cube = read_lazily(open_sources([file])).cube.without_steps(held)
    for name, variable in whole.variables.items():
        values = variable.values[~held] if variable.values.shape[0] == 20 else variable.values
        z = values[~np.isnan(values)].astype(np.float64)
        got = cube.summary(name)
        assert got.number == len(z)
        np.testing.assert_allclose([got.mean, got.std, got.lowest], [z.mean(), z.std(), z.min()], rtol=1e-9)
        np.testing.assert_allclose(got.skewness, ((z - z.mean()) ** 3).mean() / z.std() ** 3, rtol=1e-6, atol=1e-9)
        assert got.zero_share == (z == 0).mean()
        root = np.sqrt(np.maximum(z, 0))
        np.testing.assert_allclose([got.root_mean, got.root_std], [root.mean(), root.std()], rtol=1e-9)
        np.testing.assert_array_equal(cube.inside(name), whole.inside(name) if values.ndim > 1 else cube.inside(name))
        assert LoadedCube.of(whole).without_steps(held).summary(name) == got


def test_values_far_from_zero_keep_their_standard_deviation() -> None:
    z = np.random.default_rng(0).normal(101_325, 800, (50, 200)).astype(np.float32)
    got = summary_of(z)
    np.testing.assert_allclose(got.std, z.astype(np.float64).std(), rtol=1e-6)
    assert abs(got.skewness) < 0.1


def test_summary_of_nothing_has_no_values() -> None:
    got = summary_of(np.full((3, 2), np.nan, np.float32))
    assert got.number == 0
    assert np.isnan(got.mean)


def test_constant_has_no_standard_deviation_and_no_skewness() -> None:
    got = summary_of(np.full((3, 2), 4.0, np.float32))
    assert (got.mean, got.std, got.skewness) == (4.0, 0.0, 0.0)


# Several files.


def test_files_by_time_and_by_variable_make_one_dataset(dataset: xr.Dataset, tmp_path: Path) -> None:
    dynamic, series = dataset[["precipitation", "pet"]], dataset[["river_flow", "area"]]
    dynamic[["precipitation"]].isel(time=slice(0, 9)).to_netcdf(tmp_path / "rain_1.nc", engine="h5netcdf")
    dynamic[["precipitation"]].isel(time=slice(9, 20)).to_netcdf(tmp_path / "rain_2.nc", engine="h5netcdf")
    noon = dynamic[["pet"]].assign_coords(time=dataset["time"] + np.timedelta64(12, "h"))
    noon.drop_vars(["site", "site_y", "site_x"], errors="ignore").to_zarr(tmp_path / "pet.zarr", zarr_format=2)
    dataset[["slope"]].drop_vars(["time"], errors="ignore").to_netcdf(tmp_path / "slope.nc", engine="h5netcdf")
    series.drop_vars(["y", "x"], errors="ignore").to_netcdf(tmp_path / "flow.nc", engine="h5netcdf")
    cube = read_lazily(open_sources([tmp_path])).cube
    expected = read_dataset(dataset).cube
    assert cube.variables.keys() == expected.variables.keys()
    window = cube.window(*WINDOWS[1])
    for name, variable in expected.window(*WINDOWS[1]).variables.items():
        np.testing.assert_array_equal(window.variables[name].values, variable.values, name)


@pytest.mark.slow
def test_memory_stays_below_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of 80 MB; reading its statistics and ten windows takes a fraction of that."""
    path, n_time, side = tmp_path / "large.nc", 800, 160
    rng = np.random.default_rng(0)
    coords = {
        "time": np.datetime64("2000-01-01", "ns") + np.arange(n_time) * np.timedelta64(1, "D"),
        "y": ("y", 1000.0 * np.arange(side), {"units": "m", "axis": "Y"}),
        "x": ("x", 1000.0 * np.arange(side), {"units": "m", "axis": "X"}),
    }
    values = rng.gamma(1, 3, (n_time, side, side)).astype(np.float32)
    made = xr.Dataset({"rain": (("time", "y", "x"), values, {"units": "mm day-1"})}, coords)
    made.to_netcdf(path, engine="h5netcdf", encoding={"rain": {"chunksizes": (20, 80, 80)}})
    expected, total = values[100:130, 20:60, 90:130].copy(), values.nbytes
    del made, values
    monkeypatch.setattr(lazy_module, "SCAN_VALUES", 400_000)
    tracemalloc.start()
    try:
        cube = read_lazily(open_sources([path])).cube
        for start in range(0, 700, 70):
            cube.window(slice(start, start + 30), slice(20, 60), slice(90, 130))
        window = cube.window(slice(100, 130), slice(20, 60), slice(90, 130))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(window.variables["rain"].values, expected)
    assert peak < total / 2


# What is refused.


def test_file_without_time_is_refused(dataset: xr.Dataset) -> None:
    with pytest.raises(CoordinateError, match="the dataset has no time coordinate"):
        read_lazily(dataset[["slope"]])


def test_step_that_is_not_the_models_is_refused(dataset: xr.Dataset, layout: Layout) -> None:
    with pytest.raises(CoordinateError, match=r"time step differs from the model's .*172800 s"):
        read_lazily(dataset.isel(time=slice(0, 20, 2)), layout)


def test_grid_in_other_units_is_refused_as_read_dataset_does(dataset: xr.Dataset, layout: Layout) -> None:
    dataset["precipitation"].attrs["units"] = "K"
    with pytest.raises(ContractError, match="units cannot be converted"):
        read_lazily(dataset, layout)


def test_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.nc: no such file"):
        open_sources([tmp_path / "nowhere.nc"])


def test_file_that_is_not_data_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.nc").write_text("not a NetCDF file")
    with pytest.raises(UnreadableError, match=r"text\.nc: the content is not NetCDF"):
        open_sources([tmp_path / "text.nc"])


def test_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableError, match="empty: holds no data"):
        open_sources([tmp_path / "empty"])


def test_no_file_is_refused() -> None:
    with pytest.raises(UnreadableError, match="no file is given"):
        open_sources([])


def test_two_frames_on_one_day_are_refused(dataset: xr.Dataset, tmp_path: Path) -> None:
    times = dataset["time"].values.copy()
    times[-1] = times[-2] + np.timedelta64(6, "h")
    dataset.assign_coords(time=times)[["pet"]].to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    dataset[["precipitation"]].to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    with pytest.raises(CoordinateError, match="two frames on one day"):
        open_sources([tmp_path / "a.nc", tmp_path / "b.nc"])


def test_files_on_grids_that_do_not_coincide_are_refused(dataset: xr.Dataset, tmp_path: Path) -> None:
    dataset[["pet"]].to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    moved = dataset[["precipitation"]].assign_coords(x=("x", dataset["x"].values + 1e-3, dataset["x"].attrs))
    moved.to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    with pytest.raises(CoordinateError, match="x: the files lie on grids that do not coincide"):
        open_sources([tmp_path / "a.nc", tmp_path / "b.nc"])


def test_files_that_overlap_in_time_are_refused(dataset: xr.Dataset, tmp_path: Path) -> None:
    for name, part in (("a.nc", slice(0, 12)), ("b.nc", slice(8, 20))):
        dataset[["pet"]].isel(time=part).to_netcdf(tmp_path / name, engine="h5netcdf")
    with pytest.raises(StructureError, match="the files do not make one dataset"):
        open_sources([tmp_path / "a.nc", tmp_path / "b.nc"])
