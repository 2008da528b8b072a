"""From a body to its reply: decode, choose the bundle, read, fill, write, encode; no HTTP in here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread
import xarray as xr

from app.codecs.form import Codec, Reply, Sent, Timing
from app.engine.engine import Engine
from app.engine.model import Model, Outcome
from app.engine.registry import Registry
from app.settings import Settings
from export.contract.dataset import Reading, read_dataset, write_fill
from export.contract.errors import ContractError, UnknownVariableError
from export.contract.fill import known_names

T = TypeVar("T")


@dataclass(frozen=True)
class Ask:
    """What a client wants done: by default every gap of every variable, with uncertainty."""

    bundle: str | None = None
    variables: tuple[str, ...] = ()
    max_gap: int | None = None
    uncertainty: bool = True
    only_gaps: bool = False


@dataclass(frozen=True)
class Answer:
    """An encoded reply."""

    content: bytes
    media_type: str
    timing: Timing


@dataclass(frozen=True, eq=False)
class Service:
    """What the routes call; `pool` bounds the bodies that are decoded and encoded at a time."""

    settings: Settings
    registry: Registry
    engine: Engine
    pool: anyio.CapacityLimiter

    async def reconstruct(self, body: bytes, reading: Codec, writing: Codec, ask: Ask) -> Answer:
        """The reply to `body`.

        Raises:
            ContractError: the body is unreadable or wrong, or its bundle is not known.
        """
        started = time.perf_counter()
        sent = await self._in_pool(partial(reading.decode, body, self.settings.max_decoded_bytes))
        model = self.registry.named(ask.bundle) if ask.bundle else self.registry.suiting(sent.variables)
        dataset, read = await self._in_pool(partial(read_sent, sent, model))
        names = wanted_names(read, model, ask.variables)
        decoded = time.perf_counter()
        outcome = await self.engine.reconstruct(model, read.cube, names, ask.max_gap)

        def write() -> Answer:
            filled = write_outcome(dataset, read, outcome, model, ask)
            timing = _timing(started, decoded, outcome)
            manifest = model.manifest
            reply = Reply(
                filled, read, frozenset(outcome.filled), manifest.name, manifest.version, model.sha256, timing
            )
            return Answer(writing.encode(reply), writing.media_type, timing)

        return await self._in_pool(write)

    async def _in_pool(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self.pool)


def read_sent(sent: Sent, model: Model) -> tuple[xr.Dataset, Reading]:
    """The body's dataset, and its cube in the model's terms; errors name places in the body."""
    dataset = sent.to_dataset(model.layout)
    with _located(sent):
        return dataset, read_dataset(dataset, model.layout)


def wanted_names(reading: Reading, model: Model, asked: Sequence[str]) -> list[str]:
    """The variables to fill: those asked for, or all that data and model share.

    Raises:
        UnknownVariableError: one that is asked for is in neither.
    """
    try:
        return known_names(reading.cube, model.layout, asked)
    except UnknownVariableError as error:
        if not asked:
            raise
        problem = f"{error.where}: {error.problem}"
        raise UnknownVariableError(problem, where="query/variables", got=error.got, expected=error.expected) from error


def write_outcome(dataset: xr.Dataset, reading: Reading, outcome: Outcome, model: Model, ask: Ask) -> xr.Dataset:
    """`dataset` with its gaps filled, flags and provenance."""
    return write_fill(
        dataset,
        reading,
        outcome.filled,
        model.provenance,
        uncertainty=ask.uncertainty,
        only_gaps=ask.only_gaps,
    )


@contextmanager
def _located(sent: Sent) -> Iterator[None]:
    try:
        yield
    except ContractError as error:
        where = sent.locate(error.where)
        raise type(error)(error.problem, where=where, got=error.got, expected=error.expected) from error


def _timing(started: float, decoded: float, outcome: Outcome) -> Timing:
    return Timing(
        decode=1000 * (decoded - started),
        queue=1000 * outcome.queue_s,
        encode=1000 * outcome.encode_s,
        decode_queries=1000 * outcome.decode_s,
        total=1000 * (time.perf_counter() - started),
    )
