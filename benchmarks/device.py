"""`python -m benchmarks device`: time encoder and decoder on this machine's GPU or CPU; docs/results/device.md."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import onnx
import onnxruntime
from onnxruntime.transformers.float16 import convert_float_to_float16

from benchmarks.support.contenders import QUERIES, VISIBLE, batch, design_network, our_graphs
from benchmarks.support.harness import machine, median_s, table_of, write_json
from export.parity import encoder_feed

BATCHES = (1, 8, 32)
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
Variant = tuple[str, bool, Mapping[str, str]]  # name, whether half precision, options of the provider


def main(arguments: Sequence[str]) -> str:
    """Measure milliseconds per window by batch size, precision and CUDA graph; return the page of results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks device", description=main.__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="batch sizes")
    parser.add_argument("--visible", type=int, default=VISIBLE, help="visible tokens in a window")
    parser.add_argument("--queries", type=int, default=QUERIES, help="queries in a window")
    given = parser.parse_args(arguments)
    provider = CUDA if CUDA in onnxruntime.get_available_providers() else CPU
    rows = list(_rows(provider, given.batches, given.visible, given.queries))
    write_json("device", {"machine": machine(), "provider": provider, "rows": rows})
    return f"""# On a device

Written by `python -m benchmarks device`. {machine()}. {provider}.

{given.visible:,} visible tokens and {given.queries:,} queries a window, the design's widths, heads 64
wide, untrained weights; medians of 7 runs; tensors stay on the device.

{table_of(rows)}
"""


def _rows(provider: str, batches: Sequence[int], visible: int, queries: int) -> Iterator[dict[str, str]]:
    network = design_network()
    graphs = our_graphs(network)
    for name, half, options in _variants(provider):
        first, second = (_session(_halved(g) if half else g, provider, options) for g in graphs)
        for size in batches:
            tokens, requested = batch(network, visible, queries, size)
            encode = _bound(first, encoder_feed(first, tokens), provider)
            memory = dict(zip([o.name for o in first.get_outputs()], encode.get_outputs(), strict=True))
            queried = {i.name: i.name.removeprefix("query_") for i in second.get_inputs() if i.name not in memory}
            decode = _bound(second, {**memory, **{n: getattr(requested, q) for n, q in queried.items()}}, provider)
            times = [
                median_s(partial(one.run_with_iobinding, bound)) for one, bound in ((first, encode), (second, decode))
            ]
            ms = [f"{1000 * seconds / size:.2f}" for seconds in times]
            yield dict(zip(("variant", "batch"), (name, str(size)), strict=True)) | {
                "encoder ms a window": ms[0],
                "decoder ms a window": ms[1],
            }


def _variants(provider: str) -> list[Variant]:
    """Return precisions with and without CUDA graphs; a CPU has float32 alone."""
    if provider == CPU:
        return [("float32", False, {})]
    precisions = (("float32", False, "0"), ("tf32", False, "1"), ("float16", True, "0"))
    return [
        (f"{name}{', CUDA graph' if graph else ''}", half, {"use_tf32": tf32, "enable_cuda_graph": str(int(graph))})
        for name, half, tf32 in precisions
        for graph in (False, True)
    ]


def _session(graph: bytes, provider: str, options: Mapping[str, str]) -> onnxruntime.InferenceSession:
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, settings, providers=[(provider, dict(options))])


def _bound(
    session: onnxruntime.InferenceSession, feed: Mapping[str, np.ndarray | onnxruntime.OrtValue], provider: str
) -> onnxruntime.IOBinding:
    """Return a binding whose inputs and outputs are on the device, after one run."""
    device, binding = "cuda" if provider == CUDA else "cpu", session.io_binding()
    for name, value in feed.items():
        held = onnxruntime.OrtValue.ortvalue_from_numpy(value, device) if isinstance(value, np.ndarray) else value
        binding.bind_ortvalue_input(name, held)
    for output in session.get_outputs():
        binding.bind_output(output.name, device)
    session.run_with_iobinding(binding)
    for output, made in zip(session.get_outputs(), binding.get_outputs(), strict=True):
        binding.bind_ortvalue_output(output.name, made)  # CUDA graphs need the same memory in every run
    return binding


def _halved(graph: bytes) -> bytes:
    """Return the graph in half precision; its inputs and outputs keep their types."""
    half = convert_float_to_float16(onnx.load_from_string(graph), keep_io_types=True)
    return bytes(half.SerializeToString())
