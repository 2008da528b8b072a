"""Graphs that take their time, so that a test can act while they run."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper as oh

from tests.support.tiny import ENCODER_SPEC, NPZ, body_of, graph_bytes, sample

SLOW_TURNS = 400  # one window takes some hundredths of a second


def slow_encoder(turns: int) -> bytes:
    """The tiny encoder after so many matrix products that change nothing, so that one run takes its time.

    The first matrix depends on an input, so that the products are not computed when the graph is loaded.
    """
    products = [oh.make_node("MatMul", [f"state{turn}", "eye"], [f"state{turn + 1}"]) for turn in range(turns)]
    nodes = [
        oh.make_node("Cast", ["length"], ["count"], to=onnx.TensorProto.FLOAT),
        oh.make_node("ReduceMax", ["count"], ["most"], keepdims=0),
        oh.make_node("Mul", ["most", "nothing"], ["none"]),
        oh.make_node("Add", ["eye", "none"], ["state0"]),
        *products,
        oh.make_node("ReduceMax", [f"state{turns}"], ["one"], keepdims=0),
        oh.make_node("Mul", ["values", "one"], ["same"]),
        oh.make_node("Cast", ["valid"], ["seen"], to=onnx.TensorProto.FLOAT),
        oh.make_node("Cast", ["variable"], ["type"], to=onnx.TensorProto.FLOAT),
        oh.make_node("Unsqueeze", ["type", "last"], ["type_column"]),
        oh.make_node("Concat", ["same", "seen", "type_column"], ["memory"], axis=2),
    ]
    held = {"nothing": np.array(0, np.float32), "eye": np.eye(200, dtype=np.float32), "last": np.array([-1])}
    return graph_bytes(nodes, ENCODER_SPEC, held)


def big(steps: int = 400) -> bytes:
    """Return a request that keeps a server with the slow encoder busy for seconds."""
    return body_of(sample(steps), NPZ)
