"""Where work of many seconds can be left or interrupted: it calls `checkpoint` between its steps.

What is to happen there belongs to the caller's context, as in anyio, so that arithmetic need not hand it down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


def _nothing() -> None:
    pass


_call: ContextVar[Callable[[], None]] = ContextVar("checkpoint", default=_nothing)


def checkpoint() -> None:
    """Calls what `checkpoints` says in this context; what it raises ends the work."""
    _call.get()()


@contextmanager
def checkpoints(call: Callable[[], None] = _nothing) -> Iterator[None]:
    """Within, and in this thread only, every checkpoint calls `call`; by default nothing."""
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)
