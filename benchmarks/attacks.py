"""Attack real servers with the shipped bundles: what each attack is answered, and what it costs.

`python -m benchmarks attacks` writes docs/results/attacks.md, and fails if an answer is wrong, memory exceeds a limit
or `/healthz` waits.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.local_server import LocalServer, local_server
from benchmarks.support.attacks_on_servers import ON_THEIR_OWN
from benchmarks.support.attacks_with_requests import REQUESTS, Attack
from benchmarks.support.harness import machine
from benchmarks.support.processes import descendants, resident, tree_mib
from benchmarks.support.watching import Watched, watched
from hydrofill.bundle import shipped_bundles

GROUP_MIB = 3 * 1024  # the server and its processes together
MEMORY_BYTES = int(0.8 * GROUP_MIB * 2**20)  # the default of a server in a control group of that size
HEALTH_S = 1.0
ENDED_S = 2.0


@dataclass(frozen=True)
class Result:
    """What an attack was answered, whether that is right, how long it took, and what was seen meanwhile."""

    attack: Attack
    answer: str
    right: bool
    seconds: float
    seen: Watched

    @property
    def passed(self) -> bool:
        """True if the answer is right, and memory and the wait for /healthz stayed below their limits."""
        return self.right and self.seen.peak_mib < GROUP_MIB and self.seen.health_s < HEALTH_S


def attacked(attack: Attack, server: LocalServer) -> Result:
    """Return what one attack on a server led to."""
    with watched(server) as seen:
        started = time.perf_counter()
        answer, right = attack.send(server)
        seconds = time.perf_counter() - started
    return Result(attack, answer, right and (attack.ends or server.process.poll() is None), seconds, seen)


def run(names: Sequence[str]) -> tuple[list[Result], int]:
    """Return the results of the attacks (all, or those that are named), and the number of processes that are left."""
    results, started = [], []
    with tempfile.TemporaryDirectory() as folder:
        chosen = [a for a in REQUESTS if not names or a.number in names]
        if chosen:
            with local_server(shipped_bundles(), Path(folder) / "log", memory_bytes=MEMORY_BYTES) as server:
                for attack in chosen:
                    results.append(attacked(attack, server))
                    print(_row(results[-1]), flush=True)
                started += descendants(server.process.pid)
                left_mib = tree_mib(server.process.pid)
            print(f"memory after all of them: {left_mib:.0f} MiB", flush=True)
        for attack in ON_THEIR_OWN:
            if names and attack.number not in names:
                continue
            own = Path(folder) / attack.number.replace(" ", "")
            own.mkdir()
            with attack.server(own, MEMORY_BYTES) as server:
                results.append(attacked(attack, server))
                started += descendants(server.process.pid)
            print(_row(results[-1]), flush=True)
        time.sleep(ENDED_S)
    return results, sum(resident(pid) > 0 for pid in started)


def main(arguments: Sequence[str]) -> str:
    """Return the page of results.

    Raises:
        SystemExit: an attack succeeded, or a process was left.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks attacks")
    parser.add_argument("numbers", nargs="*", help="of the attacks; by default all")
    results, left = run(parser.parse_args(arguments).numbers)
    text = _page(results, left)
    failed = [result.attack.name for result in results if not result.passed]
    if failed or left:
        raise SystemExit(f"{text}\nfailed: {'; '.join(failed) or 'none'}; processes left: {left}")
    return text


def _row(result: Result) -> str:
    seen = result.seen
    cells = (
        result.attack.number,
        result.attack.name,
        result.answer + ("" if result.right else " (wrong)"),
        f"{result.seconds:.1f}",
        f"{seen.peak_mib:.0f}",
        f"{seen.health_s:.2f}",
    )
    return f"| {' | '.join(cells)} |"


def _page(results: Sequence[Result], left: int) -> str:
    head = "| # | attack | answer | seconds | peak memory, MiB | longest `/healthz`, s |\n|---|---|---|---|---|---|"
    passed = sum(result.passed for result in results)
    return (
        f"# Attacks\n\nWritten by `python -m benchmarks attacks`. {machine()}\n\n"
        "Each attack goes to a real server with the shipped bundles and the settings that it has in a control group of "
        f"{GROUP_MIB // 1024} GiB. Memory is the proportional set size of the server and all its processes, at its "
        f"highest. Wanted: the documented answer, less than {GROUP_MIB} MiB, `/healthz` within {HEALTH_S:g} s.\n"
        f"\n{passed} of {len(results)} attacks got all of it. Processes that were left: {left}.\n\n{head}\n"
        + "\n".join(map(_row, results))
        + "\n"
    )
