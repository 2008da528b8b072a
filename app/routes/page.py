"""The web page, and the one thing that it needs of the server beyond the public interface: its preview."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from app.codecs import json
from app.codecs.negotiation import reading_codec
from app.http.bounded_response import TakenResponse
from app.http.deadline import answer_body
from app.http.openapi import problems
from app.http.reference import reference_page
from app.http.security_headers import PAGE_POLICY
from app.routes.dependencies import ClientOf, PlaceOf, ServiceOf
from app.service import EncodedReply
from hydrofill.cancellation import Cancellation
from hydrofill.filling import FillOptions

router = APIRouter(include_in_schema=False)

FILES = StaticFiles(directory=Path(__file__).parents[1] / "page" / "dist")
FILL_NOTHING = 0  # steps: every gap is longer than this, so each is flagged and none is filled
HEADERS = {"Content-Security-Policy": PAGE_POLICY, "Cache-Cancellation": "no-cache"}


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    return await _file("index.html", request)


@router.get("/page/{name}")
async def asset(name: str, request: Request) -> Response:
    """A file that the page is made of, or its sample."""
    return await _file(f"page/{name}", request)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The interface as a page to read: no script, nothing from elsewhere."""
    return HTMLResponse(reference_page(request.app.openapi()), headers=HEADERS)


@router.post("/page/preview", responses=problems(400, 404, 413, 415, 422, 500, 503))
async def preview(
    request: Request,
    client: ClientOf,
    service: ServiceOf,
    _: PlaceOf,
    bundle: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """The body as the server reads it, in JSON: gaps are flagged as refused, nothing is filled."""
    headers = request.headers
    reading = reading_codec(headers.get("content-type"), headers.get("content-encoding"))
    if bundle:
        service.registry.named(bundle)

    async def work(body: bytes, cancellation: Cancellation) -> EncodedReply:
        options = FillOptions(max_gap=FILL_NOTHING)
        return await service.reconstruct(body, reading, json.CODEC, bundle, options, client, cancellation)

    answer = await answer_body(request, service, work)
    return TakenResponse(answer.content, answer.media_type, service.settings.reply_timeout_s)


async def _file(path: str, request: Request) -> Response:
    response = await FILES.get_response(path, request.scope)
    response.headers.update(HEADERS)
    return response
