"""Integers that stand for something are neither filled nor learnt from, and stay as they are stored."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import hydrofill
from hydrofill.cf.axes import recognise
from hydrofill.cf.dataset import read_dataset
from hydrofill.cf.netcdf import read_netcdf
from hydrofill.cf.writing import netcdf_bytes
from hydrofill.errors import StructureError
from hydrofill.fill_codes import Codes, spread_codes, with_codes_filled
from hydrofill.filling import FillOptions, prepare_fill
from hydrofill.layout import GENERAL
from model.data.lazy_cube import read_lazily
from model.data.sources import open_sources

T, Y, X = 12, 4, 5


def written(extra: dict[str, tuple[np.ndarray, dict[str, Any]]]) -> bytes:
    """Return a file with a field of rain and other variables on (time, lat, lon), stored as given."""
    rain = np.random.default_rng(0).gamma(0.5, 4, (T, Y, X)).astype(np.float32)
    rain[3:5, 1] = np.nan
    dims = ("time", "lat", "lon")
    place = {
        "time": ("time", np.arange(T), {"units": "days since 2001-01-01"}),
        "lat": ("lat", 44.0 + np.arange(Y), {"units": "degrees_north"}),
        "lon": ("lon", 3.0 + np.arange(X), {"units": "degrees_east"}),
    }
    made = {"rain": (dims, rain, {"units": "mm"})} | {name: (dims, v, attrs) for name, (v, attrs) in extra.items()}
    content = io.BytesIO()
    xr.Dataset(made, place).to_netcdf(content, engine="h5netcdf")
    return content.getvalue()


def numbers(high: int, dtype: str, low: int = 0) -> np.ndarray:
    return np.random.default_rng(1).integers(low, high, (T, Y, X)).astype(dtype)


CASES: dict[str, tuple[np.ndarray, dict[str, Any], bool]] = {
    "quality": (numbers(4, "u1"), {"long_name": "Quality control", "_FillValue": np.uint8(255)}, True),
    "sensor": (numbers(200, "i2"), {"_FillValue": np.int16(-9999)}, True),
    "lc": (numbers(12, "i4"), {"units": ""}, True),
    "snow_class": (numbers(5, "i1"), {"units": "1"}, True),
    "cloud_mask": (numbers(2, "f4"), {}, True),
    "wet_days": (numbers(31, "i2"), {"units": "1"}, False),
    "level": (numbers(4, "i2"), {"units": "m"}, False),
    "packed": (numbers(4, "i2"), {"scale_factor": 0.1}, False),
    "temperature": (numbers(8, "f4"), {}, False),
}


@pytest.mark.parametrize("name", CASES)
def test_what_are_codes_and_what_are_data(name: str, tmp_path: Path) -> None:
    values, attributes, codes = CASES[name]
    (tmp_path / "a.nc").write_bytes(written({name: (values, attributes)}))
    dataset = read_netcdf(tmp_path / "a.nc")
    row = next(row for row in hydrofill.inspect(dataset).variables if row.name == name)
    assert row.taken_as == ("codes" if codes else "fill")
    assert not codes or "codes" in row.reason
    assert (name in prepare_fill(dataset, GENERAL, FillOptions()).names) is not codes
    with open_sources([tmp_path / "a.nc"]) as opened:
        assert (name in read_lazily(opened).cube.variables) is not codes


def test_codes_keep_type_and_values_as_they_are_stored() -> None:
    stored = numbers(200, "i2")
    stored[::2, 1] = -9999
    sent = written({"sensor": (stored, {"_FillValue": np.int16(-9999), "valid_range": np.array([0, 100], "i2")})})
    dataset = read_netcdf(sent)
    assert dataset["sensor"].dtype == np.int16
    np.testing.assert_array_equal(dataset["sensor"].values, stored)
    row = next(row for row in hydrofill.inspect(dataset).variables if row.name == "sensor")
    assert row.missing is not None and row.missing > 0.1
    assert isinstance(row.lowest, float) and row.lowest >= 0
    with xr.open_dataset(io.BytesIO(netcdf_bytes(dataset)), engine="h5netcdf", decode_cf=False) as again:
        np.testing.assert_array_equal(again["sensor"].values, stored)
        assert again["sensor"].attrs["_FillValue"] == -9999


def test_integers_that_are_named_are_data_if_many_differ() -> None:
    counts = numbers(3000, "i4")
    counts[4] = -1
    dataset = read_netcdf(written({"n": (counts, {"_FillValue": np.int32(-1)}), "q": (numbers(4, "u1"), {})}))
    prepared = prepare_fill(dataset, GENERAL, FillOptions(("n",)))
    assert prepared.names == ["n"]
    assert np.isnan(prepared.reading.cube.variables["n"].values[4]).all()
    with pytest.raises(StructureError, match="q: holds codes"):
        prepare_fill(dataset, GENERAL, FillOptions(("q",)))


def test_a_mask_of_zeros_and_ones_still_says_where_a_field_lives() -> None:
    dataset = read_netcdf(written({})).assign(
        mask=(("lat", "lon"), np.ones((Y, X), np.int8)), zone=(("lat", "lon"), np.repeat(np.arange(4), 5).reshape(Y, X))
    )
    assert set(read_dataset(dataset).cube.variables) == {"rain", "mask"}


@pytest.mark.parametrize(("how", "frequent"), [("nearest", 3), ("frequent", 7)])
def test_gaps_of_codes_are_filled_with_codes_that_were_observed(how: Codes, frequent: int) -> None:
    codes = np.full((T, Y, X), 7, np.uint8)
    codes[4, 2, 2], codes[5, 2, 2] = 3, 255  # the nearest code is the one before
    codes[:, 0, 0] = 255  # never observed
    dataset = read_netcdf(written({"class": (codes, {"_FillValue": np.uint8(255)})}))
    filled = with_codes_filled(dataset, recognise(dataset), how)
    expected = codes.copy()
    expected[5, 2, 2] = frequent
    np.testing.assert_array_equal(filled["class"].values, expected)
    assert filled["class"].dtype == np.uint8
    flag = filled["class_flag"].values
    assert (flag[5, 2, 2], flag[0, 0, 0], flag[0, 1, 1]) == (1, 2, 0)
    assert with_codes_filled(dataset, recognise(dataset), "keep") is dataset


def test_codes_of_sites_come_from_the_same_site() -> None:
    codes = np.array([[1, 9], [0, 9], [0, 9], [2, 9]], np.int8)
    filled, left = spread_codes(codes, codes == 0, of_sites=True, frequent=False)
    assert filled[:, 0].tolist() == [1, 1, 2, 2] and not left.any()
