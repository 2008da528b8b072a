"""One worker thread that owns the sessions: the event loop hands it work and awaits the outcome."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import InvalidStateError
from contextlib import suppress
from dataclasses import replace
from threading import Condition, Thread
from typing import Any, TypeVar

from app.engine.queue import Job, Policy, Waiting
from app.errors import NotReadyError
from hydrofill.cancellation import checkpoints
from hydrofill.cube import WaterCube
from hydrofill.inference.model import Model, Outcome

logger = logging.getLogger(__name__)

T = TypeVar("T")


class EngineStoppedError(NotReadyError):
    """The engine's thread has ended; no work is run any more."""


class Engine:
    """A queue before one thread. What is cancelled before its turn is let go at once, and never run."""

    def __init__(self, policy: Policy | None = None) -> None:
        self._waiting = Waiting(policy or Policy())
        self._running: list[Job] = []  # the last is at work; the others stand aside for it
        self._changed = Condition()
        self._ending = False
        self._thread = Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread when all that is queued has run."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether work would be done."""
        return self._thread.is_alive()

    @property
    def queued(self) -> tuple[int, int]:
        """Jobs that wait, and their tokens."""
        with self._changed:
            return len(self._waiting.jobs), sum(job.tokens for job in self._waiting.jobs)

    def wait_s(self, predicted_s: float) -> float:
        """Seconds that a job of `predicted_s` would wait: what is at work, and what would go before it."""
        with self._changed:
            small = predicted_s <= self._waiting.policy.interactive_s
            ahead = [j.left_s for j in self._waiting.jobs if not small or self._waiting.is_interactive(j)]
            running = [j.left_s for j in self._running if not small or self._waiting.is_interactive(j)]
        return sum(ahead) + sum(running)

    async def call(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises, run on the engine's thread."""
        result: T = await self.submit(Job(work))
        return result

    async def submit(self, job: Job) -> Any:
        """What the job's work returns or raises. A caller that is cancelled stops it, waiting or at work."""
        with self._changed:
            if self._ending or not self.alive:
                raise EngineStoppedError("the engine has stopped")
            self._waiting.put(job)
            self._changed.notify()
        try:
            return await asyncio.wrap_future(job.future)
        finally:
            if not job.future.done() or job.future.cancelled():
                job.cancellation.cancel()
                with self._changed:
                    self._waiting.drop(job)

    async def reconstruct(
        self,
        model: Model,
        cube: WaterCube,
        names: Sequence[str],
        max_gap: int | None,
        job: Job,
    ) -> Outcome:
        """The gaps of `cube` filled by `model`, with the time that the request waited for its turn.

        `job` tells what is predicted, and its work is set here. Between two of its windows, and between the steps of
        its first guesses, small jobs may go first for up to half of the time, and the job stops there if it is told to.
        """
        queued_at = time.perf_counter()

        def work() -> Outcome:
            started = time.perf_counter()
            aside_s = 0.0

            def progress(done: int, total: int) -> None:
                job.done = done / total
                pause()

            def pause() -> None:
                nonlocal aside_s
                job.cancellation.check()
                if aside_s <= (time.perf_counter() - started) / 2:  # half of the time is the large job's own
                    aside_s += self._let_small_pass(job)

            with checkpoints(pause):
                outcome = model.run(cube, names, max_gap, progress, job.cancellation)
            run_s = time.perf_counter() - started - aside_s
            return replace(outcome, queue_s=started - queued_at + aside_s, run_s=run_s)

        job.work = work
        result: Outcome = await self.submit(job)
        return result

    def _let_small_pass(self, job: Job) -> float:
        """Runs one waiting small job, where `job` is large; seconds that it took."""
        if self._waiting.is_interactive(job) or len(self._running) > 1:
            return 0.0
        with self._changed:
            small = self._waiting.take(interactive_only=True)
        if small is None:
            return 0.0
        started = time.perf_counter()
        with checkpoints():
            self._run(small)
        return time.perf_counter() - started

    def _work(self) -> None:
        job: Job | None = None
        try:
            while (job := self._next()) is not None:
                self._run(job)
        finally:
            with self._changed:
                self._ending = True
                left = [*([job] if job else []), *self._running, *self._waiting.jobs]
                self._waiting.jobs.clear()
            for job in left:
                with suppress(InvalidStateError):
                    job.future.set_exception(EngineStoppedError("the engine has stopped"))

    def _next(self) -> Job | None:
        with self._changed:
            while (job := self._waiting.take()) is None:
                if self._ending:
                    return None
                self._changed.wait()
            return job

    def _run(self, job: Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        self._running.append(job)
        try:
            job.cancellation.check()
            result = job.work()
        except Exception as error:  # noqa: BLE001 (raised again where it is awaited)
            job.future.set_exception(error)
        else:
            job.future.set_result(result)
        self._running.pop()
