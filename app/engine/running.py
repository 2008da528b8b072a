"""Run work in threads so that nothing counts as over before it has truly stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from hydrofill.cancellation import Cancellation, checkpoints

T = TypeVar("T")


async def ended(work: asyncio.Future[Any]) -> None:
    """Wait until `work` has ended, however often the caller is cancelled meanwhile; its result is dropped."""
    while not work.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({work})
    if not work.cancelled():
        work.exception()


async def run_in_thread(work: Callable[[], T], limiter: anyio.CapacityLimiter, cancellation: Cancellation) -> T:
    """Return what `work` does in a thread that ends at its next checkpoint once it is cancelled.

    If the caller is cancelled, so is the work. The caller is released, and the limiter's place with it, only when the
    thread has stopped: a thread that runs on unseen would take memory and processor beyond every limit.
    """
    started = False

    def run() -> T:
        nonlocal started
        started = True
        cancellation.check()
        with checkpoints(cancellation.check):
            return work()

    running = asyncio.ensure_future(anyio.to_thread.run_sync(run, limiter=limiter))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        cancellation.cancel()
        if not started:  # it waits for the limiter
            running.cancel()
        await ended(running)
        raise
