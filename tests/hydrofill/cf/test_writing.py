"""Datasets are written as they are stored: types, packing, missing values, texts, unlimited dimensions, chunks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrofill.cf.dataset import read_dataset
from hydrofill.cf.fills import write_fill
from hydrofill.cf.netcdf import read_netcdf
from hydrofill.cf.writing import netcdf_bytes, write_netcdf
from hydrofill.reconstruct import FILLED, OBSERVED, OUTSIDE, FilledVariable

STEPS, ROWS, COLUMNS = 5, 3, 4
pytestmark = pytest.mark.filterwarnings("ignore:variable .* has multiple fill values")


def stored_dataset(values: np.ndarray, attributes: dict[str, Any], dims: tuple[str, ...] = ("time", "y", "x")) -> bytes:
    """Return a file with these stored values and attributes of `level`."""
    axes = {"time": np.arange(STEPS, dtype=np.int32), "y": np.arange(ROWS) * 1e3, "x": np.arange(COLUMNS) * 1e3}
    data = {name: (name, axis, {"units": "m"}) for name, axis in axes.items()}
    data["time"] = ("time", axes["time"], {"units": "days since 1900-01-01 00:00:0.0"})
    made = xr.Dataset({**data, "level": (dims, values, {"units": "m", **attributes})})
    made.encoding["unlimited_dims"] = {"time"}
    return netcdf_bytes(made.reset_coords())


def filled(body: bytes, mean: float = 5.0, hidden: np.ndarray | None = None, *, only_gaps: bool = False) -> xr.Dataset:
    """Return the dataset of a file, all its gaps filled with one value; where `hidden`, gaps stay."""
    dataset = read_netcdf(body)
    reading = read_dataset(dataset)
    cube = reading.cube.variables["level"].values
    flag = np.where(np.isnan(cube), FILLED, OBSERVED)
    if hidden is not None:
        flag[np.isnan(cube) & hidden] = OUTSIDE
    means = np.where(flag == FILLED, np.float32(mean), np.float32(np.nan))
    fill = FilledVariable(means, np.where(flag == FILLED, 1, 0).astype(np.float32), flag)
    return write_fill(dataset, reading, {"level": fill}, {}, only_gaps=only_gaps)


def raw(body: bytes) -> xr.Dataset:
    with xr.open_dataset(io.BytesIO(body), engine="h5netcdf", decode_cf=False) as dataset:
        return dataset.load()


def packed(dtype: str, marker: int) -> np.ndarray:
    """Stored values of every size with gaps."""
    values = np.arange(STEPS * ROWS * COLUMNS).reshape(STEPS, ROWS, COLUMNS).astype(dtype)
    values[1:3, 1] = marker
    return values


PACKINGS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "packed": ("i2", -1, {"_FillValue": np.int16(-1), "scale_factor": 0.5, "add_offset": 2.0}),
    "of a 32 bit scale": ("i4", -1, {"_FillValue": np.int32(-1), "scale_factor": np.float32(0.001)}),
    "upside down": ("i2", 999, {"_FillValue": np.int16(999), "scale_factor": -0.5}),
    "unsigned": ("u1", 255, {"_FillValue": np.uint8(255), "scale_factor": np.float32(0.25)}),
    "unsigned as signed": ("i1", -1, {"_FillValue": np.int8(-1), "_Unsigned": "true", "scale_factor": 0.25}),
    "integers": ("i4", -9, {"missing_value": np.int32(-9)}),
    "a valid range": (
        "i2",
        -7,
        {"_FillValue": np.int16(-7), "scale_factor": 0.5, "valid_range": np.array([0, 99], "i2")},
    ),
    "several missing": ("f4", -9, {"_FillValue": np.float32(-9), "missing_value": np.array([-9, -8], "float32")}),
    "doubles": ("f8", -999, {"missing_value": -999.0}),
    "big-endian": (">f4", -999, {"_FillValue": np.float32(-999)}),
}


@pytest.mark.parametrize("how", PACKINGS)
def test_filled_values_are_packed_as_they_came(how: str) -> None:
    dtype, marker, attributes = PACKINGS[how]
    body = stored_dataset(packed(dtype, marker), attributes)
    before, after = raw(body)["level"], raw(netcdf_bytes(filled(body)))["level"]
    gaps = packed(dtype, marker) == np.dtype(dtype).type(marker)
    assert after.dtype == before.dtype
    assert after.values[~gaps].tobytes() == before.values[~gaps].tobytes()
    for key, value in before.attrs.items():
        np.testing.assert_array_equal(after.attrs[key], value)
        assert np.asarray(after.attrs[key]).dtype == np.asarray(value).dtype
    decoded = read_netcdf(netcdf_bytes(filled(body)))["level"]
    np.testing.assert_allclose(decoded.values[gaps], 5.0, atol=0.25 if how != "integers" else 0.5)


@pytest.mark.parametrize(
    ("attributes", "mean"),
    [
        ({"_FillValue": np.int8(-1), "scale_factor": np.float32(0.5)}, 100.0),  # beyond 63.5
        ({"_FillValue": np.int8(-1), "scale_factor": np.float32(0.5)}, -0.5),  # would be read as missing
    ],
)
def test_values_that_do_not_fit_are_stored_unpacked_and_that_is_said(attributes: dict[str, Any], mean: float) -> None:
    limits = {"valid_min": np.int8(-2)}
    body = stored_dataset(packed("i1", -1), {**attributes, **limits})
    before, written = read_netcdf(body)["level"].values, netcdf_bytes(filled(body, mean))
    level = raw(written)["level"]
    assert level.dtype == np.float32
    assert "do not fit int8" in level.attrs["hydrofill_storage"]
    assert not {"scale_factor", "missing_value"} & level.attrs.keys()
    assert (level.attrs["valid_min"], level.attrs["valid_min"].dtype) == (-1.0, np.float32)
    seen = ~np.isnan(before)
    assert level.values[seen].tobytes() == before[seen].tobytes()
    assert (level.values[~seen] == mean).all()


def test_gaps_that_stay_are_missing_in_the_file() -> None:
    body = stored_dataset(packed("i2", -1), PACKINGS["packed"][2])
    hidden = np.zeros((STEPS, ROWS, COLUMNS), bool)
    hidden[2] = True
    assert (raw(netcdf_bytes(filled(body, hidden=hidden)))["level"].values[2, 1] == -1).all()
    only = raw(netcdf_bytes(filled(body, only_gaps=True)))["level"].values
    assert (np.delete(only, 1, axis=1) == -1).all()
    assert (only[1:3, 1] == 6).all()


def test_fills_stay_in_the_valid_range() -> None:
    body = stored_dataset(packed("i2", -1), {**PACKINGS["packed"][2], "valid_max": np.int16(60)})
    assert raw(netcdf_bytes(filled(body, 40.0)))["level"].values.max() == 60


def test_other_variables_are_written_as_they_are_stored() -> None:
    odd = xr.Dataset(
        {
            "codes": ("y", np.array([1, -5, -6], np.int16), {"missing_value": np.array([-5, -6], "int16")}),
            "bytes": ("y", np.array([0, -1, -100], np.int8), {"_Unsigned": "true", "_FillValue": np.int8(-1)}),
            "limited": ("y", np.array([1, 200, 3], np.uint8), {"valid_range": np.array([0, 100], "uint8")}),
            "text": (("y", "n"), np.array([[b"a", b"b"]] * ROWS)),
            "names": ("y", np.array(["Hérault", "", "b"], object)),
            "when": (
                "y",
                np.array([1.5, np.nan, 2.5], np.float32),
                {"units": "hours since 1900-1-1", "calendar": "noleap"},
            ),
            "long": (
                "y",
                np.array([1, 2, 3], np.int64),
                {"n": np.int64(3), "small": np.array([1, 2], "int8"), "f": np.float32(1)},
            ),
            "half": ("y", np.array([0.1, np.nan, -9], np.float32), {"_FillValue": np.float32(-9)}),
        },
        attrs={"title": "—", "empty": "", "number": np.int16(2), "list": ["a", "b"]},
    )
    body = stored_dataset(packed("f4", -1), {"_FillValue": np.float32(-1)})
    both = raw(body).merge(odd)
    both.attrs = odd.attrs
    once = netcdf_bytes(both)
    again = raw(netcdf_bytes(filled(once)))
    for name in odd:
        before = raw(once)[name]
        assert again[name].dtype == before.dtype, name
        assert again[name].values.tolist() == before.values.tolist() or before.isnull().any(), name
        assert again[name].attrs.keys() == before.attrs.keys(), name
        for key, value in before.attrs.items():
            np.testing.assert_array_equal(again[name].attrs[key], value)
            assert type(again[name].attrs[key]) is type(value), (name, key)
    for key, value in odd.attrs.items():
        assert again.attrs[key] == value or value == ""
    assert again["time"].dtype == np.int32
    assert again["time"].attrs == {"units": "days since 1900-01-01 00:00:0.0"}


def test_text_attributes_are_characters() -> None:
    dataset = xr.Dataset({"a": ("x", np.zeros(2), {"long_name": "Rhône — à 5°", "empty": ""})}, attrs={"title": "t"})
    body = netcdf_bytes(dataset)
    with h5py.File(io.BytesIO(body)) as file:
        for owner, key in ((file["a"], "long_name"), (file["a"], "empty"), (file, "title")):
            kind = owner.attrs.get_id(key).dtype
            assert kind.kind == "S"
    assert read_netcdf(body)["a"].attrs == dataset["a"].attrs


def test_unlimited_dimensions_and_chunks_stay(tmp_path: Path) -> None:
    path = tmp_path / "in.nc"
    dataset = filled(stored_dataset(packed("i2", -1), PACKINGS["packed"][2]))
    dataset["level"].encoding |= {"preferred_chunks": {"time": 7, "y": 2, "x": 4}, "zlib": True, "complevel": 3}
    write_netcdf(dataset, path)
    with h5py.File(path) as file:
        level = file["level"]
        assert (level.chunks, level.maxshape) == ((7, 2, 4), (None, ROWS, COLUMNS))
        assert (level.compression, level.compression_opts) == ("gzip", 3)
        assert file["time"].maxshape == (None,)
        assert file["x"].chunks is None


def test_companions_are_added_to_those_that_are_there() -> None:
    body = stored_dataset(
        packed("f4", -1), {"missing_value": np.float32(-1), "ancillary_variables": "quality level_std"}
    )
    out = filled(body)
    assert out["level"].attrs["ancillary_variables"] == "quality level_std level_flag"
    assert raw(netcdf_bytes(out))["level"].attrs["ancillary_variables"] == "quality level_std level_flag"


def test_names_of_companions_are_legal() -> None:
    out = filled(stored_dataset(packed("f4", -1), {"missing_value": np.float32(-1)}))
    assert "standard_name" not in out["level_std"].attrs
    named = {"missing_value": np.float32(-1), "standard_name": "air_temperature detection_minimum"}
    out = filled(stored_dataset(packed("f4", -1), named))
    assert out["level_std"].attrs["standard_name"] == "air_temperature standard_error"
    assert out["level_flag"].attrs["standard_name"] == "air_temperature status_flag"


def test_what_is_filled_in_python_is_packed_by_xarray_too(tmp_path: Path) -> None:
    body = stored_dataset(packed("i2", -1), PACKINGS["packed"][2])
    with xr.open_dataset(io.BytesIO(body), engine="h5netcdf") as opened:
        dataset = opened.load()
    reading = read_dataset(dataset)
    gaps = np.isnan(reading.cube.variables["level"].values)
    fill = FilledVariable(
        np.where(gaps, np.float32(5.1), np.float32(np.nan)), gaps.astype(np.float32), gaps.astype(np.int8)
    )
    out = write_fill(dataset, reading, {"level": fill}, {})
    assert (out["level"].values[gaps] == np.float32(5.1)).all()
    out.to_netcdf(tmp_path / "out.nc", engine="h5netcdf")
    for written in (raw((tmp_path / "out.nc").read_bytes()), raw(netcdf_bytes(out))):
        assert written["level"].dtype == np.int16
        assert written["level"].values[~gaps].tolist() == raw(body)["level"].values[~gaps].tolist()
        assert (written["level"].values[gaps] == 6).all()


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, np.ndarray]:
    """Files with other orders, directions, types, packings, missing values and names; and where their gaps are."""
    dims = tuple(draw(st.permutations(["time", "y", "x"])))
    kind = draw(st.sampled_from(["i1", "u1", "i2", ">i2", "i4", "f4", ">f4", "f8"]))
    values = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 100, (STEPS, ROWS, COLUMNS)).astype(kind)
    marker = draw(st.sampled_from([-1, -99, 120, 127]) if kind != "u1" else st.sampled_from([120, 255]))
    values[draw(st.integers(0, STEPS - 1)), :, 1:3] = marker
    integer = np.dtype(kind).kind in "iu"
    key = draw(st.sampled_from(["_FillValue", "missing_value"]))
    attributes: dict[str, Any] = {key: np.dtype(kind).newbyteorder("=").type(marker)}
    if integer and draw(st.booleans()):
        real = draw(st.sampled_from([np.float32, np.float64]))
        attributes |= {"scale_factor": real(draw(st.sampled_from([0.01, -0.5, 3.7])))}
        attributes |= {"add_offset": real(draw(st.sampled_from([0, -273.15, 1e4])))} if draw(st.booleans()) else {}
    values = values.transpose([("time", "y", "x").index(d) for d in dims])
    values = np.ascontiguousarray(values[tuple(slice(None, None, draw(st.sampled_from([1, -1]))) for _ in dims)])
    return stored_dataset(values, attributes, dims), values == marker


@settings(max_examples=25, deadline=None)
@given(files(), st.sampled_from([-1e6, 0.0, 50.0, 127.0, 1e4]))
def test_observed_values_are_read_as_the_same_bits(made: tuple[bytes, np.ndarray], mean: float) -> None:
    body, gaps = made
    before, written = read_netcdf(body)["level"], netcdf_bytes(filled(body, mean))
    after = read_netcdf(written)["level"]
    assert (after.dims, after.dtype) == (before.dims, before.dtype)
    assert after.values[~gaps].tobytes() == before.values[~gaps].tobytes()
    assert not np.isnan(after.values).any()
    if "hydrofill_storage" not in after.attrs:
        assert raw(written)["level"].values[~gaps].tobytes() == raw(body)["level"].values[~gaps].tobytes()
