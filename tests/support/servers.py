"""Real servers for tests, with one thread and JSON logs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.local_server import ROOT, LocalServer, local_server

SAMPLE = ROOT / "app" / "page" / "dist" / "page" / "sample.nc"


@contextmanager
def serving(bundles: Path, folder: Path, **settings: object) -> Iterator[LocalServer]:
    """Run a server in `folder`, with its log there."""
    given = {"log_format": "json", "threads": 1, **settings}
    with local_server(bundles, folder / "server.log", folder, **given) as server:
        yield server


def request_ids(server: LocalServer) -> list[str]:
    """Return the ids of the requests in the server's log."""
    return re.findall(r"request_id=(\S+)", server.log.read_text())


def wait_for(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Return once `condition` holds; fail when it does not within `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"the condition does not hold after {limit_s:g} s"
        time.sleep(0.01)
