"""POST /reconstruct on valid data: the replies in every media type, and against closed forms."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.main import create_app
from app.settings import Settings
from hydrofill.cf.writing import netcdf_bytes
from tests.support.tiny import (
    JSON,
    LAYOUT,
    NETCDF,
    NPZ,
    STD,
    P,
    body_of,
    client_of,
    json_of,
    open_netcdf,
    post,
    reply_arrays,
    sample,
    write_bundle,
)

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
VARIABLES = ("precipitation", "temperature", "river_flow")
FORMS = (JSON, NETCDF, NPZ)


@pytest.mark.parametrize("form", FORMS)
async def test_gaps_become_what_the_decoder_answers(client: httpx.AsyncClient, form: str) -> None:
    data = sample()
    arrays = reply_arrays(await post(client, body_of(data, form), form))
    for name in VARIABLES:
        gap = np.isnan(data[name].values)
        assert gap.any()
        assert arrays[name][gap] == pytest.approx(np.nanmean(data[name].values), rel=1e-5)
        assert (arrays[f"{name}_std"][gap] == STD).all()
        assert (arrays[f"{name}_std"][~gap] == 0).all()
        assert (arrays[f"{name}_flag"] == np.where(gap, 1, 0)).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("accept", FORMS)
async def test_every_media_type_in_and_out_gives_the_same_values(
    client: httpx.AsyncClient, form: str, accept: str
) -> None:
    data = sample()
    expected = reply_arrays(await post(client, body_of(data, NETCDF), NETCDF))
    reply = await post(client, body_of(data, form), form, accept)
    assert reply.headers["content-type"] == accept
    arrays = reply_arrays(reply)
    for name in (f"{n}{end}" for n in VARIABLES for end in ("", "_std", "_flag")):
        assert arrays[name].astype(np.float32).tobytes() == expected[name].astype(np.float32).tobytes()


async def test_observed_netcdf_values_are_bit_identical(client: httpx.AsyncClient) -> None:
    data = sample()
    data["temperature"] = data["temperature"].astype(np.float64) + 1e-13
    filled = open_netcdf((await post(client, netcdf_bytes(data))).content)
    for name in VARIABLES:
        seen = ~np.isnan(data[name].values)
        assert filled[name].dtype == data[name].dtype
        assert filled[name].values[seen].tobytes() == data[name].values[seen].tobytes()


async def test_observed_json_values_come_back_as_they_were_written(client: httpx.AsyncClient) -> None:
    request = json_of(sample())
    request["fields"]["precipitation"]["values"][0][0] = [0.1, 0.2, 0.3, 1e-30, 5, 0]
    reply = (await client.post("/reconstruct", json=request)).json()
    assert reply["fields"]["precipitation"]["values"][0][0] == [0.1, 0.2, 0.3, 1e-30, 5, 0]


async def test_dataset_comes_back_whole_and_in_order(client: httpx.AsyncClient) -> None:
    data = sample()
    data["station_note"] = ("site", np.array(["a", "b"], dtype=object), {"long_name": "untouched"})
    filled = open_netcdf((await post(client, netcdf_bytes(data))).content)
    sent = [str(name) for name in data.data_vars]
    added = [f"{name}{end}" for name in VARIABLES for end in ("_std", "_flag")]
    assert list(filled.data_vars) == sent + added
    assert filled["precipitation"].attrs["comment"] == "kept"
    assert filled["precipitation"].attrs["ancillary_variables"] == "precipitation_std precipitation_flag"
    assert filled["station_note"].values.tolist() == ["a", "b"]
    assert filled["time"].encoding["units"] == data["time"].encoding["units"]
    for name in (*data.coords, "slope", "area"):
        assert filled[name].variable.identical(data[name].variable.astype(filled[name].dtype)), name


async def test_flags_are_cf(client: httpx.AsyncClient) -> None:
    flag = open_netcdf((await post(client, body_of(sample(), NETCDF))).content)["precipitation_flag"]
    assert flag.dtype == np.int8
    assert flag.attrs["flag_values"].tolist() == [0, 1, 2, 3]
    assert flag.attrs["flag_meanings"] == "observed filled outside refused"
    assert "_FillValue" not in flag.encoding


async def test_reply_names_the_bundle_that_filled_it(client: httpx.AsyncClient) -> None:
    bundle = (await client.get("/bundles")).json()["bundles"][0]
    filled = open_netcdf((await post(client, body_of(sample(), NETCDF))).content)
    assert filled.attrs["hydrofill_bundle"] == "tiny"
    assert filled.attrs["hydrofill_bundle_sha256"] == bundle["sha256"]
    assert filled.attrs["hydrofill_version"]
    assert filled.attrs["title"] == "a sample"
    first, second = filled.attrs["history"].splitlines()
    assert first == "made"
    assert "hydrofill: gaps of precipitation, temperature, river_flow filled" in second
    document = (await post(client, body_of(sample(), JSON), JSON)).json()
    assert document["bundle"] == {key: bundle[key] for key in ("name", "version", "sha256")}
    assert document["timing_ms"].keys() == {"decode", "queue", "encode", "decode_queries", "total"}
    assert all(ms >= 0 for ms in document["timing_ms"].values())


async def test_never_seen_cell_is_outside_and_stays_missing(client: httpx.AsyncClient) -> None:
    data = sample()
    data["precipitation"][:, 1, 2] = np.nan
    arrays = reply_arrays(await post(client, body_of(data, NETCDF)))
    assert (arrays["precipitation_flag"][:, 1, 2] == 2).all()
    assert np.isnan(arrays["precipitation"][:, 1, 2]).all()
    assert np.isnan(arrays["precipitation_std"][:, 1, 2]).all()


@pytest.mark.parametrize("form", FORMS)
async def test_domain_of_the_request_makes_a_gap_of_a_never_seen_cell(client: httpx.AsyncClient, form: str) -> None:
    data = sample()[["precipitation"]]
    data["precipitation"][:, 1, 2] = np.nan
    domain = np.ones((4, 6), np.float32)
    if form == JSON:
        request = json_of(sample()) | {"series": {}, "static": {}, "sites": []}
        request["fields"] = json_of(sample().assign(precipitation=data["precipitation"]))["fields"]
        request["static"] = {"precipitation_domain": {"values": domain.tolist()}}
        reply = await client.post("/reconstruct", json=request)
        assert reply.json()["static"]["precipitation_domain"]["values"] == domain.tolist()
    else:
        reply = await post(client, body_of(data.assign(precipitation_domain=(("y", "x"), domain)), form), form)
    assert (reply_arrays(reply)["precipitation_flag"][:, 1, 2] == 1).all()


async def test_gap_longer_than_max_gap_is_refused_and_stays_missing(client: httpx.AsyncClient) -> None:
    data = sample()
    data["precipitation"][:] = 1.0
    data["precipitation"][1:4, 0, 0] = np.nan
    data["precipitation"][1:3, 0, 1] = np.nan
    arrays = reply_arrays(await post(client, body_of(data, NETCDF), max_gap=2))
    assert arrays["precipitation_flag"][:, 0, 0].tolist() == [0, 3, 3, 3, 0]
    assert arrays["precipitation_flag"][:, 0, 1].tolist() == [0, 1, 1, 0, 0]
    assert np.isnan(arrays["precipitation"][1:4, 0, 0]).all()


async def test_each_reason_for_a_refusal_has_its_flag(client: httpx.AsyncClient) -> None:
    data = sample()[["precipitation"]].assign(chosen=("x", [0, 1, 1, 1, 1, 1]))
    data["precipitation"][:] = 1.0
    data["precipitation"][2, 0, 0] = data["precipitation"][0, 1, 1] = data["precipitation"][2, :, 2:] = np.nan
    request = body_of(data, NETCDF)
    arrays = reply_arrays(await post(client, request, interior_only="true", where="chosen", max_distance=2))
    flag = arrays["precipitation_flag"]
    assert (flag[2, 0, 0], flag[0, 1, 1], flag[2, 2, 2], flag[2, 2, 5]) == (6, 5, 1, 4)


@pytest.mark.parametrize("form", FORMS)
async def test_only_gaps_leaves_out_what_was_observed(client: httpx.AsyncClient, form: str) -> None:
    data = sample()
    arrays = reply_arrays(await post(client, body_of(data, form), form, only_gaps="true"))
    for name in VARIABLES:
        assert (np.isnan(arrays[name]) == ~np.isnan(data[name].values)).all()


@pytest.mark.parametrize("form", FORMS)
async def test_uncertainty_can_be_left_out(client: httpx.AsyncClient, form: str) -> None:
    arrays = reply_arrays(await post(client, body_of(sample(), form), form, uncertainty="false"))
    assert not any(name.endswith("_std") for name in arrays)
    assert "precipitation_flag" in arrays


@pytest.mark.parametrize("form", FORMS)
async def test_only_the_requested_variables_are_filled(client: httpx.AsyncClient, form: str) -> None:
    data = sample()
    arrays = reply_arrays(await post(client, body_of(data, form), form, variables="river_flow, precipitation"))
    assert {n for n in arrays if n.endswith("_flag")} == {"precipitation_flag", "river_flow_flag"}
    assert (np.isnan(arrays["temperature"]) == np.isnan(data["temperature"].values)).all()


async def test_other_units_are_converted_and_converted_back(client: httpx.AsyncClient) -> None:
    data = sample()[["temperature"]]
    kelvin = data.copy(deep=True)
    kelvin["temperature"] = (data["temperature"] + np.float32(273.15)).assign_attrs(units="K")
    celsius, warm = [reply_arrays(await post(client, body_of(d, NETCDF))) for d in (data, kelvin)]
    assert warm["temperature"] == pytest.approx(celsius["temperature"] + 273.15, abs=1e-3)
    assert (warm["temperature_std"] == celsius["temperature_std"]).all()


async def test_variable_is_found_by_its_standard_name(client: httpx.AsyncClient) -> None:
    data = sample()[["precipitation"]].rename(precipitation="rr")
    filled = open_netcdf((await post(client, body_of(data, NETCDF))).content)
    assert {"rr", "rr_std", "rr_flag"} == set(filled.data_vars)


async def test_classic_netcdf_is_read(client: httpx.AsyncClient) -> None:
    data = sample()
    classic = bytes(data.to_netcdf(engine="scipy", format="NETCDF3_64BIT"))
    expected = reply_arrays(await post(client, body_of(data, NETCDF)))
    arrays = reply_arrays(await post(client, classic))
    assert arrays.keys() == expected.keys()
    for name in ("precipitation", "river_flow_flag"):
        assert (arrays[name].astype(np.float32) == expected[name]).all()


async def test_packed_integers_come_back_packed_or_say_why_not(client: httpx.AsyncClient) -> None:
    data = sample()[["precipitation"]]
    packing = {"dtype": "int16", "scale_factor": np.float32(0.1), "_FillValue": np.int16(-1)}
    content = io.BytesIO()
    data.to_netcdf(content, engine="h5netcdf", encoding={"precipitation": packing})
    sent = open_netcdf(content.getvalue())["precipitation"].values
    filled = open_netcdf((await post(client, content.getvalue())).content)["precipitation"]
    assert ("scale_factor" in filled.encoding) != ("hydrofill_storage" in filled.attrs)
    assert filled.values[~np.isnan(sent)].tobytes() == sent[~np.isnan(sent)].tobytes()


async def test_series_alone_are_filled_without_a_grid(client: httpx.AsyncClient) -> None:
    request = json_of(sample())
    for key in ("y", "x", "fields", "static"):
        del request[key]
    reply = await client.post("/reconstruct", json=request)
    document = reply.json()
    assert reply.status_code == 200, document
    assert "y" not in document
    assert document["sites"] == request["sites"]
    assert np.isfinite(np.array(document["series"]["river_flow"]["values"])).all()


async def test_axes_called_lat_and_lon_keep_their_names(client: httpx.AsyncClient) -> None:
    request = json_of(sample())
    request |= {"lat": request.pop("y"), "lon": request.pop("x")}
    for site in request["sites"]:
        site |= {"lat": site.pop("y"), "lon": site.pop("x")}
    document = (await client.post("/reconstruct", json=request)).json()
    assert document["lat"] == request["lat"]
    assert document["sites"] == request["sites"]
    assert "y" not in document


async def test_static_and_series_may_be_missing(client: httpx.AsyncClient) -> None:
    request = {key: value for key, value in json_of(sample()).items() if key in ("time", "y", "x", "fields")}
    assert (await client.post("/reconstruct", json=request)).status_code == 200


async def test_several_windows_cover_all(client: httpx.AsyncClient) -> None:
    data = sample(steps=20, rows=11, columns=9)
    arrays = reply_arrays(await post(client, body_of(data, NETCDF)))
    assert (arrays["precipitation_flag"] == np.isnan(data["precipitation"].values)).all()
    assert np.isfinite(arrays["precipitation"]).all()


async def test_only_bundle_that_knows_the_data_is_chosen(bundles: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path)
    patch = LAYOUT.patch.model_copy(update={"steps": P})  # tokens as large as the graphs take
    flow = LAYOUT.model_copy(update={"variables": LAYOUT.variables[2:], "static": (), "patch": patch})
    write_bundle(tmp_path, "flow-only", flow)
    async with client_of(create_app(Settings(bundles=tmp_path))) as client:
        grids = await post(client, body_of(sample(), NETCDF))
        assert open_netcdf(grids.content).attrs["hydrofill_bundle"] == "tiny"
        named = await post(client, body_of(sample(), NETCDF), bundle="flow-only")
        assert open_netcdf(named.content).attrs["hydrofill_bundle"] == "flow-only"
        both = await post(client, body_of(sample()[["river_flow"]], NETCDF))
        assert both.status_code == 422
        assert "flow-only" in both.json()["detail"]
        assert "tiny" in both.json()["detail"]
