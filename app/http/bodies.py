"""Request bodies, read up to a limit of bytes and seconds, whatever their headers say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request

from app.errors import BodyTimeoutError, BusyError, ClientGoneError, TooLargeError
from app.http.connections import group_of

MIN_BYTES_PER_S = 2**16  # of a body that others wait for, after its first second
PATIENCE_S = 1.5  # for another body to prove too slow
POLL_S = 0.05
RETRY_S = 2.0


@dataclass(eq=False)
class Upload:
    """A body that is being received from an address."""

    address: str
    timer: asyncio.Timeout
    started_s: float = field(default_factory=time.monotonic)
    received: int = 0
    displaced: bool = False

    @property
    def late_s(self) -> float:
        """Return by how many seconds the body is later than one of MIN_BYTES_PER_S, less a second."""
        return time.monotonic() - self.started_s - 1 - self.received / MIN_BYTES_PER_S

    def displace(self) -> None:
        """Stop receiving."""
        self.displaced = True
        self.timer.reschedule(asyncio.get_running_loop().time())


class Uploads:
    """The bodies that are not yet whole, at most `most_per_address` from one address; slow ones give way to others."""

    def __init__(self, most_per_address: int) -> None:
        self._most_per_address = most_per_address
        self._uploads: set[Upload] = set()

    async def make_room(self, address: str | None = None) -> bool:
        """Stop the slowest body, of `address` if one is given; return False if none proves too slow soon."""
        until = time.monotonic() + PATIENCE_S
        while uploads := [u for u in self._uploads if not u.displaced and address in (None, u.address)]:
            slowest = max(uploads, key=lambda upload: upload.late_s)
            if slowest.late_s > 0:
                slowest.displace()
                return True
            if time.monotonic() - slowest.late_s > until:
                return False
            await asyncio.sleep(POLL_S)
        return False

    async def read(self, request: Request, limit: int, timeout_s: float | None = None) -> bytes:
        """Read the whole body.

        Raises:
            TooLargeError: the body, or the size in its Content-Length, is larger than `limit` bytes.
            BodyTimeoutError: the body was not complete within `timeout_s`, or came slowly while others waited.
            BusyError: too many bodies come from the same address.
            ClientGoneError: the client disconnected before the body was complete.
        """
        content_length = request.headers.get("content-length", "")
        if content_length.isdecimal() and int(content_length) > limit:
            raise _too_large(limit)
        address = group_of(request.client.host if request.client else "")
        full = sum(not u.displaced and u.address == address for u in self._uploads) >= self._most_per_address
        if full and not await self.make_room(address):
            raise BusyError("too many bodies are being received from one address", retry_after_s=RETRY_S)
        upload = Upload(address, asyncio.timeout(timeout_s))
        try:
            async with upload.timer:
                with self._hold(upload):
                    return await _read(request, limit, upload)
        except TimeoutError as error:
            if upload.displaced:
                raise BodyTimeoutError("the body came too slowly, and other requests wait") from error
            raise BodyTimeoutError("the body was not received in time", expected=f"{timeout_s:g} s at most") from error
        except ClientDisconnect as error:
            raise ClientGoneError("the client closed the connection") from error

    @contextmanager
    def _hold(self, upload: Upload) -> Iterator[None]:
        self._uploads.add(upload)
        try:
            yield
        finally:
            self._uploads.discard(upload)


async def _read(request: Request, limit: int, upload: Upload) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        upload.received = len(content)
        if len(content) > limit:
            raise _too_large(limit)
    return bytes(content)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError("the body is too large", expected=f"{limit} bytes at most")
