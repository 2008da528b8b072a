"""Each error is answered with its status and a text that names the problem, and the server keeps working."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app.errors import PROBLEMS
from app.main import create_app
from app.settings import Settings
from hydrofill.cf.writing import netcdf_bytes
from tests.support.problems import check_alive, check_problem, pointers
from tests.support.tiny import JSON, NETCDF, NPZ, body_of, client_of, npz_of, post, sample

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


UNREADABLE = {
    "nothing as JSON": (JSON, b"", "empty"),
    "half a JSON": (JSON, b'{"time": ["2012-', "not JSON"),
    "not UTF-8": (JSON, b'{"time": ["\xff"]}', "not JSON"),
    "deep JSON": (JSON, b'{"fields": {"precipitation": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}}", "JSON"),
    "NaN in JSON": (JSON, b'{"time": [NaN]}', "not JSON"),
    "nothing as NetCDF": (NETCDF, b"", "not NetCDF"),
    "text as NetCDF": (NETCDF, b"precipitation,1,2,3", "not NetCDF"),
    "JSON as NetCDF": (NETCDF, b"{}", "not NetCDF"),
    "head of an HDF5": (NETCDF, b"\x89HDF\r\n\x1a\n", "damaged"),
    "half a NetCDF": (NETCDF, netcdf_bytes(sample())[:9_000], "damaged"),
    "head of a classic NetCDF": (NETCDF, b"CDF\x01", "ends early"),
    "nothing as npz": (NPZ, b"", "npz"),
    "text as npz": (NPZ, b"precipitation", "npz"),
    "half an npz": (NPZ, npz_of(sample())[:500], "npz"),
}


@pytest.mark.parametrize("case", UNREADABLE)
async def test_body_that_cannot_be_read_is_a_bad_request(client: httpx.AsyncClient, case: str) -> None:
    form, body, word = UNREADABLE[case]
    check_problem(await post(client, body, form), 400, "unreadable", word)
    await check_alive(client)


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"max_gap": "0"}, "max_gap"),
        ({"max_gap": "two"}, "max_gap"),
        ({"max_gap": "1" + "0" * 400}, "max_gap"),
        ({"max_gap": "6 parsecs"}, "max_gap"),
        ({"max_distance": "-1"}, "max_distance"),
        ({"max_distance": "20 parsecs"}, "max_distance"),
        ({"interior_only": "2"}, "interior_only"),
        ({"where": "nowhere"}, "where"),
        ({"support": "1.5"}, "support"),
        ({"uncertainty": "perhaps"}, "uncertainty"),
        ({"only_gaps": "2"}, "only_gaps"),
        ({"variables": ""}, "variables"),
        ({"variables": "precipitation,,"}, "variables"),
        ({"max_gaps": "2"}, "max_gaps"),
        ({"bundle": "x" * 65}, "bundle"),
    ],
)
async def test_wrong_parameter_is_named(client: httpx.AsyncClient, query: dict[str, str], parameter: str) -> None:
    document = check_problem(await post(client, body_of(sample(), JSON), JSON, **query), 422, "parameter", parameter)
    assert pointers(document) == [f"/query/{parameter}"]


@pytest.mark.parametrize("name", ["snow", "slope"])
async def test_variable_that_is_not_reconstructed_is_refused(client: httpx.AsyncClient, name: str) -> None:
    reply = await post(client, body_of(sample(), JSON), JSON, variables=f"precipitation,{name}")
    document = check_problem(reply, 422, "unknown-variable", name, "temperature")
    assert pointers(document) == ["/query/variables"]


async def test_variable_that_is_not_in_the_data_is_refused(client: httpx.AsyncClient) -> None:
    body = body_of(sample()[["precipitation"]], NETCDF)
    check_problem(
        await post(client, body, variables="temperature"), 422, "unknown-variable", "temperature", "precipitation"
    )


async def test_bundle_that_is_not_loaded_is_not_found(client: httpx.AsyncClient) -> None:
    check_problem(await post(client, b"", bundle="giant"), 404, "unknown-bundle", "giant", "tiny")
    check_problem(await client.get("/bundles/giant"), 404, "unknown-bundle", "giant", "tiny")


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/x-hdf", "json"])
async def test_other_media_type_of_a_body_is_unsupported(client: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    reply = await client.post("/reconstruct", content=b"{}", headers=headers)
    check_problem(reply, 415, "unsupported-media-type", JSON, NETCDF, NPZ)


async def test_compressed_body_is_unsupported(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
    check_problem(
        await client.post("/reconstruct", content=b"{}", headers=headers), 415, "unsupported-media-type", "gzip"
    )


@pytest.mark.parametrize("accept", ["text/html", "image/*", "application/json;q=0", "nonsense"])
async def test_other_media_type_of_a_reply_is_not_acceptable(client: httpx.AsyncClient, accept: str) -> None:
    reply = await post(client, body_of(sample(), JSON), JSON, accept)
    check_problem(reply, 406, "not-acceptable", JSON, NETCDF, NPZ)


@pytest.mark.parametrize("path", ["/nothing", "/reconstruct/x", "/bundles/a/b"])
async def test_unknown_path_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    document = check_problem(await client.get(path), 404, "not-found")
    assert path not in document["detail"]  # it may hold a key


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/reconstruct", "/bundles", "/bundles/tiny", "/healthz", "/readyz", "/info"])
async def test_other_methods_are_not_allowed(client: httpx.AsyncClient, path: str, method: str) -> None:
    reply = await client.request(method, path)
    check_problem(reply, 405, "method-not-allowed", "Allow")
    assert reply.headers["allow"] == ("POST" if path == "/reconstruct" else "GET, HEAD")


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 1000):
        yield body[start : start + 1000]


@pytest.mark.parametrize("chunked", [False, True])
async def test_body_over_the_limit_is_too_large(bundles: Path, chunked: bool) -> None:
    body = body_of(sample(), JSON)
    async with client_of(create_app(Settings(bundles=bundles, max_body_bytes=len(body)))) as client:
        headers = {"Content-Type": JSON}
        for extra, status in ((b"", 200), (b" ", 413)):
            sent = body + extra
            reply = await client.post("/reconstruct", content=chunks(sent) if chunked else sent, headers=headers)
            assert reply.status_code == status
        check_problem(reply, 413, "too-large", str(len(body)))


async def test_body_over_the_limit_is_not_read_to_its_end(bundles: Path) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(10_000):
            read += 1000
            yield b" " * 1000

    async with client_of(create_app(Settings(bundles=bundles, max_body_bytes=10_000))) as client:
        reply = await client.post("/reconstruct", content=endless(), headers={"Content-Type": JSON})
    check_problem(reply, 413, "too-large")
    assert read <= 12_000


@pytest.mark.parametrize("form", [JSON, NETCDF, NPZ])
async def test_body_that_would_decode_to_too_much_is_too_large(bundles: Path, form: str) -> None:
    async with client_of(create_app(Settings(bundles=bundles, max_decoded_bytes=1_000))) as client:
        check_problem(await post(client, body_of(sample(), form), form), 413, "too-large", "1000")


async def test_unexpected_error_is_answered_without_its_text(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the secret of /etc/shadow")

    monkeypatch.setattr("hydrofill.filling.write_fill", fail)
    reply = await post(client, body_of(sample(), JSON), JSON)
    document = check_problem(reply, 500, "internal")
    assert "secret" not in json.dumps(document)
    assert "the secret of /etc/shadow" in caplog.text
    monkeypatch.undo()
    await check_alive(client)


async def test_before_it_has_started_the_server_is_not_ready(bundles: Path) -> None:
    app = create_app(Settings(bundles=bundles))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as early:
        for path in ("/readyz", "/bundles", "/bundles/tiny", "/info"):
            check_problem(await early.get(path), 503, "not-ready")
        check_problem(await post(early, b"{}", JSON), 503, "not-ready")
        assert (await early.get("/healthz")).status_code == 200


def test_every_error_has_a_type_of_its_own() -> None:
    slugs = [problem.slug for problem in PROBLEMS.values()]
    assert len(set(slugs)) == len(slugs)
