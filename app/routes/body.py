"""A request's body, read no further than its limit, whatever its headers say."""

from __future__ import annotations

from starlette.requests import Request

from app.errors import TooLargeError


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body.

    Raises:
        TooLargeError: it is, or says that it is, larger than `limit` bytes.
    """
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > limit:
        raise _too_large(limit)
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise _too_large(limit)
    return bytes(content)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError("the body is too large", expected=f"{limit} bytes at most")
