"""Encoder and decoder as ONNX graphs with dynamic batch, visible and query counts."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from export.contract.guesses import DISTANCES, GUESSES
from export.contract.manifest import GraphSpec, TensorSpec
from export.contract.tokens import PLACE_FEATURES
from model.decoder import Asked
from model.fusion import Memory
from model.mae import CrossMAE

OPSET = 20
TRACED = (2, 7, 5, 9)  # batch, visible, queries, memory: small, and none of them 1, which would be taken for a constant

BATCH, VISIBLE, QUERIES, MEMORY = "batch", "visible", "queries", "remembered"


class EncoderGraph(nn.Module):
    """What encoder.onnx computes: its inputs in the order of `graph_specs`."""

    def __init__(self, network: CrossMAE) -> None:
        super().__init__()
        self.network = network
        self.names = [t.name for t in graph_specs(network)[0].outputs]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The encoder's outputs, in the order of its specification."""
        memory = self.network.encode(*inputs)
        by_name = {"memory": memory.tokens, "memory_length": memory.length, "memory_variable": memory.variable}
        return tuple(by_name[name] for name in self.names)


class DecoderGraph(nn.Module):
    """What decoder.onnx computes: mean and standard deviation (B, Q, P), physical units."""

    def __init__(self, network: CrossMAE) -> None:
        super().__init__()
        self.network = network
        self.names = [t.name for t in graph_specs(network)[1].inputs]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every cell."""
        given = dict(zip(self.names, inputs, strict=True))
        variable, tokens = given["query_variable"], given["memory"]
        nothing = tokens.new_zeros(1)
        asked = Asked(
            variable,
            given["query_place"],
            given.get("query_length", torch.full_like(given["length"], 1)),  # read by queries that read each other
            *(given.get(f"query_{name}", nothing) for name in ("guess", "guessed", "distance")),
        )
        memory = Memory(tokens, given["length"], given.get("memory_variable", variable))
        predicted = self.network.decode(memory, asked)
        return predicted.mean(), predicted.std()


def graph_specs(network: CrossMAE) -> tuple[GraphSpec, GraphSpec]:
    """Names, types and dims of the tensors of encoder.onnx and decoder.onnx; words are dynamic.

    The memory is as long as the visible tokens, unless the encoder says otherwise by `memory_length`.
    """
    config, cells, places = network.config, network.layout.token_size, len(PLACE_FEATURES)
    long: str | int = MEMORY if config.fusion == "pooled" else VISIBLE
    if config.memory == "pooled" and config.decoder == "cross":
        long = 1
    memory = TensorSpec(name="memory", dtype="float32", dims=(BATCH, long, config.memory_width))
    length = TensorSpec(name="length", dtype="int64", dims=(BATCH,))
    kinds = [TensorSpec(name="memory_variable", dtype="int64", dims=(BATCH, long))] if config.fusion != "joint" else []
    inputs = (
        TensorSpec(name="values", dtype="float32", dims=(BATCH, VISIBLE, cells)),
        TensorSpec(name="valid", dtype="bool", dims=(BATCH, VISIBLE, cells)),
        TensorSpec(name="variable", dtype="int64", dims=(BATCH, VISIBLE)),
        TensorSpec(name="place", dtype="float32", dims=(BATCH, VISIBLE, places)),
        length,
    )
    own_length = long != VISIBLE or config.static != "token"
    counted = [TensorSpec(name="memory_length", dtype="int64", dims=(BATCH,))] if own_length else []
    asked = (
        TensorSpec(name="query_variable", dtype="int64", dims=(BATCH, QUERIES)),
        TensorSpec(name="query_place", dtype="float32", dims=(BATCH, QUERIES, places)),
        *([TensorSpec(name="query_length", dtype="int64", dims=(BATCH,))] if config.queries_read_each_other else []),
        *_known(network, (BATCH, QUERIES, cells)),
    )
    answers = tuple(TensorSpec(name=n, dtype="float32", dims=(BATCH, QUERIES, cells)) for n in ("mean", "std"))
    encoder = GraphSpec(inputs=inputs, outputs=(memory, *counted, *kinds))
    return encoder, GraphSpec(inputs=(memory, length, *kinds, *asked), outputs=answers)


def _known(network: CrossMAE, cells: tuple[str | int, ...]) -> tuple[TensorSpec, ...]:
    """What queries carry of their cells, in a network with first guesses."""
    if not network.layout.guesses:
        return ()
    return (
        TensorSpec(name="query_guess", dtype="float32", dims=(*cells, len(GUESSES))),
        TensorSpec(name="query_guessed", dtype="bool", dims=(*cells, len(GUESSES))),
        TensorSpec(name="query_distance", dtype="float32", dims=(*cells, len(DISTANCES))),
    )


def to_onnx(network: CrossMAE) -> tuple[bytes, bytes]:
    """Encoder and decoder graphs as the bytes of single files, weights inside."""
    encoder, decoder = graph_specs(network)
    return _export(EncoderGraph(network), encoder), _export(DecoderGraph(network), decoder)


def _export(graph: nn.Module, spec: GraphSpec) -> bytes:
    dims = {name: Dim(name, min=1) for name in (BATCH, VISIBLE, QUERIES, MEMORY)}
    sizes = dict(zip((BATCH, VISIBLE, QUERIES, MEMORY), TRACED, strict=True))
    examples = tuple(_example(tensor, sizes) for tensor in spec.inputs)
    dynamic = tuple({i: dims[d] for i, d in enumerate(t.dims) if isinstance(d, str)} for t in spec.inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        program = torch.onnx.export(
            graph.eval(),
            examples,
            dynamo=True,
            dynamic_shapes=(dynamic,),  # one argument, *inputs
            input_names=_names(spec.inputs),
            output_names=_names(spec.outputs),
            opset_version=OPSET,
            optimize=True,
            verbose=False,
        )
    assert program is not None  # dynamo=True returns the program when no file is named
    content = io.BytesIO()
    onnx.save_model(_bare(program.model_proto), content)
    return content.getvalue()


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without the exporter's notes on source files, which are half its text and name this machine's paths."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    onnx.checker.check_model(model)
    return model


def _example(tensor: TensorSpec, sizes: dict[str, int]) -> Tensor:
    shape = [sizes[d] if isinstance(d, str) else d for d in tensor.dims]
    if tensor.dtype == "bool":
        return torch.ones(shape, dtype=torch.bool)
    if tensor.name == "length":
        return torch.full(shape, sizes[VISIBLE], dtype=torch.int64)
    return torch.zeros(shape, dtype=torch.int64 if tensor.dtype == "int64" else torch.float32)


def _names(tensors: Iterable[TensorSpec]) -> list[str]:
    return [t.name for t in tensors]
