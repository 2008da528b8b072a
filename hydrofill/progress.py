"""Report how much of a work is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
Progress = Callable[[int, int], None]  # is called with (parts done, parts in all)


def reported(parts: Sequence[T], progress: Progress | None) -> Iterator[T]:
    """Yield the parts, and report each as done when the next is asked for."""
    for done, part in enumerate(parts, start=1):
        yield part
        if progress is not None:
            progress(done, len(parts))


def stage(progress: Progress | None, share: tuple[int, int]) -> Progress | None:
    """Return a progress for one stage of a work, which takes the work from one share to another, in per cent."""
    if progress is None:
        return None
    first, last = share
    return lambda done, total: progress(first + round((last - first) * done / total), 100)
