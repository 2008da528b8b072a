"""The page's routes, without a browser."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app.main import create_app
from app.settings import Settings
from tests.support.tiny import JSON, NETCDF, body_of, client_of, sample, write_bundle

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    write_bundle(tmp_path)
    async with client_of(create_app(Settings(bundles=tmp_path, max_body_bytes=200_000))) as connected:
        yield connected


@pytest.mark.parametrize("path", ["/", "/page/page.js", "/page/page.css", "/page/icon.svg", "/page/sample.nc"])
async def test_every_file_comes_with_a_strict_policy(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    assert reply.status_code == 200
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-cache"


async def test_an_unchanged_file_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/page/page.js")
    again = await client.get("/page/page.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    "path", ["/page/nothing.js", "/page/..%2Findex.html", "/page/%2Fetc%2Fpasswd", "/page/page.js/x"]
)
async def test_other_files_are_not_found(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"


async def test_the_preview_flags_every_gap_and_fills_none(client: httpx.AsyncClient) -> None:
    data = sample()
    reply = await client.post("/page/preview", content=body_of(data, NETCDF), headers={"Content-Type": NETCDF})
    assert reply.status_code == 200
    for section, name in (("fields", "precipitation"), ("fields", "temperature"), ("series", "river_flow")):
        variable = reply.json()[section][name]
        flags = str(variable["flag"])
        assert flags.count("3") == int(data[name].isnull().sum())
        assert "1" not in flags
        assert str(variable["values"]).count("None") == int(data[name].isnull().sum())


async def test_the_preview_reads_the_same_media_types_as_reconstruct(client: httpx.AsyncClient) -> None:
    reply = await client.post("/page/preview", content=body_of(sample(), JSON), headers={"Content-Type": JSON})
    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("content", "media_type", "query", "status"),
    [
        (b"no such thing", NETCDF, "", 400),
        (b"", "text/plain", "", 415),
        (b"{}", JSON, "?bundle=absent", 404),
        (io.BytesIO(bytes(300_000)).getvalue(), NETCDF, "", 413),
        (b"{}", JSON, "", 422),
    ],
)
async def test_the_preview_refuses_the_same_as_reconstruct(
    client: httpx.AsyncClient, content: bytes, media_type: str, query: str, status: int
) -> None:
    reply = await client.post(f"/page/preview{query}", content=content, headers={"Content-Type": media_type})
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"


async def test_the_page_is_not_part_of_the_documented_interface(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert not any(path.startswith("/page") or path == "/" for path in paths)
