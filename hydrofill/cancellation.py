"""Stop long computations.

`Cancellation` is the stop signal of one piece of work; it can be used from any thread. Long computations call
`checkpoint` between their steps. What a checkpoint does is set by the caller with `checkpoints`, so that the
computations need no extra argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock


class CancelledError(Exception):
    """Raised by work that stopped because it was cancelled."""


class Cancellation:
    """The stop signal of one piece of work; it can be used from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._callbacks: list[Callable[[], None]] = []
        self.cancelled = False
        self.reason = ""

    def cancel(self, reason: str = "") -> None:
        """Cancel the work and call every registered callback once; later reasons are ignored."""
        with self._lock:
            self.reason = self.reason or reason
            self.cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Register `callback` to be called on cancellation; call it at once if the work is already cancelled."""
        with self._lock:
            if not self.cancelled:
                self._callbacks.append(callback)
                return
        callback()

    def check(self) -> None:
        """Raise CancelledError if the work is cancelled.

        Raises:
            CancelledError: the work is cancelled.
        """
        if self.cancelled:
            raise CancelledError


def _nothing() -> None:
    pass


_call: ContextVar[Callable[[], None]] = ContextVar("checkpoint", default=_nothing)


def checkpoint() -> None:
    """Call the function that `checkpoints` set in this context; an exception that it raises ends the work."""
    _call.get()()


@contextmanager
def checkpoints(call: Callable[[], None] = _nothing) -> Iterator[None]:
    """Make every checkpoint in this context call `call`; by default, do nothing. Other threads are not affected."""
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)
