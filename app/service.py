"""From a body to its reply: decode, choose the bundle, read, fill, write, encode; no HTTP in here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import anyio
import anyio.to_thread

from app.admission import Admission
from app.bundles.registry import Registry
from app.bundles.served import CurrentBundles, ServedBundles
from app.codecs.base import Codec, Reply, Sent, Timing
from app.codecs.sandbox.parser import Parser
from app.engine.cost import CostModel, Load, count_load
from app.engine.queue import Job
from app.engine.worker import Engine
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Span, Tracing
from hydrofill.cancellation import Cancellation
from hydrofill.errors import ContractError, UnknownVariableError
from hydrofill.filling import FillOptions, PreparedFill, prepare_fill
from hydrofill.inference.model import Model, Outcome
from hydrofill.layout import Layout

T = TypeVar("T")


@dataclass(frozen=True)
class EncodedReply:
    """A reply ready to be sent."""

    content: bytes
    media_type: str
    timing: Timing


@dataclass(frozen=True, eq=False)
class PreparedRequest:
    """A request whose body has been read and whose cost has been predicted; nothing is filled yet."""

    model: Model
    fill: PreparedFill
    load: Load
    cost: CostModel
    predicted_s: float


@dataclass(frozen=True, eq=False)
class Service:
    """What the routes call.

    `pool` bounds the bodies that are decoded and encoded at a time, `parsers` those read in processes of their own.
    """

    settings: Settings
    bundles: CurrentBundles
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
        return self.bundles.now.registry

    async def reconstruct(
        self,
        body: bytes,
        reading: Codec,
        writing: Codec,
        bundle: str | None,
        options: FillOptions,
        client: str,
        cancellation: Cancellation,
    ) -> EncodedReply:
        """The reply to `body`.

        Raises:
            ContractError: the body is unreadable, wrong or too much, or its bundle is not known.
            BusyError: too much waits alprepared.
        """
        started = time.perf_counter()
        prepared = await self.prepare(body, reading, bundle, options, cancellation)
        decoded = time.perf_counter()
        self.admission.admit(prepared.load, prepared.predicted_s)
        model, load, fill = prepared.model, prepared.load, prepared.fill
        job = Job(_nothing, cancellation, prepared.predicted_s, load.tokens, client)
        with self._stage("engine", cancellation) as span:
            outcome = await self.engine.reconstruct(model, fill.reading.cube, fill.names, options.max_gap, job)
            span.set(
                hydrofill__bundle=model.manifest.name, hydrofill__tokens=load.tokens, hydrofill__queries=load.queries
            )
            span.set(hydrofill__queue_s=outcome.queue_s, hydrofill__run_s=outcome.run_s)
        prepared.cost.follow(load, outcome.run_s)
        self.metrics.filled(outcome, load.tokens, load.queries)

        def write() -> EncodedReply:
            began = time.perf_counter()
            filled = fill.write(outcome.filled, model.provenance)
            timing = _timing(started, decoded, outcome)
            manifest, names = model.manifest, frozenset(outcome.filled)
            reply = Reply(filled, fill.reading, names, manifest.name, manifest.version, model.sha256, timing)
            answer = EncodedReply(writing.encode(reply), writing.media_type, timing)
            self.metrics.encoded(writing.media_type, time.perf_counter() - began)
            return answer

        with self._stage("encode", cancellation):
            return await self._in_pool(write)

    async def prepare(
        self, body: bytes, reading: Codec, bundle: str | None, options: FillOptions, cancellation: Cancellation
    ) -> PreparedRequest:
        """`body` read, held against its bundle, and its cost predicted.

        Raises:
            ContractError: it is unreadable or wrong, or its bundle is not known.
        """
        with self._stage("decode", cancellation):
            started = time.perf_counter()
            served = self.bundles.now
            if reading.isolated:
                sent = await anyio.to_thread.run_sync(self.parser.parse, body, cancellation, limiter=self.parsers)
                prepared = await self._in_pool(lambda: _prepare(sent, served, bundle, options))
            else:
                limit = self.settings.max_decoded_bytes
                prepared = await self._in_pool(lambda: _prepare(reading.decode(body, limit), served, bundle, options))
            self.metrics.decoded(reading.media_type, time.perf_counter() - started)
            return prepared

    async def _in_pool(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self.pool)

    @contextmanager
    def _stage(self, name: str, cancellation: Cancellation) -> Iterator[Span]:
        """The stage's span; counts a request that is given up in it."""
        try:
            with self.tracing.stage(name) as span:
                yield span
        finally:
            if cancellation.cancelled:
                self.metrics.cancelled(cancellation.reason, name)


def _prepare(sent: Sent, served: ServedBundles, bundle: str | None, options: FillOptions) -> PreparedRequest:
    registry = served.registry
    model = registry.named(bundle) if bundle else registry.suiting(sent.variables)
    fill = read_sent(sent, model.layout, options)
    cost = served.costs[model.sha256]
    load = count_load(fill.reading.cube, model.layout, fill.names, options.max_gap)
    return PreparedRequest(model, fill, load, cost, cost.predict_s(load))


def _nothing() -> None:
    """The work of a job before the engine sets it."""


def read_sent(sent: Sent, layout: Layout, options: FillOptions) -> PreparedFill:
    """Read a body for a bundle with this layout; errors point to their place in the request.

    Raises:
        ContractError: the body does not suit the bundle, or `options` name a variable that is not there.
    """
    dataset = sent.to_dataset(layout)
    try:
        return prepare_fill(dataset, layout, options)
    except ContractError as error:
        if isinstance(error, UnknownVariableError) and error.where in options.variables:
            problem = f"{error.where}: {error.problem}"
            raise UnknownVariableError(problem, where="query/variables", expected=error.expected) from error
        raise error.at(sent.locate(error.where)) from error


def _timing(started: float, decoded: float, outcome: Outcome) -> Timing:
    return Timing(
        decode=1000 * (decoded - started),
        queue=1000 * outcome.queue_s,
        encode=1000 * outcome.encode_s,
        decode_queries=1000 * outcome.decode_s,
        total=1000 * (time.perf_counter() - started),
    )
