"""A real server in a process of its own, on a free port of this machine."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
START_S = 180.0  # on a machine that does much else


@dataclass
class Served:
    """The server's address, its process, and the file of its log."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def request_ids(self) -> list[str]:
        return re.findall(r"request_id=(\S+)", self.log.read_text())


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(bundles: Path, folder: Path, **settings: object) -> Iterator[Served]:
    """A server that is ready; it is killed at the end if it still runs."""
    port = free_port()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HYDROFILL_LOG_FORMAT": "json", "HYDROFILL_THREADS": "1"}
    env |= {f"HYDROFILL_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "app", "serve", "--bundles", str(bundles), "--port", str(port)]
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=out)
    try:
        _await_ready(f"http://127.0.0.1:{port}", process, log)
        yield Served(f"http://127.0.0.1:{port}", process, log)
    finally:
        process.kill()
        process.wait()


def _await_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{address}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(log.read_text())
