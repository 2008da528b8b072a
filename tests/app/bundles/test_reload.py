"""Reload of bundles under load: no request is lost, and an invalid bundle changes nothing."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from fastapi import FastAPI

from app.main import create_app
from app.bundles.reload import Reloader
from app.settings import Settings
from hydrofill.errors import BundleError
from tests.support.servers import serving
from tests.support.waiting import wait_for
from tests.support.waiting import until
from tests.support.tiny import NPZ, STD, body_of, decoder_bytes, post, reply_arrays, sample, write_bundle

NEW_STD = 0.7  # the standard deviation that the decoder of a new version returns


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[FastAPI]:
    write_bundle(tmp_path)
    app = create_app(Settings(bundles=tmp_path, reload_s=0))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as connected:
        yield connected


def renew(folder: Path, version: str = "2.0.0") -> None:
    shutil.rmtree(folder / "tiny", ignore_errors=True)
    write_bundle(folder, decoder=decoder_bytes(std=NEW_STD), version=version)


def largest_std(reply: httpx.Response) -> float:
    assert reply.status_code == 200, reply.text
    return float(np.nanmax(reply_arrays(reply)["temperature_std"]))


async def served(client: httpx.AsyncClient) -> tuple[str, float]:
    """The version that /bundles shows, and the standard deviation in a reply."""
    (bundle,) = (await client.get("/bundles")).json()["bundles"]
    return bundle["version"], round(largest_std(await post(client, body_of(sample(), NPZ), NPZ)), 6)


@pytest.mark.anyio
async def test_new_version_is_served_and_counted(app: FastAPI, client: httpx.AsyncClient, tmp_path: Path) -> None:
    renew(tmp_path)
    assert await app.state.reloader.reload() == "loaded"
    assert await served(client) == ("2.0.0", NEW_STD)
    metrics = (await client.get("/metrics")).text
    assert 'hydrofill_reloads_total{result="loaded"} 1.0' in metrics
    assert 'version="2.0.0"' in metrics and 'version="1.2.3"' not in metrics
    assert await app.state.reloader.reload() == "unchanged"


def corrupt_graph(path: Path) -> None:
    (path / "encoder.onnx").write_bytes(b"altered")


def truncate_graph(path: Path) -> None:
    content = (path / "decoder.onnx").read_bytes()
    (path / "decoder.onnx").write_bytes(content[: len(content) // 2])


def break_manifest(path: Path) -> None:
    (path / "manifest.json").write_text("{")


def lose_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


def answer_nan(path: Path) -> None:
    shutil.rmtree(path)
    write_bundle(path.parent, decoder=decoder_bytes(std=float("nan")), version="2.0.0")


def block_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()
    os.mkfifo(path / "manifest.json")


def nest_manifest(path: Path) -> None:
    (path / "manifest.json").write_text("[" * 200_000)


def read_other_files(path: Path) -> None:
    model = onnx.load_from_string(decoder_bytes())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")
    shutil.rmtree(path)
    write_bundle(path.parent, decoder=model.SerializeToString(), version="2.0.0")


def lose_a_dimension(path: Path) -> None:
    document = json.loads((path / "manifest.json").read_text())
    document["encoder"]["inputs"][0]["dims"] = []
    (path / "manifest.json").write_text(json.dumps(document))


BAD = [
    corrupt_graph,
    truncate_graph,
    break_manifest,
    lose_manifest,
    answer_nan,
    block_manifest,
    nest_manifest,
    read_other_files,
    lose_a_dimension,
]


@pytest.mark.anyio
@pytest.mark.parametrize("spoil", BAD)
async def test_bad_bundle_is_refused_and_the_last_good_one_stays(
    app: FastAPI, client: httpx.AsyncClient, tmp_path: Path, spoil: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(spoil)
    spoil(tmp_path / "tiny")
    assert await app.state.reloader.reload() == "refused"
    assert await served(client) == ("1.2.3", STD)
    assert (await client.get("/readyz")).status_code == 200
    metrics = (await client.get("/metrics")).text
    assert "hydrofill_bundles_refused 1.0" in metrics
    assert 'hydrofill_reloads_total{result="refused"} 1.0' in metrics
    assert "bundle refused: tiny" in caplog.text
    renew(tmp_path)
    assert await app.state.reloader.reload() == "loaded"
    assert await served(client) == ("2.0.0", NEW_STD)
    assert "hydrofill_bundles_refused 0.0" in (await client.get("/metrics")).text


@pytest.mark.anyio
async def test_removed_folder_unloads_its_bundle_but_never_the_last_one(
    app: FastAPI, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    write_bundle(tmp_path, "other")
    assert await app.state.reloader.reload() == "loaded"
    shutil.rmtree(tmp_path / "other")
    assert await app.state.reloader.reload() == "loaded"
    assert await served(client) == ("1.2.3", STD)
    shutil.rmtree(tmp_path / "tiny")
    assert await app.state.reloader.reload() == "refused"
    assert await served(client) == ("1.2.3", STD)


@pytest.mark.anyio
async def test_request_is_answered_by_the_bundle_served_when_it_arrived(
    app: FastAPI, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    engine, go_on = app.state.service.engine, asyncio.Event()
    loop = asyncio.get_running_loop()
    holding = asyncio.ensure_future(engine.call(lambda: asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()))
    await until(lambda: engine._running)
    request = asyncio.ensure_future(post(client, body_of(sample(), NPZ), NPZ))
    await until(lambda: engine.queued[0] == 1)
    renew(tmp_path)
    reloading = asyncio.ensure_future(app.state.reloader.reload())
    await asyncio.sleep(0.05)
    go_on.set()
    assert largest_std(await request) == pytest.approx(STD)
    assert await reloading == "loaded"
    await holding
    assert await served(client) == ("2.0.0", NEW_STD)


@pytest.mark.anyio
async def test_change_is_loaded_once_its_files_stay_the_same(app: FastAPI, tmp_path: Path) -> None:
    service = app.state.service
    looks: list[object] = []

    def load(last: object) -> object:
        looks.append(last)
        raise BundleError("not now")

    reloader = Reloader(service.bundles, service.engine, service.metrics, tmp_path, load)  # type: ignore[arg-type]
    watching = asyncio.ensure_future(reloader.watch(0.05))
    await asyncio.sleep(0.3)
    assert looks == []
    for _ in range(20):
        (tmp_path / "tiny" / "MODEL_CARD.md").write_text(f"# {time.monotonic()}\n")
        await asyncio.sleep(0.01)
    await until(lambda: looks)
    await asyncio.sleep(0.3)
    assert len(looks) <= 2
    reloader.request_reload()
    await until(lambda: len(looks) >= 2)
    watching.cancel()


@pytest.mark.slow
def test_reload_at_a_signal_under_load_loses_no_request(tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    write_bundle(bundles)
    body = body_of(sample(), NPZ)
    with serving(bundles, tmp_path, reload_s=0) as server, ThreadPoolExecutor(6) as pool:
        stop: list[bool] = []
        answers: list[tuple[float, float]] = []  # when a request was sent, and what was answered
        deadline = time.monotonic() + 120

        def send_requests() -> None:
            with httpx.Client(base_url=server.address, timeout=30) as client:
                while not stop and time.monotonic() < deadline:
                    began = time.monotonic()
                    reply = client.post("/reconstruct", content=body, headers={"Content-Type": NPZ})
                    answers.append((began, largest_std(reply)))

        def wait_for_answers(number: int) -> None:
            before = len(answers)
            wait_for(lambda: len(answers) >= before + number, 30)

        clients = [pool.submit(send_requests) for _ in range(6)]
        wait_for_answers(12)
        renew(bundles)
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "2.0.0" in httpx.get(f"{server.address}/bundles").text, 30)
        changed = time.monotonic()
        wait_for_answers(12)
        (bundles / "tiny" / "decoder.onnx").write_bytes(b"altered")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "hydrofill_bundles_refused 1.0" in httpx.get(f"{server.address}/metrics").text, 30)
        stop.append(True)
        for client in clients:
            client.result()
        assert {round(std, 3) for _, std in answers} == {STD, NEW_STD}
        assert {round(std, 3) for began, std in answers if began > changed} == {NEW_STD}


@pytest.mark.slow
def test_corrupt_bundle_at_start_is_refused_in_one_line(tmp_path: Path) -> None:
    write_bundle(tmp_path, "good")
    corrupt_graph(write_bundle(tmp_path, "spoilt"))
    with serving(tmp_path, tmp_path) as server:
        assert [b["name"] for b in httpx.get(f"{server.address}/bundles").json()["bundles"]] == ["good"]
        assert "hydrofill_bundles_refused 1.0" in httpx.get(f"{server.address}/metrics").text
        assert "spoilt: the content of encoder.onnx does not match its digest" in server.log.read_text()
