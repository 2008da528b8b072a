"""Request-header, request-body and write timeouts of a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class TimedProtocol(H11Protocol):
    """HTTP/1.1 by h11 (which limits the size of headers), with timeouts that a trickle of bytes does not extend.

    Args:
        given, named: the arguments of uvicorn's protocol.
        head_s: the longest time for a request's header.
        rest_s: the longest time for the rest of a body whose request has been answered already.
        unread_s: the longest time in which the client reads nothing of a response.

    uvicorn's own keep-alive timeout closes idle connections.
    """

    def __init__(self, *given: Any, head_s: float, rest_s: float, unread_s: float, **named: Any) -> None:
        super().__init__(*given, **named)
        self._head_s, self._rest_s, self._unread_s = head_s, rest_s, unread_s
        self._reading, self._writing = _Timer(self.loop), _Timer(self.loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeout of the first header."""
        super().connection_made(transport)
        self._reading.start(self._head_s, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Receive bytes; a complete header stops its timeout, an incomplete one does not extend it."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:  # type: ignore[redundant-expr]  # None at first
            self._reading.stop()
        elif not self._reading.running:
            rest = self.conn.their_state is h11.SEND_BODY
            self._reading.start(self._rest_s if rest else self._head_s, self.transport.abort)

    def pause_writing(self) -> None:
        """Start the write timeout: the client does not read fast enough."""
        super().pause_writing()
        self._writing.start(self._unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the write timeout: the client has read nearly everything."""
        super().resume_writing()
        self._writing.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop both timeouts."""
        self._reading.stop()
        self._writing.stop()
        super().connection_lost(exc)


class _Timer:
    """Calls a function later, unless it is stopped or restarted before."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        return self._handle is not None

    def start(self, after_s: float, call: Callable[[], None]) -> None:
        self.stop()
        self._handle = self._loop.call_later(after_s, call)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
