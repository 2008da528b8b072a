"""Listening sockets that refuse connections while the process is short of files."""

from __future__ import annotations

import errno
import logging
import resource
import socket
from typing import Any

logger = logging.getLogger(__name__)

ACCEPTS_PER_TURN = 8  # then the event loop reads what these connections have sent
MAX_PENDING = 1024  # connections that the system keeps until they are accepted
RESERVED_FILES = 32  # for the work on requests; at most a quarter of the process's limit
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
READ_BYTES = 2**16


class Listener(socket.socket):
    """A listening socket for asyncio, which calls `accept` until it raises an error.

    refusal: the reply to a connection for which no file is left.
    """

    refusal = b""
    _has_failed = False

    def listen(self, backlog: int = MAX_PENDING, /) -> None:  # noqa: ARG002 (asyncio accepts this many at a time)
        """Listen, with a queue that does not depend on how many connections are accepted at a time."""
        super().listen(MAX_PENDING)

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection; refuse it if few files are left.

        Raises:
            BlockingIOError: there is no connection to serve now; asyncio asks again.
            OSError: the system has no resources; asyncio logs this and waits a second. It goes on to call `accept` in
                the same turn, which must not fail in the same way: each failure would be logged and waited for.
        """
        try:
            connection, address = super().accept()
        except OSError as error:
            exhausted = error.errno in EXHAUSTED
            if exhausted and self._has_failed:
                self._has_failed = False
                raise BlockingIOError from error
            self._has_failed = exhausted
            raise
        self._has_failed = False
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit == resource.RLIM_INFINITY or connection.fileno() < limit - min(RESERVED_FILES, limit // 4):
            return connection, address
        logger.warning("connection refused: the process has few files left of its %s", limit)
        self._refuse(connection)
        raise BlockingIOError

    def _refuse(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.setblocking(False)
                connection.send(self.refusal)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(READ_BYTES)  # bytes that are never read would have the system discard the reply
            except OSError:
                pass  # the client is gone, or has sent nothing


def listen_on(host: str, port: int) -> list[Listener]:
    """Return sockets that are bound to each address of `host`.

    Raises:
        OSError: an address is unknown or in use.
    """
    listeners: list[Listener] = []
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        listener = Listener(family, kind, protocol)
        listeners.append(listener)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    return listeners
