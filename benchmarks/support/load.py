"""Clients that ask without pause, in a process beside the server's."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx

from benchmarks.support.bodies import Body

TIMEOUT_S = 300.0
PAUSE_S = 0.2  # after a refusal
FLOOD_FIRST_S = 2.0


@dataclass
class LoadResult:
    """What came of it: seconds of the good replies, all statuses, and the time that it took in all."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wall_s: float = 0.0

    @property
    def rate(self) -> float:
        """Good replies a second."""
        return len(self.seconds) / self.wall_s if self.wall_s else 0.0


def ask_without_pause(
    address: str, bodies: Sequence[Body], clients: int, seconds: float, path: str = "/reconstruct"
) -> LoadResult:
    """So many clients, each with the next body as soon as it has its answer."""
    return asyncio.run(_ask(address, bodies, clients, seconds, path))


def ask_beside(address: str, body: Body, flood: Sequence[Body], clients: int, seconds: float) -> LoadResult:
    """One client with a small request, while `clients` flood the server."""

    async def both() -> LoadResult:
        flooding = asyncio.ensure_future(_ask(address, flood, clients, seconds + FLOOD_FIRST_S, "/reconstruct"))
        await asyncio.sleep(FLOOD_FIRST_S)
        small = await _ask(address, [body], 1, seconds, "/reconstruct")
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        return small

    return asyncio.run(both())


async def _ask(address: str, bodies: Sequence[Body], clients: int, seconds: float, path: str) -> LoadResult:
    requested, number = LoadResult(), 0
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    started = time.perf_counter()
    async with httpx.AsyncClient(base_url=address, timeout=TIMEOUT_S, limits=limits) as client:

        async def one() -> None:
            nonlocal number
            while time.perf_counter() - started < seconds:
                body, number = bodies[number % len(bodies)], number + 1
                began = time.perf_counter()
                reply = await client.post(path, content=body.content, headers={"Content-Type": body.form})
                requested.statuses[reply.status_code] += 1
                if reply.status_code == 200:
                    requested.seconds.append(time.perf_counter() - began)
                else:
                    await asyncio.sleep(PAUSE_S)

        await asyncio.gather(*(one() for _ in range(clients)))
    requested.wall_s = time.perf_counter() - started
    return requested


def rate_of(work: Callable[[], object], seconds: float) -> float:
    """Runs of `work` a second, one after another."""
    work()
    started, number = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        work()
        number += 1
    return number / (time.perf_counter() - started)
