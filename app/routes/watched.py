"""Work that is given up when its client has gone or its time has passed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from app.control import Control
from app.errors import ClientGoneError, DeadlineError

T = TypeVar("T")


async def run_watched(request: Request, work: Callable[[Control], Coroutine[Any, Any, T]], deadline_s: float) -> T:
    """What `work` returns or raises; the request's body must have been read.

    Raises:
        ClientGoneError: the client closed its connection. DeadlineError: more than `deadline_s` have passed.
    """
    control = Control()
    task = asyncio.ensure_future(work(control))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientGoneError("the client has gone")
        raise DeadlineError("the request took too long", expected=f"{deadline_s:g} s at most")
    finally:
        if not task.done():
            control.stop("client" if gone.done() and not gone.cancelled() else "deadline")
            task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)  # nothing of it goes on unseen


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
