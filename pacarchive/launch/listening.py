"""Where to listen: Twisted endpoint strings, for one process or for several that share their ports.

Workers do not share one listening socket: whoever wakes first accepts all that waits, and the others idle.  Each has
its own with C{SO_REUSEPORT} and the kernel spreads the connections.  Since that option would also let a second
server share the port by mistake, the parent takes every port for itself first (L{PortReservation}).

Both sides learn what an endpoint string means by handing C{serverFromString} a reactor of their own, so all kinds work
that end in C{listenTCP}: C{tcp:}, C{tcp6:}, C{ssl:}, C{tls:}, C{haproxy:tcp:}, and plugins'.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
from twisted.internet.abstract import isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.tcp import makeBinding
from zope.interface import directlyProvides, providedBy

from pacarchive.launch.needs import PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
    from twisted.python.failure import Failure

BACKLOG = 1024
"""Connections that may wait to be accepted, where the endpoint string does not say."""

STRONG_CIPHERS = "ECDH+AESGCM:ECDH+CHACHA20:DH+AESGCM:DH+CHACHA20:!aNULL:!MD5:!DSS"
"""What TLS 1.2 is spoken with: keys that are forgotten (forward secrecy), and encryption that authenticates."""

_ADVICE = {
    errno.EADDRINUSE: "stop what listens there (ss -ltnp 'sport = :{port}' shows it), or choose another by --port,"
    " or [server] endpoint",
    errno.EADDRNOTAVAIL: "this machine has no such address (ip address lists them); choose one by --address,"
    " or [server] endpoint",
    errno.EACCES: "ports below 1024 are for root, or for systemd to open; choose another by --port,"
    " or [server] endpoint",
}
"""What to do when nobody can listen somewhere, by the cause."""

_TWISTED_BACKLOG = 50  # what an endpoint passes on when its string says nothing


@attrs.frozen
class Listener:
    """
    What an endpoint string came to in the parent; sent to the workers.

    @ivar description: The string.
    @ivar url: Where clients find it.
    @ivar port: The TCP port that all workers listen on; C{None} where they cannot share it by C{SO_REUSEPORT}.
    @ivar descriptor: A socket that systemd passed and that all workers adopt.
    @ivar family: That socket's address family.
    """

    description: str
    url: str
    port: int | None = None
    descriptor: int | None = None
    family: int | None = None


def server_endpoints(reactor: Any, descriptions: Iterable[str]) -> list[IStreamServerEndpoint]:
    """Endpoints for a process that shares its ports with nobody."""
    return [_endpoint(_Listening(reactor), each) for each in descriptions]


def worker_endpoints(reactor: Any, listeners: Iterable[Listener], index: int) -> list[IStreamServerEndpoint]:
    """
    Endpoints for one of several workers.  What cannot be shared (C{unix:}) is the first one's alone.

    @param index: The worker's number, from zero.
    """
    endpoints: list[IStreamServerEndpoint] = []
    for each in listeners:
        if each.descriptor is not None:
            endpoints.append(AdoptedStreamServerEndpoint(reactor, each.descriptor, each.family))
        elif each.port is not None:
            endpoints.append(_endpoint(_SharedListening(reactor, each.port), each.description))
        elif index == 0:
            endpoints.append(_endpoint(_Listening(reactor), each.description))
    return endpoints


def served_url(description: str, address: object) -> str:
    """
    Where clients find what listens, for people.

    @param description: The endpoint string.
    @param address: The C{IAddress} that came of it; where it is none of TCP the endpoint string stands for itself.
    """
    if not isinstance(address, IPv4Address | IPv6Address):
        return description
    scheme = "https" if description.startswith(("ssl:", "tls:")) else "http"
    host = f"[{address.host}]" if isinstance(address, IPv6Address) else address.host
    return f"{scheme}://{host}:{address.port}/"


def why_not(error: CannotListenError) -> str:
    """
    Where nobody can listen, why, and what to do about it, for the operator.
    """
    cause: object = error.socketError
    number = cause.errno if isinstance(cause, OSError) else None
    words = os.strerror(number) if number is not None else str(cause)
    if isinstance(error.port, int):
        place = f"{_bracketed(error.interface or '*')}:{error.port}"
        advice = _ADVICE.get(number or 0, "choose another by --address and --port, or [server] endpoint").format(
            port=error.port
        )
    else:
        place, advice = str(error.port), "choose another by --endpoint, or [server] endpoint"
    return f"cannot listen on {place}: {words}; {advice}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class PortReservation:
    """
    The parent's hold on the TCP ports, which it never listens on: others cannot take them while no worker runs.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def reserve(self, reactor: Any, descriptions: Iterable[str]) -> list[Listener]:
        """
        Take the port of every endpoint string that has one; C{0} becomes a real number.

        @raise CannotListenError: Somebody listens there already, or the address is not ours.
        @raise ValueError: An endpoint cannot be shared between workers.
        """
        return [self._reserve(reactor, each) for each in descriptions]

    def close(self) -> None:
        """Let the ports go."""
        while self._held:
            self._held.pop().close()

    def _reserve(self, reactor: Any, description: str) -> Listener:
        asked = _AskedListening(reactor)
        _endpoint(asked, description).listen(Factory()).addErrback(_discard)
        if asked.tcp is not None:
            held = _hold(*asked.tcp)
            self._held.append(held)
            return Listener(description, served_url(description, _address(held)), port=held.getsockname()[1])
        if asked.adopted is not None:
            if not description.startswith("systemd:"):
                raise ValueError(f"{description}: a socket from systemd can be wrapped only with workers = 1")
            descriptor, family = asked.adopted
            with socket.fromfd(descriptor, family, socket.SOCK_STREAM) as adopted:
                url = served_url(description, _address(adopted))
            return Listener(description, url, descriptor=descriptor, family=family)
        return Listener(description, description)


class _Listening:
    """
    A reactor, as far as endpoints are concerned, that listens with a longer queue.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = _TWISTED_BACKLOG, interface: str = ""
    ) -> IListeningPort:
        return self._reactor.listenTCP(  # type: ignore[no-any-return]
            self._binding(interface, port), factory, backlog=_backlog(backlog), interface=interface
        )

    def listenSSL(
        self,
        port: int,
        factory: IProtocolFactory,
        contextFactory: Any,  # noqa: N803  (endpoints pass it by name)
        backlog: int = _TWISTED_BACKLOG,
        interface: str = "",
    ) -> IListeningPort:
        return self._reactor.listenSSL(  # type: ignore[no-any-return]
            self._binding(interface, port), factory, contextFactory, backlog=_backlog(backlog), interface=interface
        )

    def _binding(self, interface: str, port: int) -> Any:
        return port


class _SharedListening(_Listening):
    """
    One that binds with C{SO_REUSEPORT}.

    @param port: The port that the parent holds.
    """

    def __init__(self, reactor: Any, port: int) -> None:
        super().__init__(reactor)
        self._port = port

    def _binding(self, interface: str, port: int) -> Any:
        return makeBinding(interface, self._port, reuseAddress=True, reusePort=True)


class _AskedListening(_Listening):
    """
    One that does not listen: it only takes down what it is asked for.

    @ivar tcp: Interface and port.
    @ivar adopted: Descriptor and address family.
    """

    tcp: tuple[str, int] | None = None
    adopted: tuple[int, int] | None = None

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = _TWISTED_BACKLOG, interface: str = ""
    ) -> NoReturn:
        self.tcp = (interface, port)
        raise _OnlyAsked

    def listenSSL(
        self,
        port: int,
        factory: IProtocolFactory,
        contextFactory: Any,  # noqa: N803  (endpoints pass it by name)
        backlog: int = _TWISTED_BACKLOG,
        interface: str = "",
    ) -> NoReturn:
        self.listenTCP(port, factory, backlog, interface)

    def adoptStreamPort(self, descriptor: int, family: int, factory: IProtocolFactory) -> NoReturn:
        self.adopted = (descriptor, family)
        raise _OnlyAsked

    def listenUNIX(self, *args: object, **kwargs: object) -> NoReturn:
        raise _OnlyAsked


class _OnlyAsked(Exception):
    """Nothing listens."""


def _endpoint(reactor: object, description: str) -> IStreamServerEndpoint:
    if not description.startswith(PLAIN):
        _choose_ciphers()
    return serverFromString(reactor, description)  # type: ignore[no-any-return]


def _choose_ciphers() -> None:
    """
    Have L{STRONG_CIPHERS} alone.  Whatever makes its C{CertificateOptions} out of a string, as C{ssl:} and C{tls:} do,
    takes Twisted's default, which for the sake of old clients ends in CBC and RSA key exchange; and there is no other
    way to tell it.
    """
    from twisted.internet import _sslverify  # only now: what has no TLS gets along without OpenSSL
    from twisted.internet.ssl import AcceptableCiphers

    _sslverify.defaultCiphers = AcceptableCiphers.fromOpenSSLCipherString(STRONG_CIPHERS)


def _discard(failure: Failure) -> None:
    # Whatever else goes wrong, the first worker meets it again and says it.
    return None


def _backlog(backlog: int) -> int:
    return BACKLOG if backlog == _TWISTED_BACKLOG else backlog


def _hold(interface: str, port: int) -> socket.socket:
    """
    Bind a port so that from now on our own workers can listen there, and nobody else.

    C{SO_REUSEPORT} comes after C{bind}, so a port that another such server has is refused; C{SO_REUSEADDR} is there for
    C{bind} only, to get past connections in C{TIME_WAIT}: left on, it would let others bind beside us.
    """
    six = isIPv6Address(interface)
    held = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if six:  # a plain pair would lose the scope of a link-local address
            held.bind(socket.getaddrinfo(interface, port, socket.AF_INET6, flags=socket.AI_NUMERICHOST)[0][4])
        else:
            held.bind((interface, port))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError as error:
        held.close()
        raise CannotListenError(interface, port, error) from error
    return held


def _address(bound: socket.socket) -> IPv4Address | IPv6Address | None:
    if bound.family == socket.AF_INET:
        return IPv4Address("TCP", *bound.getsockname())
    if bound.family == socket.AF_INET6:
        return IPv6Address("TCP", *bound.getsockname())
    return None
