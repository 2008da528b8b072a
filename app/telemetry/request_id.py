"""A name for every request: taken from X-Request-ID or made here, told in the reply, in problems and in logs."""

from __future__ import annotations

import re
from contextvars import ContextVar
from uuid import uuid4

HEADER = "X-Request-ID"
SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")  # what may go into a log line and a header as it is

_current: ContextVar[str] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """The id of the request that this code runs for; "" outside of one."""
    return _current.get()


def name_request(requested: str | None) -> str:
    """Sets the id of the current request: `requested` where it is sane, else a new one."""
    request_id = requested if requested is not None and SANE.fullmatch(requested) else uuid4().hex
    _current.set(request_id)
    return request_id
