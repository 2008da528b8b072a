"""Bare connections to a server, for clients that misbehave."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from typing import Any

import httpx

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connected(address: str, source: str = "127.0.0.1") -> socket.socket:
    """Connect from a loopback address."""
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60, source_address=(source, 0))


def exchange(address: str, *parts: bytes, half_close: bool = False, within_s: float = 20.0) -> bytes:
    """Send the parts, and return everything that comes until the server closes or a whole reply is there."""
    with connected(address) as link:
        with suppress(ConnectionError):
            for part in parts:
                link.sendall(part)
            if half_close:
                link.shutdown(socket.SHUT_WR)
        return received(link, within_s)


def received(link: socket.socket, within_s: float = 20.0) -> bytes:
    """Return what comes until the server closes or a whole reply with a length is there."""
    content, deadline = b"", time.monotonic() + within_s
    with suppress(ConnectionError, TimeoutError):
        while not _whole(content) and (left := deadline - time.monotonic()) > 0:
            link.settimeout(left)
            if not (part := link.recv(2**16)):
                break
            content += part
    return content


def _whole(content: bytes) -> bool:
    while content.startswith(b"HTTP/1.1 100"):
        content = content.partition(b"\r\n\r\n")[2]
    head, end, body = content.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end and lengths) and len(body) >= int(lengths[0])


def status_of(reply: bytes) -> int:
    """Return the status of a reply, after interim ones; 0 if there is none."""
    while reply.startswith(b"HTTP/1.1 100"):
        reply = reply.partition(b"\r\n\r\n")[2]
    return int(reply.split(b" ", 2)[1]) if reply.startswith(b"HTTP/") else 0


def problem_in(reply: bytes) -> dict[str, Any]:
    """Return the problem document of a reply."""
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower(), reply
    assert b"x-request-id: " in head.lower()
    document: dict[str, Any] = json.loads(body)
    assert document["status"] == status_of(reply)
    return document


def check_healthy(address: str, tries: int = 5) -> None:
    """Check that the server answers within a second; on a busy machine, one of a few tries must."""
    for left in reversed(range(tries)):
        try:
            assert httpx.get(f"{address}/healthz", timeout=1.0).status_code == 200
            return
        except httpx.TimeoutException:
            if not left:
                raise
