"""Use the graphs of a bundle as the `Predictor` that `hydrofill.reconstruct` calls."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields, replace

import numpy as np
import onnxruntime

from hydrofill.cancellation import Cancellation, checkpoint
from hydrofill.general.context import Context
from hydrofill.inference.graphs import Graphs
from hydrofill.tokens import Queries, Tokens

# The number of queries is padded to a multiple of this. ONNX Runtime chooses a kernel by the number of rows of a matrix
# product, so that the prediction of a query could otherwise differ in its last bit with the number of queries.
QUERY_MULTIPLE = 4
FIELDS_PER_QUERY = tuple(f.name for f in fields(Queries) if f.name != "length")


@dataclass
class OnnxPredictor:
    """A `Predictor` that runs `graphs`, adds up the seconds in each graph, and stops a running graph when cancelled.

    A general network needs the `context` of the record.
    """

    graphs: Graphs
    cancellation: Cancellation = field(default_factory=Cancellation)
    context: Context | None = None
    encode_s: float = 0.0
    decode_s: float = 0.0
    options: onnxruntime.RunOptions = field(default_factory=onnxruntime.RunOptions)

    def __post_init__(self) -> None:
        self.cancellation.on_cancel(lambda: setattr(self.options, "terminate", True))

    def __call__(self, tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of every query, (Q, P) each, in physical units.

        Raises:
            CancelledError: the work was cancelled.
        """
        self.cancellation.check()
        try:
            mean, std = self._run(tokens, queries)
        except Exception:  # ONNX Runtime has no exception class for a run that was terminated
            self.cancellation.check()
            raise
        number = len(queries.variable)
        return mean[:number], std[:number]

    def _run(self, tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """Encode the tokens once, and decode the queries in chunks."""
        padded = pad_queries(queries, self.graphs)
        started = time.perf_counter()
        memory = self.graphs.encode(tokens, self.options, self.context)
        encode_s = time.perf_counter() - started
        number = len(padded.variable)
        size = self.graphs.queries_per_run or number
        chunks = [slice(start, start + size) for start in range(0, number, size)]
        decoded = []
        for chunk in chunks:
            checkpoint()  # a large window takes seconds
            began = time.perf_counter()
            decoded.append(self.graphs.decode(memory, padded, chunk, self.options, self.context))
            self.decode_s += time.perf_counter() - began
        mean, std = (np.concatenate(pieces) for pieces in zip(*decoded, strict=True))
        self.encode_s += encode_s
        return mean, std


def pad_queries(queries: Queries, graphs: Graphs) -> Queries:
    """Pad the queries to a multiple of QUERY_MULTIPLE, unless queries attend to each other in the network."""
    n_padding = -len(queries.variable) % QUERY_MULTIPLE
    if n_padding == 0 or graphs.queries_per_run is None:
        return queries
    return replace(queries, **{name: _pad(getattr(queries, name), n_padding) for name in FIELDS_PER_QUERY})


def _pad(values: np.ndarray, number: int) -> np.ndarray:
    return np.concatenate([values, np.zeros((number, *values.shape[1:]), values.dtype)])
