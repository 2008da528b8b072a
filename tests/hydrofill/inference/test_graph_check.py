"""Graphs of strangers: whatever reaches beyond the file, or is not made by an export, is refused before a session."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.helper as oh
import onnxruntime
import pytest
from onnx import TensorProto

from hydrofill.bundle import find_bundle, read_bundle
from hydrofill.errors import BundleError
from hydrofill.inference.graph_check import check_graph
from hydrofill.inference.graphs import Graphs, Runtime
from tests.support.tiny import decoder_bytes, encoder_bytes, write_bundle

Change = Callable[[onnx.ModelProto], None]


def _external(model: onnx.ModelProto, location: str = "secret.bin") -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


def _external_without_its_mark(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")


def _external_in_an_attribute(model: onnx.ModelProto) -> None:
    tensor = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret.bin")
    model.graph.node.append(oh.make_node("Constant", [], ["c"], value=tensor))


def _external_in_a_subgraph(model: onnx.ModelProto) -> None:
    tensor = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    inner = oh.make_graph([], "inner", [], [oh.make_tensor_value_info("c", TensorProto.FLOAT, [4])], [tensor])
    model.graph.node.append(oh.make_node("Gather", ["values"], ["x"], body=inner))


def _loop(model: onnx.ModelProto) -> None:
    model.graph.node.append(oh.make_node("Loop", ["n", "c"], ["x"], body=oh.make_graph([], "body", [], [])))


def _function(model: onnx.ModelProto) -> None:
    made = oh.make_function("mine", "f", ["a"], ["b"], [oh.make_node("Identity", ["a"], ["b"])], [])
    model.functions.append(made)


def _training(model: onnx.ModelProto) -> None:
    model.training_info.add()


def _other_domain(model: onnx.ModelProto) -> None:
    model.graph.node.append(oh.make_node("Add", ["values", "values"], ["x"], domain="com.stranger"))


def _reads_other_files(model: onnx.ModelProto) -> None:
    model.graph.node.append(oh.make_node("EPContext", ["values"], ["x"], domain="com.microsoft", ep_cache_context="p"))


def _random(model: onnx.ModelProto) -> None:
    model.graph.node.append(oh.make_node("RandomNormal", [], ["x"], shape=[2]))


def _sparse(model: onnx.ModelProto) -> None:
    values, indices = (onnx.numpy_helper.from_array(np.ones(1, t), "s") for t in (np.float32, np.int64))
    model.graph.sparse_initializer.append(oh.make_sparse_tensor(values, indices, [4]))


def _larger_than_its_data(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [2**40]


def _more_data_than_its_shape(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data += b"more"


def _fewer_typed_values(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[3], float_data=[1.0]))


def _negative_size(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-1]


def _text(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(TensorProto(name="t", data_type=TensorProto.STRING, dims=[1], string_data=[b"x"]))


def _not_a_number(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, np.nan], np.float32), "t"))


def _infinite(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(TensorProto(name="t", data_type=1, dims=[2], float_data=[1.0, float("inf")]))


CHANGES: dict[str, tuple[Change, str]] = {
    "external data": (_external, "external data"),
    "external data, any path": (lambda m: _external(m, "/proc/self/environ"), "external data"),
    "external data, upwards": (lambda m: _external(m, "../../secret"), "external data"),
    "external data without its mark": (_external_without_its_mark, "external data"),
    "external data in an attribute": (_external_in_an_attribute, "external data"),
    "external data in a subgraph": (_external_in_a_subgraph, "subgraphs"),
    "loop": (_loop, "subgraphs|Loop"),
    "function": (_function, "functions"),
    "training": (_training, "training"),
    "other domain": (_other_domain, "com.stranger:Add"),
    "other files": (_reads_other_files, "EPContext"),
    "random": (_random, "RandomNormal"),
    "sparse": (_sparse, "sparse tensors"),
    "larger than its data": (_larger_than_its_data, "impossible size"),
    "more data than its shape": (_more_data_than_its_shape, "not those of its shape"),
    "fewer typed values": (_fewer_typed_values, "1 values, not those of its shape"),
    "negative size": (_negative_size, "impossible size"),
    "text": (_text, "tensors of text"),
    "not a number": (_not_a_number, "not finite"),
    "infinite": (_infinite, "not finite"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_stranger_s_graph_is_refused_by_name_before_a_session_is_made(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, word = CHANGES[name]
    model = onnx.load_from_string(encoder_bytes())
    change(model)
    bundle = read_bundle(write_bundle(tmp_path, encoder=model.SerializeToString()))
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: pytest.fail("a session is made"))
    with pytest.raises(BundleError, match=f"tiny: encoder.onnx .*({word})"):
        Graphs(bundle, Runtime("cpu", 1))


def test_the_format_of_onnx_runtime_is_not_taken_for_onnx(tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "graph.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(encoder_bytes(), options, providers=["CPUExecutionProvider"])
    with pytest.raises(BundleError, match=r"encoder\.onnx"):
        check_graph("tiny", "encoder.onnx", (tmp_path / "graph.ort").read_bytes())


@pytest.mark.parametrize("name", ["general", "lez-daily"])
def test_the_shipped_graphs_pass(name: str) -> None:
    bundle = read_bundle(find_bundle(name))
    check_graph(name, "encoder.onnx", bundle.encoder)
    check_graph(name, "decoder.onnx", bundle.decoder)


def test_damaged_bytes_raise_nothing_but_the_error_of_bundles() -> None:
    rng, whole = random.Random(5), decoder_bytes()
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        content = bytes(damaged[: rng.randrange(1, len(damaged) + 1)])
        with contextlib.suppress(BundleError):
            check_graph("tiny", "decoder.onnx", content)


@pytest.mark.parametrize("content", [b"", b"\x3a" * 5, b"\xff" * 40, b"\x3a\x02\x0a\x00" * 9, b"\x0b\x0c"])
def test_what_is_no_graph_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match=r"decoder\.onnx"):
        check_graph("tiny", "decoder.onnx", content)


def test_a_graph_of_endless_small_parts_is_refused_soon() -> None:
    node = b"\x0a\x00"  # an empty node
    graph = node * 2_000_000
    length, size = len(graph), bytearray()
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    size.append(length)
    with pytest.raises(BundleError, match=r"operator|fields"):
        check_graph("tiny", "decoder.onnx", b"\x3a" + bytes(size) + graph)
