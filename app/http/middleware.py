"""Middleware around every request: request id, log line, security headers, HEAD, and replies to unexpected errors."""

from __future__ import annotations

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.problems import internal_problem
from app.http.security_headers import secure
from app.telemetry.redaction import note_secrets, redact
from app.telemetry.request_id import HEADER, set_request_id

logger = logging.getLogger(__name__)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")


class RequestMiddleware:
    """The outermost ASGI middleware of the application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        note_secrets(headers, scope["query_string"])
        method = scope["method"] if scope["method"] in METHODS else "other"  # a client may invent methods
        with scope["app"].state.tracing.request(method, headers) as span:
            request_id = set_request_id(redact(headers.get(HEADER, "")))  # a key is no valid id any more
            span.set(http__request__method=method, hydrofill__request_id=request_id)
            # HEAD is GET without a body (RFC 9110, 9.3.2): the server drops the body by the scope that it keeps.
            inner = {**scope, "method": "GET"} if method == "HEAD" else scope
            status = await self._answer(inner, receive, send, request_id, method)
            span.set(http__route=_route(inner), http__response__status_code=status)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str, method: str) -> int:
        """Send the response and return its status."""
        started, status = time.perf_counter(), 0

        async def named_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = request_id
                secure(headers)
            await send(message)

        try:
            await self.app(scope, receive, named_send)
        except Exception:
            logger.exception("request failed")
            if not status:  # else the response has begun: it stays incomplete, so that the client notices
                await internal_problem()(scope, receive, named_send)
        finally:
            elapsed_s = time.perf_counter() - started
            # The route, not the path: a path may hold anything, such as a key.
            logger.info("%s %s %s %.1f ms", method, _route(scope), status, 1000 * elapsed_s)
            _count(scope, status, elapsed_s)
        return status


def _route(scope: Scope) -> str:
    """Return the route's template, so that clients cannot create metric labels."""
    return str(getattr(scope.get("route"), "path", "none"))


def _count(scope: Scope, status: int, elapsed_s: float) -> None:
    service = getattr(scope["app"].state, "service", None)
    if service is not None:
        service.metrics.count_reply(_route(scope), status, elapsed_s)
