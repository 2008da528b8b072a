"""Graphs, models, the registry of bundles, and the engine's thread."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import onnx
import onnxruntime
import pytest

from app.bundles.registry import load_registry
from app.engine.worker import Engine
from hydrofill.bundle import GraphSpec, Manifest, read_bundle
from hydrofill.cf.dataset import read_dataset
from hydrofill.errors import BundleError, ProviderError
from hydrofill.guesses.first_guesses import DISTANCES, GUESSES
from hydrofill.inference import graphs
from hydrofill.inference.graphs import Runtime, check_provider
from hydrofill.inference.model import Model, load_model
from tests.support.tiny import (
    DECODER_SPEC,
    ENCODER_SPEC,
    LAYOUT,
    P,
    decoder_bytes,
    encoder_bytes,
    graph_bytes,
    sample,
    tensor,
    write_bundle,
)

CPU = Runtime("cpu", 1)


def guessing_decoder(queries_read_each_other: bool) -> tuple[GraphSpec, bytes]:
    """A decoder that returns the cell's mean over time, which is a first guess; std is the number of queries."""
    cells = ("batch", "queries", P)
    extra = (
        tensor("query_guess", "float32", *cells, len(GUESSES)),
        tensor("query_guessed", "bool", *cells, len(GUESSES)),
        tensor("query_distance", "float32", *cells, len(DISTANCES)),
        *([tensor("query_length", "int64", "batch")] if queries_read_each_other else []),
    )
    spec = DECODER_SPEC.model_copy(update={"inputs": (*DECODER_SPEC.inputs, *extra)})
    nodes = [
        onnx.helper.make_node("Gather", ["query_guess", "which"], ["mean"], axis=3),
        onnx.helper.make_node("Shape", ["query_variable"], ["count_int"], start=1),
        onnx.helper.make_node("Cast", ["count_int"], ["count"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Shape", ["mean"], ["shape"]),
        onnx.helper.make_node("Expand", ["count", "shape"], ["std"]),
    ]
    return spec, graph_bytes(nodes, spec, {"which": np.array(GUESSES.index("mean"))})


@pytest.fixture
def model(bundles: Path) -> Model:
    return load_model(read_bundle(bundles / "tiny"), CPU)


def edit_manifest(path: Path, **changes: Any) -> None:
    file = path / "manifest.json"
    manifest = Manifest.model_validate_json(file.read_bytes()).model_copy(update=changes)
    file.write_text(manifest.to_json())


def test_queries_in_chunks_give_the_same_as_all_at_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    cube = read_dataset(sample(), LAYOUT).cube
    whole = model.run(cube).filled
    monkeypatch.setattr(graphs, "QUERIES_PER_RUN", 3)
    parts = model.run(cube).filled
    for name, filled in whole.items():
        assert parts[name].mean == pytest.approx(filled.mean, rel=1e-6, nan_ok=True)  # sums in another order
        assert (parts[name].flag == filled.flag).all()


@pytest.mark.parametrize("queries_read_each_other", [False, True])
def test_decoder_gets_the_inputs_that_its_manifest_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queries_read_each_other: bool
) -> None:
    monkeypatch.setattr(graphs, "QUERIES_PER_RUN", 4)
    spec, decoder = guessing_decoder(queries_read_each_other)
    path = write_bundle(tmp_path, layout=LAYOUT.model_copy(update={"guesses": True}), decoder=decoder)
    edit_manifest(path, decoder=spec)
    model = load_model(read_bundle(path), CPU)
    data = sample()[["temperature"]]
    filled = model.run(read_dataset(data, model.layout).cube).filled["temperature"]
    gap = filled.flag == 1
    means = np.broadcast_to(np.nanmean(data["temperature"].values, axis=0), gap.shape)
    assert filled.mean[gap] == pytest.approx(means[gap], rel=1e-5)
    together = {int(count) for count in filled.std[gap]}
    assert (max(together) <= 4) != queries_read_each_other


def test_progress_is_reported_window_by_window(model: Model) -> None:
    reports: list[tuple[int, int]] = []
    model.run(read_dataset(sample(steps=20), LAYOUT).cube, progress=lambda done, total: reports.append((done, total)))
    assert reports[-1][0] == reports[-1][1] == len(reports) > 1


def test_time_in_each_graph_is_counted(model: Model) -> None:
    outcome = model.run(read_dataset(sample(), LAYOUT).cube)
    assert outcome.encode_s > 0
    assert outcome.decode_s > 0


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        (
            {"encoder": ENCODER_SPEC.model_copy(update={"inputs": ENCODER_SPEC.inputs[:-1]})},
            "other inputs or outputs than hydrofill uses",
        ),
        (
            {
                "encoder": ENCODER_SPEC.model_copy(
                    update={"outputs": (tensor("sequence", "float32", "batch", "visible", 9),)}
                )
            },
            "other inputs or outputs than hydrofill uses",
        ),
        (
            {
                "encoder": ENCODER_SPEC.model_copy(
                    update={"outputs": (tensor("memory", "float32", "batch", "visible", 7),)}
                )
            },
            "memory differs from the manifest",
        ),
        (
            {
                "decoder": DECODER_SPEC.model_copy(
                    update={"outputs": (DECODER_SPEC.outputs[0], tensor("std", "int64", "b", "q", 4))}
                )
            },
            "std differs from the manifest",
        ),
        ({"decoder": guessing_decoder(False)[0]}, "no guesses"),
        ({"layout": LAYOUT.model_copy(update={"patch": LAYOUT.patch.model_copy(update={"rows": 3})})}, "layout"),
    ],
)
def test_bundle_whose_manifest_does_not_match_its_graphs_is_refused(
    tmp_path: Path, changes: dict[str, Any], word: str
) -> None:
    edit_manifest(write_bundle(tmp_path), **changes)
    with pytest.raises(BundleError, match=word):
        load_model(read_bundle(tmp_path / "tiny"), CPU)


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"encoder": b"not a graph"}, "encoder.onnx is not an ONNX graph, or is damaged"),
        ({"encoder": decoder_bytes()}, "encoder.onnx has other inputs or outputs"),
        ({"decoder": decoder_bytes(std=-1.0)}, "not finite or a negative standard deviation"),
    ],
)
def test_bundle_whose_graphs_are_invalid_is_refused(tmp_path: Path, files: dict[str, Any], word: str) -> None:
    path = write_bundle(tmp_path, **files)
    with pytest.raises(BundleError, match=word):
        load_model(read_bundle(path), CPU)


def test_graph_that_reads_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret.bin").write_bytes(np.zeros(1, np.int64).tobytes())
    graph = onnx.load_from_string(encoder_bytes())
    (held,) = graph.graph.initializer
    held.ClearField("raw_data")
    held.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "secret.bin"), ("offset", "0"), ("length", "8")):
        held.external_data.add(key=key, value=value)
    path = write_bundle(tmp_path, encoder=graph.SerializeToString())
    with pytest.raises(BundleError, match="holds external data"):
        load_model(read_bundle(path), CPU)


def failing_encoder() -> bytes:
    """An encoder that reads the millionth token, which fails only when it is run."""
    nodes = [
        onnx.helper.make_node("Gather", ["variable", "far"], ["beyond"], axis=1),
        onnx.helper.make_node("Cast", ["beyond"], ["number"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Unsqueeze", ["number", "last"], ["shift"]),
        onnx.helper.make_node("Add", ["values", "shift"], ["shifted"]),
        onnx.helper.make_node("Concat", ["shifted", "shifted", "shift_column"], ["memory"], axis=2),
        onnx.helper.make_node("Slice", ["shifted", "zero", "one", "two"], ["shift_column"]),
    ]
    constants = {"far": [10**6], "last": [-1], "zero": [0], "one": [1], "two": [2]}
    return graph_bytes(nodes[:4] + nodes[:3:-1], ENCODER_SPEC, {name: np.array(v) for name, v in constants.items()})


def test_graph_that_fails_at_run_time_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="do not run"):
        load_model(read_bundle(write_bundle(tmp_path, encoder=failing_encoder())), CPU)


def test_unavailable_provider_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(
        ProviderError, match="CUDAExecutionProvider is not available here; available: CPUExecutionProvider"
    ):
        check_provider(Runtime("cuda", 1))


@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_provider_that_silently_falls_back_is_an_error(bundles: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("the provider is here")
    with pytest.raises(ProviderError, match="CUDAExecutionProvider does not start"):
        load_model(read_bundle(bundles / "tiny"), Runtime("cuda", 1))


def test_bad_bundle_is_left_out_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_bundle(tmp_path, "good")
    (write_bundle(tmp_path, "altered") / "encoder.onnx").write_bytes(b"altered")
    (tmp_path / "no-bundle").mkdir()
    assert list(load_registry(tmp_path, CPU).models) == ["good"]
    assert "altered: the content of encoder.onnx does not match its digest" in caplog.text
    assert "no-bundle" not in caplog.text


def test_two_bundles_of_one_name_and_version_are_both_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_bundle(tmp_path, "good")
    write_bundle(tmp_path, "twin", decoder=decoder_bytes(std=0.7)).rename(tmp_path / "elder")
    write_bundle(tmp_path, "twin")
    assert list(load_registry(tmp_path, CPU).models) == ["good"]
    assert "2 folders hold a bundle called twin" in caplog.text


def test_highest_version_of_a_name_is_served(tmp_path: Path) -> None:
    for version in ("1.10.0", "1.9.0"):
        write_bundle(tmp_path, "good", version=version).rename(tmp_path / version)
    assert load_registry(tmp_path, CPU).models["good"].manifest.version == "1.10.0"


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_folder_without_bundles_is_an_error(tmp_path: Path, folder: str) -> None:
    with pytest.raises(BundleError):
        load_registry(tmp_path / folder, CPU)


def test_every_load_runs_each_bundle_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write_bundle(tmp_path)
    load_registry(tmp_path, CPU)
    assert "bundle loaded: tiny 1.2.3" in caplog.text


@pytest.mark.anyio
async def test_engine_runs_on_its_own_thread_and_does_not_block_the_event_loop() -> None:
    engine, ticks, go_on = Engine(), 0, threading.Event()
    engine.start()

    def work() -> str:
        go_on.wait(5)
        return threading.current_thread().name

    async with anyio.create_task_group() as group:

        async def tick() -> None:
            nonlocal ticks
            for ticks in range(1, 6):  # noqa: B007
                await anyio.sleep(0.01)
            go_on.set()

        group.start_soon(tick)
        assert await engine.call(work) == "engine"
    assert ticks == 5
    engine.stop()
    assert not engine.alive


@pytest.mark.anyio
async def test_error_in_the_engine_is_raised_where_it_is_awaited() -> None:
    engine = Engine()
    engine.start()
    with pytest.raises(ZeroDivisionError):
        await engine.call(lambda: 1 // 0)
    assert await engine.call(lambda: 7) == 7
    engine.stop()


@pytest.mark.anyio
async def test_job_that_is_cancelled_while_it_waits_never_runs() -> None:
    engine, go_on, ran = Engine(), threading.Event(), []
    engine.start()
    async with anyio.create_task_group() as group:
        group.start_soon(engine.call, lambda: go_on.wait(5))
        await anyio.sleep(0.02)
        with anyio.move_on_after(0.02):
            await engine.call(lambda: ran.append(1))
        go_on.set()
    engine.stop()
    assert ran == []
