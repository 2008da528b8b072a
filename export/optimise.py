"""Graphs as ONNX Runtime's optimiser leaves them, so that a server that loads them has nothing to optimise."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import onnx
import onnxruntime

from hydrofill.bundle import Optimised

# The highest level whose result holds no layout of one processor: constants folded, operators fused.
LEVEL = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
LEVEL_NAME: Literal["extended"] = "extended"


def optimise(graph: bytes) -> bytes:
    """The graph's bytes once optimised, weights inside."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVEL
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        model = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in model.graph.node}
    kept = [opset for opset in model.opset_import if opset.domain in used or not opset.domain]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model.SerializeToString(deterministic=True)


def optimised(level: Literal["none", "extended"] = LEVEL_NAME) -> Optimised:
    """What the manifest says of it."""
    return Optimised(level=level, onnxruntime=onnxruntime.__version__)
