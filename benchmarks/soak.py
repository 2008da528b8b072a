"""A soak test: twice the server's throughput, random shapes and media types, clients that disconnect."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import numpy as np

from benchmarks.support.bodies import MEDIA_TYPES, PET, RAIN, Body, body_of, engine_alone, gappy, is_right
from benchmarks.support.harness import memory_mib
from benchmarks.support.load import TIMEOUT_S
from hydrofill.inference.model import Model

KINDS = 48  # number of different requests
OVERLOAD = 2.0  # offered load over the throughput of the engine alone
LEAVING = 0.1  # share of clients that disconnect before their reply
ALLOWED = frozenset({200, 429, 503, 504})
MAX_GROWTH = 0.05  # of memory, from the second fifth of the time to the last


@dataclass(frozen=True, eq=False)
class Kind:
    """A request, and the result of the engine alone."""

    body: Body
    expected: dict[str, np.ndarray]


@dataclass
class Soaked:
    """The result of a soak test."""

    statuses: Counter[int] = field(default_factory=Counter)
    left: int = 0
    wrong: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    memory: list[float] = field(default_factory=list)  # MiB, once a second

    @property
    def growth(self) -> float:
        """Relative growth of the mean memory from the second fifth of the time to the last."""
        fifth = max(len(self.memory) // 5, 1)
        return float(np.mean(self.memory[-fifth:]) / np.mean(self.memory[fifth : 2 * fifth]) - 1)

    @property
    def passed(self) -> bool:
        """True if all replies were right, all statuses allowed, no connection broke and memory did not grow."""
        return not self.wrong and not self.broken and set(self.statuses) <= ALLOWED and abs(self.growth) <= MAX_GROWTH


def kinds_of(model: Model) -> tuple[list[Kind], float]:
    """Return requests of random sizes, gaps, variables and media types, and the engine's mean seconds for one."""
    rng, kinds, took = np.random.default_rng(3), [], 0.0
    for number in range(KINDS):
        steps, rows, columns = (int(rng.integers(1, top + 1)) for top in (30, 27, 14))
        names = ((RAIN, PET), (RAIN,), (PET,))[int(rng.integers(0, 3))]
        missing = float(rng.uniform(0.1, 0.7))
        body = body_of(
            gappy(model.layout, steps, rows, columns, number, missing, names), MEDIA_TYPES[number % len(MEDIA_TYPES)]
        )
        started = time.perf_counter()
        expected = engine_alone(model, body)
        took += time.perf_counter() - started
        kinds.append(Kind(body, expected))
    return kinds, took / KINDS


def soak(address: str, pid: int, kinds: list[Kind], mean_s: float, seconds: float) -> Soaked:
    """Send requests at random times, whether earlier ones have been answered or not."""
    return asyncio.run(_soak(address, pid, kinds, OVERLOAD / mean_s, seconds))


async def _soak(address: str, pid: int, kinds: list[Kind], rate: float, seconds: float) -> Soaked:
    soaked, rng, until = Soaked(), np.random.default_rng(5), time.perf_counter() + seconds
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=address, timeout=TIMEOUT_S, limits=limits) as client:
        watching = asyncio.ensure_future(_watch(pid, soaked))
        requested = []
        while time.perf_counter() < until:
            kind = kinds[int(rng.integers(0, len(kinds)))]
            patience_s = float(rng.exponential(0.5)) if rng.random() < LEAVING else None
            requested.append(asyncio.ensure_future(_send(client, kind, patience_s, soaked)))
            await asyncio.sleep(float(rng.exponential(1 / rate)))
        await asyncio.gather(*requested)
        watching.cancel()
    return soaked


async def _send(client: httpx.AsyncClient, kind: Kind, patience_s: float | None, soaked: Soaked) -> None:
    headers = {"Content-Type": kind.body.media_type}
    try:
        async with asyncio.timeout(patience_s):
            reply = await client.post("/reconstruct", content=kind.body.content, headers=headers)
    except TimeoutError:
        soaked.left += 1
        return
    except httpx.HTTPError as error:
        soaked.broken[type(error).__name__] += 1
        return
    soaked.statuses[reply.status_code] += 1
    if reply.status_code == 200 and not await asyncio.to_thread(is_right, reply, kind.expected):
        soaked.wrong += 1


async def _watch(pid: int, soaked: Soaked) -> None:
    while True:
        soaked.memory.append(memory_mib("VmRSS", pid))
        await asyncio.sleep(1)
