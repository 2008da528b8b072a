"""Send odd requests to a real server for a while: every status, the memory of its processes, and what is left.

`python -m benchmarks fuzz --minutes 30` writes docs/results/fuzz.md. `python -m benchmarks.fuzz --seconds 300` writes
nothing, and fails if a reply is wrong or a process is left.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock

import httpx
import numpy as np

from app.local_server import LocalServer, local_server
from benchmarks.support.harness import machine
from benchmarks.support.processes import descendants, resident, tree_mib
from benchmarks.support.request_grammar import make_request
from hydrofill.bundle import shipped_bundles

CLIENTS = 2
TIMEOUT_S = 120.0
ENDED_S = 2.0  # after the server, for its processes to end
HEALTH_S = 1.0  # longest wait for /healthz
ALLOWED = frozenset({200, 400, 406, 408, 413, 415, 422, 429, 431, 503, 504})
MAX_GROWTH = 0.05  # of memory: the last 5 minutes from the 5 before, or tenths of a shorter run
FLAT_S = 300.0


@dataclass
class Fuzzed:
    """What was seen.

    statuses: replies by status. wrong: the descriptions of requests that had none or another status. health_s: waits
    for /healthz. memory: MiB of all processes, once a second. left: processes that outlived the server.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    health_s: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    left: list[int] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Relative growth of the mean memory from the stretch before the last to the last."""
        length = max(1, min(int(FLAT_S), len(self.memory) // 3))
        return float(np.mean(self.memory[-length:]) / np.mean(self.memory[-2 * length : -length] or self.memory) - 1)


def fuzz(server: LocalServer, seconds: float, first_seed: int) -> Fuzzed:
    """Send the requests of `first_seed` and the seeds after it to a server, from several clients."""
    fuzzed, lock, seeds, over = Fuzzed(), Lock(), iter(range(first_seed, sys.maxsize)), Event()

    def send() -> None:
        with httpx.Client(base_url=server.address, timeout=TIMEOUT_S) as client:
            while not over.is_set():
                with lock:
                    request = make_request(next(seeds))
                try:
                    reply = client.post(request.path, content=request.body, headers=_as_bytes(request.headers))
                    status, text = reply.status_code, reply.text[:300] if reply.status_code >= 400 else ""
                except httpx.HTTPError as error:
                    status, text = 0, repr(error)
                with lock:
                    fuzzed.statuses[status] += 1
                    if status not in ALLOWED:
                        fuzzed.wrong.append(f"{status} for {request.description}: {text}")

    with ThreadPoolExecutor(CLIENTS) as pool:
        sending = [pool.submit(send) for _ in range(CLIENTS)]
        until = time.monotonic() + seconds
        try:
            with httpx.Client(base_url=server.address, timeout=TIMEOUT_S) as client:
                while time.monotonic() < until and server.process.poll() is None:
                    started = time.perf_counter()
                    client.get("/healthz")
                    fuzzed.health_s.append(time.perf_counter() - started)
                    fuzzed.memory.append(tree_mib(server.process.pid))
                    time.sleep(1.0)
        finally:
            over.set()
        for sent in sending:
            sent.result()
    return fuzzed


def _as_bytes(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    """Return headers as they are sent: a client would refuse some of them."""
    return {name.encode(): value.encode("latin-1") for name, value in headers.items()}


def run(seconds: float, seed: int) -> Fuzzed:
    """Start a server with the shipped bundles, fuzz it, stop it, and look for processes that are left."""
    with tempfile.TemporaryDirectory() as folder:
        with local_server(shipped_bundles(), Path(folder) / "log") as server:
            fuzzed = fuzz(server, seconds, seed)
            processes = descendants(server.process.pid)
        time.sleep(ENDED_S)
        fuzzed.left = [pid for pid in processes if resident(pid) > 0]
        return fuzzed


def main(arguments: Sequence[str]) -> str:
    """Return the page of results.

    Raises:
        SystemExit: a reply was wrong, or a process was left.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks fuzz")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, help="instead of --minutes")
    parser.add_argument("--seed", type=int, default=0, help="of the first request")
    given = parser.parse_args(arguments)
    seconds = 60 * given.minutes if given.seconds is None else given.seconds
    fuzzed = run(seconds, given.seed)
    text = _page(fuzzed, seconds, given.seed)
    if fuzzed.wrong or fuzzed.left:
        raise SystemExit("\n".join([text, *fuzzed.wrong[:20], f"left: {fuzzed.left}"]))
    return text


def _page(fuzzed: Fuzzed, seconds: float, seed: int) -> str:
    statuses = ", ".join(f"{status}: {number}" for status, number in sorted(fuzzed.statuses.items()))
    rows = [
        ("requests", f"{fuzzed.statuses.total()}, from seed {seed}, {seconds / 60:g} minutes, {CLIENTS} clients"),
        ("statuses", statuses),
        ("wrong statuses or broken connections", str(len(fuzzed.wrong))),
        ("/healthz, longest and 99th percentile", _waits(fuzzed.health_s)),
        ("memory of all processes at first, at most, at last", _memory(fuzzed.memory)),
        (f"... after each {FLAT_S / 60:g} minutes", _memory_over_time(fuzzed.memory)),
        ("growth of memory, last stretch of at most 5 minutes from the one before", f"{100 * fuzzed.growth:+.1f} %"),
        ("processes left", str(len(fuzzed.left))),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"# Odd requests\n\n{machine()}\n\n| what | seen |\n|---|---|\n{table}\n"


def _waits(waits: list[float]) -> str:
    return f"{max(waits):.2f} s, {np.quantile(waits, 0.99):.2f} s (wanted: under {HEALTH_S:g} s)"


def _memory(memory: list[float]) -> str:
    return f"{memory[0]:.0f}, {max(memory):.0f}, {memory[-1]:.0f} MiB"


def _memory_over_time(memory: list[float]) -> str:
    """Return the mean memory of the last minute before each mark; there is about one value a second."""
    marks = range(int(FLAT_S), len(memory) + 1, int(FLAT_S))
    return ", ".join(f"{np.mean(memory[mark - 60 : mark]):.0f}" for mark in marks) + " MiB" if marks else "none"


if __name__ == "__main__":
    print(main(sys.argv[1:]))
