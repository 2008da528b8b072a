"""The one table from what went wrong to the status and the problem document that say so (RFC 9457)."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from app.request_id import current_request_id
from export.contract.errors import (
    ContractError,
    CoordinateError,
    NothingObservedError,
    StructureError,
    UnitsError,
    UnknownVariableError,
    UnreadableError,
    ValueRangeError,
)

logger = logging.getLogger(__name__)

PROBLEM_MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:hydrofill:problem:"  # a name that stays, not an address to visit


class UnknownBundleError(ContractError):
    """A bundle that is not loaded."""

    title = "No such bundle"


class AmbiguousBundleError(ContractError):
    """Several bundles could answer, or none suits the data by itself."""

    title = "The bundle must be named"


class TooLargeError(ContractError):
    """A body over a limit, as sent or as it would be decoded."""

    title = "The body is too large"


class UnsupportedMediaTypeError(ContractError):
    """A body in a form that is not read."""

    title = "The media type is not supported"


class NotAcceptableError(ContractError):
    """A reply in a form that is not written."""

    title = "No acceptable media type"


class ParameterError(ContractError):
    """A query parameter with an impossible value."""

    title = "A query parameter is wrong"


class RetryLaterError(ContractError):
    """What can be had later: `retry_after_s` seconds from now, by what is known."""

    def __init__(self, problem: str, *, retry_after_s: float) -> None:
        super().__init__(problem)
        self.retry_after_s = retry_after_s


class BusyError(RetryLaterError):
    """A server that has too much to do."""

    title = "Too busy"


class QuotaError(RetryLaterError):
    """A client that asks too often."""

    title = "The key's quota is used up"


class KeyMissingError(ContractError):
    """A request without a key, where one is needed."""

    title = "A key is needed"


class KeyRefusedError(ContractError):
    """A key that is nobody's."""

    title = "The key is refused"


class BodyTimeoutError(ContractError):
    """A body that comes too slowly."""

    title = "The body took too long"


class DeadlineError(ContractError):
    """A request that was not answered in time."""

    title = "The deadline has passed"


class ClientGoneError(ContractError):
    """A client that did not wait; it sees none of this, but log and metrics do."""

    title = "The client has gone"


class NotReadyError(ContractError):
    """A server that is up but cannot answer yet."""

    title = "Not ready"


MAX_RETRY_AFTER_S = 3600


@dataclass(frozen=True)
class Problem:
    """Status and type of one kind of error; `slug` ends the type's URI."""

    status: int
    slug: str


PROBLEMS: Mapping[type[ContractError], Problem] = {
    UnreadableError: Problem(400, "unreadable"),
    KeyMissingError: Problem(401, "key-missing"),
    KeyRefusedError: Problem(403, "key-refused"),
    UnknownBundleError: Problem(404, "unknown-bundle"),
    NotAcceptableError: Problem(406, "not-acceptable"),
    BodyTimeoutError: Problem(408, "body-timeout"),
    TooLargeError: Problem(413, "too-large"),
    UnsupportedMediaTypeError: Problem(415, "unsupported-media-type"),
    StructureError: Problem(422, "structure"),
    CoordinateError: Problem(422, "coordinate"),
    UnitsError: Problem(422, "units"),
    ValueRangeError: Problem(422, "value-range"),
    UnknownVariableError: Problem(422, "unknown-variable"),
    NothingObservedError: Problem(422, "nothing-observed"),
    AmbiguousBundleError: Problem(422, "ambiguous-bundle"),
    ParameterError: Problem(422, "parameter"),
    QuotaError: Problem(429, "quota"),
    ClientGoneError: Problem(499, "client-gone"),
    NotReadyError: Problem(503, "not-ready"),
    BusyError: Problem(503, "busy"),
    DeadlineError: Problem(504, "deadline"),
}
INTERNAL_SLUG = "internal"


def install(app: FastAPI) -> None:
    """Has every error of `app` answered as a problem document."""
    app.add_exception_handler(ContractError, _contract)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(HTTPException, _http)


def internal_problem() -> JSONResponse:
    """The reply to an error that nobody foresaw: it tells the request id and nothing else."""
    return problem(500, INTERNAL_SLUG, "Internal error", "The server failed; its log has more under this request id.")


def problem(
    status: int,
    slug: str,
    title: str,
    detail: str,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem document as a response."""
    document = {
        "type": TYPE_PREFIX + slug,
        "title": title,
        "status": status,
        "detail": detail,
        "request_id": current_request_id(),
        "errors": list(errors),
    }
    return JSONResponse(document, status, headers=headers, media_type=PROBLEM_MEDIA_TYPE)


async def _contract(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ContractError)
    kind = next((PROBLEMS[c] for c in type(error).__mro__ if c in PROBLEMS), None)
    if kind is None:  # a bundle's fault, not the client's
        logger.error("unexpected %s: %s", type(error).__name__, error)
        return internal_problem()
    detail = str(error)
    errors = [{"pointer": error.pointer, "detail": detail}] if error.where else []
    return problem(kind.status, kind.slug, error.title, detail, errors, _headers(error))


def _headers(error: ContractError) -> dict[str, str]:
    if isinstance(error, RetryLaterError):
        return {"Retry-After": str(min(max(1, math.ceil(error.retry_after_s)), MAX_RETRY_AFTER_S))}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, KeyMissingError) else {}


async def _parameters(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = []
    for found in error.errors():
        pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in found["loc"])
        errors.append({"pointer": pointer, "detail": str(found["msg"])})
    detail = "; ".join(f"{e['pointer'].rsplit('/', 1)[-1]}: {e['detail']}" for e in errors)
    kind = PROBLEMS[ParameterError]
    return problem(kind.status, kind.slug, ParameterError.title, detail, errors)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    detail = {
        404: f"There is nothing at {request.url.path}.",
        405: f"{request.method} is not answered at {request.url.path}.",
    }.get(error.status_code, phrase)
    slug = phrase.lower().replace(" ", "-")
    return problem(error.status_code, slug, phrase, detail, headers=error.headers)
