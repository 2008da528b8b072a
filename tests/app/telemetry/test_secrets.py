"""No key is in the log or in a reply, by whatever error the request that brings it ends, in both formats of the log."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.keys import make_key
from app.local_server import ROOT, LocalServer, free_port, running
from tests.support.raw import check_healthy, exchange, status_of
from tests.support.tiny import JSON, NETCDF, body_of, sample

KEY, DIGEST = make_key()  # random: what is sought is not in any source
OTHER = make_key()[0]
LIMITED = "kurz-und-geheim"  # not of the form of our own keys
BODY = body_of(sample(), JSON)
# A server that fails at some requests, with the key in the message: unexpectedly, or by an error of the system.
FAILING = """
import sys
from app import service
from app.__main__ import cli
async def fail(self, body, reading, writing, bundle, options, *others):
    key = sys.argv[3]
    if bundle == "tiny":
        raise OSError(24, f"too many open files for {key}")
    if bundle is None and options.control.max_gap == 1:
        raise RuntimeError(f"the secret of {key}\\n2026-01-01 forged line")
    return await kept(self, body, reading, writing, bundle, options, *others)
kept, service.Service.reconstruct = service.Service.reconstruct, fail
cli(["serve", "--bundles", sys.argv[1], "--port", sys.argv[2]])
"""


def request(line: str, *headers: str, body: bytes = BODY, key: str = KEY) -> bytes:
    given = (line, "Host: localhost", f"Authorization: Bearer {key}", f"Cookie: session={key}", *headers)
    return "\r\n".join((*given, f"Content-Length: {len(body)}", "", "")).encode("latin-1") + body


def fill(*headers: str, query: str = "", body: bytes = BODY, key: str = KEY, form: str = JSON) -> bytes:
    return request(f"POST /reconstruct?{query} HTTP/1.1", f"Content-Type: {form}", *headers, body=body, key=key)


PATHS = {
    "missing key": (401, fill().replace(b"Authorization: Bearer", b"Authorization: Other")),
    "unknown key": (403, fill(key=OTHER)),
    "unknown path": (404, request(f"GET /{KEY} HTTP/1.1")),
    "path with a short key": (404, request(f"GET /a/{LIMITED} HTTP/1.1", key=LIMITED)),
    "unknown bundle": (404, fill(query=f"bundle={KEY}")),
    "bundle of a path": (404, request(f"GET /bundles/{KEY} HTTP/1.1")),
    "method": (405, request(f"{KEY} /reconstruct HTTP/1.1")),
    "not acceptable": (406, fill(f"Accept: {KEY}")),
    "weight": (406, fill("Accept: application/json;q=nan")),
    "slow body": (408, fill().replace(BODY, b"{")),
    "too large": (413, fill(body=b" " * 200_000)),
    "media type": (415, fill(form=KEY)),
    "encoding": (415, fill(f"Content-Encoding: {KEY}")),
    "parameter": (422, fill(query=f"api_key={KEY}&{KEY}=1")),
    "value of a parameter": (422, fill(query=f"max_gap={KEY}")),
    "variable": (422, fill(query=f"variables={KEY}")),
    "unreadable": (400, fill(body=KEY.encode())),
    "name in a body": (422, fill(body=f'{{"{KEY}": 1}}'.encode())),
    "unreadable NetCDF": (400, fill(body=KEY.encode(), form=NETCDF)),
    "quota": (429, fill(key=LIMITED)),
    "unexpected error": (500, fill(query="max_gap=1")),
    "error of the system": (503, fill(query="bundle=tiny")),
    "bytes of a header": (400, fill("X-A: \x00")),
    "large head": (431, fill("X-A: " + "a" * 20_000)),
    "key in a wrong line": (400, fill(f"{KEY}")),
    "version": (505, fill().replace(b"HTTP/1.1", b"HTTP/3.1")),
    "request id": (404, request("GET /nothing HTTP/1.1", f"X-Request-ID: {KEY}")),
    "trace": (404, request("GET /nothing HTTP/1.1", f"traceparent: {KEY}")),
}


@pytest.fixture(scope="module", params=["text", "json"])
def server(
    request: pytest.FixtureRequest, bundles: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalServer]:
    folder = tmp_path_factory.mktemp("secrets")
    quota = hashlib.sha256(LIMITED.encode()).hexdigest()
    (folder / "keys").write_text(f"ann:{DIGEST}\nbob:{quota}:1\n")
    given = {"log_format": request.param, "keys_file": folder / "keys", "body_timeout_s": 1, "max_body_bytes": 100_000}
    environment = {**os.environ, **{f"HYDROFILL_{name.upper()}": str(value) for name, value in given.items()}}
    port = free_port()
    command = [sys.executable, "-c", FAILING, str(bundles), str(port), KEY]
    with running(command, port, folder / "log", "/readyz", environment, cwd=ROOT) as served:
        exchange(served.address, fill(key=LIMITED))
        yield served


@pytest.mark.slow
def test_no_key_is_in_the_log_or_in_a_reply(server: LocalServer) -> None:
    for case, (status, sent) in PATHS.items():
        started = time.monotonic()
        reply = exchange(server.address, sent)
        assert status_of(reply) == status, (case, reply)
        assert time.monotonic() - started < 10, case
        for secret in (KEY, OTHER, LIMITED):
            assert secret.encode() not in reply, (case, reply)
        check_healthy(server.address)
    log = server.log.read_text()
    assert "RuntimeError: the secret of [redacted]" in log
    for secret in (KEY, OTHER, LIMITED):
        assert secret not in log, [line for line in log.splitlines() if secret in line][:5]
    assert not any(line.startswith("2026-01-01 forged") for line in log.splitlines())
    assert "body = " not in log  # no values of variables
    assert len(log) < 60_000
