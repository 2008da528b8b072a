"""Training examples drawn from a gappy cube: a window, what is hidden in it, and the truth there.

Only cells that are both observed and hidden are scored. A cell missing in the data is never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from hydrofill.cube import draw_slices
from hydrofill.errors import NothingObservedError
from hydrofill.layout import Layout
from hydrofill.patches import cut_patches, join_patches
from hydrofill.tokens import Queries, Tokens, stack_queries, stack_tokens, tokenise
from model.config import MaskingConfig
from model.data.cubes import WindowedCube
from model.data.training_records import TrainingRecord, draw_record, pools_per_record

POOL = 8  # batches drawn together and sorted by length: padding falls from about half to a tenth
MAX_TRIES = 10_000  # windows drawn in vain before the data is refused


@dataclass(frozen=True)
class Example:
    """One window: its visible tokens, its queries, and `target` (Q, P), NaN where nothing is scored."""

    tokens: Tokens
    queries: Queries
    target: np.ndarray


@dataclass(frozen=True)
class Batch:
    """Examples padded to one length: (B, L, ...), (B, Q, ...) and target (B, Q, P)."""

    tokens: Tokens
    queries: Queries
    target: np.ndarray


class WindowSampler:
    """Draws batches from the windows of a cube that have a value to hide and another to see.

    A batch depends on the seed and its number alone, so that a training continues where it stopped. Processes
    that share every batch each draw the part of their `rank`, of about the same length as the others' parts. Where
    `only` (T,) bool is given, gaps are drawn in these steps alone. With `ahead`, a thread draws the next batches while
    the present ones are used, because first guesses take time; `close` ends the thread.
    """

    def __init__(
        self,
        cube: WindowedCube,
        layout: Layout,
        config: MaskingConfig,
        batch_size: int,
        seed: int,
        rank: int = 0,
        only: np.ndarray | None = None,
        ahead: bool = False,
    ) -> None:
        self.cube, self.layout, self.config = cube, layout, config
        self.batch_size, self.seed, self.rank = batch_size, seed, rank
        self.only = only
        self.pools_per_record = pools_per_record(cube) if layout.guesses else 0
        self._record: tuple[int, TrainingRecord | None] = (-1, None)
        self._pool: tuple[int, list[list[Example]]] = (-1, [])
        self._thread = ThreadPoolExecutor(1, "windows") if ahead else None
        self._next: tuple[int, Future[list[list[Example]]] | None] = (-1, None)

    def batch(self, number: int) -> Batch:
        """Return the batch of that number: examples of about the same length, so that little is padded."""
        pool, place = divmod(number, POOL)
        if self._pool[0] != pool:
            next_pool, drawn = self._next
            if drawn is not None and next_pool != pool:
                drawn.exception()  # wait: only one thread draws at a time
            self._pool = pool, drawn.result() if drawn is not None and next_pool == pool else self._draw_pool(pool)
            if self._thread is not None:
                self._next = pool + 1, self._thread.submit(self._draw_pool, pool + 1)
        return stack_examples(self._pool[1][place])

    def close(self) -> None:
        """End the thread that draws ahead; wait for what it is drawing."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def record(self, number: int) -> TrainingRecord:
        """Return the record of that number, with what is hidden in it; the last record is kept."""
        if self._record[0] != number or self._record[1] is None:
            self._record = (
                number,
                draw_record(np.random.default_rng((self.seed, number)), self.cube, self.layout, self.config, self.only),
            )
        record = self._record[1]
        assert record is not None
        return record

    def example(self, rng: np.random.Generator, record: TrainingRecord | None = None) -> Example:
        """Draw a window that has a value to score and another to see, from `record` or from a record of its own."""
        for _ in range(MAX_TRIES):
            around = record or draw_record(rng, self.cube, self.layout, self.config, self.only)
            example = self._example(around, rng)
            if example is not None:
                return example
        raise NothingObservedError("no window has a value to hide and another to see", got=sorted(self.cube.variables))

    def _draw_pool(self, pool: int) -> list[list[Example]]:
        rng, number = np.random.default_rng((self.seed, pool, 1, self.rank)), POOL * self.batch_size
        record = self.record(pool // self.pools_per_record) if self.pools_per_record else None
        examples = [self.example(rng, record) for _ in range(number)]
        examples.sort(key=lambda e: len(e.tokens.variable))
        batches = [examples[i : i + self.batch_size] for i in range(0, len(examples), self.batch_size)]
        return [
            batches[i] for i in np.random.default_rng((self.seed, pool)).permutation(POOL)
        ]  # the same for all ranks

    def _example(self, record: TrainingRecord, rng: np.random.Generator) -> Example | None:
        size = (self.layout.window.steps, self.layout.window.rows, self.layout.window.columns)
        part = record.window(*draw_slices(rng, record.cube.shape, size))
        truth = part.cube.of_kind("grid", "series")
        absent = self._absent(list(truth), rng)
        visible = {n: np.full(v.values.shape, False) if n in absent else ~part.hidden[n] for n, v in truth.items()}
        scored = {n: part.hidden[n] & v.valid for n, v in truth.items() if n not in absent}
        if self.config.kept_mask_ratio < 1:
            scored = {n: s & self._kept(rng, n, s.shape) for n, s in scored.items()}
        return window_example(part, self.layout, visible, scored)

    def _absent(self, names: list[str], rng: np.random.Generator) -> list[str]:
        absent = [n for n in names if rng.random() < self.config.variable_absent]
        return absent if len(absent) < len(names) else []

    def _kept(self, rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Draw the patches that partial decoding predicts, bool of `shape`."""
        spec = self.layout.spec(name)
        cells = cut_patches(np.ones(shape, bool), spec, self.layout, False)
        kept = rng.random(len(cells)) < self.config.kept_mask_ratio
        return join_patches(cells & kept[:, None], spec, shape, self.layout)


def window_example(
    part: TrainingRecord, layout: Layout, visible: Mapping[str, np.ndarray], scored: Mapping[str, np.ndarray]
) -> Example | None:
    """Return the window as an example; None if nothing is scored in it, or nothing is visible.

    Args:
        part: the window.
        layout: the layout of the network.
        visible: by variable, bool: the cells that may be seen; all of a variable that is not named.
        scored: by variable, bool: the cells to predict and to score, each with a value.
    """
    truth = part.cube.of_kind("grid", "series")
    is_seen = (v.valid.any() if n not in visible else (visible[n] & v.valid).any() for n, v in truth.items())
    if not any(cells.any() for cells in scored.values()) or not any(is_seen):
        return None
    known = part.guesses if layout.guesses else None
    tokenised = tokenise(part.cube, layout, visible=visible, requested=scored, known=known)
    target = tokenised.cut({n: np.where(s, truth[n].values, np.float32(np.nan)) for n, s in scored.items()})
    return Example(tokenised.tokens, tokenised.queries, target)


def stack_examples(examples: list[Example]) -> Batch:
    """Return the examples as one padded batch; padding is never scored."""
    queries = stack_queries([e.queries for e in examples])
    target = np.full(queries.requested.shape, np.nan, np.float32)
    for row, example in enumerate(examples):
        target[row, : len(example.target)] = example.target
    return Batch(stack_tokens([e.tokens for e in examples]), queries, target)


def held_out_steps(n_time: int, share: float, block: int, rng: np.random.Generator) -> np.ndarray:
    """Draw (T,) bool: blocks of up to `block` steps, about `share` of all, that are kept from training."""
    held, wanted = np.zeros(n_time, bool), round(share * n_time)
    if wanted == 0:
        return held
    block = min(block, wanted)
    number = round(wanted / block)
    for part in np.array_split(np.arange(n_time), number):
        start = int(rng.integers(part[0], max(part[-1] - block + 1, part[0]) + 1))
        held[start : start + block] = True
    return held
