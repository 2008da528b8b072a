"""Readable but invalid data is answered 422, with a text and a pointer that name the problem."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr

from hydrofill.cf.writing import netcdf_bytes
from tests.support.problems import check_alive, check_problem, pointers
from tests.support.tiny import NPZ, json_of, npz_of, post, sample

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def edited(**variables: Callable[[xr.DataArray], xr.DataArray]) -> xr.Dataset:
    data = sample()
    for name, change in variables.items():
        data[name] = change(data[name])
    return data


def with_time(times: np.ndarray) -> xr.Dataset:
    return sample().drop_encoding().assign_coords(time=times)


def renamed_dims(**names: str) -> xr.Dataset:
    return sample()[["precipitation"]].drop_vars(list(names)).rename_dims(names)


def nothing_observed() -> xr.Dataset:
    data = sample()
    for name in ("precipitation", "temperature", "river_flow"):
        data[name][:] = np.nan
    return data


TIMES = sample()["time"].values
BAD_DATASETS = {
    "no variable of the model": (sample()[["slope"]], "unknown-variable", ["slope", "precipitation"]),
    "unknown variable": (
        sample()[["precipitation"]].rename(precipitation="rain").drop_attrs(),
        "unknown-variable",
        ["rain"],
    ),
    "units that do not convert": (
        edited(temperature=lambda v: v.assign_attrs(units="kg")),
        "units",
        ["temperature", "'kg'", "'degC'"],
    ),
    "units that are none": (
        edited(temperature=lambda v: v.assign_attrs(units="very warm")),
        "units",
        ["temperature", "'very warm'"],
    ),
    "no units": (edited(temperature=lambda v: v.drop_attrs()), "units", ["temperature", "no units"]),
    "wrong dims": (edited(precipitation=lambda v: v.isel(time=0, drop=True)), "structure", ["precipitation", "time"]),
    "unknown dims": (renamed_dims(x="foo"), "structure", ["precipitation", "foo"]),
    "nothing observed": (nothing_observed(), "nothing-observed", ["precipitation"]),
    "time that goes back": (with_time(TIMES[::-1]), "coordinate", ["time", "must increase"]),
    "time twice": (with_time(np.repeat(TIMES[:1], 5)), "coordinate", ["time", "must increase"]),
    "another step": (with_time(TIMES[0] + np.arange(5) * np.timedelta64(1, "h")), "coordinate", ["time", "3600 s"]),
    "no time": (sample().drop_vars("time"), "coordinate", ["time"]),
    "a time that is none": (with_time(np.arange(5.0)), "coordinate", ["time", "CF time"]),
    "no times": (sample().isel(time=slice(0)), "structure", ["length 0"]),
    "no columns": (sample()[["precipitation"]].isel(x=slice(0)), "structure", ["precipitation", "length 0"]),
    "coordinate that is no number": (sample().assign_coords(y=[0.0, np.nan, 2.0, 3.0]), "coordinate", ["y", "finite"]),
    "infinite coordinate": (sample().assign_coords(x=[0, 1, 2, 3, 4, np.inf]), "coordinate", ["x", "finite"]),
    "coordinate out of order": (sample().assign_coords(y=[0.0, 2.0, 1.0, 3.0]), "coordinate", ["y", "monotonic"]),
    "site without a place": (sample().drop_vars("site_x"), "coordinate", ["site", "no x"]),
    "site nowhere": (
        sample().assign_coords(site_y=("site", [np.nan, 1.0])),
        "coordinate",
        ["sites", "no y coordinate"],
    ),
    "infinite value": (
        edited(temperature=lambda v: v.where(v < 14, np.inf)),
        "value-range",
        ["temperature", "infinite"],
    ),
    "value beyond float32": (
        edited(temperature=lambda v: v.astype(np.float64).where(v < 14, 1e300)),
        "value-range",
        ["temperature", "infinite"],
    ),
    "text for numbers": (
        sample()[["precipitation"]].assign(temperature=(("time", "y", "x"), np.full((5, 4, 6), "warm", dtype=object))),
        "structure",
        ["temperature", "numeric"],
    ),
}


@pytest.mark.parametrize("case", BAD_DATASETS)
async def test_invalid_dataset_is_refused_and_the_error_names_the_problem(client: httpx.AsyncClient, case: str) -> None:
    dataset, slug, words = BAD_DATASETS[case]
    check_problem(await post(client, netcdf_bytes(dataset)), 422, slug, *words)
    await check_alive(client)


def change(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Return a function that sets the value at a JSON pointer."""

    def apply(document: Any) -> None:
        *steps, last = path.strip("/").split("/")
        for step in steps:
            document = document[int(step) if isinstance(document, list) else step]
        document[int(last) if isinstance(document, list) else last] = value

    return apply


BAD_JSON = {
    "unknown key": (change("/colour", "blue"), "structure", "", "colour"),
    "unknown key of a variable": (
        change("/fields/precipitation/unit", "mm"),
        "structure",
        "/fields/precipitation",
        "unit",
    ),
    "unknown key of a site": (change("/sites/1/z", 3.0), "structure", "/sites/1", "z"),
    "unknown field": (
        change("/fields/snow", {"values": [[[1.0]]]}),
        "unknown-variable",
        "/fields/snow",
        "precipitation",
    ),
    "unknown series": (change("/series/stage", {"values": [[1.0]]}), "unknown-variable", "/series/stage", "river_flow"),
    "unknown static": (change("/static/karst", {"values": [[1.0]]}), "unknown-variable", "/static/karst", "slope"),
    "name of a coordinate": (change("/fields/time", {"values": [[[1.0]]]}), "unknown-variable", "/fields/time", "time"),
    "wrong section": (change("/fields/river_flow", {"values": [[[1.0]]]}), "structure", "", "two sections"),
    "text for a number": (
        change("/fields/precipitation/values/1/2/3", "wet"),
        "structure",
        "/fields/precipitation/values/1/2/3",
        "str",
    ),
    "bool for a number": (
        change("/series/river_flow/values/0/0", True),
        "structure",
        "/series/river_flow/values/0/0",
        "bool",
    ),
    "too few dims": (
        change("/fields/precipitation/values", [[1.0]]),
        "structure",
        "/fields/precipitation/values/0/0",
        "array",
    ),
    "ragged": (
        change("/fields/precipitation/values/1/2", [1.0]),
        "structure",
        "/fields/precipitation/values",
        "one length",
    ),
    "ragged static": (change("/static/slope/values/1", 3.0), "structure", "/static/slope/values", "one length"),
    "other shape": (
        change("/fields/precipitation/values", [[[1.0]]]),
        "structure",
        "/fields/precipitation/values",
        "(5, 4, 6)",
    ),
    "no time": (change("/time", []), "coordinate", "/time", "at least one"),
    "a time that is none": (change("/time/2", "yesterday"), "coordinate", "/time/2", "yesterday"),
    "time that goes back": (change("/time/4", "2012-01-01T00:00:00Z"), "coordinate", "/time", "must increase"),
    "y out of order": (change("/y", [0.0, 2.0, 1.0, 3.0]), "coordinate", "/y", "monotonic"),
    "no y at all": (change("/y", []), "coordinate", "/y", "at least one"),
    "y and lat": (change("/lat", [0.0]), "coordinate", "/y", "lat"),
    "site without x": (change("/sites/0", {"id": "A", "y": 1.0}), "coordinate", "/sites/0/x", "missing"),
    "site without id": (change("/sites/0", {"y": 1.0, "x": 1.0}), "structure", "/sites/0", "id"),
    "no sites for a series": (change("/sites", []), "structure", "/series/river_flow/values", "site"),
    "units": (change("/fields/temperature/units", "kg"), "units", "/fields/temperature", "degC"),
    "no units": (change("/series/river_flow/units", ""), "units", "/series/river_flow", "m3 s-1"),
    "beyond float32": (
        change("/fields/temperature/values/0/0/0", 1e300),
        "value-range",
        "/fields/temperature",
        "infinite",
    ),
    "number beyond JSON": (change("/sites/0/y", 10**400), "structure", "/sites/0/y", "range"),
}


@pytest.mark.parametrize("case", BAD_JSON)
async def test_invalid_json_is_refused_with_a_pointer_to_the_problem(client: httpx.AsyncClient, case: str) -> None:
    apply, slug, pointer, word = BAD_JSON[case]
    request = json_of(sample())
    apply(request)
    document = check_problem(await client.post("/reconstruct", json=request), 422, slug, word)
    assert pointers(document) == ([pointer] if pointer else [])
    await check_alive(client)


@pytest.mark.parametrize(
    ("missing", "pointer"), [("time", ""), ("y", "/x"), ("x", "/y"), ("sites", "/series/river_flow/values")]
)
async def test_json_without_an_axis_is_refused(client: httpx.AsyncClient, missing: str, pointer: str) -> None:
    request = json_of(sample())
    del request[missing]
    slug = "coordinate" if missing in ("y", "x") else "structure"
    document = check_problem(await client.post("/reconstruct", json=request), 422, slug)
    assert pointers(document) == ([pointer] if pointer else [])


BAD_NPZ = {
    "unknown key": ({"snow": np.zeros(3)}, "unknown-variable", "snow"),
    "units of nothing": ({"snow_units": np.array("mm")}, "structure", "snow_units"),
    "units that are no text": ({"temperature_units": np.array(3)}, "structure", "temperature_units"),
    "text for numbers": ({"temperature": np.full((5, 4, 6), "warm")}, "structure", "temperature"),
    "other shape": ({"temperature": np.zeros((5, 4, 5))}, "structure", "(5, 4, 6)"),
    "numbers for times": ({"time": np.arange(5)}, "coordinate", "time"),
    "time too far away": ({"time": np.arange(5).astype("datetime64[D]") + 10**9}, "coordinate", "year"),
    "missing time": ({"time": np.array(["NaT"] * 5, "datetime64[s]")}, "coordinate", "time"),
    "sites that disagree": ({"site_y": np.zeros(3)}, "structure", "site"),
    "units that do not convert": ({"temperature_units": np.array("kg")}, "units", "temperature"),
}


@pytest.mark.parametrize("case", BAD_NPZ)
async def test_invalid_npz_is_refused_and_the_error_names_the_problem(client: httpx.AsyncClient, case: str) -> None:
    changed, slug, word = BAD_NPZ[case]
    with np.load(io.BytesIO(npz_of(sample()))) as loaded:
        arrays = {**loaded, **changed}
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    check_problem(await post(client, content.getvalue(), NPZ), 422, slug, word)
    await check_alive(client)
