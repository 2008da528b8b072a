"""Small requests that meet: no bit of a reply depends on who else is there, and nobody waits for nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from app.control import StoppedError
from app.engine import batches
from app.engine.batches import AGAIN, ROWS, TRIALS, Answer, Batches, Window, run_alone, run_together, window_of
from app.engine.engine import Engine
from app.engine.ladder import climb
from app.engine.meeting import EngineStoppedError, Meeting
from app.engine.model import Model, Outcome, load_model
from app.engine.queue import Job, Policy, Waiting
from app.engine.sessions import Graphs, Runtime
from app.main import create_app
from app.settings import Settings
from export.contract.dataset import read_dataset
from export.contract.manifest import read_bundle
from export.contract.tokens import tokenise
from tests.app.test_limits import until
from tests.app.tiny import LAYOUT, NPZ, body_of, post, sample

CPU = Runtime("cpu", 1)
SHIPPED = Path(__file__).parents[2] / "bundles"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def model(bundles: Path) -> Model:
    return load_model(read_bundle(bundles / "tiny"), CPU)


def windows(model: Model, number: int, steps: int = 3) -> list[Window]:
    """Alike in what they show and ask, with other values."""
    cube = read_dataset(sample(steps), LAYOUT).cube
    made = []
    for factor in range(1, number + 1):
        values = {n: v.values * np.float32(factor) for n, v in cube.of_kind("grid", "series").items()}
        tokenised = tokenise(cube.with_values(values), LAYOUT)
        made.append(window_of(tokenised.tokens, tokenised.queries, model.graphs))
    return made


def test_batch_of_equal_shapes_answers_each_window_as_alone(model: Model) -> None:
    made = windows(model, 4)
    for window, together in zip(made, run_together(model.graphs, made), strict=True):
        alone = run_alone(model.graphs, window)
        assert together.mean == pytest.approx(alone.mean, rel=1e-6)
        assert (alone.beside, together.beside) == (1, 4)


def test_padded_queries_change_no_answer(model: Model) -> None:
    tokenised = tokenise(read_dataset(sample(3), LAYOUT).cube, LAYOUT)
    for number in range(1, len(tokenised.queries.variable)):
        cut = {name: getattr(tokenised.queries, name)[:number] for name in batches.PER_QUERY}
        queries = replace(tokenised.queries, **cut)
        padded = window_of(tokenised.tokens, queries, model.graphs)
        assert len(padded.queries.variable) % ROWS == 0 and len(padded.queries.variable) - number < ROWS
        plain = run_alone(model.graphs, Window(tokenised.tokens, queries))
        assert run_alone(model.graphs, padded).mean[:number] == pytest.approx(plain.mean, rel=1e-6)


def test_a_shape_goes_as_a_batch_only_after_it_was_tried_both_ways(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PAYS", 1e9)
    made, shelf = windows(model, 2), Batches(model.graphs, max_tokens=10**6)
    sizes = [[answer.beside for answer in shelf.run(made)] for _ in range(TRIALS + 1)]
    assert sizes == [[1, 1]] * TRIALS + [[2, 2]]


def test_a_shape_that_changes_a_bit_never_goes_as_a_batch(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by_a_bit(graphs: object, some: Sequence[Window]) -> list[Answer]:
        made = [run_alone(model.graphs, window) for window in some]
        return [replace(one, mean=np.nextafter(one.mean, np.float32(9e9)), beside=len(some)) for one in made]

    monkeypatch.setattr(batches, "PAYS", 1e9)
    monkeypatch.setattr(batches, "run_together", off_by_a_bit)
    made, shelf = windows(model, 2), Batches(model.graphs, max_tokens=10**6)
    expected = [run_alone(model.graphs, window) for window in made]
    for _ in range(TRIALS + 2):
        assert all(a.same_bits(b) for a, b in zip(shelf.run(made), expected, strict=True))
    assert climb(model) == 0


def test_a_shape_that_begins_to_change_bits_is_found_out_and_goes_alone(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PAYS", 1e9)
    made, shelf = windows(model, 2), Batches(model.graphs, max_tokens=10**6)
    for _ in range(TRIALS + 1):
        shelf.run(made)

    def off_by_a_bit(graphs: Graphs, some: Sequence[Window]) -> list[Answer]:
        return [replace(one, mean=np.nextafter(one.mean, np.float32(9e9))) for one in run_together(graphs, some)]

    monkeypatch.setattr(batches, "run_together", off_by_a_bit)
    sizes = [shelf.run(made)[0].beside for _ in range(AGAIN + 2)]
    assert sizes == [2] * (AGAIN - 2) + [1] * 4


def test_a_shape_that_does_not_pay_never_goes_as_a_batch(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PAYS", 0.0)
    made, shelf = windows(model, 2), Batches(model.graphs, max_tokens=10**6)
    assert {answer.beside for _ in range(TRIALS + 2) for answer in shelf.run(made)} == {1}


def test_windows_of_other_shapes_or_too_large_go_alone(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PAYS", 1e9)
    mixed = [*windows(model, 1, steps=2), *windows(model, 2), *windows(model, 1, steps=4)]
    shelf = Batches(model.graphs, max_tokens=10**6)
    for _ in range(TRIALS):
        shelf.run(mixed)
    assert [answer.beside for answer in shelf.run(mixed)] == [1, 2, 2, 1]
    assert {answer.beside for answer in Batches(model.graphs).run(mixed)} == {1}
    for window, answer in zip(mixed, shelf.run(mixed), strict=True):
        assert answer.same_bits(run_alone(model.graphs, window))


def test_jobs_of_a_kind_are_taken_oldest_first_and_large_ones_left() -> None:
    waiting, kind = Waiting(Policy(interactive_s=1.0)), object()
    first, second, third, fourth = (Job(lambda: None, predicted_s=0.1, kind=kind) for _ in range(4))
    large, other = Job(lambda: None, predicted_s=9.0, kind=kind), Job(lambda: None, predicted_s=0.1, kind=object())
    for job in (first, large, other, second, third, fourth):
        waiting.put(job)
    taken = waiting.take()
    assert taken is first
    assert waiting.take_like(first, 2) == [second, third]
    assert [waiting.take() for _ in range(2)] == [fourth, other]
    assert waiting.take_like(Job(lambda: None), 8) == []


@pytest.fixture(params=["tiny", "lez-daily"])
async def app(request: pytest.FixtureRequest, bundles: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FastAPI]:
    app = create_app(Settings(bundles=bundles if request.param == "tiny" else SHIPPED, threads=2))
    async with app.router.lifespan_context(app):
        (model,) = app.state.service.registry.models.values()
        model.batches.max_tokens = max(model.batches.max_tokens, 64)  # the measuring may have met a busy machine
        monkeypatch.setattr(batches, "PAYS", 1e9)
        yield app


def bodies(app: FastAPI) -> list[bytes]:
    """Small requests, most of one shape, some of others."""
    (model,) = app.state.service.registry.models.values()
    made, rng = [], np.random.default_rng(4)
    for number in range(12):
        data = sample(4 if number % 6 else 2, 3, 3)[["precipitation"]]
        place = model.layout.place
        data = data.assign_coords(
            y=place.y_origin + place.y_spacing * np.arange(3.0), x=place.x_origin + place.x_spacing * np.arange(3.0)
        )
        values = rng.gamma(2, 2, data["precipitation"].shape).astype(np.float32)
        values[0, 0, 0] = values[-1, 1, 1] = np.nan
        made.append(
            body_of(data.assign(precipitation=(data["precipitation"].dims, values, {"units": "mm day-1"})), NPZ)
        )
    return made


def counted(metrics: str, end: str) -> float:
    name = f"hydrofill_batch_windows_{end} "
    return float(next(line for line in metrics.splitlines() if line.startswith(name)).split()[1])


@pytest.mark.anyio
async def test_reply_is_byte_identical_alone_batched_and_beside_others(app: FastAPI) -> None:
    transport, made = httpx.ASGITransport(app=app), bodies(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
        alone = [(await post(client, body, NPZ)).content for body in made]
        together = 0
        for _ in range(12):
            go_on = threading.Event()
            holding = asyncio.ensure_future(app.state.service.engine.call(lambda go_on=go_on: go_on.wait(20)))
            await until(lambda: app.state.service.engine._running)
            asked = [asyncio.ensure_future(post(client, body, NPZ)) for body in made]
            await until(lambda: app.state.service.engine.queued[0] == len(made))
            go_on.set()
            assert [(await reply).content for reply in asked] == alone
            await holding
            text = (await client.get("/metrics")).text
            together += counted(text, "sum") > counted(text, "count")
        assert together > 0


@pytest.mark.anyio
async def test_one_of_a_meeting_that_stops_or_fails_leaves_the_others_their_answers(model: Model) -> None:
    model.batches.max_tokens = 10**6
    engine, go_on = Engine(Policy()), threading.Event()
    engine.start()
    cube = read_dataset(sample(), LAYOUT).cube
    holding = asyncio.ensure_future(engine.call(lambda: go_on.wait(10)))
    await until(lambda: engine._running)
    jobs = [Job(lambda: None, predicted_s=0.1, window_tokens=1) for _ in range(4)]
    asked = [asyncio.ensure_future(engine.reconstruct(model, cube, ["temperature"], None, job)) for job in jobs[:3]]
    asked.append(asyncio.ensure_future(engine.reconstruct(model, cube, ["no such"], None, jobs[3])))
    await until(lambda: engine.queued[0] == 4)
    jobs[1].control.stop("client")
    go_on.set()
    first, stopped, third, failed = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(stopped, StoppedError) and isinstance(failed, Exception)
    alone = model.run(cube, ["temperature"])
    for outcome in (first, third):
        assert isinstance(outcome, Outcome)
        assert outcome.filled["temperature"].mean.tobytes() == alone.filled["temperature"].mean.tobytes()
    await holding
    await until(lambda: not engine._running)
    await asyncio.to_thread(engine.stop)


def test_members_of_a_meeting_whose_engine_dies_are_told(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting, made, told = Meeting(model.batches, 2), windows(model, 2), []

    def die(_: object) -> list[Answer]:
        raise SystemExit

    monkeypatch.setattr(model.batches, "run", die)

    def ask(window: Window) -> None:
        try:
            meeting.ask(window)
        except EngineStoppedError as error:
            told.append(error)

    members = [threading.Thread(target=ask, args=(window,)) for window in made]
    for member in members:
        member.start()
    with pytest.raises(SystemExit):
        meeting.serve()
    for member in members:
        member.join(10)
    assert len(told) == 2
