"""A request's body, read no further and no longer than its limits, whatever its headers say."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from app.errors import BodyTimeoutError, ClientGoneError, TooLargeError


async def read_body(request: Request, limit: int, timeout_s: float | None = None) -> bytes:
    """The whole body.

    Raises:
        TooLargeError: it is, or says that it is, larger than `limit` bytes.
        BodyTimeoutError: it has not come whole within `timeout_s`. ClientGoneError: it never will.
    """
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(timeout_s):
            return await _read(request, limit)
    except TimeoutError as error:
        raise BodyTimeoutError("the body did not come in time", expected=f"{timeout_s:g} s at most") from error
    except ClientDisconnect as error:
        raise ClientGoneError("the client has gone") from error


async def _read(request: Request, limit: int) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise _too_large(limit)
    return bytes(content)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError("the body is too large", expected=f"{limit} bytes at most")
