"""Request bodies, read up to a limit of bytes and seconds, whatever their headers say."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from app.errors import BodyTimeoutError, ClientGoneError, TooLargeError


async def read_body(request: Request, limit: int, timeout_s: float | None = None) -> bytes:
    """Read the whole body.

    Raises:
        TooLargeError: the body, or the size in its Content-Length, is larger than `limit` bytes.
        BodyTimeoutError: the body was not complete within `timeout_s`.
        ClientGoneError: the client disconnected before the body was complete.
    """
    content_length = request.headers.get("content-length", "")
    if content_length.isdecimal() and int(content_length) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(timeout_s):
            return await _read(request, limit)
    except TimeoutError as error:
        raise BodyTimeoutError("the body was not received in time", expected=f"{timeout_s:g} s at most") from error
    except ClientDisconnect as error:
        raise ClientGoneError("the client closed the connection") from error


async def _read(request: Request, limit: int) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise _too_large(limit)
    return bytes(content)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError("the body is too large", expected=f"{limit} bytes at most")
