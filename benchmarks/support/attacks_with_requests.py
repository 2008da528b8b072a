"""Attacks with requests on a server with usual settings; the server goes on."""

from __future__ import annotations

import functools
import socket
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from app.local_server import LocalServer, local_server
from benchmarks.support import attack_bodies
from benchmarks.support.bodies import JSON, NPZ, Body
from hydrofill.bundle import shipped_bundles

TIMEOUT_S = 600.0
REFUSED = frozenset({400, 408, 413, 422, 503})
BROKEN = 0  # in place of a status: the connection ended without a reply
LEAVE_S = 1.0
Answer = tuple[str, bool]  # what was answered, and whether that is right


@contextmanager
def usual_server(folder: Path, memory_bytes: int) -> Iterator[LocalServer]:
    """Run a server with the shipped bundles."""
    with local_server(shipped_bundles(), folder / "log", memory_bytes=memory_bytes) as server:
        yield server


@dataclass(frozen=True)
class Attack:
    """An attack; `send` returns what was answered, and whether that is right. ends: whether the server may end."""

    number: str
    name: str
    send: Callable[[LocalServer], Answer]
    server: Callable[[Path, int], AbstractContextManager[LocalServer]] = usual_server
    ends: bool = False


def post(server: LocalServer, body: Body, path: str = "/reconstruct", **headers: str) -> int:
    """Return the status of a request; BROKEN if there is no reply."""
    given = {"Content-Type": body.media_type, **headers}
    try:
        return httpx.post(server.address + path, content=body.content, headers=given, timeout=TIMEOUT_S).status_code
    except httpx.HTTPError:
        return BROKEN


def counted(statuses: Iterable[int]) -> str:
    """Return how often there was each status."""
    return ", ".join(f"{status}: {number}" for status, number in sorted(Counter(statuses).items()))


@functools.cache
def good_body(steps: int = 6, rows: int = 6, seed: int = 0) -> Body:
    """Return a request of a variable that the general bundle fills."""
    rng = np.random.default_rng(seed)
    values = rng.gamma(2.0, 2.0, (steps, rows, rows)).astype(np.float32)
    values[rng.random(values.shape) < 0.4] = np.nan
    axis = np.arange(float(rows))
    return attack_bodies.npz_of(time=attack_bodies.days(steps), y=axis, x=axis, rain=values)


def bodies_are_refused(*makes: Callable[[], Body], allowed: Iterable[int] = (400, 413, 422)) -> Callable[..., Answer]:
    """Return an attack by bodies, to each route; then a good request must be filled."""

    def send(server: LocalServer) -> Answer:
        bodies = [make() for make in makes]
        statuses = [post(server, body, path) for path in ("/reconstruct", "/estimate") for body in bodies]
        good = post(server, good_body())
        return f"{counted(statuses)}; then {good}", set(statuses) <= set(allowed) and good == 200

    return send


def _archives() -> Callable[..., Answer]:
    makes = [functools.partial(attack_bodies.archive_of_zeros, m, 256) for m in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)]
    return bodies_are_refused(*makes, allowed=(400,))


def _weights(server: LocalServer) -> Answer:
    weights = (f"{JSON};q=nan", "*/*;q=nan, x/y;q=inf", "*/*;q=", f"{NPZ};q=-1", ",;q", '"', "*/*;q=1e999;q=nan")
    size = server.log.stat().st_size
    statuses = [post(server, good_body(), Accept=accept) for accept in weights for _ in range(5)]
    return f"{counted(statuses)}; log +{(server.log.stat().st_size - size) / 1024:.0f} KiB", 500 not in statuses


def leave(server: LocalServer, body: Body, after_s: float) -> None:
    """Send a request and close the connection before its reply."""
    with suppress(httpx.HTTPError):
        httpx.post(f"{server.address}/reconstruct", content=body.content, timeout=after_s, headers=_type(body))


def _leaving(server: LocalServer) -> Answer:
    body = good_body(steps=400, rows=30)
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda _: leave(server, body, LEAVE_S), range(10)))
    started = time.perf_counter()
    status = post(server, good_body())
    waited = time.perf_counter() - started
    return f"then {status} after {waited:.1f} s", status == 200 and waited < 10


def _six_large(server: LocalServer) -> Answer:
    body = attack_bodies.large_json(60)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: leave(server, body, 3.0), range(6)))
        statuses = list(pool.map(lambda _: post(server, body), range(6)))
    return counted(statuses), set(statuses) <= REFUSED


def _poison(server: LocalServer) -> Answer:
    good = good_body(steps=30, rows=12)

    def predicted() -> float:
        reply = httpx.post(f"{server.address}/estimate", content=good.content, headers=_type(good), timeout=TIMEOUT_S)
        return float(reply.json()["predicted_s"])

    before = predicted()
    for sites in (500, 1000, 2000):
        post(server, attack_bodies.sites_never_seen(sites))
        post(server, attack_bodies.column_with_sites(500, sites))
    after = predicted()
    return f"predicted {before:.2f} s before, {after:.2f} s after", 0.5 < after / before < 2


def _type(body: Body) -> dict[str, str]:
    return {"Content-Type": body.media_type}


def connect(server: LocalServer) -> socket.socket:
    """Return a connection."""
    host, port = server.address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def exchange(server: LocalServer, sent: bytes, half_close: bool = False) -> int:
    """Return the status that raw bytes are answered with."""
    with connect(server) as link:
        with suppress(OSError):
            link.sendall(sent)
            if half_close:
                link.shutdown(socket.SHUT_WR)
        return _status(link)


def _status(link: socket.socket) -> int:
    reply = b""
    with suppress(OSError):
        while (b"\r\n\r\n" not in reply or reply.startswith(b"HTTP/1.1 100")) and (part := link.recv(2**16)):
            reply += part
            while reply.startswith(b"HTTP/1.1 100") and b"\r\n\r\n" in reply:
                reply = reply.partition(b"\r\n\r\n")[2]
    return int(reply[9:12]) if reply.startswith(b"HTTP/1.1 ") else BROKEN


def head_of(body: Body, length: int, *lines: str) -> bytes:
    """Return the head of a request with a body."""
    first = ("POST /reconstruct HTTP/1.1", "Host: localhost", f"Content-Type: {body.media_type}")
    return "\r\n".join([*first, f"Content-Length: {length}", *lines, "", ""]).encode()


def _bodies_of_one_byte(server: LocalServer) -> Answer:
    with ExitStack() as stack:
        for _ in range(32):
            stack.enter_context(connect(server)).sendall(head_of(good_body(), 1000) + b"P")
        time.sleep(2.0)
        started = time.perf_counter()
        statuses = [post(server, good_body()) for _ in range(3)]
        waited = time.perf_counter() - started
    return f"{counted(statuses)} in {waited:.1f} s", set(statuses) == {200} and waited < 15


def _slow_readers(server: LocalServer) -> Answer:
    body = attack_bodies.dimensions_of_their_own(30)
    end = threading.Event()

    def hold() -> None:
        while not end.is_set():
            post(server, body)

    holding = [threading.Thread(target=hold) for _ in range(4)]
    for thread in holding:
        thread.start()
    started = time.perf_counter()
    statuses = [post(server, good_body()) for _ in range(5)]
    waited = time.perf_counter() - started
    end.set()
    for thread in holding:
        thread.join()
    return f"{counted(statuses)} in {waited:.1f} s", set(statuses) == {200} and waited < 15


def _odd_http(server: LocalServer) -> Answer:
    whole = head_of(good_body(), len(good_body().content)) + good_body().content
    expected = {
        "Host: evil.example": (421, b"GET /bundles HTTP/1.1\r\nHost: evil.example\r\n\r\n", False),
        "half-closed": (200, whole, True),
        "head of 60,000 bytes": (431, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 60_000 + b"\r\n\r\n", False),
        "HEAD /healthz": (200, b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", False),
        "not HTTP": (400, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", False),
        "two lengths": (400, head_of(good_body(), 5, "Transfer-Encoding: chunked") + b"0\r\n\r\n", False),
    }
    got = {name: exchange(server, sent, half) for name, (_, sent, half) in expected.items()}
    return ", ".join(f"{name} {status}" for name, status in got.items()), all(
        got[n] == e[0] for n, e in expected.items()
    )


def _crowd(server: LocalServer) -> Answer:
    started = time.perf_counter()
    with ThreadPoolExecutor(256) as pool:
        statuses = list(pool.map(lambda _: post(server, good_body()), range(512)))
    answer = f"{counted(statuses)} in {time.perf_counter() - started:.0f} s"
    return answer, set(statuses) <= {200, 503, 429} and 200 in statuses


_partial = functools.partial
REQUESTS = (
    Attack("1", "npz of 256 MiB with a bz2 member, an lzma member", _archives()),
    Attack(
        "2a",
        "4,000 sites, 2 ever seen",
        bodies_are_refused(_partial(attack_bodies.sites_never_seen, 4_000), allowed=(200, 413, 422)),
    ),
    Attack(
        "2b",
        "12,000 sites, 2 ever seen",
        bodies_are_refused(_partial(attack_bodies.sites_never_seen, 12_000), allowed=(200, 413, 422)),
    ),
    Attack("3", "Accept with q=nan and other weights", _weights),
    Attack("5a", "ten clients that leave", _leaving),
    Attack("5b", "six JSON bodies of 60 MB, left and sent again", _six_large),
    Attack(
        "7",
        "NetCDF of 1,200 variables with 30 dimensions each",
        bodies_are_refused(_partial(attack_bodies.dimensions_of_their_own, 1_200), allowed=(413,)),
    ),
    Attack(
        "8a",
        "a column of 2,000 rows with 500 sites",
        bodies_are_refused(_partial(attack_bodies.column_with_sites, 2_000), allowed=(200, 413, 422)),
    ),
    Attack(
        "8b",
        "a column of 6,000 rows with 3,000 sites",
        bodies_are_refused(_partial(attack_bodies.column_with_sites, 6_000, 3_000), allowed=(200, 413, 422)),
    ),
    Attack("9", "rows 2 and 8, against the cost model", _poison),
    Attack("10", "odd times, text beyond Unicode, 3e38, a name twice", lambda server: _odd(server)),
    Attack("weak a", "32 connections that send one byte of a body", _bodies_of_one_byte),
    Attack("weak b", "4 clients that keep the readers of NetCDF busy", _slow_readers),
    Attack("weak c", "hosts, half-closed clients, heads, methods", _odd_http),
    Attack("weak d", "256 clients", _crowd),
)


def _odd(server: LocalServer) -> Answer:
    statuses = [
        post(server, body, path) for body in attack_bodies.odd_bodies() for path in ("/reconstruct", "/estimate")
    ]
    return counted(statuses), set(statuses) <= {200, 400, 413, 422}
