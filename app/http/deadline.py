"""Work that is cancelled when its client disconnects, its deadline passes or the server ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request

from app.errors import RESTART_RETRY_S, BusyError, ClientGoneError, DeadlineError
from hydrofill.cancellation import Cancellation

T = TypeVar("T")

STOP_S = 0.2  # that a reply waits for cancelled work to stop; well below the last second of a drain


async def run_until_deadline(
    request: Request, start: Callable[[Cancellation], asyncio.Task[T]], deadline_s: float, ended: asyncio.Event
) -> T:
    """Return or raise what the work does; the request's body must have been read already.

    Args:
        request: watched for a disconnect of its client.
        start: starts the work; the Cancellation that it gets is cancelled when the result is no longer wanted.
        deadline_s: the longest time for the work, in seconds.
        ended: set when the server ends.

    Raises:
        ClientGoneError: the client closed its connection.
        DeadlineError: `deadline_s` have passed.
        BusyError: the server has ended.
    """
    cancellation = Cancellation()
    task = start(cancellation)
    gone = asyncio.ensure_future(_wait_for_disconnect(request))
    end = asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait({task, gone, end}, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientGoneError("the client closed the connection")
        if end.done():
            raise BusyError("the server is shutting down", retry_after_s=RESTART_RETRY_S)
        raise DeadlineError("the request was not finished in time", expected=f"{deadline_s:g} s at most")
    finally:
        if not task.done():
            cancellation.cancel("client" if gone.done() else "shutdown" if end.done() else "deadline")
            task.cancel()
        gone.cancel()
        end.cancel()
        await asyncio.gather(gone, end, return_exceptions=True)
        await asyncio.wait({task}, timeout=STOP_S)  # work that stops later keeps its place until then


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
