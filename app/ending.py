"""Ends the process for certain: threads that never return must not keep a server alive that has said it ends."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

PROCESSES = Path("/proc")


def end_within(seconds: float, exit_code: int) -> None:
    """End this process with `exit_code` after so many seconds, whatever runs, unless it has ended by then.

    The processes that it started are killed. Files are only ever replaced whole, so nothing is left half written.
    """
    timer = threading.Timer(seconds, _end, (exit_code,))
    timer.daemon = True
    timer.start()


def _end(exit_code: int) -> None:
    logger.critical("the server ends with exit code %s while work is still running", exit_code)
    end_now(exit_code)


def end_now(exit_code: int) -> None:
    """End this process and those that it started, without the interpreter's own end.

    That frees one object after the other, which takes seconds on a busy machine, and no thread could cut it short.
    """
    for process in descendants(os.getpid()):
        try:
            os.kill(process, signal.SIGKILL)
        except OSError:
            continue  # it has ended
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a full disk, a closed stream
            stream.flush()
    os._exit(exit_code)


def descendants(process: int) -> list[int]:
    """Return the processes that a process started, and those that these started; none where the system has no /proc."""
    found: list[int] = []
    for children in PROCESSES.glob(f"{process}/task/*/children"):
        try:
            for child in map(int, children.read_text(encoding="ascii").split()):
                found += [child, *descendants(child)]
        except OSError:
            continue  # it has ended
    return found
