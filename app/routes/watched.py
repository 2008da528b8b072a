"""Work that is given up when its client has gone or its time has passed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from app.control import Control
from app.errors import BusyError, ClientGoneError, DeadlineError

T = TypeVar("T")

END_RETRY_S = 5.0  # another instance answers, or this one is back by then


async def run_watched(
    request: Request, work: Callable[[Control], Coroutine[Any, Any, T]], deadline_s: float, ended: asyncio.Event
) -> T:
    """What `work` returns or raises; the request's body must have been read.

    Raises:
        ClientGoneError: the client closed its connection. DeadlineError: more than `deadline_s` have passed.
        BusyError: the server has `ended`.
    """
    control = Control()
    task = asyncio.ensure_future(work(control))
    gone = asyncio.ensure_future(_gone(request))
    end = asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait({task, gone, end}, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientGoneError("the client has gone")
        if end.done():
            raise BusyError("the server is shutting down", retry_after_s=END_RETRY_S)
        raise DeadlineError("the request took too long", expected=f"{deadline_s:g} s at most")
    finally:
        if not task.done():
            control.stop("client" if gone.done() else "shutdown" if end.done() else "deadline")
            task.cancel()
        gone.cancel()
        end.cancel()
        await asyncio.gather(task, gone, end, return_exceptions=True)  # nothing of it goes on unseen


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
