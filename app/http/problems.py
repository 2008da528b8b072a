"""The exception handlers, which turn errors into problem documents (RFC 9457)."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from app.errors import PROBLEMS, KeyMissingError, ParameterError, RetryLaterError
from app.telemetry.request_id import current_request_id
from hydrofill.errors import ContractError

logger = logging.getLogger(__name__)

PROBLEM_MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:hydrofill:problem:"  # a stable name; it is not an address to visit
INTERNAL_SLUG = "internal"
MAX_RETRY_AFTER_S = 3600


def install(app: FastAPI) -> None:
    """Have every error of `app` answered with a problem document."""
    app.add_exception_handler(ContractError, _contract)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(HTTPException, _http)


def internal_problem() -> JSONResponse:
    """Return the response to an unexpected error: it holds the request id and no details."""
    return problem(
        500, INTERNAL_SLUG, "Internal error", "The server failed. Its log has the details under this request id."
    )


def problem(
    status: int,
    slug: str,
    title: str,
    detail: str,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return a response with a problem document."""
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
    if kind is None:  # caused by a bundle, not by the client
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
        405: f"{request.method} is not allowed at {request.url.path}.",
    }.get(error.status_code, phrase)
    slug = phrase.lower().replace(" ", "-")
    return problem(error.status_code, slug, phrase, detail, headers=error.headers)
