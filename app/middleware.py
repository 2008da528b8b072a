"""Around every request: its id, one log line, and an answer even to errors that nobody foresaw."""

from __future__ import annotations

import logging
import time
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import internal_problem
from app.request_id import HEADER, name_request

logger = logging.getLogger(__name__)


class RequestMiddleware:
    """ASGI middleware; the outermost of the application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = name_request(Headers(scope=scope).get(HEADER))
        started, status = time.perf_counter(), 0

        async def named_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self.app(scope, receive, named_send)
        except Exception:
            logger.exception("request failed")
            if status:  # the reply has begun: only breaking the connection can tell the client
                raise
            await internal_problem()(scope, receive, named_send)
        finally:
            elapsed_ms = 1000 * (time.perf_counter() - started)
            logger.info("%s %s %s %.1f ms", scope["method"], quote(scope["path"]), status, elapsed_ms)
