"""A connection of a client: its timeouts, its place among all connections, and replies to what is not HTTP."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

import h11
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.errors import RetryLaterError
from app.http.connections import Connections
from app.http.framing import MAX_HEAD_BYTES, StrictConnection
from app.http.problems import problem_of, stand_alone, status_problem

LINGER_S = 1.0  # to read what a refused client still sends: bytes that are never read would cost it the reply
FIRST_PROBE_S, LAST_PROBE_S = 0.1, 2.0
FAULTS = {
    400: "The request is not valid HTTP/1.1.",
    431: f"The header fields are too large; {MAX_HEAD_BYTES} bytes are allowed.",
    501: "The transfer coding is not supported; chunked is.",
    505: "The version of HTTP is not supported; 1.1 and 1.0 are.",
}
TOO_SLOW = "The request's header was not received in time."


@dataclass(frozen=True)
class Timeouts:
    """How long a client may take, in seconds.

    head: for a request's header. rest: for the rest of a body whose request has been answered already. unread: how long
    the client may read nothing of a response.
    """

    head: float
    rest: float
    unread: float


class ClientProtocol(H11Protocol):
    """HTTP/1.1 by h11, with timeouts that a trickle of bytes does not extend.

    Every refusal is a problem document. A client that has closed its sending side gets its reply; whether it has closed
    the other side too is found out by sending `100 Continue`, which each client must ignore (RFC 9110, 15.2).

    Args:
        given, named: the arguments of uvicorn's protocol.
        connections: the places of all connections.
        timeouts: how long the client may take.

    uvicorn's own keep-alive timeout closes idle connections.
    """

    def __init__(self, *given: Any, connections: Connections, timeouts: Timeouts, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn = self._framing = StrictConnection()
        self._connections, self._timeouts = connections, timeouts
        self._reading, self._writing, self._probing = (_Timer(self.loop) for _ in range(3))
        self._refused = self._half_closed = False

    @property
    def _has_request(self) -> bool:
        cycle: object = self.cycle  # None at first
        return cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place and start the timeout of the first header."""
        super().connection_made(transport)
        try:
            self._connections.enter(self, self.client[0] if self.client else "")
        except RetryLaterError as error:
            self.logger.warning("connection refused: %s", error.problem)
            self._refuse(partial(problem_of, error))
        else:
            self._reading.start(self._timeouts.head, self.displace)

    def data_received(self, data: bytes) -> None:
        """Receive bytes; a complete header stops its timeout, an incomplete one does not extend it."""
        if not self._refused:
            super().data_received(data)
        self._note_progress()

    def _note_progress(self) -> None:
        if self._refused:
            return
        self._connections.set_waiting(self, not self._has_request)
        if self._has_request:
            self._reading.stop()
        elif not self._reading.running:
            rest = self.conn.their_state is h11.SEND_BODY
            self._reading.start(self._timeouts.rest if rest else self._timeouts.head, self.displace)

    def on_response_complete(self) -> None:
        """Wait for the next request; close the connection if the client sends no more."""
        super().on_response_complete()  # which begins the next request if it has come already
        if self._has_request or self._refused:
            return
        self._connections.set_waiting(self, True)
        if self._half_closed:
            self.transport.close()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether to keep the connection open: a whole request is still answered."""
        self._half_closed = not self._refused and self._has_request and not self.cycle.more_body
        if self._half_closed:
            self._probing.start(FIRST_PROBE_S, lambda: self._probe(FIRST_PROBE_S))
        return self._half_closed

    def displace(self) -> None:
        """Close the connection, on which no request is being handled; answer 408 if a request has begun."""
        begun = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]
        if begun and not self._refused:
            self._refuse(lambda: status_problem(408, TOO_SLOW))
        else:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (as uvicorn calls it)
        """Answer bytes that are not HTTP, or exceed a limit."""
        status = self._framing.fault_status
        self._refuse(lambda: status_problem(status, FAULTS.get(status, FAULTS[400])))

    def shutdown(self) -> None:
        """Close the connection once its request is answered."""
        if self._refused:
            self.transport.abort()
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        """Start the write timeout: the client does not read fast enough."""
        super().pause_writing()
        self._writing.start(self._timeouts.unread, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the write timeout: the client has read nearly everything."""
        super().resume_writing()
        self._writing.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeouts and give up the place."""
        for timer in (self._reading, self._writing, self._probing):
            timer.stop()
        self._connections.leave(self)
        super().connection_lost(exc)

    def _refuse(self, make: Callable[[], JSONResponse]) -> None:
        """Send a reply that does not come from the application, and close; the client's further bytes are dropped."""
        self._refused = True
        self._unset_keepalive_if_required()
        if self._has_request:  # its body is broken
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()  # in the midst of a reply, or after it
            return
        self.transport.write(self._encode(contextvars.copy_context().run(stand_alone, make)))
        self.transport.write_eof()
        self._reading.start(LINGER_S, self.transport.abort)

    def _encode(self, response: JSONResponse) -> bytes:
        headers = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
        status, reason = response.status_code, HTTPStatus(response.status_code).phrase
        head = self.conn.send(h11.Response(status_code=status, headers=headers, reason=reason)) or b""
        return head + bytes(response.body)

    def _probe(self, after_s: float) -> None:
        """Send `100 Continue` to a client that may be gone, then again: the system breaks the connection if it is."""
        if self.conn.our_state is not h11.SEND_RESPONSE or self.scope["http_version"] == "1.0":
            return
        interim = h11.InformationalResponse(status_code=HTTPStatus.CONTINUE, headers=[], reason="Continue")
        self.transport.write(self.conn.send(interim) or b"")
        after_s = min(2 * after_s, LAST_PROBE_S)
        self._probing.start(after_s, lambda: self._probe(after_s))


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
