"""Windows of one shape through the graphs as one batch, where it is seen to pay and to change no bit of any answer.

Whether ONNX Runtime's kernels answer a row alike, alone and beside others, depends on the very shape: how many rows a
product has chooses its kernel, and what is left over of a vector takes another path. With the shipped bundle, windows
of an even count of tokens and of a count of queries that ROWS divides were seen to answer alike, others not. So queries
are always padded to that, for they do not see each other; tokens are not, for padding made more shapes differ. And
whether it holds is tried, shape by shape: at warm-up over a ladder of window sizes, and where small windows meet while
serving, some times both ways, with the answers of the windows alone sent, and now and then again. Only equal counts
go together.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

import numpy as np
import onnxruntime

from app.engine.sessions import Graphs
from export.contract.tokens import Queries, Tokens, stack_queries, stack_tokens

logger = logging.getLogger(__name__)

ROWS = 4  # queries are padded to a multiple of this, by 3 at most
SIZES = (8, 4, 2)  # windows of a batch: few, so that each shape is soon known
TRIALS = 3  # agreeing runs, both ways, before a shape goes as a batch
AGAIN = 32  # batches of such a shape from one more trial to the next
PAYS = 0.9  # a batch takes at most this share of its windows' time alone
PER_QUERY = tuple(one.name for one in fields(Queries) if one.name != "length")
MAX_SHAPES = 4096  # that are remembered


class Window(NamedTuple):
    """What one window gives to the graphs."""

    tokens: Tokens
    queries: Queries


@dataclass(frozen=True, eq=False)
class Answer:
    """Mean and standard deviation (Q, P), the seconds of each graph, and how many windows went together."""

    mean: np.ndarray
    std: np.ndarray
    encode_s: float
    decode_s: float
    beside: int = 1

    def same_bits(self, other: Answer) -> bool:
        """Whether the numbers are the same to the last bit."""
        return self.mean.tobytes() == other.mean.tobytes() and self.std.tobytes() == other.std.tobytes()


@dataclass
class _Trial:
    """What is known of a batch's shape."""

    agreed: int = 0
    refused: bool = False
    alone_s: float = 0.0
    together_s: float = 0.0
    batches: int = 0

    @property
    def trusted(self) -> bool:
        return not self.refused and self.agreed >= TRIALS and self.together_s <= PAYS * self.alone_s


@dataclass
class Batches:
    """One bundle's graphs, and which shapes may go through them together; for the engine's thread."""

    graphs: Graphs
    max_tokens: int = 0  # and queries, of a window; larger ones go alone
    _trials: dict[tuple[int, int, int], _Trial] = field(default_factory=dict)

    def run(self, windows: Sequence[Window]) -> list[Answer]:
        """The answer to each window, in order."""
        answers: dict[int, Answer] = {}
        shapes: dict[tuple[int, int], list[int]] = {}
        for number, window in enumerate(windows):
            shapes.setdefault((len(window.tokens.variable), len(window.queries.variable)), []).append(number)
        for shape, numbers in shapes.items():
            for some in _split(numbers) if max(shape) <= self.max_tokens else [[number] for number in numbers]:
                made = self._run_equal(shape, [windows[number] for number in some])
                answers.update(zip(some, made, strict=True))
        return [answers[number] for number in range(len(windows))]

    def trial(self, windows: Sequence[Window]) -> tuple[bool, float]:
        """Whether windows of one shape answer alike both ways, and the share of their time that a batch takes."""
        tokens, queries = windows[0]
        trial = _Trial()
        for _ in range(TRIALS):
            self._try(trial, windows)
        self._trials[len(tokens.variable), len(queries.variable), len(windows)] = trial
        return not trial.refused, trial.together_s / trial.alone_s

    def _run_equal(self, shape: tuple[int, int], windows: list[Window]) -> list[Answer]:
        if len(windows) == 1:
            return [run_alone(self.graphs, windows[0])]
        key = (*shape, len(windows))
        trial = self._trials.get(key)
        if trial is None and len(self._trials) < MAX_SHAPES:
            trial = self._trials[key] = _Trial()
        if trial is not None and trial.trusted:
            trial.batches += 1
            return self._try(trial, windows) if trial.batches % AGAIN == 0 else run_together(self.graphs, windows)
        if trial is not None and not trial.refused and trial.agreed < TRIALS:
            return self._try(trial, windows)
        return [run_alone(self.graphs, window) for window in windows]

    def _try(self, trial: _Trial, windows: Sequence[Window]) -> list[Answer]:
        """The answers of the windows alone, held against those of a batch."""
        alone, alone_s = _timed(lambda: [run_alone(self.graphs, window) for window in windows])
        together, together_s = _timed(lambda: run_together(self.graphs, windows))
        same = all(one.same_bits(other) for one, other in zip(alone, together, strict=True))
        if not same and trial.agreed:
            logger.warning("windows of one shape that answered alike as a batch no longer do: they go alone")
        trial.refused = trial.refused or not same
        trial.agreed += same
        if trial.agreed != 1:  # the first run of a shape allocates
            trial.alone_s, trial.together_s = trial.alone_s + alone_s, trial.together_s + together_s
        return alone


def window_of(tokens: Tokens, queries: Queries, graphs: Graphs) -> Window:
    """What the graphs are given: the queries padded, unless they read each other; what they answer there is nothing."""
    more = -len(queries.variable) % ROWS
    if more == 0 or graphs.queries_a_run is None:
        return Window(tokens, queries)
    return Window(tokens, replace(queries, **{name: _longer(getattr(queries, name), more) for name in PER_QUERY}))


def run_alone(graphs: Graphs, window: Window, options: onnxruntime.RunOptions | None = None) -> Answer:
    """One window: encoded once, its queries decoded in chunks."""
    tokens, queries = window
    started = time.perf_counter()
    told = graphs.encode(tokens, options)
    encoded = time.perf_counter()
    number = len(queries.variable)
    size = graphs.queries_a_run or number
    parts = [slice(start, start + size) for start in range(0, number, size)]
    answers = [graphs.decode(told, queries, part, options) for part in parts]
    mean, std = (np.concatenate(pieces) for pieces in zip(*answers, strict=True))
    return Answer(mean, std, encoded - started, time.perf_counter() - encoded)


def run_together(graphs: Graphs, windows: Sequence[Window]) -> list[Answer]:
    """Windows of equal shapes as one batch; each bears its share of the seconds."""
    started, number = time.perf_counter(), len(windows)
    told = graphs.encode_batch(stack_tokens([window.tokens for window in windows]))
    encoded = time.perf_counter()
    mean, std = graphs.decode_batch(told, stack_queries([window.queries for window in windows]))
    encode_s, decode_s = (encoded - started) / number, (time.perf_counter() - encoded) / number
    return [Answer(mean[row], std[row], encode_s, decode_s, number) for row in range(number)]


def _longer(values: np.ndarray, more: int) -> np.ndarray:
    return np.concatenate([values, np.zeros((more, *values.shape[1:]), values.dtype)])


def _split(numbers: list[int]) -> list[list[int]]:
    """In groups of as few sizes as there are in SIZES."""
    groups, at = [], 0
    while at < len(numbers):
        size = next((size for size in SIZES if size <= len(numbers) - at), 1)
        groups.append(numbers[at : at + size])
        at += size
    return groups


def _timed(work: Callable[[], list[Answer]]) -> tuple[list[Answer], float]:
    started = time.perf_counter()
    return work(), time.perf_counter() - started
