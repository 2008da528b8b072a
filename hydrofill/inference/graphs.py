"""Run the two graphs of a bundle, encoder and decoder, with ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnxruntime

from hydrofill.bundle import Bundle, GraphSpec, TensorSpec
from hydrofill.errors import BundleError, ProviderError
from hydrofill.general.context import CONTEXT_SHAPES, CONTEXT_TENSORS, RECORD, Context
from hydrofill.guesses.first_guesses import DISTANCES
from hydrofill.inference.graph_check import check_graph
from hydrofill.layout import Layout
from hydrofill.places import PLACE_FEATURES
from hydrofill.tokens import Queries, Tokens, count_guesses

logger = logging.getLogger(__name__)

# Number of queries in one run of the decoder: enough to keep all cores busy, and few enough to stay in the cache.
QUERIES_PER_RUN = 2048

# Names of the tensors that the graphs must have; those in OPTIONAL_DECODER_INPUTS exist for some networks only. All
# outputs of the encoder are inputs of the decoder, whatever their names.
ENCODER_INPUTS = frozenset({"values", "valid", "variable", "place", "length"})
DECODER_INPUTS = frozenset({"query_variable", "query_place"})
OPTIONAL_DECODER_INPUTS = frozenset({"length", "query_length", "query_guess", "query_guessed", "query_distance"})
DECODER_OUTPUTS = frozenset({"mean", "std"})
QUERY, LENGTH = "query_", "length"
DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64", "tensor(bool)": "bool"}
PROVIDERS: Mapping[str, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "cpu": {},
    # Shapes change from window to window, so no search for the fastest kernel of each; float32 without TF32.
    "cuda": {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"},
}
# How a graph is optimised when it is loaded, by the level of optimisation during export.
LEVELS: Mapping[str, Any] = {
    "none": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
Memory = Mapping[str, onnxruntime.OrtValue]  # the encoder's outputs, on the device of the graphs


@dataclass(frozen=True)
class Runtime:
    """The device that runs the graphs, and the number of threads."""

    provider: Literal["cpu", "cuda"]
    threads: int

    @property
    def provider_name(self) -> str:
        """The name of the provider in ONNX Runtime."""
        return PROVIDERS[self.provider]


class Graphs:
    """Encoder and decoder of one bundle.

    The methods work on one window at a time; their tokens and queries have no batch axis.

    Raises:
        BundleError: the graphs do not match the manifest, or the manifest does not match its layout.
        ProviderError: the provider does not start.
    """

    def __init__(self, bundle: Bundle, runtime: Runtime) -> None:
        name, manifest = bundle.manifest.name, bundle.manifest
        encoder, decoder = manifest.encoder, manifest.decoder
        context = frozenset(CONTEXT_TENSORS) if manifest.layout.general else frozenset()
        _check_names(name, encoder.inputs, ENCODER_INPUTS, context)
        memory = frozenset(tensor.name for tensor in encoder.outputs)
        _check_names(name, decoder.inputs, DECODER_INPUTS | memory, OPTIONAL_DECODER_INPUTS | context)
        _check_names(name, decoder.outputs, DECODER_OUTPUTS)
        _check_sizes(name, (*encoder.inputs, *decoder.inputs, *decoder.outputs), manifest.layout)
        if manifest.precision.dtype == "float16" and runtime.provider == "cpu":
            logger.warning("bundle %s is float16, which is for GPUs; a CPU computes it in float32, and slower", name)
        level = LEVELS[manifest.optimised.level]
        self._encoder = _open(name, "encoder.onnx", bundle.encoder, encoder, runtime, level)
        self._decoder = _open(name, "decoder.onnx", bundle.decoder, decoder, runtime, level)
        self._device = runtime.provider
        self._memory_names = [tensor.name for tensor in encoder.outputs]
        self._decoder_inputs = [tensor.name for tensor in decoder.inputs]
        self._queries = [name for name in self._decoder_inputs if name.startswith(QUERY)]
        self._context = [
            [tensor.name for tensor in graph.inputs if tensor.name in context] for graph in (encoder, decoder)
        ]

    @property
    def queries_per_run(self) -> int | None:
        """Maximum number of queries in one run of the decoder; None if queries attend to each other: no maximum."""
        return None if f"{QUERY}length" in self._decoder_inputs else QUERIES_PER_RUN

    def encode(
        self, tokens: Tokens, options: onnxruntime.RunOptions | None = None, context: Context | None = None
    ) -> Memory:
        """Encode the visible tokens; return the encoder's outputs by name, with a batch axis of length 1.

        A general network needs the `context` of the record.
        """
        feed = {name: getattr(tokens, name)[None] for name in ENCODER_INPUTS}
        return self._encode(feed | self._of_context(0, context), options)

    def decode(
        self,
        memory: Memory,
        queries: Queries,
        part: slice,
        options: onnxruntime.RunOptions | None = None,
        context: Context | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation, (Q, P) each, of the queries in `part`."""
        feed = self._of_context(1, context)
        for name in self._queries:
            values = getattr(queries, name.removeprefix(QUERY))
            feed[name] = values[None] if values.ndim == 0 else values[None, part]
        mean, std = self._decode(memory, feed, options)
        return mean[0], std[0]

    def _of_context(self, graph: int, context: Context | None) -> dict[str, np.ndarray]:
        told = {} if context is None else context.tensors
        return {name: told[name][None] for name in self._context[graph]}

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
        for name in self._decoder_inputs:
            if name not in held:
                binding.bind_ortvalue_input(name, memory[name])
        for name in ("mean", "std"):
            binding.bind_output(name)
        self._decoder.run_with_iobinding(binding, options)
        mean, std = binding.copy_outputs_to_cpu()
        return mean, std


def _contiguous(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays in contiguous memory; the caller must keep them until the run is over."""
    return {name: np.ascontiguousarray(values) for name, values in feed.items()}


def check_provider(runtime: Runtime) -> None:
    """Check that the provider is available.

    Raises:
        ProviderError: the provider is not available; names those that are.
    """
    available = onnxruntime.get_available_providers()
    if runtime.provider_name not in available:
        raise ProviderError(f"{runtime.provider_name} is not available here; available: {', '.join(available)}")


def _open(name: str, file: str, content: bytes, spec: GraphSpec, runtime: Runtime, level: Any) -> Any:
    """Open a session from the bytes of a graph.

    Raises:
        BundleError: the bytes are not a graph, hold what bundles must not hold, or have other inputs and outputs than
            the manifest.
        ProviderError: the provider does not start.
    """
    check_graph(name, file, content)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.load_model_format", "ONNX")  # the format that was checked
    options.graph_optimization_level = level
    options.intra_op_num_threads = runtime.threads if runtime.provider == "cpu" else 1
    options.inter_op_num_threads = 1
    # Threads that spin while they wait would slow down other processes on the same cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # errors are raised as exceptions, so they need no log line
    try:
        session = onnxruntime.InferenceSession(
            content, options, providers=[(runtime.provider_name, dict(OPTIONS[runtime.provider]))]
        )
    except Exception as error:  # ONNX Runtime's errors have no other common class
        raise BundleError(f"{file} cannot be loaded by ONNX Runtime", where=name) from error
    if session.get_providers()[0] != runtime.provider_name:
        raise ProviderError(f"{runtime.provider_name} does not start; see the log of ONNX Runtime")
    _check_tensors(name, file, session.get_inputs(), spec.inputs)
    _check_tensors(name, file, session.get_outputs(), spec.outputs)
    return session


def _check_names(
    name: str, found: Iterable[TensorSpec], required: frozenset[str], optional: frozenset[str] = frozenset()
) -> None:
    """Raise BundleError unless the tensors are all of `required`, and otherwise only some of `optional`."""
    names = [tensor.name for tensor in found]
    if len(set(names)) != len(names) or not required <= set(names) <= required | optional:
        raise BundleError(
            "a graph has other inputs or outputs than hydrofill uses",
            where=name,
            got=sorted(names),
            expected=f"{sorted(required)}" + (f" and any of {sorted(optional)}" if optional else ""),
        )


def _check_sizes(name: str, tensors: Iterable[TensorSpec], layout: Layout) -> None:
    """Raise BundleError if a dimension of fixed length in the manifest differs from the layout's."""
    cells = layout.token_size
    sizes = {
        **dict.fromkeys(("values", "valid", "mean", "std"), (cells,)),
        **dict.fromkeys(("place", "query_place"), (len(PLACE_FEATURES),)),
        **dict.fromkeys(("query_guess", "query_guessed"), (cells, count_guesses(layout))),
        "query_distance": (cells, len(DISTANCES)),
        **{f"{RECORD}{name}": shape for name, (_, shape) in CONTEXT_SHAPES.items()},
    }
    for tensor in tensors:
        if "guess" in tensor.name and not layout.guesses:
            raise BundleError(f"the graph needs {tensor.name}, but the layout has no guesses", where=name)
        expected = sizes.get(tensor.name, ())
        found = tensor.dims[len(tensor.dims) - len(expected) :]
        fits = len(found) == len(expected)
        if not fits or any(isinstance(got, int) and got != size for got, size in zip(found, expected, strict=True)):
            raise BundleError(
                f"the size of {tensor.name} does not match the layout", where=name, got=found, expected=expected
            )


def _check_tensors(name: str, file: str, found: Iterable[Any], expected: Iterable[TensorSpec]) -> None:
    """Raise BundleError unless the graph's tensors have the names, types and dimensions of the manifest."""
    declared = {tensor.name: tensor for tensor in expected}
    actual = {tensor.name: tensor for tensor in found}
    if actual.keys() != declared.keys():
        raise BundleError(
            f"{file} has other inputs or outputs than its manifest",
            where=name,
            got=sorted(actual),
            expected=sorted(declared),
        )
    for key, tensor in actual.items():
        dims = [dim if isinstance(dim, int) else "dynamic" for dim in tensor.shape]
        declared_dims = [dim if isinstance(dim, int) else "dynamic" for dim in declared[key].dims]
        dtype = DTYPES.get(tensor.type, tensor.type)
        if dims != declared_dims or dtype != declared[key].dtype:
            raise BundleError(
                f"{file}: {key} differs from the manifest",
                where=name,
                got=(dtype, dims),
                expected=(declared[key].dtype, declared_dims),
            )
