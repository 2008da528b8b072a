"""The other routes, content negotiation, request ids, the OpenAPI document."""

from __future__ import annotations

import logging
from pathlib import Path

import httpx
import pytest

from app.codecs.negotiation import CODECS, reading_codec, writing_codec
from app.errors import NotAcceptableError, UnsupportedMediaTypeError
from app.main import create_app
from app.routes.reconstruct import BODY_STATUSES
from app.schemas import LimitsInfo
from app.settings import Settings
from hydrofill.bundle import Manifest, digest
from tests.support.tiny import JSON, NETCDF, NPZ, body_of, client_of, post, sample, write_bundle

pytestmark = pytest.mark.anyio


async def test_healthz_and_readyz_answer(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json() == {"status": "ready"}


async def test_stopped_engine_is_neither_alive_nor_ready(bundles: Path) -> None:
    app = create_app(Settings(bundles=bundles))
    async with client_of(app) as client:
        app.state.service.engine.stop()
        for path in ("/healthz", "/readyz"):
            reply = await client.get(path)
            assert reply.status_code == 503
            assert "engine" in reply.json()["detail"]


async def test_bundles_are_listed_with_their_variables(client: httpx.AsyncClient, bundles: Path) -> None:
    (bundle,) = (await client.get("/bundles")).json()["bundles"]
    assert (bundle["name"], bundle["version"]) == ("tiny", "1.2.3")
    assert bundle["sha256"] == digest((bundles / "tiny/manifest.json").read_bytes()).sha256
    assert bundle["variables"][2] == {"name": "river_flow", "kind": "series", "units": "m3 s-1", "standard_name": ""}


async def test_whole_manifest_is_returned(client: httpx.AsyncClient, bundles: Path) -> None:
    reply = await client.get("/bundles/tiny")
    expected = Manifest.model_validate_json((bundles / "tiny/manifest.json").read_bytes())
    assert Manifest.model_validate(reply.json()) == expected


async def test_info_shows_versions_provider_and_limits(client: httpx.AsyncClient) -> None:
    info = (await client.get("/info")).json()
    assert info["provider"] == "CPUExecutionProvider"
    assert info["threads"] >= 1
    assert {"onnxruntime", "numpy", "xarray"} <= info["libraries"].keys()
    assert (info["limits"]["max_body_bytes"], info["limits"]["max_decoded_bytes"]) == (64 * 2**20, 512 * 2**20)
    assert info["limits"].keys() == {*LimitsInfo.model_fields}


async def test_request_id_is_kept_returned_and_logged(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app.http.middleware")
    reply = await client.get("/healthz", headers={"X-Request-ID": "mine-1"})
    assert reply.headers["x-request-id"] == "mine-1"
    assert "GET /healthz 200" in caplog.text


@pytest.mark.parametrize("requested", ["", "two words", "a" * 65, "naïve".encode().decode("latin-1"), "x;y"])
async def test_invalid_request_id_is_replaced(client: httpx.AsyncClient, requested: str) -> None:
    reply = await client.get("/healthz", headers={b"X-Request-ID": requested.encode("latin-1")})
    assert len(reply.headers["x-request-id"]) == 32


async def test_line_break_in_a_path_does_not_break_the_log(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app.http.middleware")
    await client.get("/a%0AGET /forged 200")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "app.http.middleware"]
    assert "\n" not in line


async def test_server_timing_lists_each_stage(client: httpx.AsyncClient) -> None:
    reply = await post(client, body_of(sample(), JSON), JSON)
    stages = [part.split(";")[0] for part in reply.headers["server-timing"].split(", ")]
    assert stages == ["decode", "queue", "encode", "decode_queries", "total"]


async def test_simultaneous_requests_get_their_own_answers(client: httpx.AsyncClient) -> None:
    import anyio

    replies: dict[int, bytes] = {}

    async def send(steps: int) -> None:
        replies[steps] = (await post(client, body_of(sample(steps), NPZ), NPZ)).content

    async with anyio.create_task_group() as group:
        for steps in (2, 3, 4, 5, 6):
            group.start_soon(send, steps)
    for steps, content in replies.items():
        assert content == (await post(client, body_of(sample(steps), NPZ), NPZ)).content


async def test_openapi_declares_media_types_and_statuses(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    operation = document["paths"]["/reconstruct"]["post"]
    assert set(operation["requestBody"]["content"]) == set(CODECS)
    assert set(operation["responses"]["200"]["content"]) == set(CODECS)
    assert {"200", "406", *map(str, BODY_STATUSES)} == set(operation["responses"])
    assert {"200", *map(str, BODY_STATUSES)} == set(document["paths"]["/estimate"]["post"]["responses"])
    for path in document["paths"].values():
        for of_path in path.values():
            for status, response in of_path["responses"].items():
                assert status == "200" or list(response["content"]) == ["application/problem+json"]
    names = [parameter["name"] for parameter in operation["parameters"]]
    control = ["max_gap", "max_distance", "interior_only", "where", "support"]
    assert names == ["bundle", "variables", *control, "uncertainty", "only_gaps", "missing", "codes", "group"]


async def test_openapi_has_every_schema_that_it_refers_to(client: httpx.AsyncClient) -> None:
    reply = await client.get("/openapi.json")
    schemas = reply.json()["components"]["schemas"]
    pointed = {part.split('"')[0] for part in reply.text.split('"#/components/schemas/')[1:]}
    assert pointed <= schemas.keys()
    assert schemas["ReconstructRequest"]["additionalProperties"] is False


async def test_example_of_the_openapi_document_is_accepted(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    content = document["paths"]["/reconstruct"]["post"]["requestBody"]["content"]
    reply = await client.post("/reconstruct", json=content[JSON]["example"])
    assert reply.status_code == 200, reply.text


async def test_server_without_a_good_bundle_does_not_start(tmp_path: Path) -> None:
    write_bundle(tmp_path, decoder=b"no graph")
    with pytest.raises(ValueError, match="no bundle that can be used"):
        async with client_of(create_app(Settings(bundles=tmp_path))):
            pass


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, NETCDF),
        ("*/*", NETCDF),
        ("application/*", NETCDF),
        (JSON, JSON),
        ("text/html, application/json;q=0.9, */*;q=0.1", JSON),
        ("application/json;q=0.5, application/x-npz", NPZ),
        ("application/x-netcdf;q=0, */*", JSON),
        ("APPLICATION/JSON ; charset=utf-8", JSON),
        ("application/netcdf", "application/netcdf"),
        ("application/x-hdf5, text/html", "application/x-hdf5"),
    ],
)
def test_accept_chooses_the_reply(accept: str | None, expected: str) -> None:
    headers = {} if accept is None else {"accept": accept}
    assert writing_codec(headers, CODECS[NETCDF]).media_type == expected


def test_netcdf_has_several_names_and_the_reply_has_the_one_that_was_sent() -> None:
    reading = reading_codec({"content-type": "application/netcdf"})
    assert (reading.decode, reading.isolated) == (CODECS[NETCDF].decode, True)
    assert writing_codec({}, reading).media_type == "application/netcdf"
    assert writing_codec({"accept": "*/*"}, reading).media_type == "application/netcdf"


def test_parameters_of_a_content_type_do_not_matter() -> None:
    assert reading_codec({"content-type": "Application/JSON; charset=utf-8"}).media_type == JSON
    with pytest.raises(UnsupportedMediaTypeError):
        reading_codec({"content-type": "application/json, text/html"})
    with pytest.raises(NotAcceptableError):
        writing_codec({"accept": "application/json;q=nonsense"}, CODECS[JSON])
