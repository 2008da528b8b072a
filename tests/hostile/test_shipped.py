"""Hostile requests to a real server with the shipped bundles: none is an internal error, and memory stays bounded."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import xarray as xr

from app.local_server import LocalServer
from benchmarks.fuzz import fuzz
from benchmarks.support.processes import children, tree_mib
from hydrofill.bundle import shipped_bundles
from tests.hostile.files import FLOATS, npy
from tests.support.servers import serving
from tests.support.tiny import JSON, NETCDF, NPZ, body_of, json_of, sample
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

MEMORY_MIB = 250  # that a small body may add to the server and its processes
FUZZ_S, FIRST_SEED = 15.0, 20_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with serving(shipped_bundles(), tmp_path_factory.mktemp("hostile")) as served:
        yield served


@pytest.fixture(scope="module")
def client(server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=120) as connected:
        yield connected


@contextmanager
def bounded(server: LocalServer) -> Iterator[None]:
    """Fail if the memory of the server's processes grows by more than MEMORY_MIB at any moment."""
    before, peak, end = tree_mib(server.process.pid), [0.0], threading.Event()

    def look() -> None:
        while not end.wait(0.05):
            peak[0] = max(peak[0], tree_mib(server.process.pid))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        end.set()
        looking.join()
    assert peak[0] - before < MEMORY_MIB


def post(client: httpx.Client, body: bytes, media_type: str) -> httpx.Response:
    return client.post("/reconstruct", content=body, headers={"Content-Type": media_type})


def archive_of_zeros(method: int, mebibytes: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        archive.writestr("time.npy", npy(FLOATS.format((2**18 * mebibytes,)), bytes(2**20 * mebibytes)))
    return content.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archive_of_another_method_than_deflate_is_unreadable_and_takes_no_memory(
    server: LocalServer, client: httpx.Client, method: int
) -> None:
    body = archive_of_zeros(method, 320)
    with bounded(server):
        reply = post(client, body, NPZ)
    assert reply.status_code == 400
    assert "unsupported compression" in reply.json()["detail"]


def test_deflated_archive_is_inflated_to_the_limit_in_a_process_that_ends(
    server: LocalServer, client: httpx.Client
) -> None:
    assert post(client, archive_of_zeros(zipfile.ZIP_DEFLATED, 640), NPZ).status_code == 413
    wait_for(lambda: tree_mib(server.process.pid) < 2_000)


def test_file_of_variables_with_dimensions_of_their_own_is_refused_at_once(client: httpx.Client) -> None:
    many = {f"v{n}": (tuple(f"d{n}_{k}" for k in range(30)), np.zeros((1,) * 30)) for n in range(200)}
    body = bytes(xr.Dataset(many).to_netcdf(engine="scipy"))
    started = time.monotonic()
    reply = post(client, body, NETCDF)
    assert reply.status_code == 413
    assert "dimensions" in reply.json()["detail"]
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("section", ["fields", "units"])
def test_name_given_twice_in_json_is_refused(client: httpx.Client, section: str) -> None:
    text = body_of(sample(), JSON).decode()
    twice = {
        "fields": text.replace('"fields":{', '"fields":{"temperature":{"values":[[[1.0]]]},'),
        "units": text.replace('"units":', '"units":"1","\\u0075nits":', 1),
    }
    reply = post(client, twice[section].encode(), JSON)
    assert reply.status_code == 422
    assert "twice" in reply.json()["detail"]


@pytest.mark.parametrize("time_type", ["M8", "M8[as]", "M8[1000000Y]"])
def test_times_in_units_that_say_nothing_are_refused(client: httpx.Client, time_type: str) -> None:
    content = io.BytesIO()
    np.savez(content, time=np.arange(5).view(time_type), river_flow=np.zeros((5, 1)), site_y=[0.0], site_x=[0.0])
    reply = post(client, content.getvalue(), NPZ)
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == "/time"


@pytest.mark.parametrize("point", [0x110000, 0xFFFFFFFF, 0xD800])
def test_text_beyond_unicode_is_refused(client: httpx.Client, point: int) -> None:
    content = io.BytesIO()
    texts = np.full(1, point, "<u4").view("<U1")
    np.savez(
        content, time=np.arange(5).view("M8[D]"), river_flow=np.zeros((5, 1)), site=texts, site_y=[0.0], site_x=[0]
    )
    assert post(client, content.getvalue(), NPZ).status_code in (400, 422)


def test_name_of_any_length_does_not_come_back(client: httpx.Client) -> None:
    document = json_of(sample())
    document["fields"]["v" * 10**6] = document["fields"].pop("temperature")
    reply = client.post("/reconstruct", json=document)
    assert reply.status_code == 422
    assert len(reply.content) < 10_000


@pytest.mark.parametrize("number", [3, 60])
def test_reader_that_was_killed_is_started_again(server: LocalServer, client: httpx.Client, number: int) -> None:
    for process in children(server.process.pid)[:number]:
        os.kill(process, signal.SIGKILL)
    for form in (NETCDF, JSON, NPZ):
        assert post(client, body_of(sample(), form), form).status_code in (200, 503)
    wait_for(lambda: client.get("/readyz").status_code == 200)
    assert post(client, body_of(sample(), NETCDF), NETCDF).status_code == 200


def test_server_needs_no_folder_for_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    assert not list(folder.iterdir())
    with serving(shipped_bundles(), tmp_path) as served:
        assert not list(folder.iterdir())
        folder.rmdir()
        reply = httpx.post(
            f"{served.address}/reconstruct",
            content=body_of(sample(), NETCDF),
            headers={"Content-Type": NETCDF},
            timeout=60,
        )
        assert reply.status_code == 200


def test_odd_requests_are_never_internal_errors(server: LocalServer) -> None:
    fuzzed = fuzz(server, FUZZ_S, FIRST_SEED)
    assert not fuzzed.wrong
    assert fuzzed.statuses[200] > 0
    assert server.process.poll() is None
