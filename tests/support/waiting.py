"""Wait in tests, with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


async def until(condition: Callable[[], object], within_s: float = 10.0) -> float:
    """Wait until the condition holds; return the seconds that it took."""
    started = time.perf_counter()
    while not condition():
        assert time.perf_counter() - started < within_s
        await asyncio.sleep(0.001)
    return time.perf_counter() - started


def wait_for(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Return once `condition` holds; fail when it does not within `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"the condition does not hold after {limit_s:g} s"
        time.sleep(0.01)
