"""The id of every request: from X-Request-ID or generated; part of the response, of problem documents and of logs."""

from __future__ import annotations

import re
from contextvars import ContextVar
from uuid import uuid4

HEADER = "X-Request-ID"
VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")  # safe in a log line and in a header

_current: ContextVar[str] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """Return the id of the request that is being handled; "" outside of a request."""
    return _current.get()


def set_request_id(requested: str | None) -> str:
    """Set and return the id of the current request: `requested` if it is valid, else a generated id."""
    request_id = requested if requested is not None and VALID_ID.fullmatch(requested) else uuid4().hex
    _current.set(request_id)
    return request_id
