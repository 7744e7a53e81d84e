"""L{pacarchive.launch.listening}: endpoint strings, and ports shared by several listeners."""

from __future__ import annotations

import pickle
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import makeBinding
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from pacarchive.launch.listening import (
    BACKLOG,
    Listener,
    PortReservation,
    served_url,
    server_endpoints,
    worker_endpoints,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def reservation() -> Iterator[PortReservation]:
    """A reservation that is given up at the end."""
    reservation = PortReservation()
    yield reservation
    reservation.close()


@pytest.fixture
def certificate(tmp_path: Path) -> str:
    """The path of a file with a self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem + certificate.public_bytes(Encoding.PEM))
    return str(path)


# Twisted's own use of pyOpenSSL.
tls_warnings = pytest.mark.filterwarnings("ignore:.*cryptography's X.509 APIs:DeprecationWarning")


def _reactor() -> MemoryReactorClock:
    return MemoryReactorClock()


def _asked(reactor: MemoryReactorClock) -> tuple[Any, Any, int, str]:
    """Port, factory, backlog and interface of the only C{listenTCP}."""
    (only,) = reactor.tcpServers
    return only


@pytest.mark.parametrize(
    ("description", "interface"),
    [("tcp:8080", ""), ("tcp:8080:interface=127.0.0.1", "127.0.0.1"), ("tcp6:8080:interface=\\:\\:1", "::1")],
)
def test_plain_ports_get_a_long_queue(description: str, interface: str) -> None:
    """A string without a backlog gets ours; port and interface are its own."""
    reactor = _reactor()
    (endpoint,) = server_endpoints(reactor, [description])
    endpoint.listen(Factory())
    port, _, backlog, where = _asked(reactor)
    assert (port, backlog, where) == (8080, BACKLOG, interface)


def test_the_operators_backlog_stays() -> None:
    """A string with a backlog keeps it."""
    reactor = _reactor()
    server_endpoints(reactor, ["tcp:8080:backlog=7"])[0].listen(Factory())
    assert _asked(reactor)[2] == 7


@tls_warnings
def test_tls_ports_get_a_long_queue(certificate: str) -> None:
    """TLS strings of both kinds do too."""
    reactor = _reactor()
    directory = certificate.removesuffix("/server.pem")
    old, new = server_endpoints(reactor, [f"ssl:8443:privateKey={certificate}", f"tls:{directory}:8444"])
    old.listen(Factory())
    new.listen(Factory())
    ((ssl_port, _, _, ssl_backlog, _),) = reactor.sslServers
    tls_port, factory, tls_backlog, _ = _asked(reactor)
    assert (ssl_port, ssl_backlog, tls_port, tls_backlog) == (8443, BACKLOG, 8444, BACKLOG)
    assert isinstance(factory, TLSMemoryBIOFactory)


@pytest.mark.parametrize(
    ("kind", "interface"), [("tcp:8080", ""), ("tcp:0:interface=127.0.0.1", "127.0.0.1"), ("haproxy:tcp:8080", "")]
)
def test_workers_share_a_port_by_its_number(kind: str, interface: str) -> None:
    """Every worker binds with SO_REUSEPORT to the number that the parent found, wrapped endpoints included."""
    for index in (0, 1):
        reactor = _reactor()
        (endpoint,) = worker_endpoints(reactor, [Listener(kind, "", port=4711)], index)
        endpoint.listen(Factory())
        port, factory, backlog, where = _asked(reactor)
        assert port == makeBinding(interface, 4711, reuseAddress=True, reusePort=True)
        assert (backlog, where) == (BACKLOG, interface)
        assert isinstance(factory, HAProxyWrappingFactory) is kind.startswith("haproxy")


@tls_warnings
async def test_tls_is_shared(reservation: PortReservation, certificate: str) -> None:
    """Two listeners of an C{ssl:} and of a C{tls:} string are on one port each."""
    from twisted.internet import reactor

    directory = certificate.removesuffix("/server.pem")
    descriptions = [
        f"ssl:0:interface=127.0.0.1:privateKey={certificate}",
        f"tls:{directory}:0:interface=127.0.0.1",
    ]
    listeners = reservation.reserve(reactor, descriptions)
    assert [each.url for each in listeners] == [f"https://127.0.0.1:{each.port}/" for each in listeners]
    endpoints = [*worker_endpoints(reactor, listeners, 0), *worker_endpoints(reactor, listeners, 1)]
    ports: list[Any] = await gatherResults([each.listen(Factory()) for each in endpoints])
    assert [each.getHost().port for each in ports] == [each.port for each in listeners] * 2
    await gatherResults([each.stopListening() for each in ports])


def test_a_socket_file_is_the_first_workers_alone(reservation: PortReservation, tmp_path: Path) -> None:
    """A path cannot be shared; only one worker listens on it, and asking does not make the file."""
    (listener,) = reservation.reserve(_reactor(), [f"unix:{tmp_path}/socket"])
    assert not list(tmp_path.iterdir())
    assert listener.url == f"unix:{tmp_path}/socket"
    reactor = _reactor()
    (endpoint,) = worker_endpoints(reactor, [listener], 0)
    endpoint.listen(Factory())
    assert reactor.unixServers[0][0] == f"{tmp_path}/socket"
    assert worker_endpoints(reactor, [listener], 1) == []


@pytest.mark.parametrize(("address", "interface"), [("127.0.0.1", "127.0.0.1"), ("[::1]", "\\:\\:1")])
async def test_connections_spread(reservation: PortReservation, address: str, interface: str) -> None:
    """Two listeners on one reserved port both get connections; one can go and come back under the reservation."""
    from twisted.internet import reactor

    (listener,) = reservation.reserve(reactor, [f"tcp:0:interface={interface}"])
    assert listener.url == f"http://{address}:{listener.port}/"
    counts = [0, 0]
    all_there: Deferred[None] = Deferred()

    def listen(index: int) -> Deferred[Any]:
        class Count(Protocol):
            def connectionMade(self) -> None:
                counts[index] += 1
                if sum(counts) == 64:
                    all_there.callback(None)

        (endpoint,) = worker_endpoints(reactor, [listener], index)
        return endpoint.listen(Factory.forProtocol(Count))

    first = await listen(0)
    second = await listen(1)
    await first.stopListening()
    first = await listen(0)
    clients = [socket.create_connection((address.strip("[]"), listener.port)) for _ in range(64)]
    await all_there
    assert min(counts) >= 10, counts
    for client in clients:
        client.close()
    await gatherResults([first.stopListening(), second.stopListening()])


def test_a_taken_port_is_refused(reservation: PortReservation) -> None:
    """A port where another program listens is an error with its number."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CannotListenError, match=f"127.0.0.1:{port}: .*in use"):
            reservation.reserve(_reactor(), [f"tcp:{port}:interface=127.0.0.1"])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_second_server_is_refused(reservation: PortReservation, workers: int) -> None:
    """A second parent never gets the port of a first, whether that one's workers run or have just died."""
    (listener,) = reservation.reserve(_reactor(), ["tcp:0:interface=127.0.0.1"])
    listening = [_worker_socket(listener.port) for _ in range(workers)]
    second = PortReservation()
    with pytest.raises(CannotListenError, match="in use"):
        second.reserve(_reactor(), [f"tcp:{listener.port}:interface=127.0.0.1"])
    for each in listening:
        each.close()


def test_a_plain_server_is_refused(reservation: PortReservation) -> None:
    """A server that binds as usual does not get a reserved port in the moment in which no worker listens."""
    (listener,) = reservation.reserve(_reactor(), ["tcp:0:interface=127.0.0.1"])
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", listener.port or 0))


def test_a_restart_gets_past_old_connections() -> None:
    """Connections of the last server that are in TIME_WAIT do not keep the next one from its port."""
    with socket.create_server(("127.0.0.1", 0)) as last:
        port = last.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = last.accept()
        accepted.close()
        assert client.recv(1) == b""
        client.close()
    reservation = PortReservation()
    (listener,) = reservation.reserve(_reactor(), [f"tcp:{port}:interface=127.0.0.1"])
    _worker_socket(listener.port).close()
    reservation.close()


def test_nothing_is_accepted_by_the_reservation(reservation: PortReservation) -> None:
    """While no worker runs, clients are refused at once instead of waiting for nobody."""
    (listener,) = reservation.reserve(_reactor(), ["tcp:0:interface=127.0.0.1"])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listener.port or 0))


def test_a_missing_certificate_is_found_by_the_parent(reservation: PortReservation) -> None:
    """Endpoint strings that name what is not there fail before any worker is started."""
    with pytest.raises(OSError, match="nowhere"):
        reservation.reserve(_reactor(), ["ssl:0:privateKey=/nowhere.pem"])


def test_listeners_travel() -> None:
    """They survive the pipe to the worker."""
    listener = Listener("tcp:0", "http://0.0.0.0:80/", port=80)
    assert pickle.loads(pickle.dumps(listener)) == listener


def test_urls_of_other_kinds() -> None:
    """What has no URL is told as it was given."""
    assert served_url("unix:/run/s", None) == "unix:/run/s"


def _worker_socket(port: int | None) -> socket.socket:
    """A listening socket made as a worker's."""
    worker = socket.socket()
    worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    worker.bind(("127.0.0.1", port or 0))
    worker.listen()
    return worker
