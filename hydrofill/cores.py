"""Count the processor cores that this process may use, and keep matrix products on one of them."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from threadpoolctl import ThreadpoolController

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


_blas_lock = threading.Lock()
_blas_users = 0
_blas_limit: Any = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let matrix products of this process run on one thread, so that their bits do not depend on the machine's cores.

    The number of threads is put back when the last of several users leaves.
    """
    global _blas_users, _blas_limit
    with _blas_lock:
        if _blas_users == 0:
            _blas_limit = _blas().limit(limits=1, user_api="blas")
            _blas_limit.__enter__()
        _blas_users += 1
    try:
        yield
    finally:
        with _blas_lock:
            _blas_users -= 1
            if _blas_users == 0:
                _blas_limit.__exit__(None, None, None)


@cache
def _blas() -> ThreadpoolController:
    """Return the controller of the libraries of linear algebra; numpy's is loaded first."""
    import numpy as np  # noqa: F401

    return ThreadpoolController()
