"""Tables of gauges joined to grids by id, and small files of HadUK-Grid's and CAMELS-GB's schema read as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from hydrofill.errors import ContractError, CoordinateError, StructureError, UnknownVariableError, UnreadableError
from model.data.lazy_cube import read_lazily
from model.data.site_tables import read_tables
from model.data.sources import open_sources

DAYS = pd.date_range("1989-12-01", periods=62, freq="D")
GAUGES = {"10002": (412_000.0, 842_000.0), "39001": (517_700.0, 169_800.0), "02004": (300_000.0, 701_000.0)}


def write_camels(folder: Path) -> pd.DataFrame:
    """CAMELS-GB files of three gauges; river flow of all of them, gauge by gauge."""
    rng, flows = np.random.default_rng(0), {}
    for gauge in GAUGES:
        flow = np.round(rng.gamma(2, 5, len(DAYS)), 2)
        flow[:5] = np.nan
        flows[gauge] = flow
        table = pd.DataFrame(
            {
                "date": DAYS.strftime("%Y-%m-%d"),
                "precipitation": 1.0,
                "pet": 0.5,
                "temperature": 8.0,
                "discharge_spec": flow / 2,
                "discharge_vol": flow,
                "peti": 0.6,
                "humidity": 6.0,
                "shortwave_rad": 100.0,
                "longwave_rad": 300.0,
                "windspeed": 4.0,
            }
        )
        table.to_csv(folder / f"CAMELS_GB_hydromet_timeseries_{gauge}_19891201-19900131.csv", index=False)
    topography = pd.DataFrame(
        {
            "gauge_id": list(GAUGES),
            "gauge_name": ["Ugie", "Thames", "Leven"],
            "gauge_lat": [57.5, 51.4, 56.2],
            "gauge_lon": [-1.8, -0.3, -3.0],
            "gauge_easting": [place[0] for place in GAUGES.values()],
            "gauge_northing": [place[1] for place in GAUGES.values()],
            "area": [325.0, 9931.0, 424.0],
            "elev_mean": [107.0, 109.0, 150.0],
        }
    )
    topography.to_csv(folder / "CAMELS_GB_topographic_attributes.csv", index=False)
    climate = pd.DataFrame({"gauge_id": list(GAUGES)[::-1], "p_mean": [3.0, 2.0, 2.3], "aridity": [0.5, 0.7, 0.6]})
    climate.to_csv(folder / "CAMELS_GB_climatic_attributes.csv", index=False)
    return pd.DataFrame(flows, index=DAYS)


def write_haduk(folder: Path) -> np.ndarray:
    """HadUK-Grid 5 km files, one a variable and month, on every 20th cell of the grid; rain (T, H, W)."""
    rain = np.random.default_rng(1).gamma(1, 3, (len(DAYS), 9, 7)).astype(np.float32)
    rain[:, :, 0] = np.nan
    for month in (12, 1):
        chosen = DAYS.month == month
        span = f"{DAYS[chosen][0]:%Y%m%d}-{DAYS[chosen][-1]:%Y%m%d}"
        for name, values, units, standard in (
            ("rainfall", rain, "mm", "lwe_thickness_of_precipitation_amount"),
            ("tasmax", rain + 9, "degC", "air_temperature"),
        ):
            attrs = {"units": units, "standard_name": standard, "grid_mapping": "transverse_mercator"}
            file = haduk_file(DAYS[chosen], name, values[chosen], attrs)
            file.to_netcdf(folder / f"{name}_hadukgrid_uk_5km_day_{span}.nc", engine="h5netcdf")
    return rain


def haduk_file(days: pd.DatetimeIndex, name: str, values: np.ndarray, attrs: dict[str, str]) -> xr.Dataset:
    y, x = "projection_y_coordinate", "projection_x_coordinate"
    made = xr.Dataset(
        {
            name: (("time", y, x), values, attrs),
            "transverse_mercator": ((), np.int32(0)),
            "time_bnds": (("time", "bnds"), np.stack([days, days + pd.Timedelta(1, "D")], axis=1)),
        },
        {
            "time": ("time", days + pd.Timedelta(12, "h"), {"standard_name": "time", "bounds": "time_bnds"}),
            y: (y, 2_500.0 + 100_000.0 * np.arange(9), {"units": "m", "standard_name": y}),
            x: (x, 2_500.0 + 100_000.0 * np.arange(7), {"units": "m", "standard_name": x}),
            "latitude": ((y, x), np.full((9, 7), float(days[0].month)), {"units": "degrees_north"}),
            "season": ("time", ["djf"] * len(days)),
        },
    )
    made["time"].encoding["units"] = "hours since 1800-01-01 00:00:00"
    return made


def attributes(folder: Path, **columns: Sequence[object]) -> Path:
    made = {"gauge_id": ["a", "b"], "x": [1000.0, 2000.0], "y": [0.0, 3000.0], **columns}
    pd.DataFrame(made).to_csv(folder / "attributes.csv", index=False)
    return folder / "attributes.csv"


def long_table(folder: Path, **columns: Sequence[object]) -> Path:
    made = {
        "station": ["b", "a", "b"],
        "time": ["2000-01-01", "2000-01-01", "2000-01-02"],
        "level [m]": [1.5, 2.0, 2.5],
        **columns,
    }
    pd.DataFrame(made).to_csv(folder / "series.csv", index=False)
    return folder / "series.csv"


# The recipe of docs/data-gb.md.


def test_haduk_grid_and_camels_gb_become_one_cube(tmp_path: Path) -> None:
    (tmp_path / "haduk").mkdir()
    (tmp_path / "camels").mkdir()
    rain, flows = write_haduk(tmp_path / "haduk"), write_camels(tmp_path / "camels")
    reading = read_lazily(open_sources([tmp_path / "haduk", tmp_path / "camels"]))
    cube = reading.cube.load()
    assert reading.grid_units == "m"
    assert cube.shape == (62, 9, 7)
    kinds = {name: (v.kind, v.units) for name, v in cube.of_kind("grid", "series").items()}
    assert kinds == {
        "rainfall": ("grid", "mm"),
        "tasmax": ("grid", "degC"),
        "river_flow": ("series", "m3 s-1"),
        "pet": ("series", "mm day-1"),
    }
    np.testing.assert_array_equal(cube.time, DAYS.to_numpy().astype("datetime64[ns]"))
    np.testing.assert_array_equal(cube.variables["rainfall"].values, rain)
    np.testing.assert_array_equal(cube.sites.ids, ["02004", "10002", "39001"])
    np.testing.assert_array_equal(cube.sites.x, [300_000, 412_000, 517_700])
    np.testing.assert_array_equal(cube.sites.y, [701_000, 842_000, 169_800])
    expected = flows[cube.sites.ids].to_numpy(np.float32)
    np.testing.assert_array_equal(cube.variables["river_flow"].values, expected)
    np.testing.assert_array_equal(cube.variables["area"].values, np.array([424, 325, 9931], np.float32))
    np.testing.assert_array_equal(cube.variables["p_mean"].values, np.array([3.0, 2.3, 2.0], np.float32))
    assert not {"gauge_name", "gauge_lat", "gauge_easting"} & cube.variables.keys()


def test_window_of_the_recipe_reads_the_gauges_in_it(tmp_path: Path) -> None:
    write_haduk(tmp_path)
    write_camels(tmp_path)
    cube = read_lazily(open_sources([tmp_path])).cube
    south = cube.window(slice(0, 10), slice(0, 4), slice(0, 7))
    np.testing.assert_array_equal(south.sites.ids, ["39001"])
    assert south.variables["river_flow"].values.shape == (10, 1)


def test_series_that_begin_later_are_missing_before(tmp_path: Path) -> None:
    write_haduk(tmp_path)
    write_camels(tmp_path)
    for path in tmp_path.glob("*timeseries*.csv"):
        pd.read_csv(path).iloc[40:].to_csv(path, index=False)
    cube = read_lazily(open_sources([tmp_path])).cube.load()
    valid = cube.variables["river_flow"].valid
    assert not valid[:40].any()
    assert valid[40:].all()


# Tables of other kinds.


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_long_table_with_units_in_its_header_is_joined_by_id(tmp_path: Path, suffix: str) -> None:
    places, series = attributes(tmp_path, **{"basin size": [4, 5]}), long_table(tmp_path)
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
        pd.read_csv(series).to_parquet(tmp_path / "series.parquet")
        series = tmp_path / "series.parquet"
    made = read_tables([series, places], "m")
    np.testing.assert_array_equal(made["site"], ["a", "b"])
    np.testing.assert_array_equal(made["level"], np.array([[2.0, 1.5], [np.nan, 2.5]], np.float32))
    assert made["level"].attrs["units"] == "m"
    np.testing.assert_array_equal(made["basin_size"], [4, 5])
    np.testing.assert_array_equal(made["site_x"], [1000.0, 2000.0])


def test_attributes_alone_join_a_grid(dataset: xr.Dataset, tmp_path: Path) -> None:
    dataset[["pet"]].drop_vars(["site", "site_x", "site_y"], errors="ignore").to_netcdf(
        tmp_path / "pet.nc", engine="h5netcdf"
    )
    cube = read_lazily(open_sources([tmp_path / "pet.nc", attributes(tmp_path, height=[10, 20])])).cube
    assert len(cube.sites) == 2
    np.testing.assert_array_equal(cube.load().variables["height"].values, [10, 20])


def test_gauges_alone_are_a_cube_without_a_grid(tmp_path: Path) -> None:
    cube = read_lazily(open_sources([attributes(tmp_path), long_table(tmp_path)])).cube
    assert cube.shape == (2, 0, 0)
    assert cube.load().variables["level"].values.shape == (2, 2)


def test_degrees_are_taken_where_the_grid_is_in_degrees(tmp_path: Path) -> None:
    path = attributes(tmp_path, lat=[50.0, 51.0], lon=[-3.0, 0.5])
    np.testing.assert_array_equal(read_tables([path], "degrees")["site_y"], [50.0, 51.0])
    np.testing.assert_array_equal(read_tables([path], "m")["site_y"], [0.0, 3000.0])


# What is refused.


def test_gauge_with_a_series_and_no_attributes_is_named(tmp_path: Path) -> None:
    paths = [attributes(tmp_path), long_table(tmp_path, station=["b", "z", "b"])]
    with pytest.raises(CoordinateError, match=r"site: 1 gauges have a series but no row of attributes \(got z\)"):
        read_tables(paths, "m")


def test_gauge_with_two_rows_is_named(tmp_path: Path) -> None:
    with pytest.raises(StructureError, match=r"attributes\.csv: a gauge has two rows \(got a\)"):
        read_tables([attributes(tmp_path, gauge_id=["a", "a"])], "m")


def test_two_values_of_a_gauge_on_one_day_are_named(tmp_path: Path) -> None:
    paths = [attributes(tmp_path), long_table(tmp_path, station=["b", "b", "b"])]
    with pytest.raises(StructureError, match=r"level: a gauge has two values at one time .*b at 2000-01-01"):
        read_tables(paths, "m")


def test_tables_without_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CoordinateError, match=r"the tables do not give the places of the gauges .*lat and lon"):
        read_tables([attributes(tmp_path)], "degrees")


def test_gauge_without_a_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(CoordinateError, match="b/x: a gauge has no place"):
        read_tables([attributes(tmp_path, x=[1.0, None])], "m")


def test_series_without_attributes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CoordinateError, match="no table gives the places of the gauges"):
        read_tables([long_table(tmp_path)], "m")


def test_attributes_without_ids_are_refused(tmp_path: Path) -> None:
    pd.DataFrame({"x": [1.0], "y": [2.0]}).to_csv(tmp_path / "places.csv", index=False)
    with pytest.raises(StructureError, match=r"places\.csv: has no column of gauge ids"):
        read_tables([tmp_path / "places.csv"], "m")


def test_series_without_any_known_column_are_refused(tmp_path: Path) -> None:
    table = pd.DataFrame({"date": ["2000-01-01"], "stage": [1.0]})
    table.to_csv(tmp_path / "flow_a.csv", index=False)
    with pytest.raises(UnknownVariableError, match=r"flow_a\.csv: no column is known, and none has units in its name"):
        read_tables([attributes(tmp_path), tmp_path / "flow_a.csv"], "m")


def test_series_without_a_gauge_are_refused(tmp_path: Path) -> None:
    pd.DataFrame({"date": ["2000-01-01"], "level [m]": [1.0]}).to_csv(tmp_path / "flow.csv", index=False)
    with pytest.raises(StructureError, match=r"flow\.csv: neither a column nor the file's name gives the gauge"):
        read_tables([attributes(tmp_path), tmp_path / "flow.csv"], "m")


def test_date_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CoordinateError, match=r"series\.csv: a date cannot be read"):
        read_tables([attributes(tmp_path), long_table(tmp_path, time=["2000-01-01", "someday", "2000-01-02"])], "m")


@pytest.mark.parametrize("name", ["broken.csv", "broken.parquet"])
def test_file_that_is_not_a_table_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x00\xff\x00")
    with pytest.raises(UnreadableError, match="broken"):
        read_tables([tmp_path / name], "m")


def test_series_of_another_time_are_refused(dataset: xr.Dataset, tmp_path: Path) -> None:
    dataset[["pet"]].to_netcdf(tmp_path / "pet.nc", engine="h5netcdf")
    paths = [tmp_path / "pet.nc", attributes(tmp_path), long_table(tmp_path)]
    with pytest.raises(ContractError, match=r"series and grids share no time .*2000-01-01 to 2000-01-02"):
        open_sources(paths)


def test_table_with_a_variable_of_the_grid_is_refused(dataset: xr.Dataset, tmp_path: Path) -> None:
    dataset[["pet"]].to_netcdf(tmp_path / "pet.nc", engine="h5netcdf")
    paths = [tmp_path / "pet.nc", attributes(tmp_path), long_table(tmp_path, **{"pet [mm]": [1, 2, 3]})]
    with pytest.raises(StructureError, match="pet: a grid and a table both hold"):
        open_sources(paths)
