"""GET /healthz: liveness. GET /readyz: readiness."""

from __future__ import annotations

import anyio.to_thread
from fastapi import APIRouter
from starlette.requests import Request

from app.errors import NotReadyError
from app.http.openapi import problems
from app.routes.dependencies import CurrentService
from app.schemas import Health
from app.service import Service

router = APIRouter()


@router.get("/healthz", responses=problems(500, 503), summary="Liveness")
async def healthz(request: Request) -> Health:
    """Return 200 while the event loop answers and the engine's thread is alive and makes progress."""
    service = getattr(request.app.state, "service", None)
    if service is not None:
        _check_engine(service)
    return Health(status="ok")


@router.get("/readyz", responses=problems(500, 503), summary="Readiness")
async def readyz(service: CurrentService) -> Health:
    """Return 200 once every loaded bundle has filled a whole window and while bodies can be decoded."""
    _check_engine(service)
    if service.admission.draining:
        raise NotReadyError("the server is shutting down")
    await anyio.to_thread.run_sync(service.parser.check)
    return Health(status="ready")


def _check_engine(service: Service) -> None:
    if not service.engine.alive:
        raise NotReadyError("the engine has stopped")
    if service.engine.stuck_s > service.settings.stuck_s:
        raise NotReadyError("the engine makes no progress")
