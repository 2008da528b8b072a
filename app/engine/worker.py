"""The engine: one worker thread that runs the graphs. The event loop queues jobs and awaits their results."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from contextlib import suppress
from dataclasses import replace
from threading import Condition, Thread
from typing import Any, TypeVar

from app.engine.queue import Job, JobQueue, Policy
from app.engine.running import ended
from app.errors import NotReadyError
from hydrofill.cancellation import checkpoints
from hydrofill.filling import PreparedFill
from hydrofill.inference.model import Model, Outcome

T = TypeVar("T")


LARGE_SHARE = 0.25  # of the engine's time, that a running large job keeps while small ones wait


class EngineStoppedError(NotReadyError):
    """The engine's thread has ended; no job runs any more."""


class Engine:
    """A queue and one thread. A job that is cancelled while it waits is dropped at once and never runs."""

    def __init__(self, policy: Policy | None = None) -> None:
        self._queue = JobQueue(policy or Policy())
        self._running: list[Job] = []  # the last job runs; a job before it is suspended meanwhile
        self._changed = Condition()
        self._ending = False
        self._progressed_at = time.monotonic()
        self._thread = Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish every queued job, then end the thread."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """True while the thread is running."""
        return self._thread.is_alive()

    @property
    def stuck_s(self) -> float:
        """Seconds without progress of the running job beyond its predicted time; 0 or less is as it should be.

        A job makes progress when it starts and at each of its checkpoints. Its predicted time is added because a step
        between two checkpoints cannot be predicted to take longer than the whole job.
        """
        with self._changed:
            predicted_s = sum(job.predicted_s for job in self._running)
            return time.monotonic() - self._progressed_at - predicted_s if self._running else 0.0

    @property
    def queued(self) -> tuple[int, int]:
        """Number of jobs that wait, and the sum of their tokens."""
        with self._changed:
            return len(self._queue.jobs), sum(job.tokens for job in self._queue.jobs)

    def wait_s(self, predicted_s: float) -> float:
        """Return the seconds that a job predicted to take `predicted_s` would wait for the running and queued jobs."""
        with self._changed:
            small = predicted_s <= self._queue.policy.interactive_s
            ahead = [j.remaining_s for j in self._queue.jobs if not small or self._queue.is_interactive(j)]
            running = [j.remaining_s for j in self._running if not small or self._queue.is_interactive(j)]
        return sum(ahead) + sum(running)

    async def call(self, work: Callable[[], T]) -> T:
        """Run `work` on the engine's thread; return or raise what it does."""
        result: T = await self.submit(Job(work))
        return result

    async def submit(self, job: Job) -> Any:
        """Queue a job; return or raise what its work does.

        If the caller is cancelled, the job is cancelled too, whether it waits or runs. The caller is released when the
        job has stopped.

        Raises:
            EngineStoppedError: the thread has ended.
        """
        with self._changed:
            if self._ending or not self.alive:
                raise EngineStoppedError("the engine has stopped")
            self._queue.put(job)
            self._changed.notify()
        done = asyncio.wrap_future(job.future)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            job.cancellation.cancel()
            with self._changed:
                waiting = self._queue.drop(job)
            if waiting:
                done.cancel()
            await ended(done)
            raise

    async def reconstruct(
        self,
        model: Model,
        fill: PreparedFill,
        job: Job,
    ) -> Outcome:
        """Fill the gaps of `fill` with `model`; return the result with the seconds that the request waited and ran.

        Between two windows, and between the steps of the first guesses, a large job lets interactive jobs run. It
        keeps LARGE_SHARE of the time itself, and ends if it has been cancelled.

        Args:
            model: the loaded bundle.
            fill: the data as they were read for this bundle.
            job: cancellation, predicted cost and client of the request. Its work is set here.
        """
        queued_at = time.perf_counter()

        def work() -> Outcome:
            started = time.perf_counter()
            preempted_s = 0.0

            def progress(done: int, total: int) -> None:
                job.share_done = done / total
                pause()

            def pause() -> None:
                nonlocal preempted_s
                self._progress()
                job.cancellation.check()
                while preempted_s <= (1 - LARGE_SHARE) * (time.perf_counter() - started):
                    if (took_s := self._run_interactive_job(job)) is None:
                        break
                    preempted_s += took_s

            with checkpoints(pause):
                outcome = fill.run(model, progress, job.cancellation)
            run_s = time.perf_counter() - started - preempted_s
            return replace(outcome, queue_s=started - queued_at + preempted_s, run_s=run_s)

        job.work = work
        result: Outcome = await self.submit(job)
        return result

    def _run_interactive_job(self, job: Job) -> float | None:
        """Run a waiting interactive job while the large `job` is suspended; return its seconds, or None without one."""
        if self._queue.is_interactive(job) or len(self._running) > 1:
            return None
        with self._changed:
            small = self._queue.take(interactive_only=True)
        if small is None:
            return None
        started = time.perf_counter()
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
                unfinished = [*([job] if job else []), *self._running, *self._queue.jobs]
                self._queue.jobs.clear()
            for job in unfinished:
                with suppress(InvalidStateError):
                    job.future.set_exception(EngineStoppedError("the engine has stopped"))

    def _next(self) -> Job | None:
        with self._changed:
            while (job := self._queue.take()) is None:
                if self._ending:
                    return None
                self._changed.wait()
            return job

    def _run(self, job: Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        self._running.append(job)
        self._progress()
        try:
            job.cancellation.check()
            with checkpoints(self._progress):
                result = job.work()
        except Exception as error:  # noqa: BLE001 (raised again where the job is awaited)
            job.future.set_exception(error)
        else:
            job.future.set_result(result)
        self._running.pop()
        self._progress()

    def _progress(self) -> None:
        self._progressed_at = time.monotonic()
