"""Places and bytes: large requests leave room for small ones, and both are held until the work has stopped."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.admission import SMALL_BODY_BYTES, Admission
from app.engine.load import Load
from app.engine.worker import Engine
from app.errors import BusyError, TooLargeError
from app.main import create_app
from app.settings import Settings
from app.telemetry.metrics import Metrics
from tests.app.test_cancellation import send_request
from tests.support.problems import check_problem
from tests.support.tiny import JSON, NPZ, body_of, client_of, post, sample
from tests.support.waiting import until

MIB = 2**20
LOAD = Load(1, 1, 1, ())


@pytest.fixture
def admission() -> Admission:
    made = Admission(Settings(max_requests=8), Engine(), Metrics())
    made.memory_bytes = 800 * MIB
    return made


def test_large_bodies_leave_places_for_small_ones(admission: Admission) -> None:
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(admission.hold_slot(SMALL_BODY_BYTES + 1))
        with pytest.raises(BusyError, match="too many requests"):
            held.enter_context(admission.hold_slot(SMALL_BODY_BYTES + 1))
        for _ in range(4):
            held.enter_context(admission.hold_slot(1000))
        with pytest.raises(BusyError, match="too many requests"):
            held.enter_context(admission.hold_slot(1000))
    assert admission.active_requests == 0


def test_a_small_body_that_takes_long_counts_as_large_once_its_cost_is_known(admission: Admission) -> None:
    with ExitStack() as held:
        places = [held.enter_context(admission.hold_slot(1000)) for _ in range(6)]
        for place in places[:4]:
            admission.admit(place, LOAD, predicted_s=5.0)
        admission.admit(places[4], LOAD, predicted_s=0.1)
        with pytest.raises(BusyError):
            admission.admit(places[5], LOAD, predicted_s=5.0)


def test_bytes_are_counted_together_and_given_back(admission: Admission) -> None:
    with admission.hold_slot(10 * MIB) as first, admission.hold_slot(10 * MIB) as second:
        first.reserve(500 * MIB)
        with pytest.raises(BusyError, match="memory"):
            second.reserve(300 * MIB)
        assert admission.reserved_bytes == 510 * MIB
        second.reserve(100 * MIB)
        first.reserve(100 * MIB)
        second.reserve(300 * MIB)
        with pytest.raises(TooLargeError, match="memory"):
            second.reserve(801 * MIB)
    assert admission.reserved_bytes == 0


def test_small_requests_find_memory_beside_large_ones(admission: Admission) -> None:
    with admission.hold_slot(0) as large, admission.hold_slot(0) as small:
        large.reserve(700 * MIB)
        small.reserve(20 * MIB)


@pytest.mark.anyio
async def test_a_place_is_held_until_its_work_has_stopped(admission: Admission) -> None:
    stop = asyncio.Event()
    with admission.hold_slot(5) as place:
        task = asyncio.ensure_future(stop.wait())
        place.hold_for(task)
    assert (admission.active_requests, admission.reserved_bytes) == (1, 5)
    stop.set()
    await task
    await asyncio.sleep(0)
    assert (admission.active_requests, admission.reserved_bytes) == (0, 0)


@pytest.mark.anyio
async def test_clients_that_leave_hold_their_places_until_their_threads_have_stopped(
    bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, running = threading.Event(), []

    def slow(*_: object) -> None:
        running.append(1)
        release.wait(10)
        raise MemoryError

    monkeypatch.setattr("app.service.choose_bundle", slow)
    app = create_app(Settings(bundles=bundles))
    async with app.router.lifespan_context(app):
        admission, gone = app.state.service.admission, asyncio.Event()
        body = body_of(sample(), NPZ)
        left = [asyncio.ensure_future(send_request(app, body, gone)) for _ in range(4)]
        await until(lambda: len(running) == 2)
        gone.set()
        assert {(await one)[0]["status"] for one in left} == {499}
        assert len(running) == 2
        assert admission.active_requests == 2
        assert admission.reserved_bytes > 0
        release.set()
        await until(lambda: admission.active_requests == 0)
        assert len(running) == 2


@pytest.mark.anyio
async def test_a_request_that_does_not_fit_into_the_memory_is_answered_413(bundles: Path) -> None:
    app = create_app(Settings(bundles=bundles, memory_bytes=64 * MIB))
    async with client_of(app) as client:
        body = body_of(sample(2000, 20, 20), NPZ)
        check_problem(await post(client, body, NPZ), 413, "too-large", "memory")
        send = {"content": body, "headers": {"Content-Type": NPZ}}
        estimate = await client.post("/estimate", **send)  # type: ignore[arg-type]
        assert estimate.status_code in (200, 413)
        assert (await post(client, body_of(sample(), JSON), JSON)).status_code == 200
