"""Middleware around every request: request id, log line, security headers, and the reply to an unexpected error."""

from __future__ import annotations

import logging
import time
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.problems import internal_problem
from app.http.security_headers import secure
from app.telemetry.request_id import HEADER, set_request_id

logger = logging.getLogger(__name__)


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
        with scope["app"].state.tracing.request(scope["method"], headers) as span:
            request_id = set_request_id(headers.get(HEADER))
            span.set(http__request__method=scope["method"], hydrofill__request_id=request_id)
            status = await self._answer(scope, receive, send, request_id)
            span.set(http__route=_route(scope), http__response__status_code=status)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> int:
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
            if status:  # the response has begun: only a broken connection can tell the client
                raise
            await internal_problem()(scope, receive, named_send)
        finally:
            elapsed_s = time.perf_counter() - started
            logger.info("%s %s %s %.1f ms", scope["method"], quote(scope["path"]), status, 1000 * elapsed_s)
            _count(scope, status, elapsed_s)
        return status


def _route(scope: Scope) -> str:
    """Return the route's template, so that clients cannot create metric labels."""
    return str(getattr(scope.get("route"), "path", "none"))


def _count(scope: Scope, status: int, elapsed_s: float) -> None:
    service = getattr(scope["app"].state, "service", None)
    if service is not None:
        service.metrics.count_reply(_route(scope), status, elapsed_s)
