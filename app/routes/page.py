"""The web page, its files, the reference of the HTTP interface, and the page's preview of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from app.codecs import json
from app.http.bounded_response import BoundedResponse
from app.http.openapi import problems
from app.http.reference import reference_page
from app.http.security_headers import PAGE_POLICY
from app.routes.dependencies import AdmissionPlace, CurrentClient, CurrentService
from app.routes.fill_body import fill_body
from hydrofill.filling import FillOptions
from hydrofill.gaps.control import GapControl

router = APIRouter(include_in_schema=False)

FILES = StaticFiles(directory=Path(__file__).parents[1] / "page" / "dist")
FILL_NOTHING = FillOptions(control=GapControl(max_gap=0))  # each gap is longer, so it is flagged and not filled
HEADERS = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"}


@router.get("/")
async def page(request: Request) -> Response:
    """Return the page."""
    return await _file("index.html", request)


@router.get("/page/{name}")
async def asset(name: str, request: Request) -> Response:
    """Return a script, style sheet or icon of the page, or its sample."""
    return await _file(f"page/{name}", request)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Return the reference of the HTTP interface as plain HTML."""
    return HTMLResponse(reference_page(request.app.openapi()), headers=HEADERS)


@router.post("/page/preview", responses=problems(400, 404, 413, 415, 422, 500, 503))
async def preview(
    request: Request,
    client: CurrentClient,
    service: CurrentService,
    place: AdmissionPlace,
    bundle: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Return the body as the server reads it, as JSON: every gap is flagged as refused and none is filled."""
    answer = await fill_body(request, service, place, client, bundle, FILL_NOTHING, json.CODEC)
    return BoundedResponse(answer.content, answer.media_type, service.settings.reply_timeout_s)


async def _file(path: str, request: Request) -> Response:
    response = await FILES.get_response(path, request.scope)
    response.headers.update(HEADERS)
    return response
