"""Which server a request is for: the names of this server, and what is done about others.

Browsers let a page read what comes from its own host, and who owns that host's name decides what address it has, also
that of somebody's own machine (DNS rebinding).  So what listens to this machine alone answers only to names that nobody
else can own.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from twisted.internet import address

from pacarchive.settings.server import Compatibility, ServerSettings
from pacarchive.web.http.errors import HTTPRefusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IAddress

    from pacarchive.web.http.request import ArchiveRequest

# Narrower: it becomes part of a URL.
_IN_URLS = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)
_PORT = re.compile(r":[0-9]*\Z")
_SPOKEN = 100  # characters of a name that is said again


def require_known_host(request: ArchiveRequest, settings: ServerSettings) -> None:
    """
    See that a request which came by the loopback interface is for one of this server's names.

    One that names no host (of HTTP/1.0) is none of a browser's.  The predecessor's sites have proxies that pass on
    whatever name they were asked for.

    @raise HTTPRefusal: It is for another: 421.
    """
    hosts = request.requestHeaders.getRawHeaders(b"host")
    if not hosts or hosts[0] == request.channel.settled_host:
        return
    if (
        settings.compatibility is not Compatibility.PACIFICA
        and came_by_loopback(request.channel.transport.getHost(), request.site.listening)
        and not is_known(request, settings)
    ):
        raise _refusal(hosts[0], "hosts")
    request.channel.settled_host = hosts[0]


def authority(request: ArchiveRequest, settings: ServerSettings) -> str:
    """
    Host and port of this server, as the caller wrote them, to make a URL of.

    @raise HTTPRefusal: They are not known to be this server's (421), or there are none (400).
    """
    hosts = request.field("host")
    if not hosts or not _IN_URLS.fullmatch(hosts[0]):
        raise HTTPRefusal(HTTPStatus.BAD_REQUEST, "The request must name a Host, which a URL is made of.")
    if not is_known(request, settings):
        raise _refusal(hosts[0].encode("latin-1"), "public_url or hosts")
    return hosts[0]


def is_known(request: ArchiveRequest, settings: ServerSettings) -> bool:
    """Whether the host that a request names is one of this server's: a name of this machine's own, or a set one."""
    host = host_of(request.field("host")[0])
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    if host in settings.hosts or (settings.public_url and host == host_of(urlsplit(settings.public_url).netloc)):
        return True
    if (number := _address(host)) is None:
        return False
    own = (request.connection.transport.getHost(), *request.site.listening)
    return number.is_loopback or any(number == _address(each) for each in own if not _is_wildcard(each))


def came_by_loopback(local: IAddress, listening: Iterable[IAddress]) -> bool:
    """
    Whether a connection came to an endpoint that only this machine reaches by an address.

    @param local: The connection's own address.
    @param listening: Where this process listens: what listens at all addresses is not of this machine alone.
    """
    number = _address(local)
    return (
        number is not None
        and number.is_loopback
        and not any(_is_wildcard(each) and _port(each) == _port(local) for each in listening)
    )


def is_this_machine(client: IAddress | None) -> bool:
    """Whether a connection comes from this machine: from a loopback address, or through a UNIX socket."""
    if client is None:
        return False
    number = _address(client)
    return isinstance(client, address.UNIXAddress) if number is None else number.is_loopback


def host_of(authority: str) -> str:
    """The host of an authority in one spelling: small, without port and last dot, and an address in its short form."""
    host = _PORT.sub("", authority).strip("[]").lower().removesuffix(".")
    return host if (number := _address(host)) is None else str(number)


def _address(of: IAddress | str) -> IPv4Address | IPv6Address | None:
    text = of if isinstance(of, str) else getattr(of, "host", "")
    try:
        number = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(number, "ipv4_mapped", None) or number


def _port(of: IAddress) -> object:
    return of.port if isinstance(of, address.IPv4Address | address.IPv6Address) else None


def _is_wildcard(of: IAddress) -> bool:
    number = _address(of)
    return number is not None and number.is_unspecified


def _refusal(host: bytes, setting: str) -> HTTPRefusal:
    name = host[:_SPOKEN].decode("ascii", "replace")
    return HTTPRefusal(
        HTTPStatus.MISDIRECTED_REQUEST,
        f'"{name}" is not a name of this server. If it should be, the setting is [server] {setting}.',
    )
