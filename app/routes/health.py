"""Whether the server lives, and whether it can answer."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from app.errors import NotReadyError
from app.http.openapi import problems
from app.routes.dependencies import ServiceOf
from app.schemas import Health

router = APIRouter()


@router.get("/healthz", responses=problems(500, 503), summary="Alive")
async def healthz(request: Request) -> Health:
    """The event loop answers, and the engine's thread has not died."""
    service = getattr(request.app.state, "service", None)
    if service is not None and not service.engine.alive:
        raise NotReadyError("the engine has stopped")
    return Health(status="ok")


@router.get("/readyz", responses=problems(500, 503), summary="Ready for requests")
async def readyz(service: ServiceOf) -> Health:
    """A bundle is loaded, every loaded bundle has filled a whole window once, and no shutdown is asked for."""
    if not service.engine.alive:
        raise NotReadyError("the engine has stopped")
    if service.admission.draining:
        raise NotReadyError("the server is shutting down")
    return Health(status="ready")
