"""Admission control: how many requests may be active, with how many bytes, at what cost, and none once it drains."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any

from app.engine.load import Load
from app.engine.memory import request_memory
from app.engine.worker import Engine
from app.errors import RESTART_RETRY_S, BusyError, TooLargeError
from app.settings import Settings
from app.telemetry.metrics import Metrics

SMALL_BODY_BYTES = 2**17  # larger bodies count as large before their cost is known
LARGE_SHARE = 0.5  # of the places that large requests may take, so that small ones always find one
LARGE_MEMORY_SHARE = 0.875  # of the memory that they may take
SMALL_MEMORY_SHARE = 1 / 32  # a request with more of the memory counts as large


class Place:
    """A request's place and its bytes, held until its response is sent and all its work has stopped."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._holders: set[Any] = set()
        self.bytes = 0
        self.large = False

    def reserve(self, number: int) -> None:
        """Hold so many bytes from now on, instead of those held before.

        Raises:
            TooLargeError: they would not fit even if no other request held any.
            BusyError: they do not fit beside those of other requests.
        """
        self._admission.reserve(self, number)

    def hold_for(self, task: asyncio.Task[Any]) -> None:
        """Hold the place until the task has ended, too."""
        self._holders.add(task)
        task.add_done_callback(self._release_task)

    def hold(self, holder: object) -> None:
        """Hold the place until `release` is called with the same holder."""
        self._holders.add(holder)

    def release(self, holder: object) -> None:
        """Give the place back if nothing else holds it."""
        self._holders.discard(holder)
        if not self._holders:
            self._admission.give_back(self)

    def _release_task(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()  # whoever awaited the task has left
        self.release(task)


class Admission:
    """Accepts or rejects requests; used on the event loop only."""

    def __init__(self, settings: Settings, engine: Engine, metrics: Metrics) -> None:
        self._settings = settings
        self._engine = engine
        self._metrics = metrics
        self.memory_bytes = request_memory(settings)
        self._places: set[Place] = set()
        self._freed = asyncio.Event()
        self.draining = False
        self.drain_expired = asyncio.Event()  # set when the drain time is over: active requests are then cancelled

    @property
    def active_requests(self) -> int:
        """Requests whose response is not sent, or whose work has not stopped."""
        return len(self._places)

    @property
    def reserved_bytes(self) -> int:
        """Bytes that the active requests hold."""
        return sum(place.bytes for place in self._places)

    def full_for(self, body_bytes: int) -> bool:
        """Whether every place for a body of this size is taken, and the server takes requests."""
        return not self.draining and self._is_full(self._places, body_bytes > SMALL_BODY_BYTES)

    async def wait_for_place(self, body_bytes: int) -> None:
        """Return once a place for a body of this size is free."""
        while self.full_for(body_bytes):
            self._freed.clear()
            await self._freed.wait()

    @contextmanager
    def hold_slot(self, body_bytes: int = 0) -> Iterator[Place]:
        """Hold one of the places for requests, from before a body is read until its response is sent.

        The place stays taken while a task of `Place.hold_for` runs.

        Args:
            body_bytes: the size of the body, or the largest that it may have.

        Raises:
            BusyError: every place is taken, or the server is draining.
        """
        if self.draining:
            self._metrics.count_rejection("draining")
            raise BusyError("the server is shutting down", retry_after_s=RESTART_RETRY_S)
        place = Place(self)
        self._enter(place, body_bytes > SMALL_BODY_BYTES)
        self._places.add(place)
        place.hold(self)
        try:
            place.reserve(body_bytes)
            yield place
        finally:
            place.release(self)

    def admit(self, place: Place, load: Load, predicted_s: float) -> None:
        """Raise an error if a request with this load may not be queued now.

        Args:
            place: the request's place.
            load: the request's token and query counts.
            predicted_s: seconds of engine time that the request is predicted to take.

        Raises:
            TooLargeError: the request would take longer than `max_cost_s` even on an idle engine.
            BusyError: the request would be finished later than `max_queue_s` from now, or too many large requests
                are active.
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
        self._enter(place, predicted_s > settings.interactive_s)

    def reserve(self, place: Place, number: int) -> None:
        """Let `place` hold so many bytes; see `Place.reserve`."""
        limit = self._limit_of(number)
        if number > place.bytes and not self.could_hold(number):
            self._metrics.count_rejection("memory")
            raise TooLargeError(
                "the request would take too much memory; split it into smaller requests",
                got=f"about {number} bytes",
                expected=f"{limit} bytes at most",
            )
        if number > place.bytes and self.reserved_bytes - place.bytes + number > limit:
            self._metrics.count_rejection("memory")
            raise BusyError("other requests hold the memory", retry_after_s=self._room_s())
        place.bytes = number

    def could_hold(self, number: int) -> bool:
        """Return whether a request alone may hold so many bytes."""
        return number <= self._limit_of(number)

    def _limit_of(self, number: int) -> int:
        """Return how many bytes may be held together when one request holds `number` of them."""
        large = number > SMALL_MEMORY_SHARE * self.memory_bytes
        return int(LARGE_MEMORY_SHARE * self.memory_bytes) if large else self.memory_bytes

    def give_back(self, place: Place) -> None:
        """Take back a place that nothing holds any more."""
        place.bytes = 0
        self._places.discard(place)
        self._freed.set()

    def _enter(self, place: Place, large: bool) -> None:
        """Count a request as large or small; raise BusyError if there are too many of its kind."""
        if self._is_full(self._places - {place}, large):
            self._metrics.count_rejection("requests")
            raise BusyError("too many requests at a time", retry_after_s=self._room_s())
        place.large = large

    def _is_full(self, others: AbstractSet[Place], large: bool) -> bool:
        most = self._settings.max_requests
        if large and sum(other.large for other in others) >= max(1, int(LARGE_SHARE * most)):
            return True
        return len(others) >= most

    def _room_s(self) -> float:
        """Return the seconds after which about one request is done."""
        return self._engine.wait_s(float("inf")) / max(self.active_requests, 1)
