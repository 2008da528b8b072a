"""The serving process: drains on SIGTERM, reloads on SIGHUP, and ends with an error if its engine fails."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI

from app.ending import end_now, end_within
from app.errors import BusyError
from app.http.connections import RETRY_S, Connections
from app.http.listener import ACCEPTS_PER_TURN, Listener, listen_on
from app.http.problems import problem_of, stand_alone
from app.http.protocol import ClientProtocol, Timeouts
from app.service import Service
from app.settings import Settings

logger = logging.getLogger(__name__)

FLUSH_S = 0.5  # to answer the cancelled requests, and to write finished responses
END_S = 1.0  # from the end of the drain to the end of the process, whatever runs
KEEP_ALIVE_S = 75  # longer than clients and proxies keep an idle connection, so that they close it first
End = Callable[[float, int], None]  # ends the process after so many seconds with an exit code, whatever runs
ENGINE_DIED, REQUESTS_LOST = 70, 75  # sysexits: internal software error; temporary failure


def serve_app(app: FastAPI, settings: Settings) -> int:
    """Serve until a signal comes or the engine dies, then end the process; return 1 if the server cannot start."""
    try:
        listeners = listen_on(settings.host, settings.port)
    except OSError as error:
        logger.error("cannot listen on %s port %s: %s", settings.host, settings.port, error)
        return 1
    server = make_server(app, settings, end_within)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, server.handle_reload)
    for listener in listeners:
        logger.info("the server will listen on %s port %s", *listener.getsockname()[:2])
    server.run(list(listeners))
    if server.started:
        end_now(server.exit_code)
    return 1


def make_server(app: FastAPI, settings: Settings, end: End | None = None) -> DrainingServer:
    """Return the server of an application, with the limits of the settings.

    `end` ends the process in which the server runs; None where the process is not the server's own.
    """
    Listener.refusal = refusal_bytes()
    protocol = partial(
        ClientProtocol,
        connections=Connections(
            settings.max_connections, settings.max_connections_per_address, partial(count_rejection, app)
        ),
        timeouts=Timeouts(settings.head_timeout_s, settings.body_timeout_s, settings.reply_timeout_s),
    )
    config = uvicorn.Config(
        app,
        loop="asyncio",  # others accept connections themselves, without app.http.listener
        http=cast(type[asyncio.Protocol], protocol),
        ws="none",
        log_config=None,  # app.telemetry.logs sets the handlers
        access_log=False,  # app.http.middleware logs each request, with its id
        server_header=False,
        proxy_headers=False,  # no address is taken from what a client says
        backlog=ACCEPTS_PER_TURN,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,  # a whole number; end_within is the real limit
    )
    return DrainingServer(config, app, settings.drain_s, end)


def refusal_bytes() -> bytes:
    """Return the reply, head and body, to a connection for which the process has no file left."""
    response = stand_alone(lambda: problem_of(BusyError("too many connections", retry_after_s=RETRY_S)))
    lines = [
        b"HTTP/1.1 503 Service Unavailable",
        *map(b": ".join, response.raw_headers),
        b"connection: close",
        b"",
        b"",
    ]
    return b"\r\n".join(lines) + bytes(response.body)


def count_rejection(app: FastAPI, reason: str) -> None:
    """Count a connection that is refused."""
    service: Service | None = getattr(app.state, "service", None)
    if service is not None:
        service.metrics.count_rejection(reason)


class DrainingServer(uvicorn.Server):
    """On SIGTERM or SIGINT, rejects new requests, finishes accepted ones, and ends; a second signal ends it at once."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain_s: float, end: End | None) -> None:
        super().__init__(config)
        self.exit_code = 0
        self._app = app
        self._drain_s = drain_s
        self._end = end
        self._draining_since: float | None = None
        self._reload_requested = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (as uvicorn calls it)
        """Start to drain; on the second signal, end at once."""
        if self._draining_since is not None:
            self.should_exit = self.force_exit = True
            self._end_within(END_S, self.exit_code or REQUESTS_LOST)
            return
        logger.info("%s: the server finishes accepted requests and ends", signal.Signals(sig).name)
        self._draining_since = time.monotonic()
        service = self._service()
        # Set here, because the event loop may be held up when the time is over.
        self._end_within((0.0 if service is None else self._drain_s) + END_S, REQUESTS_LOST if service else 1)
        if service is None:
            self.should_exit = True
        else:
            service.admission.draining = True

    def handle_reload(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (as the signal module calls it)
        """Have the folder of bundles read again."""
        self._reload_requested = True

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end now; called ten times a second."""
        ends = await self._ends(counter)
        if ends:
            self._end_within(END_S - (FLUSH_S if self.exit_code == REQUESTS_LOST else 0.0), self.exit_code)
        return ends

    async def _ends(self, counter: int) -> bool:
        service = self._service()
        if service is not None and self._reload_requested:
            self._reload_requested = False
            self._app.state.reloader.request_reload()
        if service is not None and not service.engine.alive:
            logger.critical("the engine has stopped; the server ends")
            self.exit_code = ENGINE_DIED
            return True
        if service is not None and service.engine.stuck_s > service.settings.stuck_s:
            logger.critical("the engine has made no progress for too long; the server ends")
            self.exit_code = ENGINE_DIED
            return True
        if service is not None and self._draining_since is not None and self._is_drained(service):
            return True
        return await super().on_tick(counter)

    def _is_drained(self, service: Service) -> bool:
        assert self._draining_since is not None
        if service.admission.active_requests == 0:
            return True
        over_s = time.monotonic() - self._draining_since - self._drain_s
        if over_s >= 0 and not service.admission.drain_expired.is_set():
            logger.error(
                "%s requests are lost: they were not finished in %s s", service.admission.active_requests, self._drain_s
            )
            self.exit_code = REQUESTS_LOST
            service.admission.drain_expired.set()
        return over_s >= FLUSH_S

    def _end_within(self, seconds: float, exit_code: int) -> None:
        if self._end is not None:
            self._end(seconds, exit_code)

    def _service(self) -> Service | None:
        service: Service | None = getattr(self._app.state, "service", None)
        return service
