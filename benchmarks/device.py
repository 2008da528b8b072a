"""`python -m benchmarks device`: encoder and decoder on whatever device there is, into docs/results/device.md."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import onnx
import onnxruntime
from onnxruntime.transformers.float16 import convert_float_to_float16

from benchmarks.contenders import QUERIES, TOKEN_INPUTS, VISIBLE, batch, design_network, our_graphs
from benchmarks.harness import machine, markdown_table, median_s, write_json

BATCHES = (1, 8, 32)
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
Variant = tuple[str, bool, Mapping[str, str]]  # name, half precision, options of the provider


def main(arguments: Sequence[str]) -> str:
    """The page docs/results/device.md: milliseconds a window by batch, precision and CUDA graph."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks device", description=main.__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--visible", type=int, default=VISIBLE, help="tokens of a window")
    parser.add_argument("--queries", type=int, default=QUERIES, help="of a window")
    given = parser.parse_args(arguments)
    provider = CUDA if CUDA in onnxruntime.get_available_providers() else CPU
    rows = list(_rows(provider, given.batches, given.visible, given.queries))
    write_json("device", {"machine": machine(), "provider": provider, "rows": rows})
    head = ["variant", "batch", "encoder ms a window", "decoder ms a window"]
    return f"""# On a device

Written by `python -m benchmarks device`. {machine()}. {provider}.

{given.visible:,} visible tokens and {given.queries:,} queries a window, the design's widths, heads 64
wide, untrained; medians of 7; tensors stay on the device.

{markdown_table(head, rows)}
"""


def _rows(provider: str, batches: Sequence[int], visible: int, queries: int) -> Iterator[dict[str, str]]:
    network = design_network()
    graphs = our_graphs(network)
    for name, half, options in _variants(provider):
        first, second = (_session(_halved(g) if half else g, provider, options) for g in graphs)
        for size in batches:
            tokens, requested = batch(network, visible, queries, size)
            given = {n: getattr(tokens, n) for n in TOKEN_INPUTS}
            encode = _bound(first, {i.name: given[i.name] for i in first.get_inputs()}, provider)
            told = dict(zip([o.name for o in first.get_outputs()], encode.get_outputs(), strict=True))
            asks = {i.name: i.name.removeprefix("query_") for i in second.get_inputs() if i.name not in told}
            decode = _bound(second, {**told, **{n: getattr(requested, q) for n, q in asks.items()}}, provider)
            times = [
                median_s(partial(one.run_with_iobinding, bound)) for one, bound in ((first, encode), (second, decode))
            ]
            ms = [f"{1000 * seconds / size:.2f}" for seconds in times]
            yield dict(zip(("variant", "batch"), (name, str(size)), strict=True)) | {
                "encoder ms a window": ms[0],
                "decoder ms a window": ms[1],
            }


def _variants(provider: str) -> list[Variant]:
    """Precisions, with and without CUDA graphs; a processor has float32 alone."""
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
    """A binding whose inputs and outputs lie on the device, run once."""
    device, binding = "cuda" if provider == CUDA else "cpu", session.io_binding()
    for name, value in feed.items():
        held = onnxruntime.OrtValue.ortvalue_from_numpy(value, device) if isinstance(value, np.ndarray) else value
        binding.bind_ortvalue_input(name, held)
    for output in session.get_outputs():
        binding.bind_output(output.name, device)
    session.run_with_iobinding(binding)
    for output, made in zip(session.get_outputs(), binding.get_outputs(), strict=True):
        binding.bind_ortvalue_output(output.name, made)  # the same memory every time, as CUDA graphs need
    return binding


def _halved(graph: bytes) -> bytes:
    """The graph in half precision, its inputs and outputs left as they are."""
    half = convert_float_to_float16(onnx.load_from_string(graph), keep_io_types=True)
    return bytes(half.SerializeToString())
