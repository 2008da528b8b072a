"""What HTTP alone costs: reads a body, answers as many bytes as it is asked for: `python -m benchmarks.echo PORT`."""

from __future__ import annotations

import sys

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

SIZE = "X-Reply-Bytes"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers one request."""
    request = Request(scope, receive)
    await request.body()
    await Response(bytes(int(request.headers.get(SIZE, "0"))))(scope, receive, send)


if __name__ == "__main__":
    uvicorn.run(echo, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", lifespan="off")
