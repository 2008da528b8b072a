"""Limits of cost, queue, time and number: requests over a limit are refused before they run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.main import create_app
from app.settings import Settings
from tests.support.problems import check_problem
from tests.support.slow import big
from tests.support.tiny import (
    JSON,
    NPZ,
    body_of,
    client_of,
    post,
    sample,
)
from tests.support.waiting import until


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
async def test_estimate_has_the_same_limits_as_reconstruct(bundles: Path) -> None:
    app = create_app(Settings(bundles=bundles, max_body_bytes=100))
    async with client_of(app) as client:
        send = {"content": body_of(sample(), JSON), "headers": {"Content-Type": JSON}}
        check_problem(await client.post("/estimate", **send), 413, "too-large")  # type: ignore[arg-type]
        app.state.service.admission.draining = True
        check_problem(await client.post("/estimate", **send), 503, "busy")  # type: ignore[arg-type]
