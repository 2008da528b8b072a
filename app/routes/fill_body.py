"""The path that all routes with data in their body share: codecs, bundle's name, body, deadline, fill."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from app.admission import Place
from app.codecs.base import Codec
from app.codecs.negotiation import reading_codec, writing_codec
from app.http.deadline import run_until_deadline
from app.service import EncodedReply, Service
from hydrofill.cancellation import Cancellation
from hydrofill.filling import FillOptions

T = TypeVar("T")


async def run_on_body(
    request: Request,
    service: Service,
    place: Place,
    bundle: str | None,
    work: Callable[[bytes, Cancellation], Coroutine[Any, Any, T]],
) -> T:
    """Check the bundle's name, read the body, and return what `work` makes of the body before the deadline.

    Raises:
        UnknownBundleError: no bundle of that name is loaded.
        TooLargeError, BodyTimeoutError: the body is too large or too slow.
        ClientGoneError, DeadlineError, BusyError: the work was cancelled; see `run_until_deadline`.
    """
    if bundle:
        service.registry.get(bundle)
    settings = service.settings
    body = await request.app.state.uploads.read(request, settings.max_body_bytes, settings.body_timeout_s)
    place.reserve(len(body))

    def start(cancellation: Cancellation) -> asyncio.Task[T]:
        task = asyncio.ensure_future(work(body, cancellation))
        place.hold_for(task)
        return task

    return await run_until_deadline(request, start, settings.deadline_s, service.admission.drain_expired)


async def fill_body(
    request: Request,
    service: Service,
    place: Place,
    client: str,
    bundle: str | None,
    options: FillOptions,
    write_as: Codec | None = None,
    group: str = "",
) -> EncodedReply:
    """Fill the data in the request's body and encode the reply.

    Args:
        request: its headers choose the codecs.
        service: what fills.
        place: the request's place, held until the work has stopped.
        client: the client's name, for a fair queue.
        bundle: the bundle's name; None lets the data decide.
        options: what to fill and what to return.
        write_as: the codec of the reply; by default the one that the Accept header chooses.
        group: the group of a NetCDF body that holds the data.

    Raises:
        UnsupportedMediaTypeError, NotAcceptableError: the headers name no supported media type.
        ContractError: as of `run_on_body` and `Service.reconstruct`.
    """
    reading = reading_codec(request.headers).of_group(group)
    writing = write_as or writing_codec(request.headers, reading)

    async def work(body: bytes, cancellation: Cancellation) -> EncodedReply:
        return await service.reconstruct(body, reading, writing, bundle, options, client, place, cancellation)

    return await run_on_body(request, service, place, bundle, work)
