"""A response that respects back-pressure and a write deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

logger = logging.getLogger(__name__)

CHUNK_BYTES = 2**18


class BoundedResponse(StreamingResponse):
    """Sends its content no faster than the client reads it, for at most `timeout_s` seconds.

    It is finished when the client has read everything except what the system's socket buffers hold.
    """

    def __init__(self, content: bytes, media_type: str, timeout_s: float, headers: Mapping[str, str] | None = None):
        length = {"Content-Length": str(len(content))}
        super().__init__(_chunks(content), headers={**(headers or {}), **length}, media_type=media_type)
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response; after the timeout, break the connection so that the client notices."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            logger.warning("the client did not read the response within %s s", self._timeout_s)


async def _chunks(content: bytes) -> AsyncIterator[memoryview]:
    view = memoryview(content)
    for start in range(0, len(content), CHUNK_BYTES):
        yield view[start : start + CHUNK_BYTES]
