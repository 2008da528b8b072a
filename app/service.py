"""From a body to its reply: decode, choose the bundle, read, fill, write, encode; no HTTP in here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import anyio
import anyio.to_thread
import xarray as xr

from app.admission import Admission
from app.codecs.form import Codec, Reply, Sent, Timing
from app.codecs.parser import Parser
from app.control import Control
from app.engine.cost import CostModel, Load, count_load
from app.engine.engine import Engine
from app.engine.model import Model, Outcome
from app.engine.queue import Job
from app.engine.registry import Registry
from app.engine.shelf import Shelf, Stock
from app.metrics import Metrics
from app.settings import Settings
from app.tracing import Span, Tracing
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
class Prepared:
    """A body that is read and counted, but not filled."""

    model: Model
    dataset: xr.Dataset
    reading: Reading
    names: list[str]
    load: Load
    cost: CostModel
    predicted_s: float


@dataclass(frozen=True, eq=False)
class Service:
    """What the routes call.

    `pool` bounds the bodies that are decoded and encoded at a time, `parsers` those read in processes of their own.
    """

    settings: Settings
    shelf: Shelf
    engine: Engine
    admission: Admission
    metrics: Metrics
    parser: Parser
    pool: anyio.CapacityLimiter
    parsers: anyio.CapacityLimiter
    tracing: Tracing

    @property
    def registry(self) -> Registry:
        """The bundles that are served now."""
        return self.shelf.stock.registry

    async def reconstruct(
        self, body: bytes, reading: Codec, writing: Codec, ask: Ask, client: str, control: Control
    ) -> Answer:
        """The reply to `body`.

        Raises:
            ContractError: the body is unreadable, wrong or too much, or its bundle is not known.
            BusyError: too much waits already.
        """
        started = time.perf_counter()
        ready = await self.prepare(body, reading, ask, control)
        decoded = time.perf_counter()
        self.admission.admit(ready.load, ready.predicted_s)
        model, load = ready.model, ready.load
        job = Job(_nothing, control, ready.predicted_s, load.tokens, client, window_tokens=load.window_tokens)
        with self._stage("engine", control) as span:
            outcome = await self.engine.reconstruct(model, ready.reading.cube, ready.names, ask.max_gap, job)
            span.set(
                hydrofill__bundle=model.manifest.name, hydrofill__tokens=load.tokens, hydrofill__queries=load.queries
            )
            span.set(hydrofill__queue_s=outcome.queue_s, hydrofill__run_s=outcome.run_s)
        ready.cost.follow(load, outcome.run_s)
        self.metrics.filled(outcome, load.tokens, load.queries)

        def write() -> Answer:
            began = time.perf_counter()
            filled = write_outcome(ready.dataset, ready.reading, outcome, model, ask)
            timing = _timing(started, decoded, outcome)
            manifest, names = model.manifest, frozenset(outcome.filled)
            reply = Reply(filled, ready.reading, names, manifest.name, manifest.version, model.sha256, timing)
            answer = Answer(writing.encode(reply), writing.media_type, timing)
            self.metrics.encoded(writing.media_type, time.perf_counter() - began)
            return answer

        with self._stage("encode", control):
            return await self._in_pool(write)

    async def prepare(self, body: bytes, reading: Codec, ask: Ask, control: Control) -> Prepared:
        """`body` read, held against its bundle, and its cost predicted.

        Raises:
            ContractError: it is unreadable or wrong, or its bundle is not known.
        """
        with self._stage("decode", control):
            started = time.perf_counter()
            stock = self.shelf.stock
            if reading.isolated:
                sent = await anyio.to_thread.run_sync(self.parser.parse, body, control, limiter=self.parsers)
                prepared = await self._in_pool(lambda: _prepare(sent, stock, ask))
            else:
                most = self.settings.max_decoded_bytes
                prepared = await self._in_pool(lambda: _prepare(reading.decode(body, most), stock, ask))
            self.metrics.decoded(reading.media_type, time.perf_counter() - started)
            return prepared

    async def _in_pool(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self.pool)

    @contextmanager
    def _stage(self, name: str, control: Control) -> Iterator[Span]:
        """The stage's span; counts a request that is given up in it."""
        try:
            with self.tracing.stage(name) as span:
                yield span
        finally:
            if control.stopped:
                self.metrics.cancelled(control.reason, name)


def _prepare(sent: Sent, stock: Stock, ask: Ask) -> Prepared:
    registry = stock.registry
    model = registry.named(ask.bundle) if ask.bundle else registry.suiting(sent.variables)
    dataset, read = read_sent(sent, model)
    names, cost = wanted_names(read, model, ask.variables), stock.costs[model.sha256]
    load = count_load(read.cube, model.layout, names, ask.max_gap)
    return Prepared(model, dataset, read, names, load, cost, cost.predict_s(load))


def _nothing() -> None:
    """The work of a job before the engine sets it."""


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
        raise error.at(sent.locate(error.where)) from error


def _timing(started: float, decoded: float, outcome: Outcome) -> Timing:
    return Timing(
        decode=1000 * (decoded - started),
        queue=1000 * outcome.queue_s,
        encode=1000 * outcome.encode_s,
        decode_queries=1000 * outcome.decode_s,
        total=1000 * (time.perf_counter() - started),
    )
