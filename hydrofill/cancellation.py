"""How long work is told to stop, and where it listens.

`Cancellation` is the stop signal of one piece of work, safe to use from any thread. `checkpoint` is what long
arithmetic calls between its steps; what happens there is set by the caller's context, as in anyio, so that the
arithmetic needs no argument for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock


class CancelledError(Exception):
    """Raised by work that stopped because it was cancelled."""


class Cancellation:
    """The stop signal of one piece of work; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._callbacks: list[Callable[[], None]] = []
        self.cancelled = False
        self.reason = ""

    def cancel(self, reason: str = "") -> None:
        """Cancel the work and call every registered callback once; the first reason is kept."""
        with self._lock:
            self.reason = self.reason or reason
            self.cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Register `callback` for the cancellation; call it at once if the work is cancelled already."""
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
    """Call what `checkpoints` set in this context; an exception raised there ends the work."""
    _call.get()()


@contextmanager
def checkpoints(call: Callable[[], None] = _nothing) -> Iterator[None]:
    """Have every checkpoint of this context call `call`; by default nothing. Other threads are not affected."""
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)
