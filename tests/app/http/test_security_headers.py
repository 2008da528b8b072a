"""What browsers are told with every reply, and that nothing is loaded from elsewhere."""

from __future__ import annotations

import re

import httpx
import pytest

from app.http.security_headers import SECURITY_HEADERS
from tests.support.tiny import JSON, body_of, post, sample

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/", "/docs", "/info", "/openapi.json", "/nothing", "/page/page.js", "/metrics"])
async def test_every_reply_is_guarded(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    assert {name.lower() for name in SECURITY_HEADERS} <= {*reply.headers}
    assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
    assert len(reply.headers.get_list("content-security-policy")) == 1


async def test_a_fill_and_a_refusal_are_guarded(client: httpx.AsyncClient) -> None:
    for reply in (await post(client, body_of(sample(), JSON), JSON), await post(client, b"", "text/plain")):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_load_nothing_from_elsewhere_and_run_nothing_inline(client: httpx.AsyncClient, path: str) -> None:
    text = (await client.get(path)).text
    assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//", text)
    assert "<script>" not in text
    assert "<style" not in text


async def test_reference_names_every_operation_and_status(client: httpx.AsyncClient) -> None:
    text = (await client.get("/docs")).text
    paths = (await client.get("/openapi.json")).json()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert f"<code>{method.upper()} {path}</code>" in text
            assert all(f"<td>{status}</td>" in text for status in operation["responses"])
    assert "/redoc" not in paths and (await client.get("/redoc")).status_code == 404


async def test_reference_is_read_but_never_run(client: httpx.AsyncClient) -> None:
    from app.http.reference import reference_page

    document = {"info": {"title": "<b>", "version": "1", "description": "<script>"}, "paths": {}}
    assert "<script>" not in reference_page(document) and "<b>" not in reference_page(document)
