"""How long a connection may dawdle over a request's head or leave a reply lying."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class TimedProtocol(H11Protocol):
    """HTTP/1.1 by h11, whose heads are bounded in size; ends what takes too long, bytes coming or not.

    `head_s` bounds a head, `rest_s` what still comes of a body that was answered unread, `unread_s` how long the client
    takes nothing of what is ready for it. A connection where nothing comes is uvicorn's to end.
    """

    def __init__(self, *given: Any, head_s: float, rest_s: float, unread_s: float, **named: Any) -> None:
        super().__init__(*given, **named)
        self._head_s, self._rest_s, self._unread_s = head_s, rest_s, unread_s
        self._coming, self._unread = _Timer(self.loop), _Timer(self.loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Waits for the first head."""
        super().connection_made(transport)
        self._coming.start(self._head_s, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Takes bytes in; waits no more once they make a head whole, and no longer for each that does not."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:  # type: ignore[redundant-expr]  # None at first
            self._coming.stop()
        elif not self._coming.runs:
            rest = self.conn.their_state is h11.SEND_BODY
            self._coming.start(self._rest_s if rest else self._head_s, self.transport.abort)

    def pause_writing(self) -> None:
        """More is ready than the client takes."""
        super().pause_writing()
        self._unread.start(self._unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has taken nearly all of it."""
        super().resume_writing()
        self._unread.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._coming.stop()
        self._unread.stop()
        super().connection_lost(exc)


class _Timer:
    """Calls something later, unless it is stopped or started anew before."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    @property
    def runs(self) -> bool:
        return self._handle is not None

    def start(self, after_s: float, call: Callable[[], None]) -> None:
        self.stop()
        self._handle = self._loop.call_later(after_s, call)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
