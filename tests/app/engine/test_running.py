"""Work in threads is over only when it has truly stopped."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest

from app.engine.running import run_in_thread
from app.engine.worker import Engine
from hydrofill.cancellation import Cancellation, CancelledError, checkpoint
from tests.support.waiting import until


@pytest.mark.anyio
async def test_a_thread_that_runs_on_keeps_its_place_when_its_caller_is_cancelled() -> None:
    limiter, release = anyio.CapacityLimiter(1), threading.Event()
    caller = asyncio.ensure_future(run_in_thread(lambda: release.wait(10), limiter, Cancellation()))
    await until(lambda: limiter.borrowed_tokens == 1)
    await asyncio.sleep(0.05)
    for _ in range(2):
        caller.cancel()
        await asyncio.sleep(0.05)
        assert (limiter.borrowed_tokens, caller.done()) == (1, False)
    release.set()
    await until(caller.done)
    assert caller.cancelled()
    await until(lambda: limiter.borrowed_tokens == 0)


@pytest.mark.anyio
async def test_a_thread_ends_at_its_next_checkpoint_once_its_caller_is_cancelled() -> None:
    limiter, turns = anyio.CapacityLimiter(1), 0

    def work() -> None:
        nonlocal turns
        for turns in range(10_000):  # noqa: B007
            checkpoint()
            threading.Event().wait(0.002)

    caller = asyncio.ensure_future(run_in_thread(work, limiter, Cancellation()))
    await until(lambda: turns > 2)
    caller.cancel()
    await until(caller.done, within_s=2)
    assert turns < 5_000


@pytest.mark.anyio
async def test_work_that_waits_for_a_place_never_starts_once_its_caller_is_cancelled() -> None:
    limiter, release, ran = anyio.CapacityLimiter(1), threading.Event(), []
    first = asyncio.ensure_future(run_in_thread(lambda: release.wait(10), limiter, Cancellation()))
    await until(lambda: limiter.borrowed_tokens == 1)
    second = asyncio.ensure_future(run_in_thread(lambda: ran.append(1), limiter, Cancellation()))
    await asyncio.sleep(0.02)
    second.cancel()
    await until(second.done, within_s=1)
    release.set()
    assert await first
    assert ran == []


@pytest.mark.anyio
async def test_work_that_is_cancelled_beforehand_does_not_run() -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(CancelledError):
        await run_in_thread(lambda: 1, anyio.CapacityLimiter(1), cancellation)


@pytest.mark.anyio
async def test_a_caller_of_the_engine_is_released_when_its_job_has_stopped() -> None:
    engine, release = Engine(), threading.Event()
    engine.start()
    caller = asyncio.ensure_future(engine.call(lambda: release.wait(10)))
    await until(lambda: engine._running)
    caller.cancel()
    await asyncio.sleep(0.05)
    assert not caller.done()
    release.set()
    await until(caller.done)
    engine.stop()


@pytest.mark.anyio
async def test_a_job_without_progress_counts_as_stuck_and_one_with_progress_does_not() -> None:
    engine, release, beat = Engine(), threading.Event(), threading.Event()
    engine.start()
    assert engine.stuck_s == 0

    def work() -> None:
        while not release.wait(0.005):
            if beat.is_set():
                checkpoint()

    job = asyncio.ensure_future(engine.call(work))
    await until(lambda: engine.stuck_s > 0.2, within_s=5)
    beat.set()
    await until(lambda: engine.stuck_s < 0.1, within_s=5)
    release.set()
    await job
    engine.stop()
