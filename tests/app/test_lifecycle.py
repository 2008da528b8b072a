"""A server drains when it is told to end, ends with an error when its engine dies, and never hangs."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from app.local_server import ROOT, LocalServer, free_port, running
from tests.support.raw import connected
from tests.support.servers import serving, serving_in_thread
from tests.support.tiny import JSON, NETCDF, NPZ, body_of, sample
from tests.support.waiting import wait_for

NO_LIMITS = {"max_cost_s": 1e6, "max_queue_s": 1e6}  # a busy machine must not make the server refuse requests


def fill(address: str, body: bytes, form: str = NPZ) -> int:
    reply = httpx.post(f"{address}/reconstruct", content=body, headers={"Content-Type": form}, timeout=300.0)
    return reply.status_code


def gauge(address: str, name: str) -> float:
    """The value of a metric without labels."""
    text = httpx.get(f"{address}/metrics").text
    line = next(line for line in text.splitlines() if line.startswith(f"{name} "))
    return float(line.split()[1])


def has_work(address: str) -> bool:
    """Return whether the engine has running or queued work."""
    return gauge(address, "hydrofill_queue_backlog_seconds") > 0


@pytest.mark.slow
def test_terminated_server_finishes_accepted_requests_and_refuses_new_ones(slow_bundles: Path, tmp_path: Path) -> None:
    body = body_of(sample(300), NPZ)
    with serving(slow_bundles, tmp_path, drain_s=300, **NO_LIMITS) as served, ThreadPoolExecutor(4) as pool:
        accepted = [pool.submit(fill, served.address, body) for _ in range(3)]
        wait_for(lambda: gauge(served.address, "hydrofill_queue_requests") >= 2)
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.15)
        ready = httpx.get(f"{served.address}/readyz")
        assert (ready.status_code, ready.json()["detail"]) == (503, "the server is shutting down")
        assert httpx.get(f"{served.address}/healthz").status_code == 200
        refused = httpx.post(f"{served.address}/reconstruct", content=body, headers={"Content-Type": NPZ})
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert [reply.result() for reply in accepted] == [200, 200, 200]
        assert served.process.wait(timeout=20) == 0


@pytest.mark.slow
def test_server_that_cannot_finish_in_time_ends_with_an_error(slow_bundles: Path, tmp_path: Path) -> None:
    body = body_of(sample(3000), NPZ)
    with serving(slow_bundles, tmp_path, drain_s=0.5, **NO_LIMITS) as served, ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(fill, served.address, body)
        wait_for(lambda: has_work(served.address))
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=20) == 75
        assert "requests are lost" in served.log.read_text()
        assert accepted.result() == 503


# Threads that no signal can stop: in a pool that reads bodies, on the engine, and one that reads bundles again.
STUCK = {
    "pool": """
from app import service
def stay(*_):
    threading.Event().wait()
service.choose_bundle = stay
""",
    "engine": """
from hydrofill.inference import model
def stay(self, cube, names=None, *rest):
    return kept(self, cube, names, *rest) if not rest else threading.Event().wait()
kept, model.Model.run = model.Model.run, stay
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("where", STUCK)
def test_process_ends_a_second_after_the_drain_whatever_runs(bundles: Path, tmp_path: Path, where: str) -> None:
    with stuck_server(bundles, tmp_path, STUCK[where], drain_s=1) as served, ThreadPoolExecutor(1) as pool:
        reply = pool.submit(fill, served.address, body_of(sample(), NPZ))
        wait_for(lambda: gauge(served.address, "hydrofill_active_requests") > 0)
        time.sleep(0.3)
        assert httpx.get(f"{served.address}/healthz").status_code == 200
        served.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert served.process.wait(timeout=20) == 75
        assert time.monotonic() - started < 3.5  # 2 s, and what a busy machine adds
        assert reply.result() == 503


@pytest.mark.slow
def test_process_ends_while_a_bundle_cannot_be_read_to_its_end(bundles: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bundles, tmp_path / "bundles")
    stay = """
from app.bundles import reload
def stay(*_):
    threading.Event().wait()
reload.file_states = stay
"""
    with stuck_server(folder, tmp_path, stay, drain_s=30) as served:
        served.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert served.process.wait(timeout=20) == 0
        assert time.monotonic() - started < 3.5


@pytest.mark.slow
def test_server_whose_engine_is_stuck_fails_its_health_check_and_ends(bundles: Path, tmp_path: Path) -> None:
    with stuck_server(bundles, tmp_path, STUCK["engine"], stuck_s=1) as served, ThreadPoolExecutor(1) as pool:
        pool.submit(fill_or_lose, served.address, body_of(sample(), NPZ))
        assert served.process.wait(timeout=20) == 70
    assert "no progress" in (tmp_path / "log").read_text()


def fill_or_lose(address: str, body: bytes) -> int:
    try:
        return fill(address, body)
    except httpx.TransportError:
        return 0


@contextmanager
def stuck_server(bundles: Path, folder: Path, fault: str, **settings: float) -> Iterator[LocalServer]:
    """A real server into which a fault was put."""
    port = free_port()
    environment = dict(os.environ) | {f"HYDROFILL_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-c", SERVE.format(fault=fault), str(bundles), str(port)]
    with running(command, port, folder / "log", "/readyz", environment, ROOT) as server:
        yield server


# The engine's thread ends by what it runs, or by an error of its own queue. Requests must not wait for it.
ENGINE_FAULTS = {
    "ends": """
def die(self, job):
    if threading.current_thread().name == "engine" and job.predicted_s > 0:
        raise SystemExit
    return kept(self, job)
kept, worker.Engine._run = worker.Engine._run, die
""",
    "raises": """
def die(self, interactive_only=False):
    if threading.current_thread().name == "engine" and any(job.predicted_s > 0 for job in self.jobs):
        raise MemoryError
    return kept(self, interactive_only)
kept, queue.JobQueue.take = queue.JobQueue.take, die
""",
}
SERVE = """
import sys, threading
from app.engine import queue, worker
from app.__main__ import cli
{fault}
cli(["serve", "--bundles", sys.argv[1], "--port", sys.argv[2]])
"""


@pytest.mark.slow
@pytest.mark.parametrize("fault", ENGINE_FAULTS)
def test_server_whose_engine_dies_ends_with_an_error(bundles: Path, tmp_path: Path, fault: str) -> None:
    port = free_port()
    command = [sys.executable, "-c", SERVE.format(fault=ENGINE_FAULTS[fault]), str(bundles), str(port)]
    with running(command, port, tmp_path / "log", "/readyz", cwd=ROOT) as server:
        assert fill(server.address, body_of(sample(), NPZ)) == 503
        assert server.process.wait(timeout=60) == 70
    assert "the engine has stopped" in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_server_on_a_full_disk_answers_in_every_media_type(bundles: Path, tmp_path: Path) -> None:
    with serving(bundles, tmp_path) as served:
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (0, 0))  # no file grows, the log's included
        size = served.log.stat().st_size
        for form in (JSON, NPZ, NETCDF):
            assert fill(served.address, body_of(sample(), form), form) == 200
        assert served.log.stat().st_size == size
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=20) == 0


@pytest.mark.slow
def test_server_open_to_the_network_without_keys_is_refused(bundles: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app", "serve", "--bundles", str(bundles), "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "HYDROFILL_KEYS_FILE" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_body_that_trickles_in_is_answered_408_and_delays_nobody(bundles: Path, tmp_path: Path) -> None:
    with serving(bundles, tmp_path, body_timeout_s=1) as served, connected(served.address) as slow:
        head = ("POST /reconstruct HTTP/1.1", "Host: localhost", f"Content-Type: {JSON}", "Content-Length: 99", "", "{")
        slow.sendall("\r\n".join(head).encode())
        assert fill(served.address, body_of(sample(), JSON), JSON) == 200
        slow.settimeout(0.2)
        reply, deadline = b"", time.monotonic() + 30
        while not reply and time.monotonic() < deadline:
            slow.sendall(b" ")
            with suppress(TimeoutError):
                reply = slow.recv(100)
        assert reply.startswith(b"HTTP/1.1 408")


@pytest.mark.slow
def test_header_that_trickles_in_closes_its_connection(bundles: Path, tmp_path: Path) -> None:
    with serving(bundles, tmp_path, head_timeout_s=1) as served, connected(served.address) as slow:
        started = time.monotonic()
        with suppress(ConnectionError):
            for byte in b"GET /healthz HTTP/1.1\r\nX-Slow: 1234567890\r\n":
                slow.sendall(bytes([byte]))
                time.sleep(0.1)
        assert 0.9 < time.monotonic() - started < 4
        assert httpx.get(f"{served.address}/healthz").status_code == 200


@pytest.mark.slow
def test_response_that_is_not_read_holds_its_slot_until_the_timeout(bundles: Path, tmp_path: Path) -> None:
    small, large = body_of(sample(), NPZ), body_of(sample(20_000, 8, 8).fillna(1.0), NPZ)
    with serving(bundles, tmp_path, max_requests=1, reply_timeout_s=3) as served, connected(served.address) as lazy:
        head = (
            "POST /reconstruct HTTP/1.1",
            "Host: localhost",
            f"Content-Type: {NPZ}",
            f"Content-Length: {len(large)}",
        )
        lazy.sendall("\r\n".join((*head, "", "")).encode() + large)
        assert lazy.recv(20).startswith(b"HTTP/1.1 200")
        assert fill(served.address, small) == 503
        time.sleep(3.5)
        assert fill(served.address, small) == 200
        received, deadline = 0, time.monotonic() + 60
        with suppress(ConnectionError):
            while (part := lazy.recv(2**20)) and time.monotonic() < deadline:
                received += len(part)
        assert received < len(large)


def test_server_in_a_process_that_is_not_its_own_leaves_that_process_alone(
    bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[tuple[float, int]] = []
    monkeypatch.setattr("app.server.end_within", lambda *arguments: ended.append(arguments))
    with serving_in_thread(bundles) as address:
        assert httpx.get(f"{address}/healthz").status_code == 200
    assert ended == []
