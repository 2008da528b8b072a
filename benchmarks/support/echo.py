"""A server that measures the cost of HTTP alone: `python -m benchmarks.support.echo PORT`.

It reads the request's body and replies with the number of bytes that the header X-Reply-Bytes gives.
"""

from __future__ import annotations

import sys

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

SIZE = "X-Reply-Bytes"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request."""
    request = Request(scope, receive)
    await request.body()
    await Response(bytes(int(request.headers.get(SIZE, "0"))))(scope, receive, send)


if __name__ == "__main__":
    uvicorn.run(echo, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", lifespan="off")
