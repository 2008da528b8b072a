"""Every hostile request to a real server gets its documented 4xx, leaks nothing, and the next request is served."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from app.http.problems import PROBLEM_MEDIA_TYPE, TYPE_PREFIX
from app.local_server import LocalServer
from benchmarks.support.processes import descendants, resident
from tests.hostile.make_corpus import SECRET, Case, corpus
from tests.support.servers import serving
from tests.support.tiny import JSON, body_of, sample

MIB = 2**20
DECODED, PARSER = 64 * MIB, 256 * MIB  # limits of this server
GROWTH = 4 * DECODED  # allowed for the server's own process, over the whole corpus
IDLE = 160 * MIB  # memory of a parser that has parsed nothing


@contextmanager
def watched(pid: int) -> Iterator[list[int]]:
    """Yield a list whose one entry is the largest resident memory of any descendant so far."""
    peak, end = [0], threading.Event()

    def look() -> None:
        while not end.wait(0.02):
            peak[0] = max(peak[0], *(resident(child) for child in descendants(pid)), 0)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield peak
    finally:
        end.set()
        looking.join()


def check(served: LocalServer, case: Case, client: httpx.Client, good: bytes) -> None:
    reply = client.post("/reconstruct", content=case.body, headers={"Content-Type": case.media_type})
    assert reply.status_code in case.statuses, f"{case.name}: {reply.status_code} {reply.text[:400]}"
    assert SECRET not in reply.content and b"secret" not in reply.content, case.name
    if reply.status_code != 200:
        assert reply.headers["content-type"] == PROBLEM_MEDIA_TYPE, case.name
        if case.problem:
            assert reply.json()["type"] == TYPE_PREFIX + case.problem, case.name
    again = client.post("/reconstruct", content=good, headers={"Content-Type": JSON})
    assert again.status_code == 200, f"after {case.name}: {again.text[:400]}"


@pytest.mark.slow
def test_every_hostile_request_has_its_documented_answer(bundles: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(SECRET)
    good = body_of(sample(), JSON)
    limits = {"max_decoded_bytes": DECODED, "parser_memory_bytes": PARSER, "max_cost_s": 1}
    with (
        serving(bundles, tmp_path, **limits) as served,
        httpx.Client(base_url=served.address, timeout=60) as client,
    ):
        client.post("/reconstruct", content=good, headers={"Content-Type": JSON})
        before = resident(served.process.pid)
        number, slowest = 0, 0.0
        with watched(served.process.pid) as peak:
            for number, case in enumerate(corpus(secret), 1):  # noqa: B007
                started = time.monotonic()
                check(served, case, client, good)
                slowest = max(slowest, time.monotonic() - started)
        assert number > 70
        assert slowest < 30
        assert resident(served.process.pid, "VmHWM") - before < GROWTH
        assert 0 < peak[0] < PARSER + IDLE
        assert served.process.poll() is None
        assert "Traceback" not in served.log.read_text()
