"""How work that runs elsewhere, on a thread, in a graph or in another process, is told to stop."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock


class StoppedError(Exception):
    """Work that stopped because it was told to."""


class Control:
    """One request's stop signal; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._callbacks: list[Callable[[], None]] = []
        self.stopped = False
        self.reason = ""

    def stop(self, reason: str = "") -> None:
        """Tells all who asked, once; the first reason stays."""
        with self._lock:
            self.reason = self.reason or reason
            self.stopped = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Has `callback` called when it is stopped, at once if it is."""
        with self._lock:
            if not self.stopped:
                self._callbacks.append(callback)
                return
        callback()

    def check(self) -> None:
        """Returns unless stopped.

        Raises:
            StoppedError: it is.
        """
        if self.stopped:
            raise StoppedError
