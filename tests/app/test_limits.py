"""Limits of cost, queue and time: requests over a limit are refused before they run, abandoned ones are cancelled."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnx.helper as oh
import pytest
from fastapi import FastAPI

from app.engine.cost import CostModel, Load, count_load, measure_costs
from app.engine.queue import Job, JobQueue, Policy
from app.engine.worker import Engine, EngineStoppedError
from app.main import create_app
from app.settings import Settings
from hydrofill.bundle import read_bundle
from hydrofill.cancellation import Cancellation, CancelledError
from hydrofill.cf.dataset import read_dataset
from hydrofill.cube import WaterCube
from hydrofill.inference.graphs import Runtime
from hydrofill.inference.model import Model, load_model
from hydrofill.reconstruct import reconstruct
from hydrofill.tokens import Queries, Tokens
from tests.support.problems import check_problem
from tests.support.tiny import (
    ENCODER_SPEC,
    JSON,
    LAYOUT,
    NETCDF,
    NPZ,
    body_of,
    client_of,
    graph_bytes,
    post,
    sample,
    write_bundle,
)

CPU = Runtime("cpu", 1)
GUESSING = LAYOUT.model_copy(update={"guesses": True})
QUICK = 0.05  # seconds within which the engine must be free


def slow_encoder(turns: int) -> bytes:
    """The tiny encoder after a loop of so many turns that change nothing, so that one run takes seconds."""
    body = oh.make_graph(
        [
            oh.make_node("Identity", ["go"], ["go_on"]),
            oh.make_node("MatMul", ["state", "eye"], ["next"]),
        ],
        "turn",
        [
            oh.make_tensor_value_info("turn", onnx.TensorProto.INT64, []),
            oh.make_tensor_value_info("go", onnx.TensorProto.BOOL, []),
            oh.make_tensor_value_info("state", onnx.TensorProto.FLOAT, [200, 200]),
        ],
        [
            oh.make_tensor_value_info("go_on", onnx.TensorProto.BOOL, []),
            oh.make_tensor_value_info("next", onnx.TensorProto.FLOAT, [200, 200]),
        ],
    )
    nodes = [
        oh.make_node("Loop", ["turns", "yes", "eye"], ["spun"], body=body),
        oh.make_node("ReduceMax", ["spun"], ["one"], keepdims=0),
        oh.make_node("Mul", ["values", "one"], ["same"]),
        oh.make_node("Cast", ["valid"], ["seen"], to=onnx.TensorProto.FLOAT),
        oh.make_node("Cast", ["variable"], ["type"], to=onnx.TensorProto.FLOAT),
        oh.make_node("Unsqueeze", ["type", "last"], ["type_column"]),
        oh.make_node("Concat", ["same", "seen", "type_column"], ["memory"], axis=2),
    ]
    held = {
        "turns": np.array(turns),
        "yes": np.array(True),
        "eye": np.eye(200, dtype=np.float32),
        "last": np.array([-1]),
    }
    return graph_bytes(nodes, ENCODER_SPEC, held)


@pytest.fixture(scope="module")
def slow_bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slow")
    write_bundle(folder, encoder=slow_encoder(400))
    return folder


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


def big(steps: int = 400) -> bytes:
    return body_of(sample(steps), NPZ)


async def send_request(
    app: FastAPI, body: bytes, gone: asyncio.Event, form: str = NPZ
) -> list[MutableMapping[str, Any]]:
    """What the application sends to a client that disconnects when `gone` is set."""
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


async def until(condition: Any, within_s: float = 10.0) -> float:
    """Wait until the condition holds; return the seconds that it took."""
    started = time.perf_counter()
    while not condition():
        assert time.perf_counter() - started < within_s
        await asyncio.sleep(0.001)
    return time.perf_counter() - started


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


async def making_guesses(model: Model, engine: Engine, after_s: float) -> tuple[Job, asyncio.Future[Any]]:
    """A large job that has been computing first guesses for some time, and the request that awaits it."""
    cube, names = read_dataset(sample(3000, 8, 8), GUESSING).cube, ["precipitation"]
    job = Job(lambda: None, predicted_s=100.0)
    request = asyncio.ensure_future(engine.reconstruct(model, cube, names, None, job))
    await until(lambda: engine._running)
    await asyncio.sleep(after_s)
    return job, request


@pytest.mark.anyio
async def test_first_guesses_stop_at_once_when_the_request_is_cancelled(guessing: Model, engine: Engine) -> None:
    job, request = await making_guesses(guessing, engine, 0.2)
    assert job.share_done == 0
    request.cancel()
    assert await until(lambda: not engine._running) < 4 * QUICK
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


@pytest.mark.slow
@pytest.mark.anyio
async def test_request_over_the_cost_limit_is_refused_before_it_runs(slow_bundles: Path) -> None:
    app = create_app(Settings(bundles=slow_bundles, max_cost_s=0.3))
    async with client_of(app) as client:
        document = check_problem(await post(client, big(), NPZ), 413, "too-large", "tokens", "0.3 s")
        assert "about" in document["detail"]
        assert 'rejections_total{reason="cost"} 1.0' in (await client.get("/metrics")).text
        estimate = await client.post("/estimate", content=big(), headers={"Content-Type": NPZ})
        assert estimate.status_code == 200
        assert estimate.json()["too_large"] is True


@pytest.mark.slow
@pytest.mark.anyio
async def test_full_queue_is_answered_503_with_a_correct_retry_after(slow_bundles: Path) -> None:
    app = create_app(Settings(bundles=slow_bundles, max_queue_s=2.0))
    async with client_of(app) as client:
        engine, body = app.state.service.engine, big(60)
        predicted = (await client.post("/estimate", content=body, headers={"Content-Type": NPZ})).json()["predicted_s"]
        enough = int(2.0 / predicted) + 3
        requests = [asyncio.ensure_future(post(client, body, NPZ)) for _ in range(enough)]
        replies = await asyncio.gather(*requests)
        refused = [reply for reply in replies if reply.status_code == 503]
        assert refused
        assert all(reply.status_code in (200, 503) for reply in replies)
        check_problem(refused[0], 503, "busy")
        wait = int(refused[0].headers["retry-after"])
        assert 1 <= wait <= 4
        await until(lambda: engine.queued == (0, 0) and not engine._running)
        assert (await post(client, body, NPZ)).status_code == 200


@pytest.mark.anyio
async def test_more_requests_at_a_time_than_allowed_are_answered_503(bundles: Path) -> None:
    app = create_app(Settings(bundles=bundles, max_requests=1))
    async with client_of(app) as client:
        with app.state.service.admission.hold_slot():
            reply = await post(client, body_of(sample(), NPZ), NPZ)
            check_problem(reply, 503, "busy", "too many requests")
            assert int(reply.headers["retry-after"]) >= 1
        assert (await post(client, body_of(sample(), NPZ), NPZ)).status_code == 200


@pytest.mark.anyio
async def test_body_that_comes_too_slowly_is_answered_408(bundles: Path) -> None:
    async def drip() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b" "
            await asyncio.sleep(0.05)

    app = create_app(Settings(bundles=bundles, body_timeout_s=0.2))
    async with client_of(app) as client:
        reply = await client.post("/reconstruct", content=drip(), headers={"Content-Type": JSON})
        check_problem(reply, 408, "body-timeout", "0.2 s")
        assert app.state.service.admission.active_requests == 0


@pytest.mark.anyio
@pytest.mark.parametrize("form", [JSON, NETCDF, NPZ])
async def test_estimate_counts_the_same_as_a_run_and_runs_nothing(
    client: httpx.AsyncClient, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "run", None)
    body = body_of(sample(20), form)
    reply = await client.post("/estimate", content=body, headers={"Content-Type": form})
    estimate = reply.json()
    cube = read_dataset(sample(20), LAYOUT).cube
    counts: list[tuple[int, int]] = []

    def count(tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        counts.append((int(tokens.length), int(queries.length)))
        return np.zeros(queries.requested.shape, np.float32), np.zeros(queries.requested.shape, np.float32)

    reconstruct(cube, LAYOUT, count)
    counted = (estimate["windows"], estimate["tokens"], estimate["queries"])
    assert counted == (len(counts), *map(sum, zip(*counts, strict=True)))
    assert estimate["predicted_s"] > 0
    assert estimate["body_bytes"] == len(body)


def test_cost_counts_every_value_that_first_guesses_read_even_if_one_cell_is_filled() -> None:
    cube = read_dataset(sample(40), GUESSING).cube
    whole = {name: np.nan_to_num(v.values) for name, v in cube.of_kind("grid", "series").items()}
    names = ["precipitation", "temperature", "river_flow"]
    assert count_load(cube.with_values(whole), GUESSING, names, None).terms == (0,) * 6
    whole["temperature"][30, 2, 2] = np.nan
    assert count_load(cube.with_values(whole), GUESSING, names, None).terms[-1] == 40 * 4 * 6


@pytest.mark.anyio
async def test_estimate_has_the_same_limits_as_reconstruct(bundles: Path) -> None:
    app = create_app(Settings(bundles=bundles, max_body_bytes=100))
    async with client_of(app) as client:
        send = {"content": body_of(sample(), JSON), "headers": {"Content-Type": JSON}}
        check_problem(await client.post("/estimate", **send), 413, "too-large")  # type: ignore[arg-type]
        app.state.service.admission.draining = True
        check_problem(await client.post("/estimate", **send), 503, "busy")  # type: ignore[arg-type]


@pytest.mark.slow
def test_predicted_cost_is_near_the_time_of_a_run(slow_bundles: Path) -> None:
    model = load_model(read_bundle(slow_bundles / "tiny"), CPU)
    cost = measure_costs({"tiny": model})["tiny"]
    cube = read_dataset(sample(40), LAYOUT).cube
    load = count_load(cube, LAYOUT, ["precipitation"], None)
    started = time.perf_counter()
    model.run(cube, ["precipitation"])
    assert 0.3 < cost.predict_s(load) / (time.perf_counter() - started) < 3


def test_cost_model_follows_the_time_of_requests() -> None:
    cost, load = CostModel(np.array([1.0, 0, 0, 0, 0, 0])), Load(2, 10, 10, (2.0, 0, 0, 0, 0, 0))
    for _ in range(40):
        cost.update(load, 6.0)
    assert cost.predict_s(load) == pytest.approx(6.0, rel=0.01)
    for _ in range(200):
        cost.update(load, 1e9)
    assert cost.predict_s(load) <= 2 * 20.0


def test_gap_that_is_refused_costs_nothing() -> None:
    cube = read_dataset(sample(20), LAYOUT).cube
    every = count_load(cube, LAYOUT, ["precipitation"], None)
    short = count_load(cube, LAYOUT, ["precipitation"], 1)
    assert 0 < short.queries < every.queries


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
    cube = read_dataset(sample(100), LAYOUT).cube
    large = asyncio.ensure_future(engine.reconstruct(model, cube, ["precipitation"], None, job(100.0)))
    await until(lambda: engine._running)
    small = Job(lambda: 7, predicted_s=0.1)
    assert await asyncio.wait_for(engine.submit(small), 20) == 7
    assert not large.done()
    outcome = await large
    alone = model.run(cube, ["precipitation"])
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


def test_cancellation_calls_each_callback_once_and_late_callbacks_at_once() -> None:
    cancellation, calls = Cancellation(), []
    cancellation.on_cancel(lambda: calls.append("early"))
    cancellation.check()
    cancellation.cancel("client")
    cancellation.cancel("deadline")
    cancellation.on_cancel(lambda: calls.append("late"))
    assert (calls, cancellation.reason) == (["early", "late"], "client")
    with pytest.raises(CancelledError):
        cancellation.check()


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
