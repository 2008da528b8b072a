"""POST /reconstruct: data with gaps in, the same data filled out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.requests import Request
from starlette.responses import Response

from app.codecs.negotiation import reading_codec, writing_codec
from app.http.bounded_response import TakenResponse
from app.http.deadline import answer_body
from app.http.openapi import problems, reply_body, request_body
from app.routes.dependencies import ClientOf, PlaceOf, ServiceOf
from app.schemas import Estimate
from app.service import EncodedReply, PreparedRequest
from hydrofill.cancellation import Cancellation
from hydrofill.filling import FillOptions

router = APIRouter()

READING = (400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504)  # what any route with a body may answer


class ReconstructQuery(BaseModel):
    """How to fill; a parameter that is not here is refused."""

    model_config = ConfigDict(extra="forbid")

    bundle: str | None = Field(
        default=None, max_length=64, description="name of the bundle; may be left out where one suits"
    )
    variables: str | None = Field(
        default=None, description="names to fill, separated by commas; by default all that data and bundle share"
    )
    max_gap: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="longest gap to fill, in time steps; longer ones stay missing, flag 3",
    )
    uncertainty: bool = Field(default=True, description="whether V_std is part of the reply")
    only_gaps: bool = Field(default=False, description="whether V holds the filled values alone")

    @field_validator("variables")
    @classmethod
    def _names(cls, variables: str | None) -> str | None:
        if variables is not None and not all(name.strip() for name in variables.split(",")):
            raise ValueError("must be names separated by commas")
        return variables

    def options(self) -> FillOptions:
        """Return the same as the library's options."""
        names = tuple(name.strip() for name in (self.variables or "").split(",") if name)
        return FillOptions(names, self.max_gap, self.uncertainty, self.only_gaps)


@router.post(
    "/reconstruct",
    summary="Fill the gaps of gridded and gauged water data",
    response_class=Response,
    responses={**reply_body(), **problems(*READING, 406)},
    openapi_extra=request_body(),
)
async def reconstruct(
    request: Request, client: ClientOf, service: ServiceOf, _: PlaceOf, query: Annotated[ReconstructQuery, Query()]
) -> Response:
    """Observed values come back bit-identical; each gap is filled, with a standard deviation and a flag, or refused."""
    headers = request.headers
    reading = reading_codec(headers.get("content-type"), headers.get("content-encoding"))
    writing = writing_codec(headers.get("accept"), reading)
    if query.bundle:
        service.registry.named(query.bundle)

    async def work(body: bytes, cancellation: Cancellation) -> EncodedReply:
        return await service.reconstruct(body, reading, writing, query.bundle, query.options(), client, cancellation)

    answer = await answer_body(request, service, work)
    headers_out = {"Server-Timing": _server_timing(answer)}
    return TakenResponse(answer.content, answer.media_type, service.settings.reply_timeout_s, headers_out)


@router.post(
    "/estimate",
    summary="What filling the gaps would cost",
    responses=problems(*READING),
    openapi_extra=request_body(),
)
async def estimate(
    request: Request, _: ClientOf, service: ServiceOf, __: PlaceOf, query: Annotated[ReconstructQuery, Query()]
) -> Estimate:
    """Takes the same body and answers tokens, queries, bytes and predicted seconds; runs nothing."""
    headers = request.headers
    reading = reading_codec(headers.get("content-type"), headers.get("content-encoding"))
    if query.bundle:
        service.registry.named(query.bundle)

    async def work(body: bytes, cancellation: Cancellation) -> tuple[int, PreparedRequest]:
        return len(body), await service.prepare(body, reading, query.bundle, query.options(), cancellation)

    body_bytes, prepared = await answer_body(request, service, work)
    return Estimate(
        bundle=prepared.model.manifest.name,
        windows=prepared.load.windows,
        tokens=prepared.load.tokens,
        queries=prepared.load.queries,
        body_bytes=body_bytes,
        decoded_bytes=prepared.fill.dataset.nbytes,
        predicted_s=prepared.predicted_s,
        wait_s=service.engine.wait_s(prepared.predicted_s),
        too_large=prepared.predicted_s > service.settings.max_cost_s,
    )


def _server_timing(answer: EncodedReply) -> str:
    return ", ".join(f"{stage};dur={ms:.3f}" for stage, ms in asdict(answer.timing).items())
