"""Optimise graphs with ONNX Runtime before they are shipped, so that a server need not do it when it loads them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import onnx
import onnxruntime

from hydrofill.bundle import Optimised

# The highest level that is independent of the processor: constants are folded and operators fused.
LEVEL = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
LEVEL_NAME: Literal["extended"] = "extended"


def optimise(graph: bytes) -> bytes:
    """Return the optimised graph as bytes, with the weights inside."""
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


def optimisation(level: Literal["none", "extended"] = LEVEL_NAME) -> Optimised:
    """Return the manifest's record of the optimisation."""
    return Optimised(level=level, onnxruntime=onnxruntime.__version__)
