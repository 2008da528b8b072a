"""What a route finds of the application that it runs in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from app.errors import KeyMissingError, KeyRefusedError, NotReadyError, QuotaError
from app.keys import Keys
from app.service import Service


def find_service(request: Request) -> Service:
    """The application's service.

    Raises:
        NotReadyError: the application has not started, or has ended.
    """
    service = getattr(request.app.state, "service", None)
    if service is None:
        raise NotReadyError("no bundle is loaded yet")
    return cast(Service, service)


def find_client(request: Request) -> str:
    """The name of the client that asks; "" where no keys are asked for.

    Raises:
        KeyMissingError, KeyRefusedError, QuotaError: it has no right to.
    """
    keys: Keys | None = getattr(request.app.state, "keys", None)
    if keys is None:
        return ""
    try:
        return keys.client(request.headers)
    except (KeyMissingError, KeyRefusedError, QuotaError) as error:
        service = getattr(request.app.state, "service", None)
        if service is not None:
            service.metrics.rejected("quota" if isinstance(error, QuotaError) else "key")
        raise


async def hold_place(service: Annotated[Service, Depends(find_service)]) -> AsyncIterator[None]:
    """Holds one of the places for requests with a body, until the reply has been taken.

    Raises:
        BusyError: there is none.
    """
    with service.admission.enter():
        yield


ClientOf = Annotated[str, Depends(find_client)]
ServiceOf = Annotated[Service, Depends(find_service)]
PlaceOf = Annotated[None, Depends(hold_place)]
