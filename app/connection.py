"""How long a connection may idle, dawdle over a request's head, or leave a reply lying."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class TimedProtocol(H11Protocol):
    """HTTP/1.1 by h11, whose heads are bounded in size; ends what takes too long, bytes coming or not.

    `idle_s` bounds the time without a request at work: before a head is whole, and after a reply, whatever else still
    comes. `unread_s` bounds how long the client takes nothing of what is ready for it.
    """

    def __init__(self, *given: Any, idle_s: float, unread_s: float, **named: Any) -> None:
        super().__init__(*given, **named)
        self._idle, self._unread = _Timer(self.loop, idle_s), _Timer(self.loop, unread_s)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Waits for the first head."""
        super().connection_made(transport)
        self._idle.start(transport.abort)

    def data_received(self, data: bytes) -> None:
        """Takes bytes in; waits no more once they make a head whole."""
        super().data_received(data)
        self._stop_idle_if_at_work()

    def on_response_complete(self) -> None:
        """Waits for the next head, unless it is there already."""
        self._idle.start(self.transport.abort)
        super().on_response_complete()
        self._stop_idle_if_at_work()

    def pause_writing(self) -> None:
        """More is ready than the client takes."""
        super().pause_writing()
        self._unread.start(self.transport.abort)

    def resume_writing(self) -> None:
        """The client has taken nearly all of it."""
        super().resume_writing()
        self._unread.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._idle.stop()
        self._unread.stop()
        super().connection_lost(exc)

    def _stop_idle_if_at_work(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:  # type: ignore[redundant-expr]  # None at first
            self._idle.stop()


class _Timer:
    """Calls something `after_s`, unless it is stopped or started anew before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, after_s: float) -> None:
        self._loop = loop
        self._after_s = after_s
        self._handle: asyncio.TimerHandle | None = None

    def start(self, call: Callable[[], None]) -> None:
        self.stop()
        self._handle = self._loop.call_later(self._after_s, call)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
