"""The server reads missing values, codes, bounds and text of a NetCDF body as the command line does of a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from hydrofill.cli import cli

pytestmark = pytest.mark.slow
NETCDF = {"content-type": "application/x-netcdf"}
T, Y, X = 10, 5, 6


def body(values: np.ndarray, attributes: dict[str, Any], **others: tuple[np.ndarray, dict[str, Any]]) -> bytes:
    """Return a file with the variable v and others on (time, lat, lon), stored as given."""
    dims = ("time", "lat", "lon")
    place = {
        "time": ("time", np.arange(T), {"units": "days since 2001-01-01"}),
        "lat": ("lat", 44.0 + np.arange(Y), {"units": "degrees_north"}),
        "lon": ("lon", 3.0 + np.arange(X), {"units": "degrees_east"}),
    }
    made = {"v": (dims, values, attributes)} | {name: (dims, v, attrs) for name, (v, attrs) in others.items()}
    content = io.BytesIO()
    xr.Dataset(made, place, {"institution": "Météo — Liège"}).to_netcdf(content, engine="h5netcdf")
    return content.getvalue()


def by_command(sent: bytes, folder: Path, *options: str) -> xr.Dataset | str:
    """Fill a file by the command line; the message if it is refused."""
    (folder / "in.nc").write_bytes(sent)
    result = CliRunner().invoke(cli, ["fill", str(folder / "in.nc"), str(folder / "out.nc"), *options])
    if result.exit_code:
        return str(result.stderr)
    return xr.load_dataset(folder / "out.nc", engine="h5netcdf", mask_and_scale=False, decode_times=False)


def by_server(sent: bytes, address: str, **query: Any) -> xr.Dataset | str:
    """Fill a body by the server; the message if it is refused."""
    reply = httpx.post(f"{address}/reconstruct", content=sent, headers=NETCDF, params=query, timeout=120)
    if reply.status_code != 200:
        return reply.text
    return xr.load_dataset(io.BytesIO(reply.content), engine="h5netcdf", mask_and_scale=False, decode_times=False)


def rain() -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.where(rng.random((T, Y, X)) < 0.5, 0, rng.gamma(0.7, 5, (T, Y, X))).astype(np.float32)


GAPS = np.random.default_rng(4).random((T, Y, X)) < 0.2


def test_an_undeclared_mark_is_refused_and_declared(tmp_path: Path, address: str) -> None:
    sent = body(np.where(GAPS, np.float32(-9999), rain()), {"units": "mm"})
    for message in (by_command(sent, tmp_path), by_server(sent, address)):
        assert isinstance(message, str)
        for words in ("-9999", f"{GAPS.sum()} of {GAPS.size} cells", "--missing v=-9999"):
            assert words in message
    for filled in (
        by_command(sent, tmp_path, "--missing", "v=-9999"),
        by_server(sent, address, missing=["-5", "v=-9999"]),
    ):
        assert isinstance(filled, xr.Dataset)
        np.testing.assert_array_equal(filled["v_flag"].values == 1, GAPS)
        np.testing.assert_array_equal(filled["v"].values[~GAPS], rain()[~GAPS])
        assert filled["v"].values.min() >= 0


def test_a_wrong_missing_value_is_a_wrong_query(address: str) -> None:
    message = by_server(body(rain(), {"units": "mm"}), address, missing="v=high")
    assert isinstance(message, str)
    assert "missing" in message


def test_valid_range_codes_and_text(tmp_path: Path, address: str) -> None:
    stored = np.where(GAPS, 0, 13_000 + np.arange(T * Y * X).reshape(T, Y, X)).astype("u2")
    packed = {
        "units": "K",
        "scale_factor": 0.02,
        "valid_range": np.array([7500, 65535], "u2"),
        "long_name": "débit — T",
    }
    quality = np.where(GAPS, 255, np.arange(T * Y * X).reshape(T, Y, X) % 4).astype("u1")
    sent = body(stored, packed, quality=(quality, {"_FillValue": np.uint8(255), "long_name": "Quality"}))
    for filled in (by_command(sent, tmp_path), by_server(sent, address)):
        assert isinstance(filled, xr.Dataset)
        np.testing.assert_array_equal(filled["v_flag"].values == 1, GAPS)
        assert "quality_flag" not in filled
        assert filled["quality"].dtype == np.uint8
        np.testing.assert_array_equal(filled["quality"].values, quality)
        assert filled["v"].attrs["long_name"] == "débit — T"
        assert filled.attrs["institution"] == "Météo — Liège"


def test_codes_are_filled_with_codes_where_that_is_wanted(tmp_path: Path, address: str) -> None:
    land = np.where(GAPS, 255, np.arange(Y)[None, :, None] + np.zeros((T, Y, X))).astype("u1")
    sent = body(np.where(GAPS, np.nan, rain()), {"units": "mm"}, land=(land, {"_FillValue": np.uint8(255)}))
    for filled in (by_command(sent, tmp_path, "--codes", "nearest"), by_server(sent, address, codes="nearest")):
        assert isinstance(filled, xr.Dataset)
        assert filled["land"].dtype == np.uint8
        assert set(np.unique(filled["land"])) == set(range(Y))
        np.testing.assert_array_equal(filled["land_flag"].values == 1, GAPS)


def test_no_fill_is_beyond_the_bounds(tmp_path: Path, address: str) -> None:
    humidity = np.clip(95 + 12 * np.random.default_rng(5).standard_normal((T, Y, X)), 1, 100).astype(np.float32)
    noisy = np.where((rain() == 0) & (np.arange(X) % 3 == 0), np.float32(-2.7e-6), rain())
    sent = body(
        np.where(GAPS, np.nan, humidity), {"units": "%", "standard_name": "relative_humidity"},
        tp=(np.where(GAPS, np.nan, noisy), {"units": "mm"}),
    )  # fmt: skip
    for filled in (by_command(sent, tmp_path), by_server(sent, address)):
        assert isinstance(filled, xr.Dataset)
        assert filled["v"].values[GAPS].min() >= 0 and filled["v"].values[GAPS].max() <= 100
        assert filled["tp"].values[GAPS].min() >= 0
        assert filled["tp"].values[~GAPS].tobytes() == noisy[~GAPS].astype(np.float32).tobytes()


def two_groups() -> bytes:
    sent = body(np.where(GAPS, np.nan, rain()), {"units": "mm"})
    content = io.BytesIO()
    with xr.open_dataset(io.BytesIO(sent), engine="h5netcdf", decode_cf=False) as data:
        xr.DataTree.from_dict({"/Grid": data, "/Other": data.isel(lat=slice(2))}).to_netcdf(content, engine="h5netcdf")
    return content.getvalue()


def test_one_of_several_groups_is_filled_where_it_is_named(address: str) -> None:
    sent = two_groups()
    reply = httpx.post(f"{address}/reconstruct", content=sent, headers=NETCDF, params={"group": "Grid"}, timeout=60)
    assert reply.status_code == 200
    with xr.open_dataset(io.BytesIO(reply.content), engine="h5netcdf", group="Grid") as filled:
        np.testing.assert_array_equal(filled["v_flag"].values == 1, GAPS)
    for params, words in (({}, "Grid"), ({"group": "No"}, "no such group")):
        for route in ("reconstruct", "estimate"):
            refused = httpx.post(f"{address}/{route}", content=sent, headers=NETCDF, params=params, timeout=60)
            assert refused.status_code == 422
            assert words in refused.json()["detail"]


def test_group_of_a_body_without_groups_is_refused(address: str) -> None:
    headers = {"content-type": "application/json"}
    refused = httpx.post(f"{address}/reconstruct", content=b"{}", headers=headers, params={"group": "Grid"}, timeout=60)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/query/group"
