"""The open connections: how many there may be, and which of them gives way to a new one."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Protocol

from app.errors import BusyError, CrowdedError

RETRY_S = 1.0
IPV6_PREFIX = 64  # the addresses that one host may choose from


class Displaceable(Protocol):
    """A connection that can be closed for another."""

    def displace(self) -> None:
        """Close the connection, on which no request is being handled."""
        ...


class Connections:
    """The open connections, at most `most` in all and `most_per_address` from one address.

    At a limit, a new connection takes the place of the one that has waited longest for a whole head; connections with a
    request keep their places. So neither idle clients nor slow ones keep others out.
    """

    def __init__(self, most: int, most_per_address: int, count: Callable[[str], None] = lambda _: None) -> None:
        self._most, self._most_per_address, self._count = most, most_per_address, count
        self._addresses: dict[Displaceable, str] = {}
        self._waiting: dict[Displaceable, None] = {}  # in the order in which they began to wait

    def enter(self, connection: Displaceable, host: str) -> None:
        """Give a new connection a place; it waits for a request.

        Raises:
            CrowdedError: the connections from this address are too many, and all have requests.
            BusyError: the connections are too many, and all have requests.
        """
        address = group_of(host)
        if list(self._addresses.values()).count(address) >= self._most_per_address and not self._displace(address):
            self._count("address")
            raise CrowdedError("too many connections from one address", retry_after_s=RETRY_S)
        if len(self._addresses) >= self._most and not self._displace(None):
            self._count("connections")
            raise BusyError("too many connections", retry_after_s=RETRY_S)
        self._addresses[connection] = address
        self.set_waiting(connection, True)

    def set_waiting(self, connection: Displaceable, waiting: bool) -> None:
        """Note whether a connection waits for a whole head, or has a request."""
        if connection in self._addresses and waiting:
            self._waiting.setdefault(connection)
        else:
            self._waiting.pop(connection, None)

    def leave(self, connection: Displaceable) -> None:
        """Give up the place of a connection, if it has one."""
        self._addresses.pop(connection, None)
        self._waiting.pop(connection, None)

    def _displace(self, address: str | None) -> bool:
        """Close the connection that has waited longest, of `address` if one is given; return whether there was one."""
        found = next((c for c in self._waiting if address in (None, self._addresses[c])), None)
        if found is None:
            return False
        self.leave(found)
        found.displace()
        return True


def group_of(host: str) -> str:
    """Return the address, or the network of an IPv6 address, that counts as one client."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address) or address.is_loopback:
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
