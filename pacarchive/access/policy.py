"""From who somebody is to what somebody may, by the rules of the site.

Rules add up: everyone has what C{anonymous} has, who comes from a network what its rules give, who is recognised what
the credential carries and what rules give to any of its labels.  Nothing takes anything away, so that the order of
rules means nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from pacarchive.access.identity import Access, How, Identity
from pacarchive.access.rights import NOTHING, Grant, Right, grant

if TYPE_CHECKING:
    from pacarchive.access.settings import AllowSettings

ANONYMOUS = "anonymous"
"""The name of those who have not been recognised."""

KNOWN = "known"
"""A label of all others."""

_HOSTS = 4096


class Policy:
    """
    The rules.

    @param anonymous: What everyone may.
    @param rules: The sections C{[allow NAME]}, by name.
    """

    def __init__(self, anonymous: Right, rules: Mapping[str, AllowSettings]) -> None:
        self._labels: dict[str, tuple[Grant, ...]] = {}
        networks: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, Grant]] = []
        if anonymous != NOTHING:
            self._labels[ANONYMOUS] = (grant(anonymous, source="[auth] anonymous"),)
        for name, rule in rules.items():
            given = grant(rule.may, rule.ids, f"[allow {name}]")
            for label in rule.who:
                kind, _, rest = label.partition(":")
                if kind == "net":
                    networks.append((ipaddress.ip_network(rest), given))
                else:
                    self._labels[label] = (*self._labels.get(label, ()), given)
        self._networks = tuple(networks)
        self.unrecognised = lru_cache(_HOSTS)(self._unrecognised)

    def _unrecognised(self, host: str | None) -> Access:
        """
        What somebody may of whom nothing is known but the address.

        @param host: The address; C{None} for a UNIX socket.
        """
        given = self._of_network(host)
        how = How.NETWORK if given else How.NONE
        return Access(ANONYMOUS, how, (*self._labels.get(ANONYMOUS, ()), *given))

    def access(self, identity: Identity, host: str | None, also: Identity | None = None) -> Access:
        """
        What somebody may.

        @param identity: What the credential proves.
        @param host: Where the request comes from.
        @param also: What else is proved, as by the certificate of the connection.
        """
        labels = identity.labels | (also.labels if also is not None else frozenset()) | {KNOWN}
        ruled = (each for label in sorted(labels) for each in self._labels.get(label, ()))
        carried = identity.grants + (also.grants if also is not None else ())
        grants = tuple(each for each in (*self.unrecognised(host).grants, *carried, *ruled) if each.bits)
        ends = [each.expires for each in (identity, also) if each is not None and each.expires is not None]
        return Access(identity.name, identity.how, grants, min(ends, default=None), identity.profile)

    def _of_network(self, host: str | None) -> tuple[Grant, ...]:
        if host is None or not self._networks:
            return ()
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return ()
        address = getattr(address, "ipv4_mapped", None) or address
        return tuple(given for network, given in self._networks if address in network)
