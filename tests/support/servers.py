"""Real servers for tests, with one thread and JSON logs."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
