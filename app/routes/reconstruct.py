"""POST /reconstruct fills the gaps of the data in its body; POST /estimate predicts what that would cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.requests import Request
from starlette.responses import Response

from app.codecs.negotiation import reading_codec
from app.http.bounded_response import BoundedResponse
from app.http.openapi import problems, reply_body, request_body
from app.routes.dependencies import AdmissionPlace, CurrentClient, CurrentService
from app.routes.fill_body import fill_body, run_on_body
from app.schemas import Estimate, TimingMs
from app.service import PreparedRequest
from hydrofill.cancellation import Cancellation
from hydrofill.cf.missing import Declared
from hydrofill.errors import ContractError
from hydrofill.fill_codes import Codes
from hydrofill.filling import FillOptions
from hydrofill.gaps.control import GapControl, read_distance, read_gap

router = APIRouter()

LEFT_OUT = "Hydrofill-Left-Out"  # header with the names of variables without any value, percent-encoded

BODY_STATUSES = (400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504)  # errors of any route with a body


class ReconstructQuery(BaseModel):
    """The query parameters; an unknown parameter is refused."""

    model_config = ConfigDict(extra="forbid")

    bundle: str | None = Field(
        default=None,
        max_length=64,
        description="Name of the bundle. By default a bundle of named variables that suits the data, or else the "
        "general bundle.",
    )
    variables: str | None = Field(
        default=None,
        description="Names of the variables to fill, separated by commas. Default: all that data and bundle share.",
    )
    max_gap: str | None = Field(
        default=None,
        max_length=40,
        description="Longest gap to fill: time steps such as 6, or a duration such as 6h, 3D or PT6H between the "
        "values at both ends. Longer gaps stay missing and get flag 3.",
    )
    max_distance: str | None = Field(
        default=None,
        max_length=40,
        description="Longest distance in space to an observed cell or gauge of the same time: cells such as 3, or a "
        "length such as 20 km or 500 m. Gaps that are farther stay missing and get flag 4.",
    )
    interior_only: bool = Field(
        default=False, description="Whether a gap is filled only between two observed values in time; else flag 5."
    )
    where: str | None = Field(
        default=None,
        max_length=200,
        description="Name of a variable of the body. Gaps are filled only where it is not zero; elsewhere flag 6.",
    )
    support: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Least share of observed cells within 5 steps, rows and columns of a gap that is filled; below it "
        "flag 7.",
    )
    uncertainty: bool = Field(default=True, description="Whether the reply holds V_std for each filled variable V.")
    only_gaps: bool = Field(default=False, description="Whether V holds only the filled values.")

    missing: list[str] = Field(
        default=[],
        max_length=100,
        description="A value that stands for missing values, such as -9999; NAME=-9999 for one variable; NAME=none if "
        "all its values are real. May be repeated.",
    )

    codes: Codes = Field(
        default="keep", description="What is done about the gaps of codes: kept, or filled from the codes around."
    )

    group: str = Field(
        default="",
        max_length=256,
        description="The group of a NetCDF body that holds the data. Default: the root, or the only group with data.",
    )

    @field_validator("missing")
    @classmethod
    def _values(cls, missing: list[str]) -> list[str]:
        try:
            Declared.of(missing)
        except ContractError as error:
            raise ValueError(str(error)) from error
        return missing

    @field_validator("max_gap")
    @classmethod
    def _gap(cls, max_gap: str | None) -> str | None:
        return _checked(max_gap, read_gap)

    @field_validator("max_distance")
    @classmethod
    def _distance(cls, max_distance: str | None) -> str | None:
        return _checked(max_distance, read_distance)

    @field_validator("variables")
    @classmethod
    def _names(cls, variables: str | None) -> str | None:
        if variables is not None and not all(name.strip() for name in variables.split(",")):
            raise ValueError("must be names separated by commas")
        return variables

    def options(self) -> FillOptions:
        """Return the same as the library's options."""
        names = tuple(name.strip() for name in (self.variables or "").split(",") if name)
        control = GapControl.of(self.max_gap, self.max_distance, self.interior_only, self.where, self.support)
        return FillOptions(names, control, self.uncertainty, self.only_gaps, tuple(self.missing), self.codes)


def _checked(given: str | None, read: Callable[[str], object]) -> str | None:
    try:
        if given is not None:
            read(given)
    except ContractError as error:
        raise ValueError(str(error)) from error
    return given


@router.post(
    "/reconstruct",
    summary="Fill the gaps of gridded and gauged water data",
    response_class=Response,
    responses={**reply_body(), **problems(*BODY_STATUSES, 406)},
    openapi_extra=request_body(),
)
async def reconstruct(
    request: Request,
    client: CurrentClient,
    service: CurrentService,
    place: AdmissionPlace,
    query: Annotated[ReconstructQuery, Query()],
) -> Response:
    """Fill each gap, with a standard deviation and a flag, or refuse it. Observed values stay bit-identical."""
    answer = await fill_body(request, service, place, client, query.bundle, query.options(), group=query.group)
    headers = {"Server-Timing": _server_timing(answer.timing)}
    if answer.left_out:
        headers[LEFT_OUT] = ", ".join(quote(name) for name in answer.left_out)
    return BoundedResponse(answer.content, answer.media_type, service.settings.reply_timeout_s, headers)


@router.post(
    "/estimate",
    summary="Predict the cost of filling the gaps",
    responses=problems(*BODY_STATUSES),
    openapi_extra=request_body(),
)
async def estimate(
    request: Request,
    _: CurrentClient,
    service: CurrentService,
    place: AdmissionPlace,
    query: Annotated[ReconstructQuery, Query()],
) -> Estimate:
    """Return tokens, queries, bytes and predicted seconds for the same body as /reconstruct; nothing is filled."""
    reading = reading_codec(request.headers).of_group(query.group)

    async def work(body: bytes, cancellation: Cancellation) -> tuple[int, PreparedRequest]:
        return len(body), await service.prepare(body, reading, query.bundle, query.options(), place, cancellation)

    body_bytes, prepared = await run_on_body(request, service, place, query.bundle, work)
    return Estimate(
        bundle=prepared.model.manifest.name,
        windows=prepared.load.windows,
        tokens=prepared.load.tokens,
        queries=prepared.load.queries,
        body_bytes=body_bytes,
        decoded_bytes=prepared.fill.dataset.nbytes,
        predicted_s=prepared.predicted_s,
        memory_bytes=prepared.memory_bytes(reading),
        wait_s=service.engine.wait_s(prepared.predicted_s),
        too_large=prepared.predicted_s > service.settings.max_cost_s
        or not service.admission.could_hold(prepared.memory_bytes(reading)),
    )


def _server_timing(timing: TimingMs) -> str:
    return ", ".join(f"{stage};dur={ms:.3f}" for stage, ms in msgspec.structs.asdict(timing).items())
