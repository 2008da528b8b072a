"""Load generators: clients that send requests without pause."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx

from benchmarks.support.bodies import Body

TIMEOUT_S = 300.0
PAUSE_S, MAX_PAUSE_S = 0.2, 5.0  # after a reply that is not 200: at least, and at most of what its Retry-After says
FLOOD_FIRST_S = 5.0  # the flood starts this long before the measured client


@dataclass
class LoadResult:
    """The result: seconds until a reply with status 200, refusals included, all statuses, and the wall-clock time."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wall_s: float = 0.0

    @property
    def rate(self) -> float:
        """Replies with status 200 per second."""
        return len(self.seconds) / self.wall_s if self.wall_s else 0.0


def load(address: str, bodies: Sequence[Body], clients: int, seconds: float, path: str = "/reconstruct") -> LoadResult:
    """Run a number of clients, each of which sends the next body as soon as it has its reply."""
    return asyncio.run(_send(address, bodies, clients, seconds, path))


def load_during_flood(
    address: str, body: Body, flood: Sequence[Body], clients: int, seconds: float, small_clients: int = 1
) -> LoadResult:
    """Measure clients with a small request while `clients`, in a process of their own, flood the server."""
    work = (address, flood, clients, seconds + FLOOD_FIRST_S)
    flooding = multiprocessing.get_context("spawn").Process(target=load, args=work, daemon=True)
    flooding.start()
    time.sleep(FLOOD_FIRST_S)
    try:
        return load(address, [body], small_clients, seconds)
    finally:
        flooding.kill()
        flooding.join()


async def _send(address: str, bodies: Sequence[Body], clients: int, seconds: float, path: str) -> LoadResult:
    result, number = LoadResult(), 0
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    started = time.perf_counter()
    async with httpx.AsyncClient(base_url=address, timeout=TIMEOUT_S, limits=limits) as client:

        async def one() -> None:
            nonlocal number
            while time.perf_counter() - started < seconds:
                body, number = bodies[number % len(bodies)], number + 1
                began = time.perf_counter()
                while time.perf_counter() - started < seconds:
                    reply = await client.post(path, content=body.content, headers={"Content-Type": body.media_type})
                    result.statuses[reply.status_code] += 1
                    if reply.status_code == 200:
                        result.seconds.append(time.perf_counter() - began)
                        break
                    wait_s = float(reply.headers.get("retry-after", PAUSE_S))
                    await asyncio.sleep(min(max(wait_s, PAUSE_S), MAX_PAUSE_S))

        await asyncio.gather(*(one() for _ in range(clients)))
    result.wall_s = time.perf_counter() - started
    return result


def rate_of(work: Callable[[], object], seconds: float) -> float:
    """Return the runs of `work` per second, one after another."""
    work()
    started, number = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        work()
        number += 1
    return number / (time.perf_counter() - started)
