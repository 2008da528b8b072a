"""Graphs that take their time, so that a test can act while they run."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper as oh

from tests.support.tiny import ENCODER_SPEC, NPZ, body_of, graph_bytes, sample

SLOW_TURNS = 400  # one window takes some hundredths of a second


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


def big(steps: int = 400) -> bytes:
    """Return a request that keeps a server with the slow encoder busy for seconds."""
    return body_of(sample(steps), NPZ)
