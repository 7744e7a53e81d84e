"""What many clients share, and none may have all of: bytes of memory, places.

A limit for each item is none for their sum.  L{Shares} keeps the sum, and each client's part of it.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from twisted.internet.interfaces import IAddress

LOCAL = "local"
"""The client whose address is none of the network's: all that comes through a UNIX socket."""

_IPV6_NETWORK = 64


def client_of(address: IAddress | None) -> str:
    """
    Who a connection comes from, as far as shares go.

    An IPv6 client has a whole network of addresses (RFC 4291, section 2.5.4): all of them are one.
    """
    host = getattr(address, "host", None)
    if not isinstance(host, str):
        return LOCAL
    return _network(host) if ":" in host else host


@lru_cache(4096)
def _network(host: str) -> str:
    address = ipaddress.IPv6Address(host.partition("%")[0])
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, _IPV6_NETWORK), strict=False))


class Shares:
    """
    Keeps account of something that is limited in sum and for each client.

    @param total: The most of all clients together.
    @param share: The most of one client.
    @ivar held: What all clients have together.
    """

    def __init__(self, total: int, share: int) -> None:
        self.total = total
        self.share = min(share, total)
        self.held = 0
        self._clients: dict[str, int] = {}

    def of(self, client: str) -> int:
        """What a client has."""
        return self._clients.get(client, 0)

    def take(self, client: str, amount: int) -> None:
        """Note that a client has more, be it more than its share: L{allows} and L{exceeded} tell."""
        self.held += amount
        self._clients[client] = self._clients.get(client, 0) + amount

    def give_back(self, client: str, amount: int) -> None:
        """Note that a client has less."""
        self.held -= amount
        if left := self._clients[client] - amount:
            self._clients[client] = left
        else:
            del self._clients[client]

    def allows(self, client: str, amount: int = 1) -> bool:
        """Whether a client may have so much more."""
        return self.of(client) + amount <= self.share and self.held + amount <= self.total

    def exceeded(self, client: str) -> bool:
        """
        Whether a client has more than it may.

        When there is too much in sum, those have too much who have more than an equal part: not the one who just came.
        """
        mine = self._clients.get(client, 0)
        return mine > self.share or (self.held > self.total and mine * len(self._clients) > self.total)
