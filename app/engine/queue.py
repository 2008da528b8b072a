"""The engine's queue: small jobs before large ones, long-waiting jobs first (ageing), fair between clients."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from hydrofill.cancellation import Cancellation


@dataclass(frozen=True)
class Policy:
    """Thresholds for the order of jobs.

    A job predicted to take at most `interactive_s` is interactive. A job that has waited for `ageing_s` goes first,
    whatever its size.
    """

    interactive_s: float = 1.0
    ageing_s: float = 20.0


@dataclass(eq=False)
class Job:
    """Work for the engine's thread, and the future of its result."""

    work: Callable[[], Any]
    cancellation: Cancellation = field(default_factory=Cancellation)
    predicted_s: float = 0.0
    tokens: int = 0
    client: str = ""
    future: Future[Any] = field(default_factory=Future)
    queued_at: float = field(default_factory=time.monotonic)
    share_done: float = 0.0  # 0 to 1

    @property
    def remaining_s(self) -> float:
        """Predicted seconds until the job is finished, once it runs."""
        return self.predicted_s * (1.0 - self.share_done)


class JobQueue:
    """The jobs that wait for the engine; callers must hold a lock."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.jobs: list[Job] = []
        self._served_s: dict[str, float] = defaultdict(float)  # by client, while jobs wait

    def put(self, job: Job) -> None:
        """Add a job. A client without waiting jobs starts level with the others, not ahead of them."""
        others = [self._served_s[other.client] for other in self.jobs]
        if job.client not in {other.client for other in self.jobs}:
            self._served_s[job.client] = max(self._served_s[job.client], min(others, default=0.0))
        self.jobs.append(job)

    def take(self, interactive_only: bool = False) -> Job | None:
        """Remove and return the next job, or None when no job waits.

        The order is: aged jobs by arrival, then interactive jobs, then the others; among these, first the client that
        has been served least.
        """
        now = time.monotonic()
        choices = [job for job in self.jobs if not interactive_only or self.is_interactive(job)]
        if not choices:
            return None
        return self._remove(min(choices, key=lambda job: self._rank(job, now)))

    def drop(self, job: Job) -> bool:
        """Remove a job without running it; return whether the job was still waiting."""
        if job not in self.jobs:
            return False
        self.jobs.remove(job)
        return True

    def is_interactive(self, job: Job) -> bool:
        """Return whether the job is predicted to be short."""
        return job.predicted_s <= self.policy.interactive_s

    def _remove(self, job: Job) -> Job:
        """Remove a job and count its predicted seconds as served to its client."""
        self.jobs.remove(job)
        self._served_s[job.client] += job.predicted_s
        if not self.jobs:
            self._served_s.clear()
        return job

    def _rank(self, job: Job, now: float) -> tuple[float, float, float]:
        if now - job.queued_at >= self.policy.ageing_s:
            return -1.0, 0.0, job.queued_at
        return float(not self.is_interactive(job)), self._served_s[job.client], job.queued_at
