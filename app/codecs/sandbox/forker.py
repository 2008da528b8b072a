"""Starts parsers: has them forked from a process that has the libraries loaded, and has them killed."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import subprocess
import sys
import threading
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

from app.codecs.sandbox.forker_process import FORK, KILL, ORDER

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parents[3]
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # a process with threads cannot be forked safely


class Forker:
    """The process from which parsers are forked, started again whenever it has ended.

    Orders go through a pair of connected sockets, so that nothing on any disk can break it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._forked = 0

    def start(self) -> None:
        """Start the process, unless it is running.

        Raises:
            OSError: the process cannot be started.
        """
        with self._lock:
            self._running()

    def stop(self) -> None:
        """End the process and its parsers; the next order starts another."""
        with self._lock:
            self._end()

    def fork(self) -> tuple[int, Connection]:
        """Order a parser; return its number, and the connection to it, which is closed at once if it cannot be forked.

        Raises:
            OSError: there is no free file descriptor, or the process cannot be started.
        """
        here, there = socket.socketpair()
        try:
            with self._lock:
                self._forked += 1
                number = self._forked
                order = ORDER.pack(FORK, number)
                try:
                    socket.send_fds(self._running(), [order], [there.fileno()])
                except ConnectionError:  # the process has just ended
                    self._end()
                    socket.send_fds(self._running(), [order], [there.fileno()])
        except OSError:
            here.close()
            raise
        finally:
            there.close()
        return number, Connection(here.detach())

    def kill(self, number: int) -> None:
        """Order the end of a parser; its connection is closed once it has ended."""
        with self._lock:
            if self._control is None:
                return
            try:
                self._control.sendall(ORDER.pack(KILL, number))
            except OSError:  # parsers end with the process that they were forked from
                self._end()

    def _running(self) -> socket.socket:
        """Return the socket for orders to the process, which is started if it is not running."""
        if self._process is not None and self._process.poll() is not None:
            logger.error("the process that starts parsers has ended with %s; it is started again", self._process.poll())
            self._end()
        if self._control is None:
            here, there = socket.socketpair()
            with there:
                command = [sys.executable, "-m", "app.codecs.sandbox.forker_process", str(there.fileno())]
                try:
                    self._process = subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        pass_fds=[there.fileno()],
                        env={**os.environ, **ONE_THREAD, "PYTHONPATH": _path()},
                    )
                except OSError:
                    here.close()
                    raise
            self._control = here
        return self._control

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@cache
def shared_forker() -> Forker:
    """Return the forker of this process: its libraries are loaded once, whatever the number of applications."""
    forker = Forker()
    atexit.register(forker.stop)
    return forker


def _path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
