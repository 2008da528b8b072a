"""`python -m benchmarks.support.measured_command REPORT.json COMMAND...`: run a command, and report its peak memory.

A process of its own, because the system counts the memory of the process that starts a command as that command's until
the command replaces it: this one is small.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

KIB_PER_MIB = 1024 if sys.platform != "darwin" else 1024**2  # macOS counts bytes


def main(report: str, *command: str) -> int:
    """Run the command, write {peak_mib: its largest resident memory}, and return its exit status."""
    status = subprocess.run(command, check=False).returncode
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / KIB_PER_MIB
    Path(report).write_text(json.dumps({"peak_mib": round(peak, 1)}), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
