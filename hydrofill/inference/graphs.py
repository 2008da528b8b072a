"""A bundle's two graphs in ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnxruntime

from hydrofill.bundle import Bundle, GraphSpec, TensorSpec
from hydrofill.errors import BundleError
from hydrofill.guesses.first_guesses import DISTANCES, GUESSES
from hydrofill.layout import Layout
from hydrofill.places import PLACE_FEATURES
from hydrofill.tokens import Queries, Tokens

logger = logging.getLogger(__name__)

# Queries in one run of the decoder: enough to keep the cores busy, few enough that a layer of them stays in the cache.
QUERIES_PER_RUN = 2048

# What this server feeds and reads, by the tensors' names; those in `..._MAY` are there in some networks only. What the
# encoder answers goes to the decoder, whatever its names.
ENCODER_INPUTS = frozenset({"values", "valid", "variable", "place", "length"})
DECODER_INPUTS = frozenset({"query_variable", "query_place"})
DECODER_INPUTS_MAY = frozenset({"length", "query_length", "query_guess", "query_guessed", "query_distance"})
DECODER_OUTPUTS = frozenset({"mean", "std"})
NONE_MORE: frozenset[str] = frozenset()
QUERY, LENGTH = "query_", "length"
DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64", "tensor(bool)": "bool"}
PROVIDERS: Mapping[str, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "cpu": {},
    # Shapes change from window to window: no search for the fastest kernel of each. Float32 means float32.
    "cuda": {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"},
}
# How far a graph is optimised while it is loaded: no further, where its bundle says that this was done.
LEVELS: Mapping[str, Any] = {
    "none": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
Memory = Mapping[str, onnxruntime.OrtValue]  # what the decoder is told of the visible tokens, where the graphs run


class ProviderError(ValueError):
    """A provider that is asked for and cannot be had; the message is one line."""


@dataclass(frozen=True)
class Runtime:
    """What runs the graphs, and on how many threads."""

    provider: Literal["cpu", "cuda"]
    threads: int

    @property
    def provider_name(self) -> str:
        """The provider as ONNX Runtime calls it."""
        return PROVIDERS[self.provider]


class Graphs:
    """Encoder and decoder of one bundle; the methods take and give one window, without a batch axis."""

    def __init__(self, bundle: Bundle, runtime: Runtime) -> None:
        name, manifest = bundle.manifest.name, bundle.manifest
        encoder, decoder = manifest.encoder, manifest.decoder
        _check_roles(name, encoder.inputs, ENCODER_INPUTS, NONE_MORE)
        memory = frozenset(tensor.name for tensor in encoder.outputs)
        _check_roles(name, decoder.inputs, DECODER_INPUTS | memory, DECODER_INPUTS_MAY)
        _check_roles(name, decoder.outputs, DECODER_OUTPUTS, NONE_MORE)
        _check_sizes(name, (*encoder.inputs, *decoder.inputs, *decoder.outputs), manifest.layout)
        if manifest.precision.dtype == "float16" and runtime.provider == "cpu":
            logger.warning("bundle %s is float16, made for GPUs: a processor computes it in float32, slower", name)
        level = LEVELS[manifest.optimised.level]
        self._encoder = _open(name, "encoder.onnx", bundle.encoder, encoder, runtime, level)
        self._decoder = _open(name, "decoder.onnx", bundle.decoder, decoder, runtime, level)
        self._device = runtime.provider
        self._memory_names = [tensor.name for tensor in encoder.outputs]
        self._requested = [tensor.name for tensor in decoder.inputs]
        self._queries = [name for name in self._requested if name.startswith(QUERY)]

    @property
    def queries_per_run(self) -> int | None:
        """Most queries in one run of the decoder; None where queries read each other, so that all must go together."""
        return None if f"{QUERY}length" in self._requested else QUERIES_PER_RUN

    def encode(self, tokens: Tokens, options: onnxruntime.RunOptions | None = None) -> Memory:
        """What the decoder is told of the visible tokens, by name, with a batch axis of 1."""
        return self._encode({name: getattr(tokens, name)[None] for name in ENCODER_INPUTS}, options)

    def decode(
        self,
        memory: Memory,
        queries: Queries,
        part: slice,
        options: onnxruntime.RunOptions | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (Q, P) for the queries in `part`."""
        feed = {}
        for name in self._queries:
            values = getattr(queries, name.removeprefix(QUERY))
            feed[name] = values[None] if values.ndim == 0 else values[None, part]
        mean, std = self._decode(memory, feed, options)
        return mean[0], std[0]

    def _encode(self, feed: Mapping[str, np.ndarray], options: onnxruntime.RunOptions | None) -> Memory:
        binding = self._encoder.io_binding()
        held = _contiguous(feed)
        for name, values in held.items():
            binding.bind_cpu_input(name, values)
        for name in self._memory_names:
            binding.bind_output(name, self._device)
        self._encoder.run_with_iobinding(binding, options)
        memory = dict(zip(self._memory_names, binding.get_outputs(), strict=True))
        return {LENGTH: onnxruntime.OrtValue.ortvalue_from_numpy(held[LENGTH], self._device), **memory}

    def _decode(
        self, memory: Memory, queries: Mapping[str, np.ndarray], options: onnxruntime.RunOptions | None
    ) -> tuple[np.ndarray, np.ndarray]:
        binding = self._decoder.io_binding()
        held = _contiguous(queries)
        for name, values in held.items():
            binding.bind_cpu_input(name, values)
        for name in self._requested:
            if not name.startswith(QUERY):
                binding.bind_ortvalue_input(name, memory[name])
        for name in ("mean", "std"):
            binding.bind_output(name)
        self._decoder.run_with_iobinding(binding, options)
        mean, std = binding.copy_outputs_to_cpu()
        return mean, std


def _contiguous(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays that can be bound as they lie; whoever binds them holds them until the run is over."""
    return {name: np.ascontiguousarray(values) for name, values in feed.items()}


def check_provider(runtime: Runtime) -> None:
    """Returns if the provider is there.

    Raises:
        ProviderError: it is not; says what is.
    """
    available = onnxruntime.get_available_providers()
    if runtime.provider_name not in available:
        raise ProviderError(f"{runtime.provider_name} is not available here; there are {', '.join(available)}")


def _open(name: str, file: str, content: bytes, spec: GraphSpec, runtime: Runtime, level: Any) -> Any:
    """A session over the graph's bytes; given no path, it can read no other file.

    Raises:
        BundleError: no graph, or one with other inputs and outputs than the manifest says.
        ProviderError: the provider does not start.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = runtime.threads if runtime.provider == "cpu" else 1
    options.inter_op_num_threads = 1
    # Threads that wait by spinning starve those of their neighbours.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what fails is raised, and told once
    try:
        session = onnxruntime.InferenceSession(
            content, options, providers=[(runtime.provider_name, dict(OPTIONS[runtime.provider]))]
        )
    except Exception as error:  # the runtime's errors share no class but this
        raise BundleError(f"{file} is not a graph that can be run", where=name) from error
    if session.get_providers()[0] != runtime.provider_name:
        raise ProviderError(f"{runtime.provider_name} does not start here; see the log of ONNX Runtime")
    _check_tensors(name, file, session.get_inputs(), spec.inputs)
    _check_tensors(name, file, session.get_outputs(), spec.outputs)
    return session


def _check_roles(name: str, found: Iterable[TensorSpec], must: frozenset[str], may: frozenset[str]) -> None:
    names = [tensor.name for tensor in found]
    if len(set(names)) != len(names) or not must <= set(names) <= must | may:
        raise BundleError(
            "a graph has other tensors than this server feeds",
            where=name,
            got=sorted(names),
            expected=f"{sorted(must)}" + (f" and any of {sorted(may)}" if may else ""),
        )


def _check_sizes(name: str, tensors: Iterable[TensorSpec], layout: Layout) -> None:
    """The last dims that layout and contract fix, where the manifest's are numbers."""
    cells = layout.token_size
    wanted = {
        **dict.fromkeys(("values", "valid", "mean", "std"), (cells,)),
        **dict.fromkeys(("place", "query_place"), (len(PLACE_FEATURES),)),
        **dict.fromkeys(("query_guess", "query_guessed"), (cells, len(GUESSES))),
        "query_distance": (cells, len(DISTANCES)),
    }
    for tensor in tensors:
        expected = wanted.get(tensor.name, ())
        found = tensor.dims[len(tensor.dims) - len(expected) :]
        if any(isinstance(got, int) and got != size for got, size in zip(found, expected, strict=True)):
            raise BundleError(f"{tensor.name} does not fit the layout", where=name, got=found, expected=expected)
        if "guess" in tensor.name and not layout.guesses:
            raise BundleError(f"{tensor.name} is asked for, but the layout has no guesses", where=name)


def _check_tensors(name: str, file: str, found: Iterable[Any], expected: Iterable[TensorSpec]) -> None:
    """Same names, types and fixed dims; what the manifest calls dynamic is dynamic."""
    memory = {tensor.name: tensor for tensor in expected}
    here = {tensor.name: tensor for tensor in found}
    if here.keys() != memory.keys():
        raise BundleError(
            f"{file} has other tensors than its manifest", where=name, got=sorted(here), expected=sorted(memory)
        )
    for key, tensor in here.items():
        dims = [dim if isinstance(dim, int) else "dynamic" for dim in tensor.shape]
        wanted = [dim if isinstance(dim, int) else "dynamic" for dim in memory[key].dims]
        dtype = DTYPES.get(tensor.type, tensor.type)
        if dims != wanted or dtype != memory[key].dtype:
            raise BundleError(
                f"{file}: {key} is not what the manifest says",
                where=name,
                got=(dtype, dims),
                expected=(memory[key].dtype, wanted),
            )
