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
from model.mae import CrossMAE

OPSET = 20
TRACED = (2, 7, 5)  # batch, visible, queries: small, and none of them 1, which would be taken for a constant

BATCH, VISIBLE, QUERIES, CELL, PLACE, WIDTH = "batch", "visible", "queries", "cell", "place", "width"


class EncoderGraph(nn.Module):
    """What encoder.onnx computes."""

    def __init__(self, network: CrossMAE) -> None:
        super().__init__()
        self.network = network

    def forward(self, values: Tensor, valid: Tensor, variable: Tensor, place: Tensor, length: Tensor) -> Tensor:
        """Visible tokens -> memory (B, L, D)."""
        return self.network.encode(values, valid, variable, place, length)


class DecoderGraph(nn.Module):
    """What decoder.onnx computes."""

    def __init__(self, network: CrossMAE) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, memory: Tensor, length: Tensor, query_variable: Tensor, query_place: Tensor, *known: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Memory and queries -> mean and standard deviation (B, Q, P), physical units."""
        predicted = self.network.decode(memory, length, query_variable, query_place, *known)
        return predicted.mean(), predicted.std()


def graph_specs(network: CrossMAE) -> tuple[GraphSpec, GraphSpec]:
    """Names, types and dims of the tensors of encoder.onnx and decoder.onnx; words are dynamic."""
    cells, places, width = network.layout.token_size, len(PLACE_FEATURES), network.config.embed_dim
    memory = TensorSpec(name="memory", dtype="float32", dims=(BATCH, VISIBLE, width))
    length = TensorSpec(name="length", dtype="int64", dims=(BATCH,))
    encoder = GraphSpec(
        inputs=(
            TensorSpec(name="values", dtype="float32", dims=(BATCH, VISIBLE, cells)),
            TensorSpec(name="valid", dtype="bool", dims=(BATCH, VISIBLE, cells)),
            TensorSpec(name="variable", dtype="int64", dims=(BATCH, VISIBLE)),
            TensorSpec(name="place", dtype="float32", dims=(BATCH, VISIBLE, places)),
            length,
        ),
        outputs=(memory,),
    )
    decoder = GraphSpec(
        inputs=(
            memory,
            length,
            TensorSpec(name="query_variable", dtype="int64", dims=(BATCH, QUERIES)),
            TensorSpec(name="query_place", dtype="float32", dims=(BATCH, QUERIES, places)),
            *_known(network, (BATCH, QUERIES, cells)),
        ),
        outputs=tuple(TensorSpec(name=n, dtype="float32", dims=(BATCH, QUERIES, cells)) for n in ("mean", "std")),
    )
    return encoder, decoder


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
    dims = {BATCH: Dim(BATCH, min=1), VISIBLE: Dim(VISIBLE, min=1), QUERIES: Dim(QUERIES, min=1)}
    sizes = dict(zip((BATCH, VISIBLE, QUERIES), TRACED, strict=True))
    examples = tuple(_example(tensor, sizes) for tensor in spec.inputs)
    dynamic: list[object] = [{i: dims[d] for i, d in enumerate(t.dims) if isinstance(d, str)} for t in spec.inputs]
    if isinstance(graph, DecoderGraph):  # its last inputs are one argument, *known
        dynamic = [*dynamic[:4], tuple(dynamic[4:])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        program = torch.onnx.export(
            graph.eval(),
            examples,
            dynamo=True,
            dynamic_shapes=tuple(dynamic),
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
