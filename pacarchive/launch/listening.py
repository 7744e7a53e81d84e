"""Where to listen: Twisted endpoint strings, for one process or for several that share their ports.

Workers do not share one listening socket: the first to wake would accept all waiting connections, and the others would
idle.  Each has its own with C{SO_REUSEPORT}, and the kernel spreads the connections.  Since that option would also let
a second server share the port by mistake, the parent binds every port first (L{PortReservation}).

Both sides find out what an endpoint string means by passing C{serverFromString} a reactor of their own, so all kinds
work that end in C{listenTCP}: C{tcp:}, C{tcp6:}, C{ssl:}, C{tls:}, C{haproxy:tcp:}, and plugins'.
"""

from __future__ import annotations

import errno
import os
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
from twisted.internet.abstract import isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.tcp import makeBinding
from zope.interface import implementer, providedBy

from pacarchive.launch.needs import PLAIN
from pacarchive.web.http.settings import STRONG_CIPHERS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IListeningPort, IProtocolFactory
    from twisted.python.failure import Failure

    from pacarchive.web.http.credentials import Context

BACKLOG = 1024
"""Connections that may wait to be accepted, where the endpoint string does not say."""

_ADVICE = {
    errno.EADDRINUSE: "stop what listens there (ss -ltnp 'sport = :{port}' shows it), or choose another by --port,"
    " or [server] endpoint",
    errno.EADDRNOTAVAIL: "this machine has no such address (ip address lists them); choose one by --address,"
    " or [server] endpoint",
    errno.EACCES: "ports below 1024 are for root, or for systemd to open; choose another by --port,"
    " or [server] endpoint",
}
"""Advice for the operator when a port cannot be listened on, by the C{errno} of the attempt."""

_TWISTED_BACKLOG = 50  # what an endpoint passes on when its string says nothing


@attrs.frozen
class Listener:
    """
    One endpoint string as the parent has resolved it; sent to the workers.

    @ivar description: The endpoint string.
    @ivar url: The URL for clients.
    @ivar port: The TCP port that all workers listen on; C{None} where they cannot share it by C{SO_REUSEPORT}.
    @ivar descriptor: The descriptor of a socket that systemd passed, and that all workers adopt.
    @ivar family: That socket's address family.
    @ivar secure: Whether it is one of C{[tls]}.
    """

    description: str
    url: str
    port: int | None = None
    descriptor: int | None = None
    family: int | None = None
    secure: bool = False


def server_endpoints(
    reactor: Any, descriptions: Iterable[str], secure: Iterable[str] = (), context: Context | None = None
) -> list[IStreamServerEndpoint]:
    """
    Return the endpoints of a process that shares its ports with no other.

    @param descriptions: The endpoint strings.
    @param secure: Those of C{[tls]}.
    @param context: The TLS context of these.
    """
    endpoints = [_endpoint(_Listening(reactor), each) for each in descriptions]
    return endpoints + [_Secure(_endpoint(_Listening(reactor), each), context) for each in secure]


def worker_endpoints(
    reactor: Any, listeners: Iterable[Listener], index: int, context: Context | None = None
) -> list[IStreamServerEndpoint]:
    """
    Return the endpoints of one of several workers.  An endpoint that cannot be shared (C{unix:}) is the first worker's.

    @param listeners: The endpoints as the parent has resolved them.
    @param index: The worker's number, from zero.
    @param context: What the endpoints of C{[tls]} have.
    """
    endpoints: list[IStreamServerEndpoint] = []
    for each in listeners:
        endpoint: IStreamServerEndpoint
        if each.descriptor is not None:
            endpoint = AdoptedStreamServerEndpoint(reactor, each.descriptor, each.family)
        elif each.port is not None:
            endpoint = _endpoint(_SharedListening(reactor, each.port), each.description)
        elif index == 0:
            endpoint = _endpoint(_Listening(reactor), each.description)
        else:
            continue
        endpoints.append(_Secure(endpoint, context) if each.secure else endpoint)
    return endpoints


def reached_by_others(reactor: Any, descriptions: Iterable[str]) -> list[str]:
    """
    The endpoint strings by which more than this machine can connect: all but UNIX sockets and loopback addresses.
    """
    return [each for each in descriptions if not _is_of_this_machine(reactor, each)]


def _is_of_this_machine(reactor: Any, description: str) -> bool:
    asked = _RecordedListening(reactor)
    _endpoint(asked, description).listen(Factory()).addErrback(_discard)
    if asked.tcp is not None:
        host = asked.tcp[0] or "::"
    elif asked.adopted is not None:
        descriptor, family = asked.adopted
        with socket.fromfd(descriptor, family, socket.SOCK_STREAM) as adopted:
            host = str(getattr(_address(adopted), "host", "::1"))
    else:
        return asked.unix
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:  # a name; whatever address that has is known when it is listened at
        return host == "localhost" or host.endswith(".localhost")


@implementer(IStreamServerEndpoint)
class _Secure:
    """An endpoint of C{[tls]}: TLS is put before what it is to serve."""

    def __init__(self, endpoint: IStreamServerEndpoint, context: Context | None) -> None:
        self._endpoint = endpoint
        self._context = context

    def listen(self, protocolFactory: Any) -> Deferred[IListeningPort]:  # noqa: N803
        from pacarchive.web.http.secure import SecureFactory  # only now: others need no OpenSSL

        assert self._context is not None, "where there is such an endpoint, there is a certificate"
        return self._endpoint.listen(SecureFactory(protocolFactory, self._context))


def served_url(description: str, address: object, *, secure: bool = False) -> str:
    """
    Return the URL of an endpoint, for messages.

    @param description: The endpoint string.
    @param address: The C{IAddress} that it listens on.  Where that is not TCP, the endpoint string itself is returned.
    @param secure: Whether it is one of C{[tls]}.
    """
    if not isinstance(address, IPv4Address | IPv6Address):
        return description
    scheme = "https" if secure or description.startswith(("ssl:", "tls:")) else "http"
    host = f"[{address.host}]" if isinstance(address, IPv6Address) else address.host
    return f"{scheme}://{host}:{address.port}/"


def listen_error_message(error: CannotListenError) -> str:
    """
    Return one line for the operator: which address cannot be listened on, why, and what to do about it.
    """
    cause: object = error.socketError
    number = cause.errno if isinstance(cause, OSError) else None
    message = os.strerror(number) if number is not None else str(cause)
    if isinstance(error.port, int):
        place = f"{_bracketed(error.interface or '*')}:{error.port}"
        advice = _ADVICE.get(number or 0, "choose another by --address and --port, or [server] endpoint").format(
            port=error.port
        )
    else:
        place, advice = str(error.port), "choose another by --endpoint, or [server] endpoint"
    return f"cannot listen on {place}: {message}; {advice}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class PortReservation:
    """
    The TCP ports that the parent has bound without listening on them, so that no other program can take them while no
    worker runs.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def reserve(self, reactor: Any, descriptions: Iterable[str], secure: Iterable[str] = ()) -> list[Listener]:
        """
        Bind the port of every endpoint string that has one; the system chooses the number where it is C{0}.

        @param descriptions: The endpoint strings.
        @param secure: Those of C{[tls]}.
        @raise CannotListenError: Another program listens there, or this machine does not have the address.
        @raise ValueError: An endpoint cannot be shared between workers.
        """
        listeners = [self._reserve(reactor, each) for each in descriptions]
        return listeners + [self._reserve(reactor, each, secure=True) for each in secure]

    def close(self) -> None:
        """Release the ports."""
        while self._held:
            self._held.pop().close()

    def _reserve(self, reactor: Any, description: str, *, secure: bool = False) -> Listener:
        recorded = _RecordedListening(reactor)
        _endpoint(recorded, description).listen(Factory()).addErrback(_discard)
        if recorded.tcp is not None:
            held = _hold(*recorded.tcp)
            self._held.append(held)
            url = served_url(description, _address(held), secure=secure)
            return Listener(description, url, port=held.getsockname()[1], secure=secure)
        if recorded.adopted is not None:
            if not description.startswith("systemd:"):
                raise ValueError(f"{description}: a socket from systemd can be wrapped only with workers = 1")
            descriptor, family = recorded.adopted
            with socket.fromfd(descriptor, family, socket.SOCK_STREAM) as adopted:
                url = served_url(description, _address(adopted), secure=secure)
            return Listener(description, url, descriptor=descriptor, family=family, secure=secure)
        return Listener(description, description, secure=secure)


class _Listening:
    """
    The reactor as endpoints see it, with a longer queue of connections that wait to be accepted.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    @property
    def __providedBy__(self) -> Any:
        """What zope.interface asks each object for."""
        return providedBy(self._reactor)

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
    A reactor whose ports are bound with C{SO_REUSEPORT}.

    @param port: The port that the parent holds.
    """

    def __init__(self, reactor: Any, port: int) -> None:
        super().__init__(reactor)
        self._port = port

    def _binding(self, interface: str, port: int) -> Any:
        return makeBinding(interface, self._port, reuseAddress=True, reusePort=True)


class _RecordedListening(_Listening):
    """
    A reactor that does not listen, but records what it was called with.

    @ivar tcp: The interface and port of C{listenTCP} or C{listenSSL}.
    @ivar adopted: The descriptor and address family of C{adoptStreamPort}.
    @ivar unix: Whether it was called to listen at a UNIX socket.
    """

    tcp: tuple[str, int] | None = None
    adopted: tuple[int, int] | None = None
    unix = False

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
        self.unix = True
        raise _OnlyAsked


class _OnlyAsked(Exception):
    """Nothing listens."""


def _endpoint(reactor: object, description: str) -> IStreamServerEndpoint:
    if not description.startswith(PLAIN):
        _choose_ciphers()
    return serverFromString(reactor, description)  # type: ignore[no-any-return]


def _choose_ciphers() -> None:
    """
    Restrict TLS to L{STRONG_CIPHERS}.

    Endpoints that make their C{CertificateOptions} from a string, as C{ssl:} and C{tls:} do, take Twisted's default,
    which for the sake of old clients ends in CBC and RSA key exchange; it can be changed in no other way.
    """
    from twisted.internet import _sslverify  # only now: what has no TLS gets along without OpenSSL
    from twisted.internet.ssl import AcceptableCiphers

    _sslverify.defaultCiphers = AcceptableCiphers.fromOpenSSLCipherString(STRONG_CIPHERS)


def _discard(failure: Failure) -> None:
    # Any other error happens again in the first worker, which reports it.
    return None


def _backlog(backlog: int) -> int:
    return BACKLOG if backlog == _TWISTED_BACKLOG else backlog


def _hold(interface: str, port: int) -> socket.socket:
    """
    Bind a port so that from now on only this server's workers can listen there.

    C{SO_REUSEPORT} is set after C{bind}, so a port that another such server has is refused.  C{SO_REUSEADDR} is set for
    C{bind} only, to get past connections in C{TIME_WAIT}: left on, it would let other programs bind the port too.

    @raise CannotListenError: The port or the address cannot be bound.
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
