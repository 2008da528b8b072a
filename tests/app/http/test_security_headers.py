"""The security headers of every response, and that no page loads anything from other hosts."""

from __future__ import annotations

import re

import httpx
import pytest

from app.http.security_headers import SECURITY_HEADERS
from tests.support.tiny import JSON, body_of, post, sample

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/", "/docs", "/info", "/openapi.json", "/nothing", "/page/page.js", "/metrics"])
async def test_every_response_has_the_security_headers(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    assert {name.lower() for name in SECURITY_HEADERS} <= {*reply.headers}
    assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
    assert len(reply.headers.get_list("content-security-policy")) == 1


async def test_replies_and_errors_of_fills_have_the_security_headers(client: httpx.AsyncClient) -> None:
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


async def test_reference_page_escapes_the_document(client: httpx.AsyncClient) -> None:
    from app.http.reference import reference_page

    document = {"info": {"title": "<b>", "version": "1", "description": "<script>"}, "paths": {}}
    assert "<script>" not in reference_page(document) and "<b>" not in reference_page(document)
