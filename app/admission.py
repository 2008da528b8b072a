"""Admission control: how many requests may be active, at what predicted cost, and none once the server drains."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from app.engine.cost import Load
from app.engine.worker import Engine
from app.errors import RESTART_RETRY_S, BusyError, TooLargeError
from app.settings import Settings
from app.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


class Admission:
    """Accepts or rejects requests; used on the event loop only."""

    def __init__(self, settings: Settings, engine: Engine, metrics: Metrics) -> None:
        self._settings = settings
        self._engine = engine
        self._metrics = metrics
        self.active_requests = 0
        self._freed = asyncio.Event()
        self.draining = False
        self.drain_expired = asyncio.Event()  # set when the drain time is over: active requests are then cancelled

    @property
    def full(self) -> bool:
        """Whether every slot is taken, and the server takes requests."""
        return not self.draining and self.active_requests >= self._settings.max_requests

    async def wait_for_slot(self) -> None:
        """Return once a slot is free."""
        while self.full:
            self._freed.clear()
            await self._freed.wait()

    @contextmanager
    def hold_slot(self) -> Iterator[None]:
        """Hold one of the request slots, from before a body is read until its response is sent.

        Raises:
            BusyError: every slot is taken, or the server is draining.
        """
        if self.draining:
            self._metrics.count_rejection("draining")
            raise BusyError("the server is shutting down", retry_after_s=RESTART_RETRY_S)
        if self.full:
            self._metrics.count_rejection("requests")
            backlog_s = self._engine.wait_s(float("inf"))
            raise BusyError("too many requests at a time", retry_after_s=backlog_s / max(self.active_requests, 1))
        self.active_requests += 1
        try:
            yield
        finally:
            self.active_requests -= 1
            self._freed.set()

    def admit(self, load: Load, predicted_s: float) -> None:
        """Raise an error if a request with this load may not be queued now.

        Args:
            load: the request's token and query counts.
            predicted_s: seconds of engine time that the request is predicted to take.

        Raises:
            TooLargeError: the request would take longer than `max_cost_s` even on an idle engine.
            BusyError: the request would be finished later than `max_queue_s` from now.
        """
        settings = self._settings
        if predicted_s > settings.max_cost_s:
            self._metrics.count_rejection("cost")
            raise TooLargeError(
                "the request would take too long; split it into smaller requests",
                got=f"{load.tokens} tokens and {load.queries} queries, about {predicted_s:.0f} s",
                expected=f"{settings.max_cost_s:g} s at most",
            )
        wait_s = self._engine.wait_s(predicted_s)
        over_s = wait_s + predicted_s - settings.max_queue_s
        if wait_s > 0 and over_s > 0:
            self._metrics.count_rejection("queue")
            raise BusyError("the queue is too long for this request", retry_after_s=min(over_s, wait_s))
