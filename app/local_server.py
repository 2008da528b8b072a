"""Starts a server in a process of its own on a free port of this machine, for the demo, tests and benchmarks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from hydrofill.paths import resolve_target

ROOT = Path(__file__).parents[1]
START_LIMIT_S = 180.0  # allows for a busy machine
STOP_LIMIT_S = 15.0
POLL_S = 0.1


class StartError(RuntimeError):
    """The server ended early or was not ready in time; the message is one line."""


@dataclass(frozen=True)
class LocalServer:
    """A server that is ready: its address, its process, and the file of its log."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path


def free_port() -> int:
    """Return a port of this machine that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def local_server(bundles: Path, log: Path, cwd: Path | None = None, **settings: object) -> Iterator[LocalServer]:
    """Run `python -m app serve` until the context ends.

    Args:
        bundles: the folder of bundles.
        log: the file for the server's log.
        cwd: the server's working folder; by default this process's.
        settings: the server's settings by their names in lower case; HYDROFILL_ variables of this process are ignored.

    Raises:
        StartError: the server does not start; names the log file.
    """
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith("HYDROFILL_")}
    environment |= {f"HYDROFILL_{name.upper()}": str(value) for name, value in settings.items()}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    options = ["--bundles", str(bundles.absolute()), "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "app", "serve", *options]
    with running(command, port, log, "/readyz", environment, cwd) as server:
        yield server


@contextmanager
def running(
    command: Sequence[str],
    port: int,
    log: Path,
    ready_path: str,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[LocalServer]:
    """Run a command that listens on `port` until the context ends; enter it once GET `ready_path` succeeds.

    Raises:
        StartError: the command ends, or is not ready within START_LIMIT_S; names the log file.
        FileRefusedError: `log` exists and is no regular file.
    """
    with resolve_target(log).open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=cwd)
        server = LocalServer(f"http://127.0.0.1:{port}", process, log)
        try:
            _wait_until_ready(server, ready_path)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(server: LocalServer, ready_path: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise StartError(f"the server ended with exit code {server.process.returncode}; see {server.log}")
        try:
            if httpx.get(f"{server.address}{ready_path}", timeout=5.0).is_success:
                return
        except httpx.TransportError:
            pass  # the server does not listen yet
        time.sleep(POLL_S)
    raise StartError(f"the server was not ready after {START_LIMIT_S:.0f} s; see {server.log}")
