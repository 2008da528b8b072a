"""Dependencies of the routes: the service, the authenticated client, and a request slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from app.admission import Place
from app.errors import KeyMissingError, KeyRefusedError, NotReadyError, QuotaError
from app.keys import Keys
from app.service import Service

FREED_WITHIN_S = 2.0  # of a slot, after a slow body has given way


async def current_service(request: Request) -> Service:
    """Return the application's service.

    Raises:
        NotReadyError: the application has not started, or has ended.
    """
    service = getattr(request.app.state, "service", None)
    if service is None:
        raise NotReadyError("no bundle is loaded yet")
    return cast(Service, service)


async def current_client(request: Request) -> str:
    """Return the name of the client that sent the request; "" on a server without keys.

    Raises:
        KeyMissingError: the request has no API key.
        KeyRefusedError: the key is unknown.
        QuotaError: the client has used up its requests per minute.
    """
    keys: Keys | None = getattr(request.app.state, "keys", None)
    if keys is None:
        return ""
    try:
        return keys.client(request.headers)
    except (KeyMissingError, KeyRefusedError, QuotaError) as error:
        service = getattr(request.app.state, "service", None)
        if service is not None:
            service.metrics.count_rejection("quota" if isinstance(error, QuotaError) else "key")
        raise


async def hold_slot(request: Request, service: Annotated[Service, Depends(current_service)]) -> AsyncIterator[Place]:
    """Hold one of the places for requests with a body until the response is sent and the work has stopped.

    Raises:
        BusyError: every place is taken, the memory is, or the server is draining.
    """
    largest = service.settings.max_body_bytes if "transfer-encoding" in request.headers else 0
    length = request.headers.get("content-length", "")
    if length.isdecimal():
        largest = min(int(length), service.settings.max_body_bytes)
    admission = service.admission
    if admission.full_for(largest) and await request.app.state.uploads.make_room():
        with suppress(TimeoutError):
            await asyncio.wait_for(admission.wait_for_place(largest), FREED_WITHIN_S)
    with admission.hold_slot(largest) as place:
        yield place


CurrentClient = Annotated[str, Depends(current_client)]
CurrentService = Annotated[Service, Depends(current_service)]
AdmissionPlace = Annotated[Place, Depends(hold_slot)]
