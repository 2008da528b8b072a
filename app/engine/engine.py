"""One worker thread that owns the sessions: the event loop hands it work and awaits the outcome."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from app.engine.model import Model, Outcome
from export.contract.cube import WaterCube

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _Job:
    """Work for the engine's thread, and where its result goes."""

    work: Callable[[], Any]
    future: Future[Any]


class Engine:
    """A first-in first-out queue before one thread. What is cancelled before its turn is never run."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread when all that is queued has run."""
        self._jobs.put(None)
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether work would be done."""
        return self._thread.is_alive()

    async def call(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises, run on the engine's thread."""
        job = _Job(work, Future())
        self._jobs.put(job)
        result: T = await asyncio.wrap_future(job.future)
        return result

    async def reconstruct(self, model: Model, cube: WaterCube, names: Sequence[str], max_gap: int | None) -> Outcome:
        """The gaps of `cube` filled by `model`, with the time that the request waited for its turn."""
        queued_at = time.perf_counter()

        def work() -> Outcome:
            queue_s = time.perf_counter() - queued_at
            return replace(model.run(cube, names, max_gap), queue_s=queue_s)

        return await self.call(work)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                job.future.set_result(job.work())
            except Exception as error:  # noqa: BLE001 (raised again where it is awaited)
                job.future.set_exception(error)
