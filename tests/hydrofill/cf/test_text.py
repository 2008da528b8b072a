"""Text of any encoding is read as text: in attributes of the file and of variables, in arrays, now and later."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from hydrofill.archives.inputs import find_input
from hydrofill.archives.opening import open_input
from hydrofill.cf.netcdf import decode_lazily, read_netcdf
from hydrofill.cf.text import mended
from hydrofill.cf.writing import netcdf_bytes
from model.data.sources import open_sources

NAME = "Température — Météo, °C"
OLD = "Rhône à 5°"


def plain() -> xr.Dataset:
    values = np.zeros((3, 2), np.float32)
    return xr.Dataset({"v": (("time", "site"), values), "river": ("site", np.array(["a", "b"], object))})


def c_library_file(path: Path) -> Path:
    """Write text as the C library does, which does not say that it is UTF-8."""
    path.write_bytes(netcdf_bytes(plain()))
    with h5py.File(path, "r+") as file:
        file.attrs["institution"] = np.bytes_(NAME.encode())
        file["river"][:] = np.array([NAME.encode(), OLD.encode()], object)
        file["v"].attrs["long_name"] = np.bytes_(NAME.encode())
        file["v"].attrs["comment"] = np.bytes_(OLD.encode("latin-1"))
    return path


def check(dataset: xr.Dataset) -> None:
    assert dataset.attrs["institution"] == NAME
    assert dataset["v"].attrs["long_name"] == NAME
    assert dataset["v"].attrs["comment"] == OLD
    assert list(dataset["river"].values) == [NAME, OLD]


def test_text_that_is_not_declared_as_utf_8_is_read_by_every_reader(tmp_path: Path) -> None:
    path = c_library_file(tmp_path / "a.nc")
    for dataset in (read_netcdf(path), read_netcdf(path.read_bytes())):
        check(dataset)
        check(read_netcdf(netcdf_bytes(dataset)))
    with open_input(find_input(str(path))) as opened:
        check(opened)
    with open_sources([path]) as opened:
        check(opened)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_classic_files_in_either_encoding_are_read(tmp_path: Path, encoding: str) -> None:
    content = plain().drop_vars("river").assign_attrs(institution="X" * len(OLD.encode(encoding)))
    content["v"].attrs["comment"] = "X" * len(OLD.encode(encoding))
    body = bytes(content.to_netcdf(engine="scipy")).replace(b"X" * len(OLD.encode(encoding)), OLD.encode(encoding))
    (tmp_path / "a.nc").write_bytes(body)
    for dataset in (read_netcdf(body), read_netcdf(tmp_path / "a.nc")):
        assert (dataset.attrs["institution"], dataset["v"].attrs["comment"]) == (OLD, OLD)
    with open_sources([tmp_path / "a.nc"]) as opened:
        assert opened.attrs["institution"] == OLD


def test_lists_of_text_are_read_too() -> None:
    raw = plain()
    surrogates = NAME.encode().decode("ascii", "surrogateescape")
    raw["v"].attrs["names"] = [surrogates, "b"]
    raw["v"].attrs["old"] = np.array([OLD.encode("latin-1"), b"b"])
    read = decode_lazily(raw)
    assert read["v"].attrs["names"] == [NAME, "b"]
    assert read["v"].attrs["old"] == [OLD, "b"]


def test_bytes_that_came_as_surrogates_are_text_again() -> None:
    assert mended(NAME.encode().decode("ascii", "surrogateescape"), "") == NAME
    assert mended(OLD.encode("latin-1").decode("ascii", "surrogateescape"), "") == OLD
    assert mended("\ud800", "") == "?"


def test_a_fill_value_of_text_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    codes = np.array([b"GAUGE1 ", b"GAUGE2 "])
    xr.Dataset({"code": ("site", codes, {"_FillValue": np.bytes_(b" ")})}).to_netcdf(path, engine="h5netcdf")
    dataset = read_netcdf(path)
    assert [value.decode().strip() for value in dataset["code"].values] == ["GAUGE1", "GAUGE2"]
    with xr.open_dataset(io.BytesIO(netcdf_bytes(dataset)), engine="h5netcdf", decode_cf=False) as again:
        np.testing.assert_array_equal(again["code"].values, codes.view("S1").reshape(2, 7))
        assert again["code"].attrs["_FillValue"] in (b" ", " ")
