"""The process from which parsers are forked: `python -m app.codecs.sandbox.forker_process FD`.

It has the libraries loaded, so that no parser has to load them. It takes its orders from the socket FD, and ends with
its parsers when the server has closed the other end, however the server ended. It needs no file and no port.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import struct
import sys
import warnings
from multiprocessing.connection import Connection
from types import FrameType

ORDER = struct.Struct("<cQ")  # an order, and the number that the server gave to the parser
FORK, KILL = b"f", b"k"


def main(control: socket.socket) -> None:
    """Fork and kill parsers as ordered, until the server has closed its end of `control`."""
    for ignored in (signal.SIGINT, signal.SIGTERM):  # these are for the server, which finishes its requests
        signal.signal(ignored, signal.SIG_IGN)
    from app.codecs.sandbox import parser_child  # loads the libraries, while orders can wait in the socket

    parsers: dict[int, int] = {}  # process by number
    warnings.filterwarnings("ignore", message=".*multi-threaded")  # the threads of allocators survive a fork
    signal.signal(signal.SIGCHLD, lambda number, frame: _reap(parsers, number, frame))
    gc.freeze()  # the collector writes into objects, which would copy them into every parser
    while True:
        content, files, _, _ = socket.recv_fds(control, ORDER.size, 1)
        if len(content) < ORDER.size:
            break
        order, number = ORDER.unpack(content)
        if order == FORK and files:
            _fork(control, parsers, number, files[0], parser_child.serve)
        elif order == KILL and number in parsers:
            _kill(parsers[number])
    for process in list(parsers.values()):
        _kill(process)


def _fork(control: socket.socket, parsers: dict[int, int], number: int, file: int, serve: object) -> None:
    """Fork a parser that serves the connection `file`; if that fails, the server finds its end closed."""
    try:
        process = os.fork()
    except OSError:  # too many processes, or too little memory
        process = -1
    if process == 0:
        control.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        status = 1
        try:
            assert callable(serve)
            serve(Connection(file))
            status = 0
        finally:
            os._exit(status)
    os.close(file)
    if process > 0:
        parsers[number] = process


def _reap(parsers: dict[int, int], _: int, __: FrameType | None) -> None:
    """Take note of every parser that has ended."""
    while True:
        try:
            process, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if process == 0:
            return
        for number in [n for n, p in parsers.items() if p == process]:
            del parsers[number]


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:  # it has just ended
        return


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
    os._exit(0)  # nothing is left to tidy up, and unloading the libraries would take seconds
