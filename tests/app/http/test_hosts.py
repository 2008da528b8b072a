"""A server without keys answers only for its own names, and takes data only from its own pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from app.main import create_app
from app.settings import Settings
from tests.support.problems import check_problem
from tests.support.raw import exchange, problem_in, status_of
from tests.support.servers import serving_in_thread
from tests.support.tiny import JSON, body_of, client_of, sample

OWN = (
    "localhost",
    "LOCALHOST:8000",
    "localhost.",
    "localhost.:80",
    "127.0.0.1",
    "127.0.0.1:99",
    "127.1.2.3",
    "[::1]:8000",
)
OTHERS = (
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example#localhost",
    "localhost@evil.example",
    "192.0.2.1",
    "[2001:db8::1]",
    "0.0.0.0",
    "[::1",
    "localhost:x",
    "localhost, evil.example",
    "local host",
    "xn--localhost",
    "",
)
SITES = ("http://evil.example", "https://localhost.evil.example", "null", "http://127.0.0.1:9", "http://test:8000", "")

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def client_for(bundles: Path, **settings: object) -> AsyncIterator[httpx.AsyncClient]:
    chosen = Settings.model_validate({"bundles": bundles, **settings})
    async with client_of(create_app(chosen)) as client:
        yield client


async def fill(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    given = {"Content-Type": JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await client.post("/reconstruct", content=body_of(sample(), JSON), headers=given)


async def test_server_without_keys_on_loopback_answers_for_loopback_names_only(client: httpx.AsyncClient) -> None:
    for host in OWN:
        assert (await client.get("/healthz", headers={"Host": host})).status_code == 200, host
    for host in OTHERS:
        for path in ("/healthz", "/bundles", "/", "/metrics", "/nothing"):
            check_problem(await client.get(path, headers={"Host": host}), 421, "host")
        check_problem(await fill(client, Host=host), 421, "host")


async def test_named_hosts_are_answered_for_besides_loopback_names(bundles: Path) -> None:
    names = "Water.example., gap.example:8443,[2001:DB8:0::1]"
    async with client_for(bundles, allowed_hosts=names, open_to_network=True, host="0.0.0.0") as client:
        for host in ("water.example", "WATER.example:8000", "gap.example", "[2001:db8::1]:1", "localhost"):
            assert (await client.get("/healthz", headers={"Host": host})).status_code == 200, host
        for host in ("evil.example", "a.water.example", "", "["):
            check_problem(await client.get("/healthz", headers={"Host": host}), 421, "host")


@pytest.mark.parametrize("settings", [{"allowed_hosts": "*"}, {"open_to_network": True, "host": "0.0.0.0"}])
async def test_server_open_to_the_network_answers_for_any_name(bundles: Path, settings: dict[str, object]) -> None:
    async with client_for(bundles, **settings) as client:
        assert (await client.get("/healthz", headers={"Host": "any.example"})).status_code == 200
        check_problem(await fill(client, Host="any.example", Origin="http://evil.example"), 403, "origin")
        assert (await fill(client, Host="any.example:80", Origin="http://any.example:80")).status_code == 200


async def test_pages_of_other_sites_may_not_send_data(client: httpx.AsyncClient) -> None:
    for origin in SITES:
        for path in ("/reconstruct", "/estimate", "/page/preview"):
            reply = await client.post(path, content=b"{}", headers={"Content-Type": JSON, "Origin": origin})
            check_problem(reply, 403, "origin")
    for site in ("cross-site", "same-site", "anything"):
        check_problem(await fill(client, Sec_Fetch_Site=site, Origin="http://localhost"), 403, "origin")
    assert (await client.get("/bundles", headers={"Origin": "http://evil.example"})).status_code == 200


async def test_own_page_and_other_programs_may_send_data(client: httpx.AsyncClient) -> None:
    assert (await fill(client)).status_code == 200
    assert (await fill(client, Origin="http://localhost")).status_code == 200
    assert (await fill(client, Host="LocalHost.:8000", Origin="http://localhost:8000")).status_code == 200
    assert (await fill(client, Sec_Fetch_Site="same-origin", Origin="https://proxy.example")).status_code == 200


async def test_server_with_keys_needs_no_list_of_hosts(bundles: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"ann:{'0' * 64}\n")
    async with client_for(bundles, keys_file=tmp_path / "keys") as client:
        assert (await client.get("/healthz", headers={"Host": "any.example"})).status_code == 200
        check_problem(await fill(client, Origin="http://evil.example"), 401, "key-missing")


def test_target_with_a_host_counts_instead_of_the_header(bundles: Path) -> None:
    with serving_in_thread(bundles) as address:

        def get(target: str, host: str) -> bytes:
            return exchange(address, f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

        assert get("http://localhost:80/healthz", "evil.example").endswith(b'{"status":"ok"}')
        assert get("HTTP://127.0.0.1/healthz?x=http://a/b", "localhost").endswith(b'{"status":"ok"}')
        assert status_of(get("http://localhost", "localhost")) == 200
        for target in ("http://evil.example/healthz", "http://a@evil.example/", "http://localhost%2Fx", "http://"):
            assert problem_in(get(target, "localhost"))["type"] == "urn:hydrofill:problem:host"
        for target in ("*", "ftp://localhost/", "localhost:80", "//localhost/healthz"):
            assert status_of(get(target, "localhost")) in (404, 405)
        assert exchange(address, b"GET /healthz HTTP/1.0\r\n\r\n").endswith(b'{"status":"ok"}')
        assert status_of(exchange(address, b"GET /healthz HTTP/1.0\r\nHost: evil.example\r\n\r\n")) == 421
