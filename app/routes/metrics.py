"""GET /metrics: what the server counts."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from app.http.openapi import problems
from app.routes.dependencies import ServiceOf
from app.telemetry.metrics import MEDIA_TYPE

router = APIRouter()


@router.get(
    "/metrics",
    summary="Counters for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems(500, 503)},
)
async def metrics(service: ServiceOf) -> Response:
    """Requests, queue, time in each graph, refusals, cancellations, bundles; in base units."""
    return Response(service.metrics.text(), media_type=MEDIA_TYPE)
