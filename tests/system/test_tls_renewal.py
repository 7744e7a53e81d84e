"""Certificates that are renewed under a server that is busy: nobody loses a request, let alone a transfer."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import threading
from contextlib import closing
from http.client import HTTPSConnection
from typing import TYPE_CHECKING, Any

import pytest
from certificates import Pair, trusting
from cryptography.hazmat.primitives.serialization import Encoding

from system.harness import HOST, PATIENCE, content, in_background, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from system.harness import Service

ROOT = Pair("Root", authority=True)
MIB = 1 << 20
LARGE = content("large", 4 * MIB)
RENEWALS = 5
BOTH = pytest.mark.parametrize("workers", [1, 2])


def pair(name: str) -> Pair:
    """Another for the same host."""
    return Pair(name, ROOT, names=("localhost", HOST))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """The server's, alone in a directory."""
    (tmp_path / "tls").mkdir()
    return pair("first").write(tmp_path / "tls/server.pem")


@pytest.fixture
def start(serve: Callable[..., Service], certificate: Path) -> Callable[..., Service]:
    """Starts a server with TLS."""

    def start(more: str = "", **options: Any) -> Service:
        text = f"[tls]\nendpoint = tcp:0:interface={HOST}\ncertificate = {certificate}\n{more}"
        return serve(settings=text, port=None, **options)

    return start


def renew(service: Service, path: Path, new: Pair) -> None:
    """Put another certificate in the place of the one that there is, and say so."""
    count = service.log.count("SIGHUP: ")
    os.replace(new.write(path.with_name("new.pem")), path)
    service.process.send_signal(signal.SIGHUP)
    until(lambda: service.log.count("SIGHUP: ") > count, "the signal is heeded")


def connect(service: Service, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    """A connection."""
    plain = socket.create_connection((HOST, service.port), timeout=PATIENCE)
    return (context or trusting(ROOT)).wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)


def served(service: Service) -> bytes | None:
    """The certificate that a new connection gets."""
    with connect(service) as connection:
        return connection.getpeercert(True)


def ask(service: Service, context: ssl.SSLContext, method: str, path: str, body: bytes | None = None) -> bytes:
    """One request on a connection of its own."""
    with closing(HTTPSConnection("localhost", service.port, context=context, timeout=PATIENCE)) as connection:
        connection.request(method, path, body)
        answer = connection.getresponse()
        assert answer.status < 300, answer.status
        return answer.read()


@BOTH
@pytest.mark.timeout(300)
def test_under_load(start: Callable[..., Service], certificate: Path, workers: int) -> None:
    """
    A download that began before goes on to its last byte, new connections get the new certificate from every worker,
    and no request fails meanwhile.
    """
    service = start(workers=workers)
    context = trusting(ROOT)
    ask(service, context, "PUT", "/1", LARGE)
    ask(service, context, "PUT", "/2", b"small")
    asked = [0]

    def load(ended: threading.Event) -> None:
        while not ended.is_set():
            assert ask(service, context, "GET", "/2") == b"small"
            asked[0] += 1

    with connect(service) as slow, in_background(load, 2):
        slow.sendall(b"GET /1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = bytearray(slow.recv(1000))
        for number in range(RENEWALS):
            new = pair(f"renewal {number}")
            renew(service, certificate, new)
            expected = new.certificate.public_bytes(Encoding.DER)
            until(lambda expected=expected: all(served(service) == expected for _ in range(8)), "it is in force")  # type: ignore[misc]
            received += slow.recv(10_000)
            before = asked[0]
            until(lambda before=before: asked[0] > before + 5, "others are served")  # type: ignore[misc]
        while piece := slow.recv(MIB):
            received += piece
    assert received.partition(b"\r\n\r\n")[2] == LARGE
    assert service.log.count("TLS: new connections have another certificate") == RENEWALS
    assert service.log.count("SIGHUP: reloaded the certificate") == RENEWALS
    assert service.stop() == -signal.SIGTERM


@BOTH
def test_a_bad_one(start: Callable[..., Service], certificate: Path, workers: int) -> None:
    """It is refused in one line, and the old one is in force, also in a worker that is started after that."""
    service = start(workers=workers)
    before = served(service)
    assert before is not None
    good = certificate.read_bytes()
    certificate.write_bytes(pair("other").pem)
    service.process.send_signal(signal.SIGHUP)
    until(lambda: "cannot reload" in service.log, "it is said")
    (line,) = [each for each in service.log.splitlines() if "cannot reload" in each]
    assert re.search(r"settings.ini: \[tls\] key: .*/server.pem has no private key in PEM; what was in force", line)
    assert all(served(service) == before for _ in range(4))
    if workers > 1:
        for worker in service.workers():
            os.kill(worker, signal.SIGKILL)
        until(lambda: service.log.count("replaced in") == workers, "their end is noticed")
        until(lambda: not service.refuses(), "others serve")
        assert served(service) == before
    certificate.write_bytes(good)


def test_a_new_worker_has_the_new_one(start: Callable[..., Service], certificate: Path) -> None:
    """What is started after a renewal, and begun before it, has what is in force then."""
    service = start(workers=2)
    assert served(service)
    new = pair("new")
    renew(service, certificate, new)
    certificate.unlink()  # nobody reads it again
    for worker in service.workers():
        os.kill(worker, signal.SIGKILL)
    until(lambda: service.log.count("replaced in") == 2, "their end is noticed")
    until(lambda: not service.refuses(), "others serve")
    assert {served(service) for _ in range(8)} == {new.certificate.public_bytes(Encoding.DER)}


REFUSED = [
    ("certificate = /nonexistent.pem", "[tls] certificate: /nonexistent.pem: No such file or directory"),
    ("", "[tls] certificate: must be set where TLS is spoken"),
    ("certificate = @\nclient = required", "[tls] client_ca: must be set with client = required"),
    ("certificate = @\nkey = /dev/null", "[tls] key: /dev/null: is not a regular file"),
    ("certificate = @\nminimum = 1.1", "[tls] minimum: '1.1' is not among 1.2, 1.3"),
    ("certificate = @\nclient = yes", "[tls] client: 'yes' is not among none, optional, required"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED)
@BOTH
def test_what_is_refused_at_the_start(
    serve: Callable[..., Service], certificate: Path, text: str, words: str, workers: int
) -> None:
    """One line with the file, the section and the key; and the exit code of settings that cannot be used."""
    text = text.replace("@", str(certificate))
    service = serve(settings=f"[tls]\nendpoint = tcp:0:interface={HOST}\n{text}\n", port=None, workers=workers)
    assert service.ends() == 2
    assert f"pacarchive: settings.ini: {words}\n" in service.log
    assert "Traceback" not in service.log


def test_endpoints_that_have_tls_already(serve: Callable[..., Service], certificate: Path) -> None:
    """TLS within TLS is nothing that a client speaks."""
    text = f"[tls]\nendpoint = ssl:0:privateKey={certificate}\ncertificate = {certificate}\n"
    service = serve(settings=text, port=None)
    assert service.ends() == 2
    assert "pacarchive: [tls] endpoint: 'ssl:0:" in service.log
    assert "has TLS by itself; write for example tcp:443" in service.log


@BOTH
def test_both_kinds_of_endpoints(serve: Callable[..., Service], certificate: Path, workers: int) -> None:
    """With and without TLS, side by side, on one archive."""
    text = f"[server]\nendpoint = tcp:0:interface={HOST}\n[tls]\nendpoint = tcp:0:interface={HOST}; unix:socket\n"
    service = serve(settings=f"{text}certificate = {certificate}\n", port=None, workers=workers)
    assert service.ask("PUT", 1, b"x").status == 201
    found = re.search(r"https://[^/]+:(\d+)/", service.log)
    assert found
    service._port = int(found[1])
    assert ask(service, trusting(ROOT), "GET", "/1") == b"x"
    with socket.socket(socket.AF_UNIX) as plain:
        plain.connect(str(service.directory / "socket"))
        with trusting(ROOT).wrap_socket(plain, server_hostname="localhost") as connection:
            connection.sendall(b"GET /1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def test_clients_are_told_from_each_other(start: Callable[..., Service], certificate: Path, tmp_path: Path) -> None:
    """Who has no certificate of the authority's gets no further than the handshake."""
    users = Pair("Users", authority=True)
    (tmp_path / "users.pem").write_bytes(users.pem)
    service = start(f"client_ca = {tmp_path}/users.pem\nclient = required\n")
    known, stranger, nobody = trusting(ROOT), trusting(ROOT), trusting(ROOT)
    known.load_cert_chain(Pair("robot", users).write(tmp_path / "robot.pem"))
    stranger.load_cert_chain(Pair("robot").write(tmp_path / "stranger.pem"))
    assert service.port
    ask(service, known, "PUT", "/1", b"x")
    for context, alert in ((stranger, "unknown ca"), (nobody, "certificate required")):
        with pytest.raises(ssl.SSLError, match=f"(?i){alert.replace(' ', '.')}"):
            ask(service, context, "GET", "/1")
    assert ask(service, known, "GET", "/1") == b"x"
    assert service.log.count("The TLS handshake failed: ") == 2
