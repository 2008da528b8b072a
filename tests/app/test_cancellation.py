"""Requests whose client disconnects or whose deadline passes are cancelled, and the engine is free at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from app.engine.queue import Job
from app.engine.worker import Engine
from app.main import create_app
from app.settings import Settings
from hydrofill.bundle import read_bundle
from hydrofill.cancellation import Cancellation, CancelledError
from hydrofill.cf.dataset import read_dataset
from hydrofill.cube import WaterCube
from hydrofill.filling import FillOptions, prepare_fill
from hydrofill.inference.graphs import Runtime
from hydrofill.inference.model import Model, load_model
from tests.support.problems import check_problem
from tests.support.slow import big
from tests.support.tiny import (
    LAYOUT,
    NPZ,
    body_of,
    client_of,
    post,
    sample,
    write_bundle,
)
from tests.support.waiting import until

CPU = Runtime("cpu", 1)
GUESSING = LAYOUT.model_copy(update={"guesses": True})
QUICK = 0.05  # seconds within which the engine must be free


@pytest.fixture
def guessing(tmp_path: Path) -> Model:
    return load_model(read_bundle(write_bundle(tmp_path, layout=GUESSING)), CPU)


@pytest.fixture
def engine() -> Iterator[Engine]:
    started = Engine()
    started.start()
    yield started
    started.stop()


@pytest.fixture
async def slow_app(slow_bundles: Path) -> AsyncIterator[FastAPI]:
    app = create_app(Settings(bundles=slow_bundles, interactive_s=0.0))
    async with app.router.lifespan_context(app):
        yield app


async def send_request(
    app: FastAPI, body: bytes, gone: asyncio.Event, form: str = NPZ
) -> list[MutableMapping[str, Any]]:
    """Return what the application sends to a client that disconnects when `gone` is set."""
    sent: list[MutableMapping[str, Any]] = []
    body_sent = False

    async def receive() -> dict[str, Any]:
        nonlocal body_sent
        if not body_sent:
            body_sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/reconstruct",
        "raw_path": b"/reconstruct",
        "query_string": b"",
        "headers": [(b"content-type", form.encode())],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("test", 80),
        "client": ("test", 1),
        "root_path": "",
        "app": app,
    }
    await asyncio.wait_for(app(scope, receive, send), 60)
    return sent


async def making_guesses(model: Model, engine: Engine, after_s: float) -> tuple[Job, asyncio.Future[Any]]:
    """A large job that has been computing first guesses for some time, and the request that awaits it."""
    fill = prepare_fill(sample(3000, 20, 20), GUESSING, FillOptions(("precipitation",)))
    job = Job(lambda: None, predicted_s=100.0)
    request = asyncio.ensure_future(engine.reconstruct(model, fill, job))
    await until(lambda: engine._running)
    await asyncio.sleep(after_s)
    return job, request


@pytest.mark.anyio
async def test_client_that_disconnects_frees_the_engine_at_once(slow_app: FastAPI) -> None:
    engine, gone = slow_app.state.service.engine, asyncio.Event()
    request = asyncio.ensure_future(send_request(slow_app, big(), gone))
    await until(lambda: engine._running)
    await asyncio.sleep(0.1)
    gone.set()
    took = await until(lambda: not engine._running)
    assert took < 4 * QUICK  # allows for a busy machine; on an idle one it takes 2 to 10 ms
    assert (await request)[0]["status"] == 499
    metrics = slow_app.state.service.metrics.text().decode()
    assert 'hydrofill_cancellations_total{reason="client",stage="engine"} 1.0' in metrics


@pytest.mark.anyio
async def test_first_guesses_stop_at_once_when_the_request_is_cancelled(guessing: Model, engine: Engine) -> None:
    job, request = await making_guesses(guessing, engine, 0.2)
    assert job.share_done == 0
    request.cancel()
    assert await until(lambda: not engine._running) < 10 * QUICK
    with pytest.raises(CancelledError):
        job.future.result()


@pytest.mark.anyio
async def test_small_request_runs_while_first_guesses_of_a_large_one_are_computed(
    guessing: Model, engine: Engine
) -> None:
    large, request = await making_guesses(guessing, engine, 0.1)
    assert await engine.call(lambda: large.share_done) == 0
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)


@pytest.mark.anyio
async def test_client_that_disconnects_removes_its_queued_job_at_once(slow_app: FastAPI) -> None:
    engine = slow_app.state.service.engine
    gone = [asyncio.Event(), asyncio.Event()]
    first = asyncio.ensure_future(send_request(slow_app, big(), gone[0]))
    await until(lambda: engine._running)
    second = asyncio.ensure_future(send_request(slow_app, big(), gone[1]))
    await until(lambda: engine.queued[0] == 1)
    gone[1].set()
    assert await until(lambda: engine.queued == (0, 0)) < 4 * QUICK
    assert engine._running
    gone[0].set()
    assert [(await request)[0]["status"] for request in (first, second)] == [499, 499]
    assert slow_app.state.service.admission.active_requests == 0


@pytest.mark.slow
@pytest.mark.anyio
async def test_deadline_is_answered_504_and_frees_the_engine(slow_bundles: Path) -> None:
    app = create_app(Settings(bundles=slow_bundles, deadline_s=0.4))
    async with client_of(app) as client:
        started = time.perf_counter()
        check_problem(await post(client, big(), NPZ), 504, "deadline", "0.4 s")
        assert time.perf_counter() - started < 3
        await until(lambda: not app.state.service.engine._running)
        assert (await post(client, body_of(sample(2), NPZ), NPZ)).status_code in (200, 504)


def run_repeatedly(model: Model, cube: WaterCube, cancellation: Cancellation, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        model.run(cube, cancellation=cancellation)


def test_cancelled_run_raises_and_the_next_run_is_complete(slow_bundles: Path) -> None:
    model = load_model(read_bundle(slow_bundles / "tiny"), CPU)
    cube, cancellation = read_dataset(sample(), LAYOUT).cube, Cancellation()
    threading.Timer(0.02, cancellation.cancel).start()
    started = time.perf_counter()
    with pytest.raises(CancelledError):
        run_repeatedly(model, cube, cancellation, 10)
    assert time.perf_counter() - started < 5
    assert model.run(cube).filled.keys() == {"precipitation", "temperature", "river_flow"}
