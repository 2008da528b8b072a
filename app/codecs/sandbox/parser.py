"""Decodes every untrusted body in another process, so that no body can stop, fill or end the server."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import msgspec

from app.codecs.base import BodyLimits, Codec, DecodedBody
from app.codecs.sandbox import message
from app.codecs.sandbox.forker import Forker, shared_forker
from app.errors import PROBLEMS, NotReadyError, TooLargeError
from hydrofill.cancellation import Cancellation
from hydrofill.errors import UnreadableError

logger = logging.getLogger(__name__)

REPLY_OVERHEAD = 4  # a message may be this many times the size of the decoded body: texts, names, framing
REPLY_SPARE_BYTES = 2**20
SMALL_BYTES = 2**20  # a process that has decoded a larger body is not used again, and so returns its memory
MAX_BODIES = 1_000  # decoded by one process
START_S = 60.0  # for the libraries to load; a process that forks nothing for so long is replaced
CHECK_S = 5.0  # for a check of readiness
CHECKED_S = 1.0  # how long a check counts
KINDS = {kind.__name__: kind for kind in PROBLEMS}


@dataclass(frozen=True)
class ParserLimits:
    """Limits of one body.

    memory_bytes: memory beyond that of an idle parser. cpu_s: processor time. wall_s: elapsed time. body: what the body
    may hold.
    """

    memory_bytes: int
    cpu_s: int
    wall_s: float
    body: BodyLimits = field(default_factory=BodyLimits)


@dataclass(eq=False)
class _Child:
    """A process that decodes bodies, and the connection to it."""

    number: int
    connection: Connection
    greeted: bool = False
    bodies: int = 0


class _Stop:
    """Kills a process while it decodes one body, and no longer: it may decode the next for another client."""

    def __init__(self, forker: Forker, child: _Child) -> None:
        self._lock, self._forker, self._child = threading.Lock(), forker, child
        self.over = self.killed = self.late = False

    def kill(self, late: bool = False) -> None:
        with self._lock:
            if not self.over:
                self.killed, self.late = True, self.late or late
                self._forker.kill(self._child.number)

    def end(self) -> None:
        with self._lock:
            self.over = True


class Parser:
    """Decodes bodies in processes that are forked from one with the libraries loaded.

    `waiting` processes wait for bodies, so that no body waits for a process. A process decodes many small JSON and npz
    bodies, but a single one in a format whose library may be led astray.
    """

    def __init__(self, limits: ParserLimits, waiting: int = 1, forker: Forker | None = None) -> None:
        self.limits = limits
        self._forker = forker or shared_forker()
        self._waiting: deque[_Child] = deque()
        self._max_waiting = waiting
        self._checking, self._checked_at = threading.Lock(), -CHECKED_S

    def start(self) -> None:
        """Start the processes that wait; their libraries load in the meantime.

        Raises:
            NotReadyError: no process can be started.
        """
        while len(self._waiting) < self._max_waiting:
            self._waiting.append(self._fork())

    def stop(self) -> None:
        """End the processes that wait."""
        while self._waiting:
            self._waiting.pop().connection.close()

    def check(self, timeout_s: float = CHECK_S) -> None:
        """Start a process, unless one has started within the last second.

        Raises:
            NotReadyError: no body can be decoded now.
        """
        with self._checking:
            if time.monotonic() - self._checked_at >= CHECKED_S:
                child = self._fork()
                self._greet(child, timeout_s)
                self._keep(child)

    def parse(self, codec: Codec, body: bytes, cancellation: Cancellation | None = None) -> DecodedBody:
        """Decode `body`; a cancellation ends the process.

        Raises:
            ContractError: as of the codec's `decode`.
            TooLargeError: decoding exceeds the limits of memory or time.
            UnreadableError: the process crashed or was cancelled.
            NotReadyError: no process can be started now.
        """
        child = self._take()
        stop = _Stop(self._forker, child)
        reusable = False
        try:
            reply = self._exchange(child, stop, codec, body, cancellation)
            reusable = not codec.isolated and len(body) <= SMALL_BYTES and child.bodies < MAX_BODIES
        finally:
            stop.end()
            child.bodies += 1
            if reusable and not stop.killed:
                self._keep(child)
            else:
                child.connection.close()
                with suppress(NotReadyError):
                    self.start()
        return message.unpack(reply, KINDS)

    def _exchange(
        self, child: _Child, stop: _Stop, codec: Codec, body: bytes, cancellation: Cancellation | None
    ) -> bytes:
        """Send a body and return the reply; the process is killed when it takes too long or is cancelled."""
        limits, started = self.limits, time.monotonic()
        timer = threading.Timer(limits.wall_s, lambda: stop.kill(late=True))
        timer.daemon = True
        timer.start()
        if cancellation is not None:
            cancellation.on_cancel(stop.kill)
        decoded_bytes = limits.body.decoded_bytes
        max_reply = None if decoded_bytes is None else REPLY_OVERHEAD * decoded_bytes + REPLY_SPARE_BYTES
        task = message.Task(codec.media_type, limits.memory_bytes, limits.cpu_s, limits.body, codec.group)
        try:
            child.connection.send_bytes(msgspec.msgpack.encode(task))
            child.connection.send_bytes(body)
            return child.connection.recv_bytes(max_reply)
        except (EOFError, OSError) as error:
            stop.kill()
            logger.warning("a parser ended while it decoded a body of %s bytes", len(body))
            if stop.late or time.monotonic() - started >= limits.cpu_s:
                raise TooLargeError("parsing the body takes longer than the limit") from error
            raise UnreadableError("the body made its parser crash; it may be damaged") from error
        finally:
            timer.cancel()

    def _take(self) -> _Child:
        """Return a process that has sent its greeting: one that waits, or else a new one.

        Raises:
            NotReadyError: no process can be started now.
        """
        while True:
            try:
                child, new = self._waiting.popleft(), False
            except IndexError:
                child, new = self._fork(), True
            try:
                self._greet(child, START_S)
            except NotReadyError:  # one that waited may have ended meanwhile, such as with its forker
                if new:
                    raise
            else:
                return child

    def _fork(self) -> _Child:
        try:
            return _Child(*self._forker.fork())
        except OSError as error:
            raise _not_ready() from error

    def _keep(self, child: _Child) -> None:
        if len(self._waiting) < self._max_waiting:
            self._waiting.append(child)
        else:
            child.connection.close()

    def _greet(self, child: _Child, timeout_s: float) -> None:
        """Wait for the greeting of a process, or find that it has ended.

        Raises:
            NotReadyError: it has ended, or sends none; if it was given long enough, its forker is replaced.
        """
        connection = child.connection
        try:
            if child.greeted and not connection.poll(0):
                return
            if not connection.poll(timeout_s):
                if timeout_s >= START_S:
                    self._forker.stop()
                raise EOFError
            connection.recv_bytes(0)  # after its greeting, an idle process sends nothing until it ends
        except (EOFError, OSError) as error:
            connection.close()
            raise _not_ready() from error
        child.greeted = True
        self._checked_at = time.monotonic()


def _not_ready() -> NotReadyError:
    return NotReadyError("no process can be started now that reads the body; try again")
