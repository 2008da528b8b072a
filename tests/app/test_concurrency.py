"""Requests sent at the same time: no bit of a reply depends on the other requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from app.main import create_app
from app.settings import Settings
from hydrofill.bundle import shipped_bundles
from hydrofill.inference.model import Model
from tests.support.tiny import NPZ, body_of, post, sample
from tests.support.waiting import until

pytestmark = pytest.mark.slow

REQUESTS = 12


@pytest.fixture(params=["tiny", "lez-daily"])
async def app(request: pytest.FixtureRequest, bundles: Path) -> AsyncIterator[FastAPI]:
    app = create_app(Settings(bundles=bundles if request.param == "tiny" else shipped_bundles(), threads=2))
    async with app.router.lifespan_context(app):
        yield app


def small_bodies(model: Model) -> list[bytes]:
    """Small requests on the model's grid; most have four steps, the others two."""
    rng, place, bodies = np.random.default_rng(4), model.layout.place, []
    for number in range(REQUESTS):
        data = sample(4 if number % 6 else 2, 3, 3)[["precipitation"]].assign_coords(
            y=place.y_origin + place.y_spacing * np.arange(3.0), x=place.x_origin + place.x_spacing * np.arange(3.0)
        )
        values = rng.gamma(2, 2, data["precipitation"].shape).astype(np.float32)
        values[0, 0, 0] = values[-1, 1, 1] = np.nan
        data["precipitation"] = (data["precipitation"].dims, values, {"units": "mm day-1"})
        bodies.append(body_of(data, NPZ))
    return bodies


@pytest.mark.anyio
async def test_replies_to_simultaneous_requests_are_byte_identical_to_each_one_alone(app: FastAPI) -> None:
    service = app.state.service
    models = service.registry.models
    model = models["lez-daily"] if "lez-daily" in models else next(iter(models.values()))
    bodies = small_bodies(model)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
        alone = [await post(client, body, NPZ) for body in bodies]
        assert {reply.status_code for reply in alone} == {200}
        release = threading.Event()
        holding = asyncio.ensure_future(service.engine.call(lambda: release.wait(20)))
        await until(lambda: service.engine._running)
        requests = [asyncio.ensure_future(post(client, body, NPZ)) for body in bodies]
        await until(lambda: service.engine.queued[0] == REQUESTS)
        release.set()
        together = [await asyncio.wait_for(request, 60) for request in requests]
        assert await holding
    assert [reply.content for reply in together] == [reply.content for reply in alone]
