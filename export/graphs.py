"""Encoder and decoder as ONNX graphs with dynamic batch, visible and query counts."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterable, Mapping
from typing import Literal

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from export.fused import barred, bars_keys, fuse
from export.lower_precision import halve
from hydrofill.bundle import GraphSpec, TensorSpec
from hydrofill.guesses.first_guesses import DISTANCES, GUESSES
from hydrofill.places import PLACE_FEATURES
from model.config import NetworkConfig
from model.network.decoder import CrossDecoder, DecoderInputs
from model.network.fusion import Memory, keys_of
from model.network.layers import Keys, Ready, real_tokens
from model.network.mae import CrossMAE

OPSET = 20
TRACED = (2, 7, 5, 9)  # batch, visible, queries, memory: small, and none of them 1, which would be taken for a constant

KEY, VALUE = "memory_key_", "memory_value_"
BATCH, VISIBLE, QUERIES, MEMORY = "batch", "visible", "queries", "remembered"


class EncoderGraph(nn.Module):
    """What encoder.onnx computes: its inputs in the order of `graph_specs`.

    A memory that is read by cross-attention goes out as each decoder layer's keys and values, so that chunks of queries
    share them.
    """

    def __init__(self, network: CrossMAE) -> None:
        super().__init__()
        self.network = network
        self.names = [t.name for t in graph_specs(network)[0].outputs]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The encoder's outputs, in the order of its specification."""
        memory, decoder = self.network.encode(*inputs), self.network.decoder
        by_name = {"memory": memory.tokens, "memory_length": memory.length, "memory_variable": memory.variable}
        for number, ready in enumerate(decoder.ready(memory.tokens) if isinstance(decoder, CrossDecoder) else []):
            key = ready.key
            if bars_keys(self.network.config):
                real = real_tokens(memory.length, key.shape[1])
                key = barred(key, real, self.network.config.decoder_num_heads)
            by_name |= {f"{KEY}{number}": key, f"{VALUE}{number}": ready.value}
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
        variable = given["query_variable"]
        nothing = given["query_place"].new_zeros(1)
        requested = DecoderInputs(
            variable,
            given["query_place"],
            given.get("query_length", variable.new_ones(variable.shape[0])),  # read by queries that read each other
            *(given.get(f"query_{name}", nothing) for name in ("guess", "guessed", "distance")),
        )
        x, cells = self.network.ask(requested)
        predicted = self.network.tell(self._answer(x, requested, given), cells, variable)
        return predicted.mean(), predicted.std()

    def _answer(self, x: Tensor, requested: DecoderInputs, given: Mapping[str, Tensor]) -> Tensor:
        network, config, decoder = self.network, self.network.config, self.network.decoder
        if not isinstance(decoder, CrossDecoder):
            return decoder(x, Memory(given["memory"], given["length"], requested.variable), requested)
        ready = [Ready(given[f"{KEY}{n}"], given[f"{VALUE}{n}"]) for n in range(config.decoder_depth)]
        real: Keys = None
        if not bars_keys(config):
            length = given["memory_length"] if "memory_length" in given else given["length"]
            real = keys_of(requested.variable, given["memory_variable"], length, len(network.layout.variables))
        return decoder.read(x.to(ready[0].key.dtype), ready, real, requested.length).to(x.dtype)


def graph_specs(network: CrossMAE, half: bool = False) -> tuple[GraphSpec, GraphSpec]:
    """Names, types and dims of the tensors of encoder.onnx and decoder.onnx; words are dynamic.

    The decoder is given the encoder's outputs and, where it asks for it, the visible tokens' `length`. With `half`,
    keys and values go from one to the other in half precision.
    """
    config, cells, places = network.config, network.layout.token_size, len(PLACE_FEATURES)
    length = TensorSpec(name="length", dtype="int64", dims=(BATCH,))
    inputs = (
        TensorSpec(name="values", dtype="float32", dims=(BATCH, VISIBLE, cells)),
        TensorSpec(name="valid", dtype="bool", dims=(BATCH, VISIBLE, cells)),
        TensorSpec(name="variable", dtype="int64", dims=(BATCH, VISIBLE)),
        TensorSpec(name="place", dtype="float32", dims=(BATCH, VISIBLE, places)),
        length,
    )
    memory = _memory(config, "float16" if half else "float32")
    counted = () if bars_keys(config) or any(t.name == "memory_length" for t in memory) else (length,)
    requested = (
        TensorSpec(name="query_variable", dtype="int64", dims=(BATCH, QUERIES)),
        TensorSpec(name="query_place", dtype="float32", dims=(BATCH, QUERIES, places)),
        *([TensorSpec(name="query_length", dtype="int64", dims=(BATCH,))] if config.queries_read_each_other else []),
        *_known(network, (BATCH, QUERIES, cells)),
    )
    answers = tuple(TensorSpec(name=n, dtype="float32", dims=(BATCH, QUERIES, cells)) for n in ("mean", "std"))
    encoder = GraphSpec(inputs=inputs, outputs=memory)
    return encoder, GraphSpec(inputs=(*memory, *counted, *requested), outputs=answers)


def _memory(config: NetworkConfig, dtype: Literal["float32", "float16"]) -> tuple[TensorSpec, ...]:
    """What the encoder hands to the decoder.

    The memory is as long as the visible tokens, unless `memory_length` says otherwise.
    """
    long: str | int = MEMORY if config.fusion == "pooled" else VISIBLE
    if config.memory == "pooled" and config.decoder == "cross":
        long = 1
    own_length = not bars_keys(config) and (long != VISIBLE or config.static != "token")
    told = [TensorSpec(name="memory_length", dtype="int64", dims=(BATCH,))] if own_length else []
    if config.decoder == "full":
        return (TensorSpec(name="memory", dtype="float32", dims=(BATCH, long, config.memory_width)), *told)
    if not bars_keys(config):
        told.append(TensorSpec(name="memory_variable", dtype="int64", dims=(BATCH, long)))
    dim = config.decoder_dim
    widths = {KEY: dim + config.decoder_num_heads if bars_keys(config) else dim, VALUE: dim}
    ready = (
        TensorSpec(name=f"{name}{number}", dtype=dtype, dims=(BATCH, long, width))
        for number in range(config.decoder_depth)
        for name, width in widths.items()
    )
    return (*ready, *told)


def _known(network: CrossMAE, cells: tuple[str | int, ...]) -> tuple[TensorSpec, ...]:
    """What queries carry of their cells, in a network with first guesses."""
    if not network.layout.guesses:
        return ()
    return (
        TensorSpec(name="query_guess", dtype="float32", dims=(*cells, len(GUESSES))),
        TensorSpec(name="query_guessed", dtype="bool", dims=(*cells, len(GUESSES))),
        TensorSpec(name="query_distance", dtype="float32", dims=(*cells, len(DISTANCES))),
    )


def to_onnx(network: CrossMAE, half: bool = False) -> tuple[bytes, bytes]:
    """Encoder and decoder graphs as the bytes of single files, weights inside; their blocks in `half` precision."""
    encoder, decoder = graph_specs(network, half)
    network = copy.deepcopy(network)
    fuse(network)
    if half:
        halve(network)
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
    return torch.zeros(shape, dtype=getattr(torch, tensor.dtype))


def _names(tensors: Iterable[TensorSpec]) -> list[str]:
    return [t.name for t in tensors]
