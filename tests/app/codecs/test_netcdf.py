"""NetCDF in and out: what is kept, what is repaired, what is refused."""

from __future__ import annotations

import io
from collections.abc import Callable

import h5py
import numpy as np
import pytest
import xarray as xr

from app.codecs import netcdf
from app.codecs.base import BodyLimits
from app.codecs.sandbox import message
from hydrofill.cf.dataset import read_dataset
from hydrofill.cf.writing import netcdf_bytes
from hydrofill.errors import ContractError, CoordinateError, StructureError, UnitsError
from tests.support.tiny import LAYOUT, open_netcdf, sample


def edited(edit: Callable[[h5py.File], None]) -> bytes:
    """The sample as a file with something changed in it."""
    content = io.BytesIO(netcdf_bytes(sample()))
    with h5py.File(content, "r+") as file:
        edit(file)
    return content.getvalue()


def set_attribute(variable: str, key: str, value: object) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        file[variable].attrs.pop(key, None)
        file[variable].attrs[key] = value

    return edit


def round_trip(dataset: xr.Dataset) -> xr.Dataset:
    return open_netcdf(netcdf_bytes(netcdf.decode(netcdf_bytes(dataset), BodyLimits()).dataset))


def test_dataset_survives_the_round_trip() -> None:
    xr.testing.assert_identical(round_trip(sample()), open_netcdf(netcdf_bytes(sample())))


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoding",
    [
        {"dtype": "int16", "scale_factor": 0.5, "add_offset": 3.0, "_FillValue": -1},
        {"_FillValue": -9999.0},
        {"zlib": True, "chunksizes": (1, 2, 3)},
    ],
)
def test_stored_numbers_of_unfilled_variables_do_not_change(encoding: dict[str, object]) -> None:
    data = sample()
    data["temperature"] = (data["temperature"] * 2).round() / 2
    data["temperature"].encoding = encoding
    content = io.BytesIO()
    data.to_netcdf(content, engine="h5netcdf")
    stored, again = (
        xr.open_dataset(io.BytesIO(body), engine="h5netcdf", decode_cf=False)["temperature"].load()
        for body in (content.getvalue(), netcdf_bytes(netcdf.decode(content.getvalue(), BodyLimits()).dataset))
    )
    xr.testing.assert_identical(stored, again)


def test_times_are_stored_as_they_were() -> None:
    kept = round_trip(sample())["time"]
    assert kept.encoding["units"] == "hours since 2000-01-01"
    assert kept.encoding["calendar"] == "proleptic_gregorian"
    assert kept.encoding["dtype"] == np.int64


def test_no_fill_value_is_added() -> None:
    with xr.open_dataset(io.BytesIO(netcdf_bytes(sample())), engine="h5netcdf", decode_cf=False) as stored:
        assert not any("_FillValue" in variable.attrs for variable in stored.variables.values())


def test_old_latin_1_text_is_read() -> None:
    body = edited(set_attribute("slope", "comment", np.bytes_("Rhône à 5°".encode("latin-1"))))
    dataset = netcdf.decode(body, BodyLimits()).dataset
    assert dataset["slope"].attrs["comment"] == "Rhône à 5°"
    assert open_netcdf(netcdf_bytes(dataset))["slope"].attrs["comment"] == "Rhône à 5°"


def test_several_missing_values_are_all_read() -> None:
    data = sample()[["slope"]]
    data["slope"][0, :2] = [-1.0, -2.0]
    content = io.BytesIO(netcdf_bytes(data))
    with h5py.File(content, "r+") as file:
        file["slope"].attrs["missing_value"] = np.array([-1.0, -2.0], np.float32)
    dataset = netcdf.decode(content.getvalue(), BodyLimits()).dataset
    assert np.isnan(dataset["slope"].values[0, :2]).all()
    with xr.open_dataset(io.BytesIO(netcdf_bytes(dataset)), engine="h5netcdf", decode_cf=False) as stored:
        assert stored["slope"].values[0, :2].tolist() == [-1.0, -2.0]
        assert stored["slope"].attrs["missing_value"].tolist() == [-1.0, -2.0]


@pytest.mark.parametrize(
    ("edit", "error", "where"),
    [
        (set_attribute("slope", "scale_factor", "x"), StructureError, "slope/scale_factor"),
        (set_attribute("slope", "_FillValue", np.array([1.0, 2.0])), StructureError, "slope/_FillValue"),
        (set_attribute("slope", "_Encoding", "utf-99"), StructureError, "slope"),
        (set_attribute("time", "units", "hours since long ago"), CoordinateError, "time"),
        (set_attribute("time", "calendar", "of saints"), CoordinateError, "time"),
        (set_attribute("time", "units", "common_years since 500000-01-01"), CoordinateError, "time/0"),
    ],
)
def test_invalid_metadata_is_refused_and_the_error_names_its_place(
    edit: Callable[[h5py.File], None], error: type[ContractError], where: str
) -> None:
    with pytest.raises(error) as refused:
        read_dataset(netcdf.decode(edited(edit), BodyLimits()).dataset)
    assert refused.value.where == where


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("standard_name", np.array(["a", "b"], dtype="S1")),
        ("units", np.array([1, 2])),
        ("long_name", 3),
        ("axis", np.array([1.0])),
    ],
)
def test_attributes_that_must_be_text_become_text(name: str, value: object) -> None:
    attrs = netcdf.decode(edited(set_attribute("slope", name, value)), BodyLimits()).dataset["slope"].attrs
    assert isinstance(attrs[name], str)


@pytest.mark.parametrize(
    "units", ["9**9**9 mm", "mm/0", "5 +", "(", "'", "((((mm))))", "1 " * 60, "__import__('os')", "mm**99999"]
)
def test_units_that_are_arithmetic_are_never_computed(units: str) -> None:
    data = sample().assign(precipitation=sample()["precipitation"].assign_attrs(units=units))
    with pytest.raises(UnitsError, match="precipitation: the units are not valid"):
        read_dataset(data, LAYOUT)


def test_a_file_goes_through_the_parser_as_it_is_stored() -> None:
    values = np.array([[0, 1, 200], [255, 3, 4]], np.uint8)
    stored = xr.Dataset(
        {
            "v": (("time", "x"), values, {"scale_factor": np.float32(0.5), "_FillValue": np.uint8(255), "units": "m"}),
            "text": (("x", "n"), np.array([[b"a", b"b"], [b"c", b""], [b"d", b"e"]])),
            "time": ("time", np.array([0, 6], np.int32), {"units": "hours since 1900-01-01 00:00:0.0"}),
            "bare": (
                "x",
                np.array([1.0, np.nan, 3.0], np.float32),
                {"small": np.array([1, 2], "i1"), "empty": ""},
            ),
        },
        attrs={"title": "ä"},
    )
    stored.encoding["unlimited_dims"] = {"time"}
    stored["v"].encoding["chunksizes"] = (1, 3)
    body = netcdf_bytes(stored)
    sent = message.pack(netcdf.decode(body, BodyLimits()))
    assert sent.count(stored["bare"].values.tobytes()) == 1  # values that decoding leaves alone are sent once
    received = message.unpack(sent, {})
    assert isinstance(received, netcdf.NetcdfBody)
    again = netcdf_bytes(received.dataset)
    with h5py.File(io.BytesIO(body)) as before, h5py.File(io.BytesIO(again)) as after:
        for name in ("v", "text", "time", "bare"):
            assert (after[name].dtype, after[name].maxshape) == (before[name].dtype, before[name].maxshape)
            assert after[name][()].tobytes() == before[name][()].tobytes()
            for key in stored[name].attrs:
                assert after[name].attrs.get_id(key).dtype == before[name].attrs.get_id(key).dtype
        assert after["v"].chunks == (1, 3)
        assert after["time"].maxshape == (None,)
