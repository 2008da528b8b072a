"""The design's network on every runtime that is compared: encoder and decoder as functions without arguments."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.export import Dim

from benchmarks.support.harness import THREADS
from export.graphs import export_graphs, trace
from export.lower_precision import quantise
from export.optimise import optimise
from export.parity import encoder_feed, random_batch
from hydrofill.constants import DAY_S
from hydrofill.inference.graphs import LEVELS, QUERIES_PER_RUN
from hydrofill.layout import Layout, Patch, Place, VariableSpec, WindowSize
from hydrofill.tokens import Queries, Tokens
from model.config import NetworkConfig
from model.network.decoder import DecoderInputs
from model.network.fusion import Memory
from model.network.mae import CrossMAE

STEPS, ROWS, COLUMNS, SIDE = 90, 290, 180, 10  # the design's window and patch
VISIBLE, QUERIES = 2115, 6345  # 90 x 94 land patches, of which 75 % are hidden
DESIGN = NetworkConfig(
    embed_dim=256, depth=6, num_heads=4, decoder_dim=128, decoder_depth=4, decoder_num_heads=2
)  # heads 64 wide
TOKEN_INPUTS = ("values", "valid", "variable", "place", "length")
Work = Callable[[], object]


@dataclass(frozen=True)
class Pair:
    """Encoder and decoder of one contender, prepared to run on the same window."""

    encode: Work
    decode: Work


def design_layout() -> Layout:
    """Return a layout of one gridded variable on the design's grid, without first guesses."""
    temperature = VariableSpec(name="temperature", kind="grid", units="degC")
    return Layout(
        variables=(temperature,),
        patch=Patch(rows=SIDE, columns=SIDE, steps=8),
        window=WindowSize(steps=STEPS, rows=ROWS, columns=COLUMNS),
        place=Place(rows=ROWS, columns=COLUMNS, step_s=DAY_S),
        guesses=False,
    )


def design_network(config: NetworkConfig = DESIGN) -> CrossMAE:
    """Return an untrained network: computing time does not depend on the weights."""
    torch.manual_seed(0)
    return CrossMAE(design_layout(), config).eval()


def work(config: NetworkConfig, cells: int, visible: int, queries: int) -> tuple[float, float]:
    """Return the floating-point operations of encoder and cross decoder.

    Only the matrix products of linear layers and attention are counted. A token is embedded by the weights of its own
    type. The keys and values of the memory count for the encoder, whose graph computes them.
    """
    D, d, L, Q = config.embed_dim, config.decoder_dim, visible, queries
    layer = 2 * L * (4 + 2 * config.mlp_ratio) * D * D + 4 * L * L * D
    keys_and_values = config.decoder_depth * 2 * L * D * 2 * d
    encoder = 2 * L * (2 * cells + 1) * D + config.depth * layer + keys_and_values
    block = 2 * Q * (2 + 2 * config.mlp_ratio) * d * d + 4 * Q * L * d
    return encoder, config.decoder_depth * block + 2 * Q * d * 2 * cells


def session(graph: bytes, level: str, threads: int = THREADS) -> onnxruntime.InferenceSession:
    """Open a graph as the server does."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = LEVELS[level]
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def our_graphs(network: CrossMAE) -> tuple[bytes, bytes]:
    """Export and optimise the graphs as for a bundle."""
    encoder, decoder = export_graphs(network)
    return optimise(encoder), optimise(decoder)


def ours(graphs: tuple[bytes, bytes], tokens: Tokens, queries: Queries, chunk: int = QUERIES_PER_RUN) -> Pair:
    """Return the graphs of a bundle, with queries in chunks."""
    first, second = (session(graph, "extended") for graph in graphs)
    return _chunked(first, second, tokens, queries, chunk)


def int8(network: CrossMAE, tokens: Tokens, queries: Queries) -> Pair:
    """Return the graphs of an int8 bundle, with ranges taken from this window."""
    encoder, decoder = (optimise(graph) for graph in quantise(*export_graphs(network), [(tokens, queries)]))
    return ours((encoder, decoder), tokens, queries)


def plain(graphs: tuple[bytes, bytes], tokens: Tokens, queries: Queries) -> Pair:
    """Return a plain export, opened by ONNX Runtime with its defaults, all queries at once."""
    first, second = (session(graph, "none") for graph in graphs)
    return _chunked(first, second, tokens, queries, queries.variable.shape[1])


def eager(network: CrossMAE, tokens: Tokens, queries: Queries) -> Pair:
    """Return the torch network, as training evaluates it."""
    given, requested = _as_tensors(network, tokens, queries)
    with torch.inference_mode():
        memory = network.encode(*given)
    return Pair(
        _inference(lambda: network.encode(*given)), _inference(lambda: _moments(network.decode(memory, requested)))
    )


def compiled(network: CrossMAE, tokens: Tokens, queries: Queries) -> Pair:
    """Return the network compiled by torch.compile for these shapes."""
    given, requested = _as_tensors(network, tokens, queries)
    encode = torch.compile(network.encode, dynamic=False)
    decode = torch.compile(lambda memory, requested: _moments(network.decode(memory, requested)), dynamic=False)
    with torch.inference_mode():
        memory = Memory(*(t.clone() for t in encode(*given)))
    return Pair(_inference(lambda: encode(*given)), _inference(lambda: decode(memory, requested)))


def openvino(graphs: tuple[bytes, bytes], tokens: Tokens, queries: Queries) -> Pair:
    """Return a plain export in OpenVINO, which has no fused operators, with dynamic shapes as in ONNX Runtime."""
    import openvino as ov

    core = ov.Core()
    settings = {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    first, second = (core.compile_model(core.read_model(model=io.BytesIO(graph)), "CPU", settings) for graph in graphs)
    given = {name: getattr(tokens, name) for name in TOKEN_INPUTS}
    wanted = {port.get_any_name() for port in first.inputs}
    given = {name: values for name, values in given.items() if name in wanted}
    memory = first(given)[0]
    requested = {"memory": memory, "length": tokens.length, **_query_arrays(queries)}
    names = {port.get_any_name() for port in second.inputs}
    requested = {name: values for name, values in requested.items() if name in names}
    return Pair(lambda: first(given), lambda: second(requested))


def batch(network: CrossMAE, visible: int = VISIBLE, queries: int = QUERIES, size: int = 1) -> tuple[Tokens, Queries]:
    """Return random windows, all of full length."""
    made = [random_batch(network, 1, visible, queries, seed) for seed in range(size)]

    def joined(parts: Sequence[Tokens] | Sequence[Queries]) -> dict[str, np.ndarray]:
        return {name: np.concatenate([getattr(p, name) for p in parts]) for name in vars(parts[0])}

    return Tokens(**joined([t for t, _ in made])), Queries(**joined([q for _, q in made]))


def plain_graphs(network: CrossMAE) -> tuple[bytes, bytes]:
    """Export the network as it is: with masks, the memory passed between the graphs, not optimised."""
    network = copy.deepcopy(network)
    tokens, queries = random_batch(network, 2, 7, 5, seed=0)
    given, requested = _as_tensors(network, tokens, queries)
    with torch.inference_mode():
        memory = network.encode(*given).tokens
    size, visible, queried = Dim("batch", min=1), Dim("visible", min=1), Dim("queries", min=1)
    token_dims = tuple({0: size, 1: visible} if t.ndim > 1 else {0: size} for t in given)
    query_dims = ({0: size, 1: visible}, {0: size}, {0: size, 1: queried}, {0: size, 1: queried})
    first = _export(_PlainEncoder(network), given, token_dims, TOKEN_INPUTS, ["memory"])
    read = (memory, given[4], requested.variable, requested.place)
    names = ("memory", "length", "query_variable", "query_place")
    return first, _export(_PlainDecoder(network), read, query_dims, names, ["mean", "std"])


class _PlainEncoder(nn.Module):
    def __init__(self, network: CrossMAE) -> None:
        super().__init__()
        self.network = network

    def forward(self, *given: Tensor) -> Tensor:
        return self.network.encode(*given).tokens


class _PlainDecoder(nn.Module):
    def __init__(self, network: CrossMAE) -> None:
        super().__init__()
        self.network = network

    def forward(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        memory, length, variable, place = given
        nothing = place.new_zeros(1)
        requested = DecoderInputs(variable, place, torch.ones_like(length), nothing, nothing, nothing)
        return _moments(self.network.decode(Memory(memory, length, variable), requested))


def _export(
    graph: nn.Module,
    examples: Sequence[Tensor],
    dims: Sequence[Mapping[int, Dim]],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> bytes:
    content = io.BytesIO()
    onnx.save_model(trace(graph, examples, dims, inputs, outputs), content)
    return content.getvalue()


def _chunked(
    first: onnxruntime.InferenceSession,
    second: onnxruntime.InferenceSession,
    tokens: Tokens,
    queries: Queries,
    chunk: int,
) -> Pair:
    names = [output.name for output in first.get_outputs()]
    given = encoder_feed(first, tokens)
    memory = dict(zip(names, first.run(names, given), strict=True)) | {"length": tokens.length}
    inputs = [i.name for i in second.get_inputs()]
    feeds = []
    for start in range(0, queries.variable.shape[1], chunk):
        part = {n: v[:, start : start + chunk] if v.ndim > 1 else v for n, v in _query_arrays(queries).items()}
        feeds.append({name: memory[name] if name in memory else part[name] for name in inputs})
    return Pair(lambda: first.run(names, given), lambda: [second.run(["mean", "std"], feed) for feed in feeds])


def _query_arrays(queries: Queries) -> dict[str, np.ndarray]:
    return {f"query_{name}": getattr(queries, name) for name in vars(queries)}


def _as_tensors(network: CrossMAE, tokens: Tokens, queries: Queries) -> tuple[list[Tensor], DecoderInputs]:
    given = network.tensors(*(getattr(tokens, name) for name in TOKEN_INPUTS))
    known = (queries.guess, queries.guessed, queries.distance)
    return given, DecoderInputs(*network.tensors(queries.variable, queries.place, queries.length, *known))


def _moments(predicted: object) -> tuple[Tensor, Tensor]:
    return predicted.mean(), predicted.std()  # type: ignore[attr-defined]


def _inference(work: Work) -> Work:
    def run() -> object:
        with torch.inference_mode():
            return work()

    return run
