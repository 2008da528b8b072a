"""HTTP/1.1 framing by h11, with the limits that h11 itself does not hold."""

from __future__ import annotations

from typing import TypeAlias

import h11

MAX_HEAD_BYTES = 2**14
MAX_SMALL_CHUNKS = 2**12  # chunks of any size in one body
BYTES_PER_CHUNK = 2**8  # of each further chunk, on average: h11 needs some 30 microseconds for a chunk of any size

Found: TypeAlias = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]


class StrictConnection(h11.Connection):
    """The server's side of a connection.

    h11 limits only a head that is still incomplete: one that arrives at once may be of any size. It takes the length of
    a body from the chunks where Content-Length is given too, it takes any version, and chunks of one byte each.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self.fault_status = 400  # of the last error
        self._chunks = self._bytes = 0

    def next_event(self) -> Found:
        """Return the next event.

        Raises:
            RemoteProtocolError: the bytes are not HTTP/1.1, or exceed a limit; `fault_status` then has the status.
        """
        try:
            event = super().next_event()
            self._check(event)
        except h11.RemoteProtocolError as error:
            self.fault_status = error.error_status_hint
            raise
        return event

    def _check(self, event: Found) -> None:
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
            _check_head(event)
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._chunks > MAX_SMALL_CHUNKS + self._bytes // BYTES_PER_CHUNK:
                raise h11.RemoteProtocolError("the chunks are too small", error_status_hint=400)
        elif isinstance(event, h11.EndOfMessage) and _size(event.headers) > MAX_HEAD_BYTES:
            raise h11.RemoteProtocolError("the trailer is too large", error_status_hint=431)


def _check_head(request: h11.Request) -> None:
    names = {name for name, _ in request.headers}
    if len(request.method) + len(request.target) + _size(request.headers) > MAX_HEAD_BYTES:
        raise h11.RemoteProtocolError("the head is too large", error_status_hint=431)
    if request.http_version not in (b"1.0", b"1.1"):
        raise h11.RemoteProtocolError("the version is not supported", error_status_hint=505)
    if {b"content-length", b"transfer-encoding"} <= names:  # RFC 9112, 6.3: the two may be understood differently
        raise h11.RemoteProtocolError("two lengths of a body", error_status_hint=400)


def _size(headers: h11.Headers) -> int:  # type: ignore[name-defined]
    return sum(len(name) + len(value) + len(": \r\n") for name, value in headers)
