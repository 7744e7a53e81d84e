"""Where an archive is: its URL, as people write it, and how to get there."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import attrs
import idna
from twisted.internet.abstract import isIPv6Address
from twisted.internet.endpoints import HostnameEndpoint, TCP6ClientEndpoint

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint

_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,254}}$){_LABEL}(?:\.{_LABEL})*\.?")
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_ENDS = " \t\r\n\f\v\ufeff"
"""What gets behind or before a URL that is copied, or read from a file."""


@attrs.frozen
class Place:
    """
    Where an archive is.

    @ivar host: A name or an address, in ASCII.
    @ivar base: The path that a proxy serves it under, without a slash at its end, encoded.
    @ivar zone: Of an IPv6 address that means something on one link only: which (RFC 4007); empty else.
    """

    secure: bool
    host: str
    port: int
    base: str
    zone: str = ""

    @classmethod
    def of(cls, url: str) -> Place:
        """
        Read an archive's URL.

        @raise ValueError: It is none; C{str()} is one line for whoever wrote it.
        """
        url = url.strip(_ENDS)
        if any(each.isspace() or not each.isprintable() for each in url):
            raise ValueError(f"there is a blank or a control character in the archive's URL: {url!r}")
        scheme, _, rest = url.partition("://")
        if (scheme := scheme.lower()) not in ("http", "https") or not rest:
            raise ValueError(f"an archive's URL begins with http:// or https:// and a host, not {_shown(url)}")
        if "@" in rest.partition("/")[0]:
            raise ValueError("an archive's URL has no user or password in it; a token goes another way")
        if "?" in rest or "#" in rest:
            raise ValueError(f"an archive's URL has no query or fragment (what begins with ? or #): {url!r}")
        authority, _, path = rest.partition("/")
        host, zone, port = _parts(authority, url)
        base = quote(f"/{path}".rstrip("/"), safe="/%:@!$&'()*+,;=~", errors="surrogateescape")
        return cls(scheme == "https", host, port or (443 if scheme == "https" else 80), base, zone)

    @property
    def authority(self) -> str:
        """Host and port as they stand in a request: without the zone, which is nothing to the other side (RFC 6874)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL as it stands in a request, without a slash at its end."""
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.base}"

    @property
    def whole_url(self) -> str:
        """The same with the zone: what leads here, from this machine."""
        zone = f"%25{quote(self.zone, safe='')}]" if self.zone else "]"
        return self.url.replace("]", zone, 1)

    @property
    def is_loopback(self) -> bool:
        """Whether it is surely this machine, so that what is sent there passes no network."""
        name = self.host.removesuffix(".")
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return name == "localhost" or name.endswith(".localhost")  # RFC 6761, 6.3

    def check(self) -> None:
        """
        See whether something may lead to it.

        @raise ValueError: Nothing does, from this machine.
        """
        if self.zone:
            _interface(self.zone)

    def endpoint(self, reactor: Any, timeout: float) -> IStreamClientEndpoint:
        """
        What connects to it.

        @param timeout: For how many seconds to try.
        @raise ValueError: Nothing does, from this machine.
        """
        if self.zone:
            return TCP6ClientEndpoint(reactor, f"{self.host}%{_interface(self.zone)}", self.port, timeout)
        return HostnameEndpoint(reactor, self.host.encode("ascii"), self.port, timeout)


def _interface(zone: str) -> int:
    """The number of a network interface: the C library takes names for some addresses only."""
    try:
        return int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)
    except OSError:
        raise ValueError(f"there is no network interface {zone!r} here, as the archive's URL has it") from None


def _parts(authority: str, url: str) -> tuple[str, str, int | None]:
    """Host, zone and port."""
    if authority.startswith("["):
        address, bracket, rest = authority[1:].partition("]")
        address, percent, zone = address.partition("%")
        # RFC 6874 writes the sign itself as %25; people do not.
        zone = unquote(zone.removeprefix("25") or zone)
        if not bracket or rest[:1] not in ("", ":") or not isIPv6Address(address) or (percent and not zone):
            raise ValueError(f"there is no IPv6 address in the brackets of the archive's URL: {url!r}")
        return address.lower(), zone, _port(rest[1:], url)
    name, _, port = authority.partition(":")
    if ":" in port:
        raise ValueError(f"an IPv6 address in a URL stands in brackets, as in http://[::1]:8080, not {url!r}")
    return _name(name, url), "", _port(port, url)


def _name(name: str, url: str) -> str:
    """A host's name, as it is asked for."""
    try:
        found = name if name.isascii() else idna.encode(name, uts46=True).decode("ascii")
    except UnicodeError as error:
        raise ValueError(f"the archive's URL has no name of a host: {url!r} ({error})") from None
    if _NAME.fullmatch(found) is None:
        raise ValueError(f"the archive's URL has no name of a host: {url!r}")
    return found.lower()


def _port(text: str, url: str) -> int | None:
    if not text:
        return None
    if _PORT.fullmatch(text) is None or not 0 < int(text) <= 65535:
        raise ValueError(f"a port is a number from 1 to 65535, not as in {url!r}")
    return int(text)


def _shown(url: str) -> str:
    """A URL as it can be told: not where there may be a password in it."""
    return "one with a user or password" if "@" in url else repr(url)
