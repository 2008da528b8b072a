"""What a route finds of the application that it runs in."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from app.errors import NotReadyError
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


ServiceOf = Annotated[Service, Depends(find_service)]
