"""The process that listens: ends in order when it is told to, and with an error when its engine has died."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from functools import partial
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI

from app.http.timeouts import TimedProtocol
from app.service import Service
from app.settings import Settings

logger = logging.getLogger(__name__)

LAST_REPLIES_S = 2  # to tell those whose requests are given up, and to write what is ready
KEEP_ALIVE_S = 75  # without a request: longer than clients and proxies keep a connection, so that it is they who end it
ENGINE_DIED, REQUESTS_LOST = 70, 75  # sysexits: internal software error; temporary failure


def serve_app(app: FastAPI, settings: Settings) -> int:
    """Serves until a signal, or until the engine dies; the process's exit code."""
    protocol = partial(
        TimedProtocol,
        head_s=settings.head_timeout_s,
        rest_s=settings.body_timeout_s,
        unread_s=settings.reply_timeout_s,
    )
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=cast(type[asyncio.Protocol], protocol),
        ws="none",
        log_config=None,  # app.logs has the handlers
        access_log=False,  # app.middleware says it, with the request's id
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=LAST_REPLIES_S,
    )
    server = DrainingServer(config, app, settings.drain_s)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, server.handle_reload)
    server.run()
    return server.exit_code if server.started else 1


class DrainingServer(uvicorn.Server):
    """On SIGTERM or SIGINT, takes in nothing new, finishes what it has, and ends; a second signal ends it at once."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain_s: float) -> None:
        super().__init__(config)
        self.exit_code = 0
        self._app = app
        self._drain_s = drain_s
        self._draining_since: float | None = None
        self._reload_asked = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (as uvicorn calls it)
        """Begins to drain."""
        if self._draining_since is not None:
            self.should_exit = self.force_exit = True
            return
        logger.info("%s: finishing accepted requests", signal.Signals(sig).name)
        self._draining_since = time.monotonic()
        if (service := self._service()) is None:
            self.should_exit = True
        else:
            service.admission.draining = True

    def handle_reload(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (as the signal module calls it)
        """Has the bundles' folder looked at."""
        self._reload_asked = True

    async def on_tick(self, counter: int) -> bool:
        """Whether to end now; called ten times a second."""
        service = self._service()
        if service is not None and self._reload_asked:
            self._reload_asked = False
            self._app.state.reloader.ask()
        if service is not None and not service.engine.alive:
            logger.critical("the engine has stopped: ending")
            self.exit_code = ENGINE_DIED
            return True
        if service is not None and self._draining_since is not None and self._is_drained(service):
            return True
        return await super().on_tick(counter)

    def _is_drained(self, service: Service) -> bool:
        assert self._draining_since is not None
        if service.admission.inside == 0:
            return True
        over_s = time.monotonic() - self._draining_since - self._drain_s
        if over_s >= 0 and not service.admission.ended.is_set():
            logger.error("%s requests are lost: not finished in %s s", service.admission.inside, self._drain_s)
            self.exit_code = REQUESTS_LOST
            service.admission.ended.set()
        return over_s >= LAST_REPLIES_S

    def _service(self) -> Service | None:
        service: Service | None = getattr(self._app.state, "service", None)
        return service
