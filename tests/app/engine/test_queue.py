"""The order of the engine's jobs, and what happens to them when the engine dies."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import cast

import pytest

from app.engine.queue import Job, JobQueue, Policy
from app.engine.worker import Engine, EngineStoppedError
from hydrofill.bundle import read_bundle
from hydrofill.cancellation import checkpoint
from hydrofill.filling import FillOptions, PreparedFill, prepare_fill
from hydrofill.inference.graphs import Runtime
from hydrofill.inference.model import Model, Outcome, load_model
from tests.support.tiny import (
    LAYOUT,
    sample,
)
from tests.support.waiting import until

CPU = Runtime("cpu", 1)


def job(predicted_s: float = 0.1, client: str = "", age_s: float = 0.0) -> Job:
    return Job(lambda: None, predicted_s=predicted_s, client=client, queued_at=time.monotonic() - age_s)


def order(*jobs: Job) -> list[Job | None]:
    waiting = JobQueue(Policy(interactive_s=1.0, ageing_s=20.0))
    for one in jobs:
        waiting.put(one)
    return [waiting.take() for _ in jobs]


def test_small_jobs_go_before_large_ones_that_have_not_aged() -> None:
    large, small, old = job(50.0), job(0.5), job(50.0, age_s=30.0)
    assert order(large, small, old) == [old, small, large]


def test_clients_take_turns() -> None:
    first = [job(client="a") for _ in range(3)]
    second = [job(client="b") for _ in range(2)]
    assert [one.client for one in order(*first, *second) if one] == ["a", "b", "a", "b", "a"]


@pytest.mark.slow
@pytest.mark.anyio
async def test_small_job_runs_between_two_windows_of_a_large_one(slow_bundles: Path) -> None:
    model = load_model(read_bundle(slow_bundles / "tiny"), CPU)
    engine = Engine(Policy(interactive_s=1.0))
    engine.start()
    fill = prepare_fill(sample(100), LAYOUT, FillOptions(("precipitation",)))
    large = asyncio.ensure_future(engine.reconstruct(model, fill, job(100.0)))
    await until(lambda: engine._running)
    small = Job(lambda: 7, predicted_s=0.1)
    assert await asyncio.wait_for(engine.submit(small), 20) == 7
    assert not large.done()
    outcome = await large
    alone = fill.run(model)
    assert outcome.filled["precipitation"].mean.tobytes() == alone.filled["precipitation"].mean.tobytes()
    await asyncio.to_thread(engine.stop)


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_engine_that_dies_fails_its_jobs_and_accepts_no_more() -> None:
    engine, go_on = Engine(), threading.Event()
    engine.start()

    def die() -> None:
        go_on.wait(5)
        raise SystemExit

    dying = asyncio.ensure_future(engine.call(die))
    await until(lambda: engine._running)
    waiting = asyncio.ensure_future(engine.call(lambda: 1))
    await asyncio.sleep(0.01)
    go_on.set()
    for request in (dying, waiting):
        with pytest.raises(EngineStoppedError):
            await request
    await until(lambda: not engine.alive)
    with pytest.raises(EngineStoppedError):
        await engine.call(lambda: 1)


@pytest.mark.anyio
async def test_all_waiting_small_jobs_run_in_one_pause_of_a_large_one_within_their_share() -> None:
    engine, ready = Engine(Policy(interactive_s=1.0)), threading.Event()

    class Pausing:
        """A fill whose run pauses once, after half a second."""

        def run(self, *_: object) -> Outcome:
            ready.wait(10)
            time.sleep(0.3)
            checkpoint()
            still_waiting.append(engine.queued[0])
            return Outcome({}, 0.0, 0.0)

    engine.start()
    still_waiting: list[int] = []
    fill, model = cast(PreparedFill, Pausing()), cast(Model, None)
    large = asyncio.ensure_future(engine.reconstruct(model, fill, job(100.0)))
    await until(lambda: engine._running)
    small = [asyncio.ensure_future(engine.submit(Job(lambda: 7, predicted_s=0.1))) for _ in range(12)]
    await until(lambda: engine.queued[0] == 12)
    ready.set()
    assert await asyncio.gather(*small) == [7] * 12
    await large
    assert still_waiting == [0]
    await asyncio.to_thread(engine.stop)
