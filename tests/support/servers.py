"""Real servers for tests, with one thread and JSON logs."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.http.listener import listen_on
from app.local_server import ROOT, LocalServer, local_server
from app.main import create_app
from app.server import make_server
from app.settings import Settings
from tests.support.waiting import wait_for

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


@contextmanager
def serving_in_thread(bundles: Path, **settings: object) -> Iterator[str]:
    """Run a server on a thread of this process, which starts sooner than a process; yield its address."""
    (listener,) = listen_on("127.0.0.1", 0)
    chosen = Settings.model_validate({"bundles": bundles, "threads": 1, **settings})
    server = make_server(create_app(chosen), chosen)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
