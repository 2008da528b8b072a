"""Who is let in: how many requests at a time, at what cost, and not any more once the server drains."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from app.engine.cost import Load
from app.engine.worker import Engine
from app.errors import BusyError, TooLargeError
from app.settings import Settings
from app.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

DRAIN_RETRY_S = 5.0  # another instance answers, or this one is back by then


class Admission:
    """The server's door; used on the event loop only."""

    def __init__(self, settings: Settings, engine: Engine, metrics: Metrics) -> None:
        self._settings = settings
        self._engine = engine
        self._metrics = metrics
        self.inside = 0
        self.draining = False
        self.ended = asyncio.Event()  # what is still inside then is given up

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Holds a place for a request, from before its body is read until it is answered.

        Raises:
            BusyError: there is none, or the server drains.
        """
        if self.draining:
            self._metrics.rejected("draining")
            raise BusyError("the server is shutting down", retry_after_s=DRAIN_RETRY_S)
        if self.inside >= self._settings.max_requests:
            self._metrics.rejected("requests")
            backlog_s = self._engine.wait_s(float("inf"))
            raise BusyError("too many requests at a time", retry_after_s=backlog_s / max(self.inside, 1))
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    def admit(self, load: Load, predicted_s: float) -> None:
        """Returns if a request of such a load may wait for the engine now.

        Raises:
            TooLargeError: it would take too long even alone. BusyError: too much waits before it.
        """
        settings = self._settings
        if predicted_s > settings.max_cost_s:
            self._metrics.rejected("cost")
            raise TooLargeError(
                "the request would take too long; ask for less at a time",
                got=f"{load.tokens} tokens and {load.queries} queries, about {predicted_s:.0f} s",
                expected=f"{settings.max_cost_s:g} s at most",
            )
        wait_s = self._engine.wait_s(predicted_s)
        over_s = wait_s + predicted_s - settings.max_queue_s
        if wait_s > 0 and over_s > 0:
            self._metrics.rejected("queue")
            raise BusyError("too much waits before this request", retry_after_s=min(over_s, wait_s))
