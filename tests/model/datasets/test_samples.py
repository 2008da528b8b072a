"""Samples from the wheel's data files: a small wheel made by hand, and once the real one."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import xarray as xr

from model.datasets import samples
from model.datasets.rasters import Grid, read_raster
from model.datasets.samples import (
    SAMPLES,
    WHEEL_NAME,
    SampleUnavailableError,
    build_sample,
    cached_wheel,
    download_wheel,
    read_sample,
    write_sample,
)

HERE = "smash/factory/dataset/Lez"
DAILY = replace(SAMPLES["lez"], descriptors={"dd": "drainage_density"}, rain_scale=0.5)
HOURLY = replace(DAILY, step="h", rain_units="mm h-1", daily_normals=True)
WEST, NORTH = 761_000.0, 6_302_000.0
PIXEL_IS_AREA, PIXEL_IS_POINT = 1, 2


def geotiff(
    values: list[list[float]],
    *,
    place: tuple[float, float] = (WEST, NORTH),
    raster_type: int = PIXEL_IS_AREA,
    nodata: str = "-3.4e+38",
) -> bytes:
    tags = [
        (33550, "d", 3, (1000.0, 1000.0, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, *place, 0.0), True),
        (34735, "H", 8, (1, 1, 0, 1, 1025, 0, 1, raster_type), True),
        (42113, "s", 0, nodata, True),
    ]
    with io.BytesIO() as file:
        tifffile.imwrite(file, np.array(values, np.float32), extratags=tags, metadata=None)
        return file.getvalue()


def mesh() -> bytes:
    """Return a mesh in which the right column of a 2 x 2 grid drains southwards."""
    with io.BytesIO() as file:
        with h5py.File(file, "w") as h5:
            group = h5.create_group("mesh")
            group.attrs.update(xmin=WEST + 1000.0, ymax=NORTH, xres=1000.0)
            group["active_cell"] = np.array([[1], [1]], np.int32)
            group["flwacc"] = np.array([[1e6], [2e6]], np.float32)
        return file.getvalue()


def daily_files() -> dict[str, bytes]:
    return {
        "prcp/2012/08/201208010000_PT.tif": geotiff([[0.0, 2.0], [4.0, -99.0]]),
        "prcp/2012/08/201208030000_PT.tif": geotiff([[6.0, 8.0], [7e8, 0.0]], nodata="700000000"),
        "pet/2012/08/201208020000_ETP.tif": geotiff([[1.0, 2.0], [3.0, 4.0]]),
        "descriptor/dd.tif": geotiff([[9.0] * 3, [9.0, 1.0, 2.0]], place=(WEST - 1000.0, NORTH + 1000.0)),
        "gauge_attributes.csv": b"code,x,y,area\nY2,761500.5,6300100,2.5\nY1,762000,6301000,1\n",
        "qobs/Y2.csv": b"20120731\n9.0\n1.5\n-99.0\n2.5\n9.0\n",
        "qobs/Y1.csv": b"20120802\n4.0\n",
        "mesh_Lez.hdf5": mesh(),
    }


def read(files: Mapping[str, bytes], sample: samples.Sample = DAILY) -> xr.Dataset:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"{HERE}/{name}", data)
        return read_sample(archive, sample, lambda *_: None)


@pytest.fixture
def dataset() -> xr.Dataset:
    return read(daily_files())


def test_rain_lies_at_its_date_and_cell_and_is_scaled(dataset: xr.Dataset) -> None:
    nan = np.nan
    expected = [[[0.0, 1.0], [2.0, nan]], [[nan, nan], [nan, nan]], [[3.0, 4.0], [nan, 0.0]]]
    np.testing.assert_array_equal(dataset["precipitation"].values, expected)
    np.testing.assert_array_equal(
        dataset["time"].values, np.array(["2012-08-01", "2012-08-02", "2012-08-03"], "M8[ns]")
    )
    assert dataset["precipitation"].dtype == np.float32


def test_cells_have_the_coordinates_of_their_centres(dataset: xr.Dataset) -> None:
    np.testing.assert_array_equal(dataset["y"].values, [NORTH - 500.0, NORTH - 1500.0])
    np.testing.assert_array_equal(dataset["x"].values, [WEST + 500.0, WEST + 1500.0])


def test_a_step_without_a_file_is_a_missing_frame(dataset: xr.Dataset) -> None:
    np.testing.assert_array_equal(np.isnan(dataset["pet"].values).all(axis=(1, 2)), [True, False, True])
    np.testing.assert_array_equal(dataset["pet"].values[1], [[1.0, 2.0], [3.0, 4.0]])


def test_flow_lies_at_its_date_and_negative_codes_are_missing(dataset: xr.Dataset) -> None:
    np.testing.assert_array_equal(dataset["river_flow"].values, [[1.5, np.nan], [np.nan, 4.0], [2.5, np.nan]])
    assert dataset["site"].values.tolist() == ["Y2", "Y1"]
    assert dataset["site_x"].values.tolist() == [761500.5, 762000.0]
    assert dataset["site_y"].values.tolist() == [6300100.0, 6301000.0]
    assert dataset["site_area"].values.tolist() == [2.5, 1.0]


def test_fields_of_other_extents_come_onto_the_rain_grid(dataset: xr.Dataset) -> None:
    np.testing.assert_array_equal(dataset["drainage_density"].values, [[1.0, 2.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(dataset["catchment"].values, [[0.0, 1.0], [0.0, 1.0]])
    np.testing.assert_array_equal(dataset["flow_accumulation"].values, [[np.nan, 1.0], [np.nan, 2.0]])


def test_a_raster_placed_by_its_centre_is_the_same_grid() -> None:
    corner = read_raster(geotiff([[1.0, 2.0]]))
    centre = read_raster(geotiff([[1.0, 2.0]], place=(WEST + 500.0, NORTH - 500.0), raster_type=PIXEL_IS_POINT))
    assert corner.grid == centre.grid == Grid(WEST, NORTH, 1000.0, 1, 2)


def test_cells_that_do_not_coincide_are_refused() -> None:
    files = daily_files()
    files["pet/2012/08/201208020000_ETP.tif"] = geotiff([[1.0, 2.0], [3.0, 4.0]], place=(WEST + 500.0, NORTH))
    with pytest.raises(ValueError, match="do not coincide"):
        read(files)


def test_normals_give_each_hour_the_rate_of_its_calendar_day() -> None:
    files = daily_files()
    rain = {
        f"prcp/rain_{stamp}_{stamp}.tif": geotiff([[1.0, 1.0], [1.0, 1.0]])
        for stamp in ("201212312200", "201301010100")
    }
    normals = {
        "pet/1231_ETPJIA.tif": geotiff([[1.0, 2.0], [3.0, 4.0]]),
        "pet/0101_ETPJIA.tif": geotiff([[5.0] * 2] * 2),
    }
    kept = {name: data for name, data in files.items() if not name.startswith(("prcp", "pet"))}
    dataset = read({**rain, **normals, **kept}, HOURLY)
    assert dataset.sizes["time"] == 4
    np.testing.assert_array_equal(dataset["pet"].values[:, 0, 1], [2.0, 2.0, 5.0, 5.0])
    assert dataset["pet"].attrs["units"] == "mm day-1"
    assert "not a measurement" in dataset["pet"].attrs["comment"]
    np.testing.assert_array_equal(
        np.isnan(dataset["precipitation"].values).all(axis=(1, 2)), [False, True, True, False]
    )


def test_a_written_sample_reads_back_with_its_metadata(dataset: xr.Dataset, tmp_path: Path) -> None:
    write_sample(dataset, tmp_path / "sample.nc")
    with xr.open_dataset(tmp_path / "sample.nc", engine="h5netcdf") as back:
        for name in dataset.variables:
            np.testing.assert_array_equal(back[name].values, dataset[name].values)
        assert back["time"].encoding["units"] == "days since 2012-08-01"
        assert back["site"].dtype.kind in "OUT"
    with xr.open_dataset(tmp_path / "sample.nc", engine="h5netcdf", decode_cf=False) as raw:
        assert raw["precipitation"].encoding["complevel"] == 4
        assert raw["precipitation"].attrs["standard_name"] == "lwe_precipitation_rate"
        assert raw["precipitation"].attrs["grid_mapping"] in raw.variables
        assert raw["river_flow"].attrs["standard_name"] == "water_volume_transport_in_river_channel"
        assert raw.attrs["Conventions"] == "CF-1.10"
        assert all("units" in raw[name].attrs for name in raw.variables if name not in ("crs", "site"))


def test_progress_reports_what_is_read() -> None:
    content, calls = io.BytesIO(), []
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in daily_files().items():
            archive.writestr(f"{HERE}/{name}", data)
        read_sample(archive, DAILY, lambda *call: calls.append(call))
    assert calls == [("read prcp", 1, 2), ("read prcp", 2, 2), ("read pet", 1, 1)]


def put(content: bytes) -> samples.Fetch:
    def fetch(folder: Path) -> None:
        (folder / WHEEL_NAME).write_bytes(content)

    return fetch


def no_network(folder: Path) -> None:
    raise SampleUnavailableError(f"pip download {samples.REQUIREMENT} failed: no route to host")


def one_line(error: pytest.ExceptionInfo[SampleUnavailableError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_unknown_sample_is_refused_with_the_known_names() -> None:
    with pytest.raises(SampleUnavailableError, match=r"'lese'.*cance, lez"):
        build_sample("lese")


def test_without_a_network_the_error_says_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(SampleUnavailableError, match=r"hydro-smash==1\.3\.0") as error:
        build_sample("lez", tmp_path, fetch=no_network)
    assert "no route" in one_line(error)


def test_a_wheel_of_another_hash_is_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(SampleUnavailableError, match="refused: got sha256") as error:
        build_sample("lez", tmp_path, fetch=put(b"not the wheel"))
    assert samples.WHEEL_SHA256 in one_line(error)
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_that_brings_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SampleUnavailableError, match="cannot get"):
        build_sample("lez", tmp_path, fetch=lambda _: None)


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SampleUnavailableError, match="cannot get"):
        build_sample("lez", tmp_path / "file", fetch=put(b""))


def test_a_kept_wheel_is_not_fetched_again_but_a_broken_one_is(tmp_path: Path) -> None:
    good = b"good"
    sha256 = hashlib.sha256(good).hexdigest()
    wheel = cached_wheel(tmp_path / "new", put(good), sha256)
    assert wheel.read_bytes() == good
    assert cached_wheel(tmp_path / "new", no_network, sha256) == wheel
    wheel.write_bytes(b"half")
    assert cached_wheel(tmp_path / "new", put(good), sha256).read_bytes() == good


def test_a_failing_pip_is_quoted_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "PIP_DOWNLOAD", ["no_such_module"])
    with pytest.raises(SampleUnavailableError, match=r"hydro-smash==1.3.0 failed.*no_such_module") as error:
        download_wheel(tmp_path)
    one_line(error)


def test_a_pip_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "PIP_DOWNLOAD", ["timeit"])
    monkeypatch.setattr(samples, "PIP_LIMIT_S", 0.01)
    with pytest.raises(SampleUnavailableError, match="took longer"):
        download_wheel(tmp_path)


@pytest.mark.slow
@pytest.mark.network
def test_lez_is_as_published(tmp_path: Path) -> None:
    """Sums taken from the files when this reader was written; the outage is the one in the gauge's record."""
    lez = build_sample("lez", tmp_path)
    assert dict(lez.sizes) == {"time": 365, "y": 27, "x": 14, "site": 3}
    assert not np.isnan(lez["precipitation"]).any()
    assert float(lez["precipitation"].sum(dtype=np.float64)) == pytest.approx(368671.15346463025, rel=1e-9)
    assert float(lez["pet"].sum(dtype=np.float64)) == pytest.approx(370247.4458595216, rel=1e-9)
    missing = np.isnan(lez["river_flow"].values)
    assert missing.sum(axis=0).tolist() == [4, 0, 0]
    outage = np.arange("2012-08-31", "2012-09-04", dtype="M8[D]").astype("M8[ns]")
    np.testing.assert_array_equal(lez["time"].values[missing[:, 0]], outage)
    descriptors = ("drainage_density", "karst", "slope", "soil_water_storage", "urban", "woodland")
    assert all(not np.isnan(lez[name]).any() for name in descriptors)
    assert int(lez["catchment"].sum()) == 172  # the mesh's `nac`, active cells
