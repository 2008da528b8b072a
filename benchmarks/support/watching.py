"""Watch a server during an attack: the memory of its processes, and how long `/healthz` takes."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

import httpx

from app.local_server import LocalServer
from benchmarks.support.processes import tree_mib

PAUSE_S = 0.05
TIMEOUT_S = 120.0


@dataclass
class Watched:
    """The most MiB of the server and its descendants, and the longest wait for /healthz in seconds."""

    peak_mib: float = 0.0
    health_s: float = 0.0


@contextmanager
def watched(server: LocalServer) -> Iterator[Watched]:
    """Watch a server until the context ends, from a process of its own: this one is busy with the attack."""
    seen, (ours, theirs) = Watched(), multiprocessing.Pipe()
    watch = multiprocessing.get_context("spawn").Process(
        target=_watch, args=(server.address, server.process.pid, theirs), daemon=True
    )
    watch.start()
    ours.recv()  # it has begun
    try:
        yield seen
    finally:
        ours.send(None)
        seen.peak_mib, seen.health_s = ours.recv()
        watch.join()


def _watch(address: str, pid: int, told: Connection) -> None:
    """Look until something is told, then tell the largest figures; a server that has ended is not asked."""
    peak_mib = health_s = 0.0
    with httpx.Client(base_url=address, timeout=TIMEOUT_S) as client:
        told.send(None)
        while not told.poll(PAUSE_S):
            peak_mib = max(peak_mib, tree_mib(pid))
            started = time.perf_counter()
            try:
                client.get("/healthz")
            except httpx.ConnectError:  # the server has ended, as some attacks want
                continue
            except httpx.HTTPError:
                pass
            health_s = max(health_s, time.perf_counter() - started)
    told.send((peak_mib, health_s))
