"""Cut the steps of a record into blocks, so that no kernel runs for long and work can be cancelled between two."""

from __future__ import annotations

from collections.abc import Iterator

BLOCK_VALUES = 500_000  # values that a kernel works on at a time


def blocks(n_time: int, steps: int) -> Iterator[tuple[int, int]]:
    """Yield the first step and the step after the last of each block of `steps` steps, at least one."""
    steps = max(steps, 1)
    for first in range(0, n_time, steps):
        yield first, min(first + steps, n_time)
