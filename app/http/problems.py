"""The exception handlers, which turn errors into problem documents (RFC 9457)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from app.errors import PROBLEMS, BusyError, KeyMissingError, RetryLaterError
from app.http.security_headers import secure
from app.telemetry.redaction import printable, redact
from app.telemetry.request_id import HEADER, current_request_id, set_request_id
from hydrofill.errors import ContractError, OptionError

logger = logging.getLogger(__name__)

PROBLEM_MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:hydrofill:problem:"  # a stable name; it is not an address to visit
INTERNAL_SLUG = "internal"
MAX_RETRY_AFTER_S = 3600
EXHAUSTED_RETRY_S = 5.0  # of a server that the system gives no file or no memory
MAX_ERRORS, MAX_TEXT = 20, 2000  # of one document: it may quote what the client has sent
DETAILS = {
    404: "There is nothing at this path.",
    405: "The method is not allowed at this path; Allow has those that are.",
}


def install(app: FastAPI) -> None:
    """Have every error of `app` answered with a problem document."""
    app.add_exception_handler(ContractError, _contract)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OSError, _exhausted)
    app.add_exception_handler(MemoryError, _exhausted)


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
        "detail": _text(detail),
        "request_id": current_request_id(),
        "errors": [{name: _text(text) for name, text in error.items()} for error in errors[:MAX_ERRORS]],
    }
    return JSONResponse(document, status, headers=headers, media_type=PROBLEM_MEDIA_TYPE)


def problem_of(error: ContractError) -> JSONResponse:
    """Return the response to an error."""
    kind = next((PROBLEMS[c] for c in type(error).__mro__ if c in PROBLEMS), None)
    if kind is None:  # caused by a bundle, not by the client
        logger.error("unexpected %s: %s", type(error).__name__, error)
        return internal_problem()
    detail = str(error)
    errors = [{"pointer": error.pointer, "detail": detail}] if error.where else []
    return problem(kind.status, kind.slug, error.title, detail, errors, _headers(error))


def status_problem(status: int, detail: str = "", headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a response with a problem that HTTP itself has a name for."""
    phrase = HTTPStatus(status).phrase
    return problem(status, phrase.lower().replace(" ", "-"), phrase, detail or phrase, headers=headers)


def stand_alone(make: Callable[[], JSONResponse]) -> JSONResponse:
    """Return the response that `make` returns, for a request that never reaches the application."""
    request_id = set_request_id(None)
    response = make()
    response.headers[HEADER] = request_id
    secure(response.headers)
    return response


async def _contract(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ContractError)
    return problem_of(error)


async def _exhausted(_: Request, error: Exception) -> JSONResponse:
    """Answer an error of the system, such as too many open files or a full disk."""
    logger.error("the system refused what a request needs", exc_info=error)
    return problem_of(BusyError("the server is short of files, memory or space", retry_after_s=EXHAUSTED_RETRY_S))


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
    kind = PROBLEMS[OptionError]
    return problem(kind.status, kind.slug, OptionError.title, detail, errors)


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if "GET" in (allowed := headers.get("Allow", "")):
        headers["Allow"] = ", ".join(sorted({*allowed.split(", "), "HEAD"}))  # see app.http.middleware
    return status_problem(error.status_code, DETAILS.get(error.status_code, ""), headers)


def _text(text: str) -> str:
    """Return a text without credentials, of limited length."""
    return printable(redact(text), MAX_TEXT)
