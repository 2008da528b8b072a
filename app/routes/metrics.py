"""GET /metrics: the server's metrics for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from app.http.openapi import problems
from app.routes.dependencies import CurrentService
from app.telemetry.metrics import MEDIA_TYPE

router = APIRouter()


@router.get(
    "/metrics",
    summary="Show the metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems(500, 503)},
)
async def metrics(service: CurrentService) -> Response:
    """Return requests, queue, time in each graph, rejections, cancellations and bundles, in base units."""
    return Response(service.metrics.text(), media_type=MEDIA_TYPE)
