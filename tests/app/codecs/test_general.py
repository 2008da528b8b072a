"""JSON and npz with a general layout: any name and any units, and the kind by section or shape."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import numpy as np
import pytest
import xarray as xr

from app.codecs import json, npz
from app.codecs.base import BodyLimits
from hydrofill.errors import StructureError, UnknownVariableError
from hydrofill.layout import GENERAL
from tests.support.tiny import LAYOUT, json_of, npz_of, sample

TIMES = np.datetime64("2020-01-01", "ns") + np.arange(5) * np.timedelta64(6, "h")
ARRAYS: dict[str, np.ndarray] = {
    "time": TIMES,
    "lat": np.array([40.0, 41.0, 42.0]),
    "lon": np.array([1.0, 2.0]),
    "site_lat": np.array([40.5, 41.5, 40.0, 41.0]),
    "site_lon": np.array([1.5, 1.0, 2.0, 1.0]),
}


def from_json(document: dict[str, Any]) -> xr.Dataset:
    return json.decode(msgspec.json.encode(document), BodyLimits()).to_dataset(GENERAL)


def from_npz(**arrays: np.ndarray) -> xr.Dataset:
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    return npz.decode(content.getvalue(), BodyLimits()).to_dataset(GENERAL)


def renamed() -> dict[str, Any]:
    """The sample as JSON, by names that no bundle knows, without units."""
    document = json_of(sample())
    for section, names in (("fields", ["2 m temp (°C)"]), ("series", ["débit"]), ("static", ["hills", "size"])):
        values = [{"values": variable["values"]} for variable in document[section].values()]
        document[section] = dict(zip(names, values, strict=False))
    return document


def test_json_takes_any_name_and_the_section_tells_the_kind() -> None:
    dataset = from_json(renamed())
    assert dataset["2 m temp (°C)"].dims == ("time", "y", "x")
    assert dataset["débit"].dims == ("time", "site")
    assert dataset["hills"].dims == ("y", "x")
    assert dataset["size"].dims == ("site",)
    assert {v.attrs["units"] for v in dataset.data_vars.values()} == {""}


@pytest.mark.parametrize("name", ["time", "x", "site_lat", "rain_std", "rain_flag", "a/b", ".", "", "a" * 201, "a\n"])
def test_json_refuses_a_name_that_a_reply_could_not_hold(name: str) -> None:
    document = json_of(sample())
    document["fields"][name] = document["fields"].pop("temperature")
    with pytest.raises(StructureError) as caught:
        from_json(document)
    assert caught.value.where == f"fields/{name}"


def test_json_refuses_static_rows_of_different_lengths() -> None:
    document = renamed()
    document["static"]["hills"]["values"] = [[1.0, 2.0], [3.0]]
    with pytest.raises(StructureError, match="not all of one length"):
        from_json(document)


def test_json_keeps_the_domain_of_a_field_of_any_name() -> None:
    document = renamed()
    document["static"] = {"2 m temp (°C)_domain": {"values": np.ones((4, 6)).tolist()}}
    assert from_json(document)["2 m temp (°C)_domain"].dims == ("y", "x")


def test_npz_tells_the_dimensions_by_the_shape() -> None:
    dataset = from_npz(
        **ARRAYS, sst=np.zeros((5, 3, 2)), level=np.zeros((5, 4)), depth=np.zeros((3, 2)), area=np.zeros(4)
    )
    assert {str(name): v.dims for name, v in dataset.data_vars.items()} == {
        "sst": ("time", "lat", "lon"),
        "level": ("time", "site"),
        "depth": ("lat", "lon"),
        "area": ("site",),
    }
    assert {v.attrs["units"] for v in dataset.data_vars.values()} == {""}


def test_npz_keeps_units_and_domain() -> None:
    units, domain = np.array("degC"), np.ones((3, 2))
    dataset = from_npz(**ARRAYS, sst=np.zeros((5, 3, 2)), sst_units=units, sst_domain=domain)
    assert dataset["sst"].attrs["units"] == "degC"
    assert dataset["sst_domain"].dims == ("lat", "lon")


def test_npz_refuses_a_shape_that_fits_two_kinds_and_says_what_to_send() -> None:
    square = {**ARRAYS, "time": TIMES[:3], "site_lat": np.array([40.0, 41.0]), "site_lon": np.array([1.0, 2.0])}
    with pytest.raises(StructureError, match="send the data as NetCDF or JSON") as caught:
        from_npz(**square, level=np.zeros((3, 2)))
    assert caught.value.where == "level"
    without_sites = {name: a for name, a in square.items() if not name.startswith("site")}
    assert from_npz(**without_sites, level=np.zeros((3, 2)))["level"].dims == ("lat", "lon")


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (5, 5)])
def test_npz_refuses_a_shape_that_fits_nothing_and_names_the_shapes_that_would(shape: tuple[int, ...]) -> None:
    with pytest.raises(StructureError, match=r"\('time', 'site'\) \(5, 4\), \('site',\) \(4,\)"):
        from_npz(**ARRAYS, level=np.zeros(shape))


def test_npz_refuses_a_key_that_describes_no_variable() -> None:
    with pytest.raises(StructureError, match="describes a variable") as caught:
        from_npz(**ARRAYS, sst=np.zeros((5, 3, 2)), rain_units=np.array("mm"))
    assert caught.value.where == "rain_units"


def test_bundle_of_named_variables_still_refuses_other_names() -> None:
    with pytest.raises(UnknownVariableError, match="no such variable"):
        npz.decode(npz_of(sample(), other=np.zeros((5, 4, 6))), BodyLimits()).to_dataset(LAYOUT)
    with pytest.raises(UnknownVariableError, match="no such variable"):
        json.decode(msgspec.json.encode(renamed()), BodyLimits()).to_dataset(LAYOUT)
