"""Clients that misbehave on a connection: each gets a problem document or is closed, and keeps nobody out."""

from __future__ import annotations

import resource
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from app.http.connections import Connections, group_of
from tests.support.raw import HEALTH, check_healthy, connected, exchange, problem_in, received, status_of
from tests.support.servers import serving, serving_in_thread
from tests.support.tiny import JSON, NETCDF, NPZ, body_of, sample
from tests.support.waiting import wait_for

START = f"POST /reconstruct HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\n".encode()
LARGE = b"X-Large: " + b"a" * 60_000 + b"\r\n"


@pytest.fixture(scope="module")
def address(bundles: Path) -> Iterator[str]:
    limits = {"max_requests": 4, "max_connections": 60, "max_connections_per_address": 40}
    with serving_in_thread(bundles, **limits) as served:
        yield served


def fill(address: str, form: str = JSON) -> int:
    body = body_of(sample(), form)
    return httpx.post(f"{address}/reconstruct", content=body, headers={"Content-Type": form}, timeout=30).status_code


NOT_HTTP = {
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 30, 400),
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    "two hosts": (HEALTH[:-2] + b"Host: localhost\r\n\r\n", 400),
    "space before a colon": (HEALTH[:-2] + b"X-A : b\r\n\r\n", 400),
    "null in a header": (HEALTH[:-2] + b"X-A: b\x00c\r\n\r\n", 400),
    "folded header at the start": (b"GET /healthz HTTP/1.1\r\n X: y\r\nHost: localhost\r\n\r\n", 400),
    "bytes that are not ASCII in the target": (HEALTH.replace(b"healthz", b"\xff\xfe"), 400),
    "two lengths": (START + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
    "negative length": (START + b"Content-Length: -3\r\n\r\n", 400),
    "length and chunks": (START + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunk size that is no number": (START + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    "other transfer coding": (START + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "HTTP/2": (b"PRI * HTTP/2.0\r\nHost: localhost\r\n\r\nSM\r\n\r\n", 505),
    "large header": (HEALTH[:-2] + LARGE + b"\r\n", 431),
    "many headers": (HEALTH[:-2] + b"a: b\r\n" * 9000 + b"\r\n", 431),
    "long target": (HEALTH.replace(b"healthz", b"a" * 60_000), 431),
    "large header that does not end": (HEALTH[:-2] + LARGE * 20, 431),
    "large header of HEAD": (HEALTH[:-2].replace(b"GET", b"HEAD") + LARGE + b"\r\n", 431),
    "large trailer": (START + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n" + LARGE + b"\r\n", 431),
    "chunks of one byte": (START + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 200_000, 400),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", NOT_HTTP)
def test_bytes_that_are_not_http_or_too_many_get_a_problem_document(address: str, case: str) -> None:
    sent, status = NOT_HTTP[case]
    reply = exchange(address, sent)
    assert status_of(reply) == status, reply[:300]
    assert b"connection: close" in reply.lower()
    if not sent.startswith(b"HEAD"):
        problem_in(reply)
    check_healthy(address)


@pytest.mark.slow
def test_chunks_of_one_byte_do_not_hold_up_the_event_loop(address: str) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            link = stack.enter_context(connected(address))
            link.sendall(START + b"Transfer-Encoding: chunked\r\n\r\n")
            link.setblocking(False)
            link.send(b"1\r\n \r\n" * 40_000)
        check_healthy(address)


@pytest.mark.slow
def test_chunks_of_usual_size_are_received(address: str) -> None:
    body = body_of(sample(), JSON)
    chunks = (body[start : start + 100] for start in range(0, len(body), 100))
    reply = httpx.post(f"{address}/reconstruct", content=chunks, headers={"Content-Type": JSON}, timeout=30)
    assert reply.status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/", "/docs", "/metrics", "/info", "/bundles", "/openapi.json"]
)
def test_head_is_answered_where_get_is(address: str, path: str) -> None:
    head, get = httpx.head(f"{address}{path}"), httpx.get(f"{address}{path}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert httpx.head(f"{address}/reconstruct").status_code == 405
    assert httpx.put(f"{address}{path}").headers["allow"] == "GET, HEAD"


@pytest.mark.slow
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_client_that_has_closed_its_sending_side_gets_its_reply(address: str, version: bytes) -> None:
    body = body_of(sample(), JSON)
    request = START.replace(b"1.1", version) + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    assert status_of(exchange(address, request, half_close=True)) == 200
    assert exchange(address, HEALTH.replace(b"1.1", version), half_close=True).endswith(b'{"status":"ok"}')
    assert exchange(address, HEALTH[:-2], half_close=True) == b""


@pytest.mark.slow
def test_each_of_many_requests_sent_at_once_is_answered(address: str) -> None:
    with connected(address) as link:
        link.sendall(HEALTH * 300)
        link.shutdown(socket.SHUT_WR)
        content = b""
        while part := link.recv(2**16):
            content += part
    assert content.count(b"HTTP/1.1 200") == 300


@pytest.mark.slow
def test_client_that_closes_is_noticed_though_half_closed_ones_are_answered(slow_bundles: Path) -> None:
    body = body_of(sample(3000), NPZ)
    head = (
        f"POST /reconstruct HTTP/1.1\r\nHost: localhost\r\nContent-Type: {NPZ}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with serving_in_thread(slow_bundles, max_cost_s=1e6, max_queue_s=1e6) as served:

        def backlog_s() -> float:
            text = httpx.get(f"{served}/metrics").text
            line = next(line for line in text.splitlines() if line.startswith("hydrofill_queue_backlog_seconds "))
            return float(line.split()[1])

        with connected(served) as patient:
            patient.sendall(head.encode() + body)
            wait_for(lambda: backlog_s() > 0)
            patient.shutdown(socket.SHUT_WR)
            time.sleep(1.0)
            assert backlog_s() > 0
        wait_for(lambda: backlog_s() == 0, 3.0)


@pytest.mark.slow
def test_expected_continue_is_sent_only_for_a_body_that_is_wanted(address: str) -> None:
    body = body_of(sample(), JSON)
    expecting = START + f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode()
    with connected(address) as link:
        link.sendall(expecting)
        assert link.recv(100).startswith(b"HTTP/1.1 100")
        link.sendall(body)
        assert status_of(received(link)) == 200
    too_large = START + b"Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n"
    assert exchange(address, too_large).startswith(b"HTTP/1.1 413")


@pytest.mark.slow
def test_bodies_of_one_byte_give_way_to_whole_ones(address: str) -> None:
    with ExitStack() as stack:
        links = [stack.enter_context(connected(address)) for _ in range(32)]
        for link in links:
            link.sendall(START + b"Content-Length: 99\r\n\r\n{")
        check_healthy(address)
        until = time.monotonic() + 10  # the slow ones give way once they are known to be slow
        while fill(address) == 503 and time.monotonic() < until:
            pass
        assert [fill(address) for _ in range(3)] == [200, 200, 200]
        check_healthy(address)
        statuses = {status_of(received(link, 0.2)) for link in links}
        assert statuses <= {0, 408, 503}
        assert 408 in statuses


@pytest.mark.slow
def test_bodies_of_one_address_that_are_not_whole_are_limited(bundles: Path) -> None:
    with serving_in_thread(bundles, max_uploads_per_address=2) as served, ExitStack() as stack:
        links = [stack.enter_context(connected(served)) for _ in range(6)]
        for link in links:
            link.sendall(START + b"Content-Length: 99\r\n\r\n{")
        replies = [received(link, 4.0) for link in links]
        assert sum(status_of(reply) == 0 for reply in replies) == 2
        assert {status_of(reply) for reply in replies} == {0, 408, 503}
        assert fill(served) == 200


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"", b"G", HEALTH[:-2]])
def test_connections_without_a_whole_head_give_way_to_new_ones(address: str, sent: bytes) -> None:
    with ExitStack() as stack:
        links = [stack.enter_context(connected(address)) for _ in range(120)]
        for link in links:
            with suppress(ConnectionError):
                link.sendall(sent)
        check_healthy(address)
        assert fill(address) == 200
        open_links = sum(not received(link, 0.01) and not is_closed(link) for link in links[-30:])
        assert open_links >= 20


@pytest.mark.slow
def test_connections_of_one_address_do_not_keep_others_out(address: str) -> None:
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(connected(address))
        others = [stack.enter_context(connected(address, "127.0.0.2")) for _ in range(15)]
        for link in others:
            link.sendall(HEALTH)
        assert [status_of(received(link, 2.0)) for link in others] == [200] * 15


@pytest.mark.slow
def test_connections_that_all_have_requests_keep_their_places(bundles: Path) -> None:
    limits = {"max_connections": 6, "max_connections_per_address": 4}
    with serving_in_thread(bundles, **limits) as served, ExitStack() as stack:

        def busy(source: str) -> bytes:
            link = stack.enter_context(connected(served, source))
            link.sendall(START + b"Content-Length: 99\r\n\r\n{")
            return received(link, 0.5)

        assert [busy("127.0.0.1") for _ in range(4)] == [b""] * 4
        crowded = problem_in(busy("127.0.0.1"))
        assert (crowded["status"], crowded["type"]) == (429, "urn:hydrofill:problem:connections")
        assert [busy("127.0.0.2") for _ in range(2)] == [b""] * 2
        refused = busy("127.0.0.3")
        assert problem_in(refused)["type"] == "urn:hydrofill:problem:busy"
        assert b"retry-after: 1" in refused.lower()


@pytest.mark.slow
def test_server_short_of_files_answers_503_and_logs_little(bundles: Path, tmp_path: Path) -> None:
    with serving(bundles, tmp_path) as served:
        fill(served.address, NETCDF)
        resource.prlimit(served.process.pid, resource.RLIMIT_NOFILE, (64, 64))
        with ExitStack() as stack:
            links = [stack.enter_context(connected(served.address)) for _ in range(200)]
            for link in links:
                with suppress(ConnectionError):
                    link.sendall(HEALTH)
            statuses = [status_of(received(link, 2.0)) for link in links]
            assert set(statuses) == {200, 503}
            assert {fill_or_refused(served.address, form) for form in (JSON, NETCDF, NPZ)} <= {200, 503}
        wait_for(lambda: fill_or_refused(served.address, NETCDF) == 200, 10.0)
        check_healthy(served.address)
        assert served.log.read_text().count("\n") < 400
        assert "Traceback" not in served.log.read_text()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=20) == 0


def fill_or_refused(address: str, form: str) -> int:
    """Return the status, 503 for a connection that was broken before its request was sent."""
    try:
        return fill(address, form)
    except httpx.TransportError:
        return 503


def is_closed(link: socket.socket) -> bool:
    link.setblocking(False)
    try:
        return link.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


class Link:
    """A connection that only notes that it was displaced."""

    displaced = False

    def displace(self) -> None:
        self.displaced = True


def test_connection_that_has_waited_longest_gives_way() -> None:
    connections, links = Connections(3, 2), [Link() for _ in range(5)]
    connections.enter(links[0], "192.0.2.1")
    connections.enter(links[1], "192.0.2.2")
    connections.set_waiting(links[0], False)
    connections.set_waiting(links[0], True)
    connections.enter(links[2], "192.0.2.3")
    connections.enter(links[3], "192.0.2.4")
    assert [link.displaced for link in links] == [False, True, False, False, False]
    connections.leave(links[0])
    connections.enter(links[4], "192.0.2.4")
    assert not links[2].displaced


def test_addresses_of_one_ipv6_network_are_one_client() -> None:
    assert group_of("2001:db8:1:2::1") == group_of("2001:db8:1:2:ffff::9") != group_of("2001:db8:1:3::1")
    assert group_of("::ffff:192.0.2.1") == group_of("192.0.2.1") != group_of("192.0.2.2")
    assert group_of("::1") == "::1"
    assert group_of("testclient") == "testclient"
