"""Missing values that a file or a user declares, and netCDF's default fills, are gaps; other values are not."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hydrofill.archives.inputs import find_input
from hydrofill.archives.opening import open_input
from hydrofill.cf.missing import Declared, as_texts, hide_declared, hide_missing
from hydrofill.cf.netcdf import read_netcdf
from hydrofill.cf.writing import netcdf_bytes
from hydrofill.errors import StructureError, UnknownVariableError, ValueRangeError
from model.data.sources import open_sources

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:zarr", "ignore:Consolidated metadata", "ignore:The data type"
)
T, Y, X = 4, 3, 5


def stored_file(values: np.ndarray, attributes: dict[str, Any], name: str = "v") -> bytes:
    """Return a NetCDF-4 file with a variable as it is given: numbers as stored, attributes of any type."""
    place = {"time": np.arange(T), "lat": 44.0 + np.arange(Y), "lon": 3.0 + np.arange(X)}
    content = io.BytesIO(netcdf_bytes(xr.Dataset(coords={k: (k, v) for k, v in place.items()})))
    with h5py.File(content, "r+") as file:
        made = file.create_dataset(name, data=values)
        for number, dim in enumerate(place):
            made.dims[number].attach_scale(file[dim])
        file["time"].attrs["units"] = "days since 2001-01-01"
        file["lat"].attrs["units"], file["lon"].attrs["units"] = "degrees_north", "degrees_east"
        for key, value in {"units": "K", **attributes}.items():
            made.attrs[key] = value
    return content.getvalue()


def read(values: np.ndarray, **attributes: Any) -> np.ndarray:
    return read_netcdf(stored_file(values, attributes))["v"].values


def cells(dtype: str, *values: float) -> np.ndarray:
    """Return (T, Y, X) of small numbers, with these values in the first cells."""
    array = (np.arange(T * Y * X) % 40 + 1).astype(dtype).reshape(T, Y, X)
    array.reshape(-1)[: len(values)] = values
    return array


def missing(found: np.ndarray) -> list[int]:
    return np.flatnonzero(np.isnan(found)).tolist()


@pytest.mark.parametrize(
    ("dtype", "values", "attributes", "expected"),
    [
        ("f4", (-5, 45), {"valid_range": np.array([0, 40], "f4")}, [0, 1]),
        ("f4", (-5, 45), {"valid_min": 0.0}, [0]),
        ("f4", (-5, 45), {"valid_max": np.int32(40)}, [1]),
        ("f4", (0.1, 0.05), {"valid_min": np.float64(0.1)}, [1]),  # the limit is in the type of the values
        ("f4", (-5, 45), {"valid_range": "0, 40"}, [0, 1]),
        ("u2", (0, 65535), {"valid_range": np.array([1, 60], "u2"), "scale_factor": 0.02}, [0, 1]),
        ("i2", (0, 101), {"valid_range": np.array([0.01, 1.0]), "scale_factor": 0.01}, [0, 1]),  # unpacked: wider
        ("i2", (0, 101), {"valid_range": np.array([0.01, 1.0], "f4"), "scale_factor": np.float32(0.01)}, [0, 1]),
        ("i2", (0, 101), {"valid_range": np.array([-1.0, -0.01]), "scale_factor": -0.01}, [0, 1]),
        ("i2", (0, 101), {"valid_range": np.array([1, 100], "i2"), "scale_factor": -0.01, "add_offset": 3.0}, [0, 1]),
        ("i1", (0, -1), {"valid_range": np.array([1, -3], "i1"), "_Unsigned": "true", "scale_factor": 0.5}, [0, 1]),
        ("u1", (0, 239, 255), {"valid_range": np.array([0, 100], "u1"), "_FillValue": np.uint8(255)}, [1, 2]),
        ("i4", (-1, 50000), {"valid_range": np.array([0, 40000], "i4")}, [0, 1]),
        ("i2", (-9, 50), {"valid_max": np.int32(40000), "valid_min": np.int32(-40000)}, []),
    ],
)
def test_what_is_outside_the_valid_range_is_missing(
    dtype: str, values: tuple[float, ...], attributes: dict[str, Any], expected: list[int]
) -> None:
    assert missing(read(cells(dtype, *values), **attributes)) == expected


@pytest.mark.parametrize("key", ["_FillValue", "missing_value"])
@pytest.mark.parametrize(
    ("dtype", "value", "declared"),
    [
        ("f4", -999.99, np.float64(-999.99)),
        ("f4", -99.9, "-99.9"),
        ("f8", -99.9, "-99.9f"),
        ("i2", -999, np.float64(-999.0)),
        ("i4", -999, "-999"),
        ("u1", 255, np.int8(-1)),
        ("i1", -1, np.int16(255)),
    ],
)
@pytest.mark.parametrize("packing", [{}, {"scale_factor": 0.1}])
def test_fill_values_of_another_type_are_compared_in_the_variable_s(
    key: str, dtype: str, value: float, declared: object, packing: dict[str, float]
) -> None:
    assert missing(read(cells(dtype, value, 7), **{key: declared}, **packing)) == [0]


def test_several_missing_values_and_a_different_fill_value_are_all_missing() -> None:
    several = {"missing_value": np.array([-1.0, -2.0]), "_FillValue": np.float32(-3)}
    assert missing(read(cells("f4", -1, -2, -3, -4), **several)) == [0, 1, 2]
    assert missing(read(cells("i2", -1, -2, -3, -4), missing_value="-1, -2")) == [0, 1]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("f4", 9.969209968386869e36), ("f8", 9.969209968386869e36), ("i2", -32767), ("i4", -2147483647)],
)
def test_default_fills_are_missing_though_nothing_declares_them(dtype: str, value: float) -> None:
    assert missing(read(cells(dtype, value))) == [0]


def test_the_default_fill_of_an_integer_is_data_where_another_is_declared() -> None:
    assert missing(read(cells("i2", -32767, -1), _FillValue=np.int16(-1), scale_factor=0.1)) == [1]
    assert missing(read(cells("u2", 65535, 0), valid_range=np.array([1, 65535], "u2"), scale_factor=0.1)) == [1]


@pytest.mark.parametrize("key", ["valid_range", "valid_min", "_FillValue"])
def test_an_attribute_that_is_no_number_is_refused_by_name(key: str) -> None:
    with pytest.raises(StructureError, match=f"v/{key}"):
        read(cells("f4"), **{key: "none so far"})


@pytest.mark.parametrize("dtype", ["f4", "i2"])
def test_one_file_many_files_zarr_and_training_read_the_same(tmp_path: Path, dtype: str) -> None:
    attributes = {"missing_value": "-99", "valid_max": 38.0}
    whole = stored_file(cells(dtype, -99, 3, 40), attributes)
    expected = read_netcdf(whole)["v"].values
    assert missing(expected)[:2] == [0, 2]
    (tmp_path / "a.nc").write_bytes(whole)
    raw = xr.open_dataset(io.BytesIO(whole), engine="h5netcdf", decode_cf=False).load()
    for zarr_format in (2, 3):
        raw.to_zarr(tmp_path / f"z{zarr_format}.zarr", zarr_format=zarr_format)
    for number in range(2):
        raw.isel(time=slice(2 * number, 2 * number + 2)).to_netcdf(tmp_path / f"part{number}.nc", engine="h5netcdf")
    for source in ("a.nc", "z2.zarr", "z3.zarr", "part*.nc"):
        with open_input(find_input(str(tmp_path / source))) as opened:
            np.testing.assert_array_equal(opened["v"].values, expected, err_msg=source)
            assert missing(opened["v"].isel(time=0).values) == [0, 2], source
    for sources in (["a.nc"], ["z3.zarr"], ["part0.nc", "part1.nc"]):
        with open_sources([tmp_path / name for name in sources]) as opened:
            np.testing.assert_array_equal(opened["v"].values, expected, err_msg=str(sources))


def test_values_of_a_dataset_that_xarray_has_decoded_are_missing_too() -> None:
    body = stored_file(cells("u2", 0, 65535), {"valid_range": np.array([1, 60], "u2"), "scale_factor": 0.02})
    with xr.open_dataset(io.BytesIO(body), engine="h5netcdf") as opened:
        assert missing(hide_missing(opened.load(), lazily=False)["v"].values) == [0, 1]


@pytest.mark.parametrize(
    ("declared", "expected"),
    [("-99.9", [0]), (["v=-99.9", "7"], [0, 1]), ({"v": [7, -99.9]}, [0, 1]), ({"w": -99.9}, []), (7, [1])],
)
def test_a_user_declares_missing_values_for_all_variables_or_for_one(declared: Any, expected: list[int]) -> None:
    values = np.array([[-99.9, 7.0, 3.0]], np.float32)
    dataset = xr.Dataset({"v": (("time", "site"), values), "w": (("time", "site"), values + 500)})
    hidden = hide_declared(dataset, Declared.of(as_texts(declared)), lazily=False)
    assert missing(hidden["v"].values) == expected
    np.testing.assert_array_equal(hidden["w"].values, dataset["w"].values)


def test_a_packed_value_is_declared_as_it_is_read() -> None:
    hidden = hide_declared(
        read_netcdf(stored_file(cells("i2", 12), {"scale_factor": 0.1})), Declared.of(["1.2"]), lazily=True
    )
    assert 0 in missing(hidden["v"].values)


def test_a_missing_value_that_is_no_number_or_of_no_variable_is_refused() -> None:
    with pytest.raises(ValueRangeError, match="x=high"):
        Declared.of(["x=high"])
    with pytest.raises(UnknownVariableError, match="nothing"):
        hide_declared(xr.Dataset({"v": ("site", np.zeros(2))}), Declared.of(["nothing=-1"]), lazily=False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dtype=st.sampled_from(["i1", "u1", "i2", "u2", "i4", "f4", "f8"]),
    packing=st.sampled_from(
        [
            {},
            {"scale_factor": 0.1},
            {"scale_factor": np.float32(0.01), "add_offset": np.float32(273.15)},
            {"add_offset": 5.0},
        ]
    ),
    fill=st.sampled_from([None, "own", "double", "text"]),
    limits=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_observed_cells_decode_to_the_same_bits_and_declared_ones_are_gaps(
    dtype: str, packing: dict[str, Any], fill: str | None, limits: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    stored = rng.integers(2, 100, (T, Y, X)).astype(dtype)
    gaps = rng.random((T, Y, X)) < 0.3
    outside = limits & (rng.random((T, Y, X)) < 0.2)
    kept = dict(packing)
    plain = xr.conventions.decode_cf_variable("v", xr.Variable(("t", "y", "x"), stored, kept)).values
    attributes = dict(packing)
    if fill is not None:
        mark = 101 if dtype in ("i1", "u1") else 3000
        stored[gaps] = mark
        given_as = {"own": stored.dtype.type(mark), "double": np.float64(mark), "text": f"{mark}"}[fill]
        attributes["missing_value"] = given_as
    if limits:
        stored[outside & ~gaps] = 1
        attributes["valid_range"] = np.array([2, 100], dtype)
    hidden = (gaps & (fill is not None)) | outside & ~gaps | (outside & (fill is not None) & gaps)
    found = read(stored, **attributes)
    np.testing.assert_array_equal(np.isnan(found), hidden)
    if found.dtype == plain.dtype:
        assert found[~hidden].tobytes() == plain[~hidden].tobytes()
    else:
        np.testing.assert_array_equal(found[~hidden], plain[~hidden].astype(found.dtype))
