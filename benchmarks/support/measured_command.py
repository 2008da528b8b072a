"""`python -m benchmarks.support.measured_command REPORT.json COMMAND...`: run a command, and report its peak memory.

A process of its own, because the system counts the memory of the process that starts a command as that command's until
the command replaces it: this one is small.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

KIB_PER_MIB = 1024 if sys.platform != "darwin" else 1024**2  # macOS counts bytes
SAMPLE_S = 0.05


def main(report: str, *command: str) -> int:
    """Run the command, write the report, and return the command's exit status.

    The report holds `peak_mib`, the largest resident memory of any single process, `tree_mib`, the largest of all
    processes together, and `wall_s`. Memory that processes share counts once. Where the system has no /proc, `tree_mib`
    is `peak_mib`; so it is where one process took more than was sampled.
    """
    started = time.perf_counter()
    running = subprocess.Popen(command)
    sampled, status = 0.0, None
    while status is None:
        try:
            status = running.wait(SAMPLE_S)
        except subprocess.TimeoutExpired:
            sampled = max(sampled, sum(map(resident_mib, family(running.pid))))
    wall = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / KIB_PER_MIB
    figures = {"peak_mib": round(peak, 1), "tree_mib": round(max(peak, sampled), 1), "wall_s": round(wall, 4)}
    Path(report).write_text(json.dumps(figures), encoding="utf-8")
    return status


def family(pid: int) -> list[int]:
    """Return a process and all processes below it; those that have ended meanwhile are left out."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(word) for thread in threads for word in (thread / "children").read_text("ascii").split()]
    except OSError:
        children = []
    return [pid, *(below for child in children for below in family(child))]


def resident_mib(pid: int) -> float:
    """Return a process's resident memory in MiB, what it shares divided among the sharers; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
