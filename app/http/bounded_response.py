"""A reply that goes out no faster than its client takes it, and not for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

logger = logging.getLogger(__name__)

PIECE_BYTES = 2**18


class TakenResponse(StreamingResponse):
    """Ends when the client has taken the content, all but what the system's buffers hold, or has not in `timeout_s`."""

    def __init__(self, content: bytes, media_type: str, timeout_s: float, headers: Mapping[str, str] | None = None):
        length = {"Content-Length": str(len(content))}
        super().__init__(_pieces(content), headers={**(headers or {}), **length}, media_type=media_type)
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it; one that ends early breaks the connection, so that the client knows."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            logger.warning("the client did not take its reply within %s s", self._timeout_s)


async def _pieces(content: bytes) -> AsyncIterator[memoryview]:
    view = memoryview(content)
    for start in range(0, len(content), PIECE_BYTES):
        yield view[start : start + PIECE_BYTES]
