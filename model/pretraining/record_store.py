"""The records of a pretraining on disk: made once by worker processes, read again in every pass and after a stop."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from hydrofill.general.context import Context, stack_contexts
from hydrofill.paths import exit_on_signals
from hydrofill.progress import Progress
from model.data.windows import Batch, Example, stack_examples
from model.pretraining.config import PretrainingConfig
from model.pretraining.gap_library import MaskLibrary
from model.pretraining.real_data import RealData
from model.pretraining.records import PretrainingRecord, prepare_record
from model.pretraining.simulated_fields import simulate_cube

logger = logging.getLogger(__name__)

MASKS = "masks.nc"
LEFT_OUT_MASKS = ("alboran_cloud",)  # the gaps of a public benchmark case
MAX_TRIES = 20  # cubes drawn for a record before its number is given up
RECORDS_AT_ONCE = 24  # of a worker: windows of a batch come from any of them
WINDOWS_PER_RECORD = 24  # drawn from a record before another takes its place
STEPS_PER_STREAM = 500  # after which the batches are drawn afresh, so that a resumed run finds its place at little cost
SORTED_BATCHES = 4  # batches drawn together and sorted by length, so that little is padded


@dataclass(frozen=True)
class RecordStore:
    """The records in a folder, by number; the same settings make the same records."""

    folder: Path
    config: PretrainingConfig

    def path(self, number: int) -> Path:
        """Return the file of a record."""
        return self.folder / f"{number:05d}.npz"

    def make(self, workers: int, progress: Progress | None = None) -> None:
        """Make the records that are not there yet, in worker processes.

        Args:
            workers: number of processes.
            progress: called with (records there, records in all).
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = [n for n in range(self.config.records) if not self.path(n).exists()]
        done = self.config.records - len(missing)
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker) as pool:
            made = [pool.submit(_make, self, number) for number in missing]
            for future in as_completed(made):
                future.result()
                done += 1
                if progress is not None:
                    progress(done, self.config.records)

    @cached_property
    def numbers(self) -> tuple[list[int], list[int]]:
        """The numbers of the records to train on and of those that are held out."""
        there = [n for n in range(self.config.records) if self.path(n).exists() and self.path(n).stat().st_size]
        every = max(2, round(1 / self.config.held_out)) if self.config.held_out else len(there) + 1
        held_out = [n for n in there if n % every == every - 1]
        return [n for n in there if n not in set(held_out)], held_out


def _start_worker() -> None:
    torch.set_num_threads(1)
    exit_on_signals()


_sources: dict[Path, tuple[RealData, MaskLibrary]] = {}  # of a worker process


def _make(store: RecordStore, number: int) -> None:
    """Make one record; an empty file marks a number for which no cube gave a record."""
    config = store.config
    if config.data not in _sources:
        library = MaskLibrary(config.data / MASKS)
        for name in LEFT_OUT_MASKS:
            library.masks.pop(name, None)
        _sources[config.data] = RealData(config.data, config.exclude), library
    real, library = _sources[config.data]
    rng = np.random.default_rng((config.training.seed, number))
    for _ in range(MAX_TRIES):
        cube = real.draw(rng) if rng.random() < config.real_share else simulate_cube(rng)
        record = prepare_record(rng, cube, library, config.record_values)
        if record is not None:
            record.save(store.path(number))
            return
    store.path(number).touch()


@dataclass(frozen=True)
class PretrainingBatch:
    """Windows of different records, and the context of each."""

    windows: Batch
    context: Context


class PretrainingWindows(IterableDataset[PretrainingBatch]):
    """An endless stream of batches; worker processes draw from records of their own.

    The batch of a step depends on the seed, the step and the number of workers, and not on where a run was resumed.
    """

    def __init__(self, store: RecordStore, first_step: int) -> None:
        super().__init__()
        self.store, self.first_step = store, first_step

    def __iter__(self) -> Iterator[PretrainingBatch]:
        """Return batches of windows of about the same length."""
        worker, settings = get_worker_info(), self.store.config.training
        number, workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        step = self.first_step + number  # the next that this worker draws for; then each `workers`-th
        while True:
            start = step - step % STEPS_PER_STREAM
            first = start + (step - start) % workers
            rng = np.random.default_rng((settings.seed, first, workers, 1))
            batches = sorted_batches(rng, self._examples(rng), settings.batch_size)
            for drawn in range(first, start + STEPS_PER_STREAM, workers):
                batch = next(batches)
                if drawn >= step:
                    yield batch
                    step += workers

    def _examples(self, rng: np.random.Generator) -> Iterator[tuple[Example, Context]]:
        """Yield windows of records drawn at random; a record is left after WINDOWS_PER_RECORD windows."""
        numbers = self.store.numbers[0]
        records: list[tuple[PretrainingRecord, int]] = []
        while True:
            while len(records) < min(RECORDS_AT_ONCE, len(numbers)):
                chosen = numbers[int(rng.integers(len(numbers)))]
                record = PretrainingRecord.load(self.store.path(chosen))
                records.append((record, int(rng.integers(1, 2 * WINDOWS_PER_RECORD))))
            index = int(rng.integers(len(records)))
            record, left = records.pop(index)
            if left > 0:
                records.append((record, left - 1))
                example = record.example(rng)
                if example is not None:
                    yield example


def sorted_batches(
    rng: np.random.Generator, examples: Iterator[tuple[Example, Context]], size: int
) -> Iterator[PretrainingBatch]:
    """Yield batches of `size` windows of about the same length, from an endless stream of windows."""
    while True:
        drawn = sorted((next(examples) for _ in range(size * SORTED_BATCHES)), key=_length)
        batches = [drawn[i : i + size] for i in range(0, len(drawn), size)]
        for index in rng.permutation(len(batches)):
            yield stack_pretraining(batches[index])


def stack_pretraining(drawn: list[tuple[Example, Context]]) -> PretrainingBatch:
    """Return windows and their contexts as one padded batch."""
    return PretrainingBatch(stack_examples([e for e, _ in drawn]), stack_contexts([c for _, c in drawn]))


def _length(drawn: tuple[Example, Context]) -> int:
    example, _ = drawn
    return len(example.tokens.variable) + 2 * len(example.queries.variable)
