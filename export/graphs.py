"""Export encoder and decoder as ONNX graphs whose batch size and numbers of tokens and queries are dynamic."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from export.fused import barred, bars_keys, fuse
from export.lower_precision import halve
from hydrofill.bundle import GraphSpec, TensorSpec
from hydrofill.general.context import CONTEXT_SHAPES, CONTEXT_TENSORS, RECORD
from hydrofill.guesses.first_guesses import DISTANCES
from hydrofill.places import PLACE_FEATURES
from hydrofill.tokens import count_guesses
from model.config import NetworkConfig
from model.network.context import ContextTensors
from model.network.decoder import CrossDecoder, DecoderInputs
from model.network.fusion import Memory, keys_of
from model.network.layers import KeySelection, Projected, real_tokens
from model.network.mae import CrossMAE

OPSET = 20
TRACED = (2, 7, 5, 9)  # batch, visible, queries, memory: small; a size of 1 would be taken for a constant

KEY, VALUE = "memory_key_", "memory_value_"
BATCH, VISIBLE, QUERIES, MEMORY = "batch", "visible", "queries", "remembered"


class EncoderGraph(nn.Module):
    """The computation of encoder.onnx, with inputs in the order of `graph_specs`.

    A memory that is read by cross-attention leaves the graph as the keys and values of each decoder layer, so that
    chunks of queries share them.
    """

    def __init__(self, network: CrossMAE) -> None:
        super().__init__()
        self.network = network
        self.names = [t.name for t in graph_specs(network)[0].outputs]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the encoder's outputs in the order of its specification."""
        values, valid, variable, place, length, *told = inputs
        context = ContextTensors(*told) if told else None
        memory = self.network.encode(values, valid, variable, place, length, context=context)
        decoder = self.network.decoder
        by_name = {"memory": memory.tokens, "memory_length": memory.length, "memory_variable": memory.variable}
        for number, projected in enumerate(decoder.project(memory.tokens) if isinstance(decoder, CrossDecoder) else []):
            key = projected.key
            if bars_keys(self.network.config):
                real = real_tokens(memory.length, key.shape[1])
                key = barred(key, real, self.network.config.decoder_num_heads)
            by_name |= {f"{KEY}{number}": key, f"{VALUE}{number}": projected.value}
        return tuple(by_name[name] for name in self.names)


class DecoderGraph(nn.Module):
    """The computation of decoder.onnx: mean and standard deviation (B, Q, P) in physical units."""

    def __init__(self, network: CrossMAE) -> None:
        super().__init__()
        self.network = network
        self.names = [t.name for t in graph_specs(network)[1].inputs]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of every cell."""
        given = dict(zip(self.names, inputs, strict=True))
        variable = given["query_variable"]
        nothing = given["query_place"].new_zeros(1)
        requested = DecoderInputs(
            variable,
            given["query_place"],
            given.get("query_length", variable.new_ones(variable.shape[0])),  # used where queries read each other
            *(given.get(f"query_{name}", nothing) for name in ("guess", "guessed", "distance")),
        )
        context = ContextTensors(*(given[n] for n in CONTEXT_TENSORS)) if self.network.layout.general else None
        x, cells = self.network.embed_queries(requested, context)
        predicted = self.network.predict(self._decode(x, requested, given), cells, variable, context)
        return predicted.mean(), predicted.std()

    def _decode(self, x: Tensor, requested: DecoderInputs, given: Mapping[str, Tensor]) -> Tensor:
        network, config, decoder = self.network, self.network.config, self.network.decoder
        if not isinstance(decoder, CrossDecoder):
            return decoder(x, Memory(given["memory"], given["length"], requested.variable), requested)
        projected = [Projected(given[f"{KEY}{n}"], given[f"{VALUE}{n}"]) for n in range(config.decoder_depth)]
        real: KeySelection = None
        if not bars_keys(config):
            length = given["memory_length"] if "memory_length" in given else given["length"]
            real = keys_of(requested.variable, given["memory_variable"], length, network.layout.first_static_type)
        return decoder.read(x.to(projected[0].key.dtype), projected, real, requested.length).to(x.dtype)


def graph_specs(network: CrossMAE, half: bool = False) -> tuple[GraphSpec, GraphSpec]:
    """Return names, types and dimensions of the tensors of encoder.onnx and decoder.onnx; named dimensions are dynamic.

    The decoder takes the encoder's outputs and, where it needs it, the `length` of the visible tokens. With `half`, the
    keys and values are passed from the encoder to the decoder in half precision.
    """
    config, cells, places = network.config, network.layout.token_size, len(PLACE_FEATURES)
    length = TensorSpec(name="length", dtype="int64", dims=(BATCH,))
    inputs = (
        TensorSpec(name="values", dtype="float32", dims=(BATCH, VISIBLE, cells)),
        TensorSpec(name="valid", dtype="bool", dims=(BATCH, VISIBLE, cells)),
        TensorSpec(name="variable", dtype="int64", dims=(BATCH, VISIBLE)),
        TensorSpec(name="place", dtype="float32", dims=(BATCH, VISIBLE, places)),
        length,
        *_context_tensors(network),
    )
    memory = _memory(config, "float16" if half else "float32")
    counted = () if bars_keys(config) or any(t.name == "memory_length" for t in memory) else (length,)
    requested = (
        TensorSpec(name="query_variable", dtype="int64", dims=(BATCH, QUERIES)),
        TensorSpec(name="query_place", dtype="float32", dims=(BATCH, QUERIES, places)),
        *([TensorSpec(name="query_length", dtype="int64", dims=(BATCH,))] if config.queries_read_each_other else []),
        *_guess_tensors(network, (BATCH, QUERIES, cells)),
        *_context_tensors(network),
    )
    answers = tuple(TensorSpec(name=n, dtype="float32", dims=(BATCH, QUERIES, cells)) for n in ("mean", "std"))
    encoder = GraphSpec(inputs=inputs, outputs=memory)
    return encoder, GraphSpec(inputs=(*memory, *counted, *requested), outputs=answers)


def _memory(config: NetworkConfig, dtype: Literal["float32", "float16"]) -> tuple[TensorSpec, ...]:
    """Return the tensors that the encoder passes to the decoder.

    The memory is as long as the visible tokens, unless the graph has `memory_length`.
    """
    size: str | int = MEMORY if config.fusion == "pooled" else VISIBLE
    if config.memory == "pooled" and config.decoder == "cross":
        size = 1
    own_length = not bars_keys(config) and (size != VISIBLE or config.static != "token")
    counted = [TensorSpec(name="memory_length", dtype="int64", dims=(BATCH,))] if own_length else []
    if config.decoder == "full":
        return (TensorSpec(name="memory", dtype="float32", dims=(BATCH, size, config.memory_width)), *counted)
    if not bars_keys(config):
        counted.append(TensorSpec(name="memory_variable", dtype="int64", dims=(BATCH, size)))
    dim = config.decoder_dim
    widths = {KEY: dim + config.decoder_num_heads if bars_keys(config) else dim, VALUE: dim}
    keys_and_values = (
        TensorSpec(name=f"{name}{number}", dtype=dtype, dims=(BATCH, size, width))
        for number in range(config.decoder_depth)
        for name, width in widths.items()
    )
    return (*keys_and_values, *counted)


def _guess_tensors(network: CrossMAE, cells: tuple[str | int, ...]) -> tuple[TensorSpec, ...]:
    """Return the tensors of first guesses that queries carry in a network with first guesses."""
    if not network.layout.guesses:
        return ()
    return (
        TensorSpec(name="query_guess", dtype="float32", dims=(*cells, count_guesses(network.layout))),
        TensorSpec(name="query_guessed", dtype="bool", dims=(*cells, count_guesses(network.layout))),
        TensorSpec(name="query_distance", dtype="float32", dims=(*cells, len(DISTANCES))),
    )


def _context_tensors(network: CrossMAE) -> tuple[TensorSpec, ...]:
    """Return the tensors by which a general network is told about the record."""
    if not network.layout.general:
        return ()
    return tuple(
        TensorSpec(name=f"{RECORD}{name}", dtype=dtype, dims=(BATCH, *shape))
        for name, (dtype, shape) in CONTEXT_SHAPES.items()
    )


def export_graphs(network: CrossMAE, half: bool = False) -> tuple[bytes, bytes]:
    """Return encoder and decoder as the bytes of ONNX files with the weights inside; with `half`, in half precision."""
    encoder, decoder = graph_specs(network, half)
    network = copy.deepcopy(network)
    fuse(network)
    if half:
        halve(network)
    return _export(EncoderGraph(network), encoder), _export(DecoderGraph(network), decoder)


def _export(graph: nn.Module, spec: GraphSpec) -> bytes:
    dims = {name: Dim(name, min=1) for name in (BATCH, VISIBLE, QUERIES, MEMORY)}
    sizes = dict(zip((BATCH, VISIBLE, QUERIES, MEMORY), TRACED, strict=True))
    examples = [_example(tensor, sizes) for tensor in spec.inputs]
    dynamic = [{i: dims[d] for i, d in enumerate(t.dims) if isinstance(d, str)} for t in spec.inputs]
    content = io.BytesIO()
    onnx.save_model(_without_notes(trace(graph, examples, dynamic, _names(spec.inputs), _names(spec.outputs))), content)
    return content.getvalue()


def trace(
    graph: nn.Module,
    examples: Sequence[Tensor],
    dims: Sequence[Mapping[int, Dim]],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """Trace a module into an ONNX model.

    Args:
        graph: the module; it takes the inputs as `*inputs`.
        examples: one tensor for each input.
        dims: the dynamic dimensions of each input, by axis.
        inputs: names of the inputs.
        outputs: names of the outputs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            graph.eval(),
            tuple(examples),
            dynamo=True,
            dynamic_shapes=(tuple(dims),),  # one argument, *inputs
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            optimize=True,
            verbose=False,
        )
    assert program is not None  # dynamo=True returns the program when no file is named
    return program.model_proto


def _without_notes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph without the exporter's notes, which name the paths of source files on this machine."""
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
