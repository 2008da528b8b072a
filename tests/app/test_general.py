"""A server with a general bundle fills variables that no bundle knows by name, and says how well."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr

import app.engine.cost as cost_module
import hydrofill.inference.model as model_module
from app.engine.cost import measure_costs
from app.engine.load import count_load
from app.main import create_app
from app.settings import Settings
from hydrofill.bundle import read_bundle
from hydrofill.cf.dataset import read_dataset
from hydrofill.cf.writing import netcdf_bytes
from hydrofill.inference.graphs import Runtime
from hydrofill.inference.model import load_model
from hydrofill.inference.predictor import OnnxPredictor
from hydrofill.layout import GENERAL
from hydrofill.tokens import Queries, Tokens
from tests.support.general import FIRST_CALL
from tests.support.problems import check_problem, pointers
from tests.support.tiny import JSON, NETCDF, NPZ, body_of, client_of, nested, npz_of, open_netcdf, post, sample

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


# Costs are measured on one small record, so that servers start quickly: predicted times are far off.
ROUGH: dict[str, Any] = {"reload_s": 0, "max_cost_s": 1e9, "max_queue_s": 1e9}


@pytest.fixture(autouse=True)
def _costs_of_one_small_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_module, "GENERAL_RECORDS", cost_module.GENERAL_RECORDS[:1])


@pytest.fixture
async def client(both_bundles: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(Settings(bundles=both_bundles, **ROUGH))) as connected:
        yield connected


@pytest.fixture
async def alone(general_bundle: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(Settings(bundles=general_bundle.parent, **ROUGH))) as connected:
        yield connected


def chlorophyll() -> xr.Dataset:
    """30 steps of 6 hours on a grid of 8 x 9 degrees with a third missing, gauges, a depth and a drained area."""
    rng = np.random.default_rng(3)
    steps = np.arange(30)
    wave = np.sin(steps / 4)[:, None, None] + np.cos(np.arange(8) / 3)[:, None] + np.arange(9) / 9
    fields = (5 + wave + 0.1 * rng.normal(size=wave.shape)).astype(np.float32)
    fields[rng.random(fields.shape) < 0.3] = np.nan
    fields[0] = 5.0
    level = (np.sin(steps / 5)[:, None] + np.array([1.0, 2.0, 3.0])).astype(np.float32)
    level[8:14, 1] = np.nan
    return xr.Dataset(
        {
            "chl a": (("time", "lat", "lon"), fields, {"units": "counts"}),
            "Pegel": (("time", "site"), level, {"units": "m"}),
            "depth": (("lat", "lon"), rng.random((8, 9)).astype(np.float32)),
            "drained": (("site",), np.array([10.0, 20.0, 5.0], np.float32), {"units": "km2"}),
        },
        {
            "time": np.datetime64("2021-03-01", "ns") + steps * np.timedelta64(6, "h"),
            "lat": ("lat", 40.0 + np.arange(8), {"units": "degrees_north"}),
            "lon": ("lon", 5.0 + np.arange(9), {"units": "degrees_east"}),
            "site": np.array(["A", "B", "C"], dtype=object),
            "site_lat": ("site", [41.0, 43.0, 46.0]),
            "site_lon": ("site", [6.0, 8.0, 12.0]),
        },
    )


def as_json(dataset: xr.Dataset) -> dict[str, Any]:
    def values(name: str) -> dict[str, Any]:
        return {"units": dataset[name].attrs.get("units", ""), "values": nested(dataset[name].values)}

    places = zip(*(dataset[n].values for n in ("site", "site_lat", "site_lon")), strict=True)
    return {
        "time": [f"{t}Z" for t in np.datetime_as_string(dataset["time"].values, unit="s")],
        "lat": dataset["lat"].values.tolist(),
        "lon": dataset["lon"].values.tolist(),
        "fields": {"chl a": values("chl a")},
        "sites": [{"id": i, "lat": float(y), "lon": float(x)} for i, y, x in places],
        "series": {"Pegel": values("Pegel")},
        "static": {"depth": values("depth"), "drained": values("drained")},
    }


def body_as(dataset: xr.Dataset, form: str) -> bytes:
    if form == JSON:
        return json.dumps(as_json(dataset)).encode()
    return npz_of(dataset) if form == NPZ else body_of(dataset, NETCDF)


async def test_any_variables_are_filled_alike_in_every_media_type(client: httpx.AsyncClient) -> None:
    data = chlorophyll()
    filled = open_netcdf((await post(client, body_as(data, NETCDF))).content)
    assert filled.attrs["hydrofill_bundle"] == "general"
    for name in ("chl a", "Pegel"):
        gap = np.isnan(data[name].values)
        assert (filled[f"{name}_flag"].values == gap).all()
        assert np.isfinite(filled[name].values).all()
        assert filled[name].values[~gap].tobytes() == data[name].values[~gap].tobytes()
        assert np.std(filled[name].values[gap]) > 0.1  # not one value for all
    document = (await post(client, body_as(data, JSON), JSON)).json()
    arrays = np.load(io.BytesIO((await post(client, body_as(data, NPZ), NPZ)).content))
    for section, name in (("fields", "chl a"), ("series", "Pegel")):
        for end, key in (("", "values"), ("_std", "std"), ("_flag", "flag")):
            expected = filled[name + end].values
            assert np.array(document[section][name][key]) == pytest.approx(expected, rel=1e-6)
            assert arrays[name + end] == pytest.approx(expected, rel=1e-6)
    assert document["static"].keys() == {"depth", "drained"}
    assert document["fields"]["chl a"]["units"] == "counts"


async def test_every_media_type_says_what_skill_to_expect_and_how_it_was_calibrated(client: httpx.AsyncClient) -> None:
    data = chlorophyll()
    filled = open_netcdf((await post(client, body_as(data, NETCDF))).content)
    document = (await post(client, body_as(data, JSON), JSON)).json()
    arrays = np.load(io.BytesIO((await post(client, body_as(data, NPZ), NPZ)).content))
    skill = document["fields"]["chl a"]["expected_skill"]
    assert skill
    for row in skill.values():
        assert row["cells"] >= 20
        assert 0 < row["rmse"] < 3
        assert 0 <= row["coverage90"] <= 1
    assert skill == json.loads(filled["chl a"].attrs["hydrofill_expected_skill"])
    assert str(arrays["chl a_expected_skill"]) == filled["chl a"].attrs["hydrofill_expected_skill"]
    assert "chl a" in document["calibration"]
    assert document["calibration"] == filled.attrs["hydrofill_calibration"] == str(arrays["hydrofill_calibration"])


@pytest.mark.parametrize("form", [JSON, NETCDF, NPZ])
async def test_bundle_of_named_variables_answers_without_skill_or_calibration(
    client: httpx.AsyncClient, form: str
) -> None:
    reply = await post(client, body_of(sample(), form), form, accept=JSON)
    document = reply.json()
    assert document["bundle"]["name"] == "tiny"
    assert "calibration" not in document
    assert not any("expected_skill" in variable for variable in document["fields"].values())


async def test_what_an_earlier_fill_said_is_not_repeated(client: httpx.AsyncClient) -> None:
    data = sample()
    data.attrs["hydrofill_calibration"] = data["temperature"].attrs["hydrofill_expected_skill"] = "earlier"
    filled = open_netcdf((await post(client, body_of(data, NETCDF), bundle="tiny")).content)
    assert "hydrofill_calibration" not in filled.attrs
    assert "hydrofill_expected_skill" not in filled["temperature"].attrs


async def test_first_call_has_std_of_the_order_of_the_variable_itself(alone: httpx.AsyncClient) -> None:
    document = (await alone.post("/reconstruct", json=FIRST_CALL)).json()
    assert document["bundle"]["name"] == "general"
    rain = document["fields"]["precipitation"]
    values, std, flag = (np.array(rain[key], np.float64) for key in ("values", "std", "flag"))
    assert flag[1].tolist() == [[1, 0], [1, 1]]
    observed = values[flag == 0]
    filled_std = std[flag == 1]
    assert observed.std() / 3 < np.median(filled_std) < observed.std() * 3
    assert filled_std.min() > observed.std() / 10  # the smallest is beside a zero, whose square root hardly varies
    assert (values >= 0).all()
    assert values.max() < 2 * observed.max()


async def test_bundles_are_listed_with_whether_they_are_general(client: httpx.AsyncClient) -> None:
    general, tiny = (await client.get("/bundles")).json()["bundles"]
    assert (general["name"], general["general"], general["variables"]) == ("general", True, [])
    assert (tiny["name"], tiny["general"], len(tiny["variables"])) == ("tiny", False, 3)


async def test_variable_without_a_value_comes_back_as_it_was(client: httpx.AsyncClient) -> None:
    data = chlorophyll()
    data["empty"] = data["chl a"] * np.nan
    filled = open_netcdf((await post(client, body_as(data, NETCDF))).content)
    assert np.isnan(filled["empty"].values).all()
    assert {"chl a_flag", "Pegel_flag"} == {str(n) for n in filled.data_vars if str(n).endswith("_flag")}


async def test_variable_without_a_value_cannot_be_requested(client: httpx.AsyncClient) -> None:
    data = chlorophyll()
    data["empty"] = data["chl a"] * np.nan
    reply = await post(client, body_as(data, NETCDF), variables="empty")
    document = check_problem(reply, 422, "nothing-observed", "empty", "has no value")
    assert pointers(document) == ["/query/variables"]
    reply = await post(client, body_as(data, NETCDF), variables="absent")
    check_problem(reply, 422, "unknown-variable", "absent", "Pegel")


@pytest.mark.parametrize("form", [JSON, NETCDF, NPZ])
async def test_data_without_any_value_are_refused(client: httpx.AsyncClient, form: str) -> None:
    data = chlorophyll()
    for name in ("chl a", "Pegel"):
        data[name] = data[name] * np.nan
    check_problem(await post(client, body_as(data, form), form), 422, "nothing-observed", "missing")


async def test_name_of_a_coordinate_is_refused_by_place(client: httpx.AsyncClient) -> None:
    document = as_json(chlorophyll())
    document["fields"]["lon"] = document["fields"].pop("chl a")
    reply = await client.post("/reconstruct", json=document)
    assert pointers(check_problem(reply, 422, "structure", "coordinate")) == ["/fields/lon"]


async def test_unknown_variable_is_refused_by_a_named_bundle(client: httpx.AsyncClient) -> None:
    reply = await post(client, body_as(chlorophyll(), JSON), JSON, bundle="tiny")
    check_problem(reply, 422, "unknown-variable", "no such variable")


async def test_preview_of_the_page_measures_and_fills_nothing(
    alone: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "check_record", None)
    reply = await alone.post("/page/preview", content=body_as(chlorophyll(), NETCDF), headers={"Content-Type": NETCDF})
    document = reply.json()
    assert reply.status_code == 200, document
    flags = np.array(document["fields"]["chl a"]["flag"])
    assert (flags == np.where(np.isnan(chlorophyll()["chl a"].values), 3, 0)).all()


async def test_page_and_schema_are_served_with_both_bundles(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).status_code == 200
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    assert "expected_skill" in schemas["Reconstructed"]["properties"]
    assert "calibration" in schemas["ReconstructReply"]["properties"]
    assert "general" in schemas["BundleSummary"]["properties"]
    assert "rmse" in schemas["ExpectedSkill"]["properties"]


async def test_estimate_counts_the_check_on_hidden_cells_as_a_run_does(
    alone: httpx.AsyncClient, general_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[tuple[int, int]] = []
    run = OnnxPredictor.__call__

    def counted(self: OnnxPredictor, tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        counts.append((int(tokens.length), int(queries.length)))
        return run(self, tokens, queries)

    body = body_as(chlorophyll().drop_vars(["depth", "drained"]), NETCDF)
    estimate = (await alone.post("/estimate", content=body, headers={"Content-Type": NETCDF})).json()
    monkeypatch.setattr(OnnxPredictor, "__call__", counted)
    assert (await post(alone, body)).status_code == 200
    expected = (len(counts), *map(sum, zip(*counts, strict=True)))
    assert (estimate["windows"], estimate["tokens"], estimate["queries"]) == expected
    assert estimate["predicted_s"] > 0
    assert estimate["bundle"] == "general"


def test_cost_of_a_record_without_a_gap_is_nothing() -> None:
    data = chlorophyll()
    data["chl a"], data["Pegel"] = data["chl a"].fillna(1.0), data["Pegel"].fillna(1.0)
    cube = read_dataset(data).cube
    assert set(count_load(cube, GENERAL, ["chl a", "Pegel"], None).terms) == {0.0}


def test_cost_of_the_check_grows_with_the_guesses_of_all_variables() -> None:
    data = chlorophyll()
    one, both = (read_dataset(d).cube for d in (data[["chl a"]], data[["chl a", "Pegel"]]))
    alone, joint = (count_load(cube, GENERAL, ["chl a"], None) for cube in (one, both))
    values = 30 * 8 * 9
    assert alone.terms[5] == (4 + 1) * values  # four draws and the fill
    assert joint.terms[5] == alone.terms[5] + 4 * 30 * 3


def test_measured_costs_of_a_general_bundle_grow_with_the_record(
    general_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    model = load_model(read_bundle(general_bundle), Runtime("cpu", 1))
    cost = measure_costs({"general": model})["general"]
    cube = read_dataset(chlorophyll()).cube
    short = cube.window(slice(0, 10), slice(None), slice(None))
    names = ["chl a", "Pegel"]
    whole, part = (cost.predict_s(count_load(c, model.layout, names, None)) for c in (cube, short))
    assert 0 < part < whole


async def test_a_variable_without_values_is_left_out_and_named_in_a_header(alone: httpx.AsyncClient) -> None:
    data = chlorophyll()
    empty = np.full(data["chl a"].shape, np.nan, np.float32)
    reply = await post(alone, netcdf_bytes(data.assign({"see °C": (data["chl a"].dims, empty)})))
    assert reply.status_code == 200
    assert reply.headers["Hydrofill-Left-Out"] == "see%20%C2%B0C"
    assert open_netcdf(reply.content).attrs["hydrofill_left_out"] == "all values are missing: see °C"
    assert "Hydrofill-Left-Out" not in (await post(alone, netcdf_bytes(data))).headers
