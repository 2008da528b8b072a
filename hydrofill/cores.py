"""Count the processor cores that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")  # where Linux mounts the control groups


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Return how many cores this process may use, by its CPU affinity and by the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _cores_of_quota(cgroup))))


def _cores_of_quota(cgroup: Path) -> float:
    """Return how many cores the control group allows (version 2, else version 1); infinite without a limit."""
    quotas = ((("cpu.max",),), (("cpu", "cpu.cfs_quota_us"), ("cpu", "cpu.cfs_period_us")))
    for files in quotas:
        try:
            words = " ".join(cgroup.joinpath(*file).read_text(encoding="ascii") for file in files).split()
        except OSError:
            continue
        quota, period = words[:2]
        return math.inf if quota in ("max", "-1") else int(quota) / int(period)
    return math.inf
