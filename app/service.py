"""From a request's body to its reply: decode, choose the bundle, read, fill, write, encode. No HTTP in here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial, reduce
from operator import add

import anyio

from app.admission import SMALL_BODY_BYTES, Admission, Place
from app.bundles.registry import Registry
from app.bundles.served import CurrentBundles, ServedBundles
from app.codecs.base import Codec, DecodedBody, Reply
from app.codecs.sandbox.parser import Parser
from app.engine.cost import CostModel
from app.engine.load import Load, count_load
from app.engine.queue import Job
from app.engine.running import run_in_thread
from app.engine.worker import Engine
from app.schemas import TimingMs
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Span, Tracing
from hydrofill.cancellation import Cancellation
from hydrofill.cf.views import classify_all
from hydrofill.errors import ContractError, NothingObservedError, OptionError, UnknownVariableError
from hydrofill.filling import FillOptions, PreparedFill, prepare_fill
from hydrofill.inference.model import Model, Outcome
from hydrofill.layout import Layout
from hydrofill.suitability import suits

MAX_SLICES = 256  # levels, members or the like in one request; each is read and filled on its own
# Bytes of each value while a reply is written, by media type: dataset, lists, text.
REPLY_BYTES = {"application/json": 250, "application/x-npz": 60, "application/x-netcdf": 80, "text/csv": 250}
MOST_REPLY_BYTES = max(REPLY_BYTES.values())


@dataclass(frozen=True)
class EncodedReply:
    """The content of a response, and the variables that were left out because all their values are missing."""

    content: bytes
    media_type: str
    timing: TimingMs
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PreparedRequest:
    """A request whose body has been read and whose cost has been predicted; nothing is filled yet."""

    model: Model
    fill: PreparedFill
    load: Load
    cost: CostModel
    predicted_s: float
    body_bytes: int

    @property
    def read_bytes(self) -> int:
        """Bytes of the body as sent, as decoded and as read."""
        cube = sum(variable.values.nbytes for variable in self.fill.reading.cube.variables.values())
        return self.body_bytes + 2 * self.fill.dataset.nbytes + cube

    def memory_bytes(self, writing: Codec) -> int:
        """Return the bytes that the request takes at its peak: what was read, and either the fill or the reply."""
        values = sum(variable.size for variable in self.fill.dataset.data_vars.values())
        return self.read_bytes + max(self.load.bytes, REPLY_BYTES.get(writing.media_type, MOST_REPLY_BYTES) * values)


class Lanes:
    """Limits how much work runs at a time; small work has places of its own."""

    def __init__(self, large: int, small: int) -> None:
        self._large, self._small = anyio.CapacityLimiter(large), anyio.CapacityLimiter(small)

    def of(self, number: int) -> anyio.CapacityLimiter:
        """Return the limiter for work on so many bytes."""
        return self._small if number <= SMALL_BODY_BYTES else self._large


@dataclass(frozen=True, eq=False)
class Service:
    """The service that the routes call.

    `pool` limits how many bodies are read and encoded at a time, `parsers` how many are decoded in other processes;
    small ones never wait for large ones.
    """

    settings: Settings
    bundles: CurrentBundles
    engine: Engine
    admission: Admission
    metrics: Metrics
    parser: Parser
    pool: Lanes
    parsers: Lanes
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
        place: Place,
        cancellation: Cancellation,
    ) -> EncodedReply:
        """Fill the data in `body` and encode the reply.

        Args:
            body: the request's body.
            reading: the codec of the body.
            writing: the codec of the reply.
            bundle: the bundle's name; None lets the data decide.
            options: what to fill and what to return.
            client: the client's name, for a fair queue.
            place: the request's place; it holds the bytes that the request takes.
            cancellation: stops the work when it is cancelled.

        Raises:
            ContractError: the body is unreadable, wrong or too large, or its bundle is unknown.
            BusyError: the queue is too long, or other requests hold the memory.
        """
        started = time.perf_counter()
        prepared = await self.prepare(body, reading, bundle, options, place, cancellation)
        decoded = time.perf_counter()
        place.reserve(prepared.memory_bytes(writing))
        self.admission.admit(place, prepared.load, prepared.predicted_s)
        model, load, fill = prepared.model, prepared.load, prepared.fill
        job = Job(_no_work, cancellation, prepared.predicted_s, load.tokens, client)
        with self._stage("engine", cancellation) as span:
            outcome = await self.engine.reconstruct(model, fill, job)
            span.set(
                hydrofill__bundle=model.manifest.name, hydrofill__tokens=load.tokens, hydrofill__queries=load.queries
            )
            span.set(hydrofill__queue_s=outcome.queue_s, hydrofill__run_s=outcome.run_s)
        prepared.cost.update(load, outcome.run_s)
        self.metrics.count_fill(outcome, load.tokens, load.queries)

        def write() -> EncodedReply:
            began = time.perf_counter()
            filled = fill.write(outcome.filled, model.provenance(outcome))
            timing = _timing(started, decoded, outcome)
            reply = Reply(
                filled,
                fill.reading,
                outcome.filled,
                model.manifest.name,
                model.manifest.version,
                model.sha256,
                timing,
                outcome.calibration,
            )
            answer = EncodedReply(writing.encode(reply), writing.media_type, timing, tuple(fill.left_out))
            self.metrics.observe_encode(writing.media_type, time.perf_counter() - began)
            return answer

        with self._stage("encode", cancellation):
            return await run_in_thread(write, self.pool.of(prepared.fill.dataset.nbytes), cancellation)

    async def prepare(
        self,
        body: bytes,
        reading: Codec,
        bundle: str | None,
        options: FillOptions,
        place: Place,
        cancellation: Cancellation,
    ) -> PreparedRequest:
        """Decode `body`, read it for its bundle, and predict the cost of filling it.

        Raises:
            ContractError: the body is unreadable, wrong or too large, or its bundle is unknown.
        """
        with self._stage("decode", cancellation):
            started = time.perf_counter()
            served = self.bundles.now
            parse = partial(self.parser.parse, reading, body, cancellation)
            decoded = await run_in_thread(parse, self.parsers.of(len(body)), cancellation)
            read = partial(_prepare, decoded, len(body), served, bundle, options)
            prepared = await run_in_thread(read, self.pool.of(len(body)), cancellation)
            place.reserve(prepared.read_bytes)
            self.metrics.observe_decode(reading.media_type, time.perf_counter() - started)
            return prepared

    @contextmanager
    def _stage(self, name: str, cancellation: Cancellation) -> Iterator[Span]:
        """Open the stage's span, and count a request that is cancelled in this stage."""
        try:
            with self.tracing.stage(name) as span:
                yield span
        finally:
            if cancellation.cancelled:
                self.metrics.count_cancellation(cancellation.reason, name)


def prepare_body(decoded: DecodedBody, layout: Layout, options: FillOptions) -> PreparedFill:
    """Read a decoded body for a bundle with this layout; errors point to their place in the request.

    Raises:
        ContractError: the body does not suit the bundle, or `options` name a variable that does not exist.
    """
    dataset = decoded.to_dataset(layout)
    try:
        return prepare_fill(dataset, layout, options, MAX_SLICES)
    except ContractError as error:
        if isinstance(error, UnknownVariableError | NothingObservedError) and error.where in options.variables:
            problem = f"{error.where}: {error.problem}"
            raise type(error)(problem, where="query/variables", got=error.got, expected=error.expected) from error
        if isinstance(error, OptionError):
            raise error.at(f"query/{error.where}") from error
        raise error.at(decoded.locate(error.where)) from error


def _prepare(
    decoded: DecodedBody, body_bytes: int, served: ServedBundles, bundle: str | None, options: FillOptions
) -> PreparedRequest:
    model, fill = choose_bundle(decoded, served.registry, bundle, options)
    cost = served.costs[model.sha256]
    loads = (count_load(part.cube, model.layout, part.names, part.refuser) for part in fill.parts)
    load = reduce(add, loads)
    return PreparedRequest(model, fill, load, cost, cost.predict_s(load), body_bytes)


def choose_bundle(
    decoded: DecodedBody, registry: Registry, bundle: str | None, options: FillOptions
) -> tuple[Model, PreparedFill]:
    """Return the bundle that fills a body, and the body as read for this bundle.

    A bundle that is named is used. Otherwise a bundle of named variables is used if it knows all variables of the body
    and the body lies where it was trained, and else the general bundle. Without a general bundle, the only bundle that
    is loaded is used, or the only one that knows the variables.

    Raises:
        ContractError: the body does not suit the bundle; the bundle is unknown, or several suit.
    """
    if bundle or not registry.general:
        model = registry.get(bundle) if bundle else registry.choose(decoded.variables)
        return model, prepare_body(decoded, model.layout, options)
    suited = {}
    for model in registry.knowing(decoded.variables):
        with suppress(ContractError):  # a body that this bundle refuses may suit another
            fill = prepare_body(decoded, model.layout, options)
            if _knows_all(fill) and suits(model.layout, fill.reading.cube):
                suited[model.manifest.name] = (model, fill)
    model = registry.only([model for model, _ in suited.values()] or registry.general)
    return suited.get(model.manifest.name) or (model, prepare_body(decoded, model.layout, options))


def _knows_all(fill: PreparedFill) -> bool:
    """Return whether every field and every series of the dataset was read for the bundle."""
    found = classify_all(fill.dataset, fill.reading.dimensions)
    fillable = {name for name, classification in found.items() if classification.kind in ("grid", "series")}
    return fillable <= set(fill.reading.source.values())


def _no_work() -> None:
    """Do nothing: `Engine.reconstruct` replaces the job's work."""


def _timing(started: float, decoded: float, outcome: Outcome) -> TimingMs:
    return TimingMs(
        decode=1000 * (decoded - started),
        queue=1000 * outcome.queue_s,
        encode=1000 * outcome.encode_s,
        decode_queries=1000 * outcome.decode_s,
        total=1000 * (time.perf_counter() - started),
    )
