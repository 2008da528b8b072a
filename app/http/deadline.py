"""Work that is given up when its client has gone or its time has passed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from app.errors import BusyError, ClientGoneError, DeadlineError
from app.http.bodies import read_body
from app.service import Service
from hydrofill.cancellation import Cancellation

T = TypeVar("T")

END_RETRY_S = 5.0  # another instance answers, or this one is back by then


async def answer_body(
    request: Request, service: Service, work: Callable[[bytes, Cancellation], Coroutine[Any, Any, T]]
) -> T:
    """What `work` makes of the body of a request that holds a place: the only way in for a body.

    Raises:
        TooLargeError, BodyTimeoutError and those of `run_watched`.
    """
    settings = service.settings
    body = await read_body(request, settings.max_body_bytes, settings.body_timeout_s)
    return await run_watched(
        request, lambda cancellation: work(body, cancellation), settings.deadline_s, service.admission.ended
    )


async def run_watched(
    request: Request, work: Callable[[Cancellation], Coroutine[Any, Any, T]], deadline_s: float, ended: asyncio.Event
) -> T:
    """What `work` returns or raises; the request's body must have been read.

    Raises:
        ClientGoneError: the client closed its connection. DeadlineError: more than `deadline_s` have passed.
        BusyError: the server has `ended`.
    """
    cancellation = Cancellation()
    task = asyncio.ensure_future(work(cancellation))
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
            cancellation.cancel("client" if gone.done() else "shutdown" if end.done() else "deadline")
            task.cancel()
        gone.cancel()
        end.cancel()
        await asyncio.gather(task, gone, end, return_exceptions=True)  # nothing of it goes on unseen


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
