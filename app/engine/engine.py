"""One worker thread that owns the sessions: the event loop hands it work and awaits the outcome."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from threading import Condition, Thread
from typing import Any, TypeVar

from app.engine.batches import SIZES
from app.engine.meeting import EngineStoppedError, Meeting
from app.engine.model import Model, Outcome
from app.engine.queue import Job, Policy, Waiting
from export.contract.checkpoint import checkpoints
from export.contract.cube import WaterCube

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Engine:
    """A queue before one thread. What is cancelled before its turn is let go at once, and never run."""

    def __init__(self, policy: Policy | None = None) -> None:
        self._waiting = Waiting(policy or Policy())
        self._running: list[Job] = []  # the last is at work; the others stand aside for it
        self._changed = Condition()
        self._ending = False
        self._thread = Thread(target=self._work, name="engine", daemon=True)
        self._members = ThreadPoolExecutor(max(SIZES), "beside")

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread when all that is queued has run."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()
        self._members.shutdown(wait=False)

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
                job.control.stop()
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
        Small jobs of one model are at work together, where batches of such windows may pay.
        """
        queued_at = time.perf_counter()

        def work(meeting: Meeting | None = None, members: int = 1) -> Outcome:
            started = time.perf_counter()
            aside_s = 0.0

            def progress(done: int, total: int) -> None:
                job.done = done / total
                pause()

            def pause() -> None:
                nonlocal aside_s
                job.control.check()
                if aside_s <= (time.perf_counter() - started) / 2:  # half of the time is the large job's own
                    aside_s += self._let_small_pass(job)

            with checkpoints(pause):
                outcome = model.run(cube, names, max_gap, progress, job.control, meeting)
            run_s = (time.perf_counter() - started - aside_s) / members
            return replace(outcome, queue_s=started - queued_at + aside_s, run_s=run_s)

        job.work = work
        if job.window_tokens <= model.batches.max_tokens:
            job.kind, job.beside = model, work
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
                beside = self._next_beside(job)
                if beside:
                    self._run_beside([job, *beside])
                else:
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

    def _next_beside(self, job: Job) -> list[Job]:
        """Jobs that wait and may be at work together with `job`."""
        if job.kind is None or not self._waiting.is_interactive(job):
            return []
        with self._changed:
            return self._waiting.take_like(job, max(SIZES) - 1)

    def _run_beside(self, jobs: list[Job]) -> None:
        """Runs small jobs together; the thread of each cuts and joins, this one runs the graphs."""
        jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
        if not jobs:
            return
        meeting = Meeting(jobs[0].kind.batches, len(jobs))  # type: ignore[attr-defined]
        self._running += jobs
        for job in jobs:
            self._members.submit(_attend, job, meeting, len(jobs))
        meeting.serve()
        self._running = [job for job in self._running if job not in jobs]

    def _run(self, job: Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        self._running.append(job)
        try:
            job.control.check()
            result = job.work()
        except Exception as error:  # noqa: BLE001 (raised again where it is awaited)
            job.future.set_exception(error)
        else:
            job.future.set_result(result)
        self._running.pop()


def _attend(job: Job, meeting: Meeting, members: int) -> None:
    """One job's part of a meeting."""
    try:
        job.control.check()
        assert job.beside is not None
        result = job.beside(meeting, members)
    except BaseException as error:  # noqa: BLE001 (raised again where it is awaited)
        job.future.set_exception(error)
    else:
        job.future.set_result(result)
    finally:
        meeting.leave()
