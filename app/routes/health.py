"""GET /healthz: liveness. GET /readyz: readiness."""

from __future__ import annotations

import anyio.to_thread
from fastapi import APIRouter
from starlette.requests import Request

from app.errors import NotReadyError
from app.http.openapi import problems
from app.routes.dependencies import CurrentService
from app.schemas import Health

router = APIRouter()


@router.get("/healthz", responses=problems(500, 503), summary="Liveness")
async def healthz(request: Request) -> Health:
    """Return 200 while the event loop answers and the engine's thread is alive."""
    service = getattr(request.app.state, "service", None)
    if service is not None and not service.engine.alive:
        raise NotReadyError("the engine has stopped")
    return Health(status="ok")


@router.get("/readyz", responses=problems(500, 503), summary="Readiness")
async def readyz(service: CurrentService) -> Health:
    """Return 200 once every loaded bundle has filled a whole window and while bodies can be decoded."""
    if not service.engine.alive:
        raise NotReadyError("the engine has stopped")
    if service.admission.draining:
        raise NotReadyError("the server is shutting down")
    await anyio.to_thread.run_sync(service.parser.check)
    return Health(status="ready")
