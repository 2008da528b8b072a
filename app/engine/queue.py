"""What waits for the engine, and who is next: small before large, with ageing, and fair between clients."""

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
    """Work predicted to take at most `interactive_s` goes before other work that has waited less than `ageing_s`."""

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
    done: float = 0.0  # share of it, 0 to 1

    @property
    def left_s(self) -> float:
        """Predicted seconds that it still takes."""
        return self.predicted_s * (1.0 - self.done)


class Waiting:
    """The jobs that wait; not safe to use from several threads by itself."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.jobs: list[Job] = []
        self._served_s: dict[str, float] = defaultdict(float)  # by client, while it has jobs here

    def put(self, job: Job) -> None:
        """Takes a job in. A client that comes anew starts level with those that wait, not ahead of them."""
        others = [self._served_s[other.client] for other in self.jobs]
        if job.client not in {other.client for other in self.jobs}:
            self._served_s[job.client] = max(self._served_s[job.client], min(others, default=0.0))
        self.jobs.append(job)

    def take(self, interactive_only: bool = False) -> Job | None:
        """The next job, or None: aged ones in order, then interactive before bulk, the client least served first."""
        now = time.monotonic()
        choices = [job for job in self.jobs if not interactive_only or self.is_interactive(job)]
        if not choices:
            return None
        return self._remove(min(choices, key=lambda job: self._rank(job, now)))

    def drop(self, job: Job) -> bool:
        """Lets go of a job; whether it was still here."""
        if job not in self.jobs:
            return False
        self.jobs.remove(job)
        return True

    def is_interactive(self, job: Job) -> bool:
        """Whether the job is small."""
        return job.predicted_s <= self.policy.interactive_s

    def _remove(self, job: Job) -> Job:
        """Takes a job out, and counts it as served."""
        self.jobs.remove(job)
        self._served_s[job.client] += job.predicted_s
        if not self.jobs:
            self._served_s.clear()
        return job

    def _rank(self, job: Job, now: float) -> tuple[float, float, float]:
        if now - job.queued_at >= self.policy.ageing_s:
            return -1.0, 0.0, job.queued_at
        return float(not self.is_interactive(job)), self._served_s[job.client], job.queued_at
