"""TLS, tokens, and other hosts: real connections on the loopback interface."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import ssl
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.web.server import Site

from pacarchive.client import (
    ArchiveClient,
    CertificateRefused,
    ConnectionFailed,
    ProtocolError,
    RetryPolicy,
    Unauthorised,
    WrongScheme,
)
from pacarchive.client.testing import FakeArchive

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

# Twisted gives pyOpenSSL what that wants in another form now.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL (X509|PKey) objects:DeprecationWarning")

QUICK = RetryPolicy(attempts=3, first=0.01)


def asynchronous(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that is a coroutine of Twisted's."""
    decorated: Callable[..., None] = pytest_twisted.ensureDeferred(test)
    return decorated


class Noting(FakeArchive):
    """Keeps the credentials of all requests."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str | None] = []

    def render(self, request: Any) -> bytes:
        self.sent.append(request.getHeader("Authorization"))
        return super().render(request)


def certificate(directory: Path, name: str = "127.0.0.1") -> tuple[Path, ssl.PrivateCertificate]:
    """A certificate that is its own authority."""
    directory.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    text = made.public_bytes(serialization.Encoding.PEM)
    path = directory / f"{name}.pem"
    path.write_bytes(b"Some words before.\n" + text + b"and after.\n")
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return path, ssl.PrivateCertificate.loadPEM(private + text)


def pem(directory: Path, own: ssl.PrivateCertificate) -> tuple[Path, Path]:
    """Files of a certificate and of its key."""
    directory.mkdir(exist_ok=True)
    key = own.privateKey.original.to_cryptography_key()
    for name, data in (
        ("cert.pem", own.original.to_cryptography().public_bytes(serialization.Encoding.PEM)),
        (
            "key.pem",
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        ),
    ):
        (directory / name).write_bytes(data)
    return directory / "cert.pem", directory / "key.pem"


@asynccontextmanager
async def served(
    archive: FakeArchive, own: ssl.PrivateCertificate | None = None, clients: ssl.Certificate | None = None
) -> AsyncIterator[str]:
    """
    Serve an archive.

    @param clients: The authority of the certificates that clients have to show.
    @return: Its URL.
    """
    from twisted.internet import reactor

    site, there = Site(archive, timeout=None), "127.0.0.1"
    listener: Any = reactor
    if own is None:
        port, scheme = listener.listenTCP(0, site, interface=there), "http"
    else:
        options = own.options() if clients is None else own.options(clients)
        port, scheme = listener.listenSSL(0, site, options, interface=there), "https"
    try:
        yield f"{scheme}://{there}:{port.getHost().port}"
    finally:
        await port.stopListening()


def client(url: str, **more: Any) -> ArchiveClient:
    """A client in this process."""
    from twisted.internet import reactor

    return ArchiveClient(reactor, url, retry=QUICK, **more)


@asynchronous
async def test_an_archive_with_a_private_authority_is_trusted_when_told(tmp_path: Path) -> None:
    """Small and large files pass, and the token arrives."""
    ca, own = certificate(tmp_path)
    archive = Noting()
    data = bytes(range(256)) * 20_000
    async with served(archive, own) as url, client(url, ca=ca, token="abc.DEF-1") as archived:
        (tmp_path / "source").write_bytes(data)
        await archived.put(1, tmp_path / "source")
        await archived.get(1, tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == data
    assert set(archive.sent) == {"Bearer abc.DEF-1"}


@asynchronous
async def test_a_certificate_that_is_not_trusted_is_refused(tmp_path: Path) -> None:
    """At once, with advice; nothing of the request arrives, the token least of all."""
    _, own = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = certificate(tmp_path / "other")
    archive = Noting()
    async with served(archive, own) as url:
        for options in ({}, {"ca": other}):
            async with client(url, token="secret", **options) as archived:
                with pytest.raises(CertificateRefused) as caught:
                    await archived.put(1, b"data")
            assert "ca" in caught.value.advice
            assert "secret" not in str(caught.value)
    assert not archive.requests


@asynchronous
async def test_the_other_scheme_is_recognised(tmp_path: Path) -> None:
    """Without TLS where there is: said at once, and not tried again."""
    _, own = certificate(tmp_path)
    archive = Noting()
    async with served(archive, own) as url:
        plain = url.replace("https:", "http:")
        async with client(plain) as archived:
            calls: list[Callable[[], Awaitable[object]]]
            calls = [archived.health, lambda: archived.status(1), lambda: archived.stage([1])]
            for call in calls:
                with pytest.raises(WrongScheme, match=f"{plain} speaks TLS: write https:// instead of http://"):
                    await call()
    assert not archive.requests


@asynchronous
async def test_tls_where_there_is_none_is_recognised(tmp_path: Path) -> None:
    """By what a server answers that takes the beginning of TLS for a request."""
    from twisted.internet import reactor

    ca, _ = certificate(tmp_path)
    listener: Any = reactor
    port = listener.listenTCP(0, Factory.forProtocol(Refuses), interface="127.0.0.1")
    url = f"https://127.0.0.1:{port.getHost().port}"
    try:
        async with client(url, ca=ca) as archived:
            calls: list[Callable[[], Awaitable[object]]] = [archived.health, lambda: archived.put(1, b"data")]
            for call in calls:
                with pytest.raises(
                    WrongScheme,
                    match=f"{url} does not speak TLS; the address of an archive without TLS begins with http://",
                ):
                    await call()
    finally:
        await port.stopListening()


class HangsUp(Protocol):
    """Answers nothing to anybody."""

    answer = b""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(self.answer)
        self.transport.loseConnection()


class Refuses(HangsUp):
    """Understands nothing."""

    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


@asynchronous
async def test_who_hangs_up_speaks_no_tls() -> None:
    """A peer that answers nothing to anybody is no port with TLS; nor is one that has answered before."""
    from twisted.internet import reactor

    listener: Any = reactor
    port = listener.listenTCP(0, Factory.forProtocol(HangsUp), interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}"
    try:
        async with client(url) as archived:
            with pytest.raises(ConnectionFailed, match=f"The connection to {url} was lost") as caught:
                await archived.health()
            assert not isinstance(caught.value, WrongScheme)
    finally:
        await port.stopListening()
    async with client(url) as archived:
        with pytest.raises(ConnectionFailed, match=f"{url} cannot be reached: connection refused"):
            await archived.health()


class Alerts(Protocol):
    """Answers the beginning of TLS with an alert, and stays; of what is no TLS it takes nothing."""

    opened: ClassVar[list[Alerts]] = []

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        if data.startswith(b"\x16\x03"):
            self.opened.append(self)
            self.transport.write(b"\x15\x03\x01\x00\x02\x02\x28")
        else:
            self.transport.loseConnection()

    def connectionLost(self, reason: object = None) -> None:
        if self in self.opened:
            self.opened.remove(self)


@asynchronous
async def test_the_question_whether_it_is_tls_leaves_no_connection() -> None:
    """Also with a peer that does not end it."""
    from twisted.internet import reactor

    listener: Any = reactor
    port = listener.listenTCP(0, Factory.forProtocol(Alerts), interface="127.0.0.1")
    try:
        async with client(f"http://127.0.0.1:{port.getHost().port}") as archived:
            with pytest.raises(WrongScheme):
                await archived.health()
            for _ in range(1000):
                if not Alerts.opened:
                    break
                await deferLater(listener, 0.01)
            assert not Alerts.opened
    finally:
        await port.stopListening()
        for each in list(Alerts.opened):
            each.transport.abortConnection()  # type: ignore[union-attr]


def test_a_file_without_certificates_is_no_authority(tmp_path: Path) -> None:
    """It is refused when the client is made."""
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ValueError, match="no certificate"):
        client("https://archive.example.org", ca=tmp_path / "ca.pem")
    with pytest.raises(FileNotFoundError):
        client("https://archive.example.org", ca=tmp_path / "none.pem")


@asynchronous
async def test_a_client_certificate_is_sent_where_it_is_required(tmp_path: Path) -> None:
    """In two files or in one; with a token, too.  Without it, or with another one, the archive does not talk."""
    ca, own = certificate(tmp_path)
    _, mine = certificate(tmp_path / "mine")
    _, other = certificate(tmp_path / "other")
    cert, key = pem(tmp_path / "mine", mine)
    (both := tmp_path / "both.pem").write_bytes(key.read_bytes() + cert.read_bytes() + ca.read_bytes())
    archive = Noting()
    async with served(archive, own, mine) as url:
        for options in ({"cert": cert, "key": key}, {"cert": both}, {"cert": both, "token": "abc"}):
            async with client(url, ca=ca, **options) as archived:
                await archived.put(1, bytes(2_000_000))
                assert (await archived.status(1)).size == 2_000_000
        asked = len(archive.requests)
        cert, key = pem(tmp_path / "other", other)
        for options in ({}, {"cert": cert, "key": key}):
            async with client(url, ca=ca, **options) as archived:
                with pytest.raises(Unauthorised, match="certificate") as caught:
                    await archived.status(1)
            assert "client certificate" in caught.value.advice
    assert len(archive.requests) == asked


def test_a_client_certificate_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """When the client is made, with the name of the file."""
    _, own = certificate(tmp_path)
    _, other = certificate(tmp_path / "other")
    cert, key = pem(tmp_path / "own", own)
    _, foreign = pem(tmp_path / "other", other)
    locked = own.privateKey.original.to_cryptography_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
    )
    (tmp_path / "locked.pem").write_bytes(locked)
    (tmp_path / "bad.pem").write_bytes(key.read_bytes()[:60] + b"AAAA" + key.read_bytes()[64:])
    (tmp_path / "worse.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    url = "https://archive.example.org"
    for where, options, words in (
        (url, {"cert": cert, "key": foreign}, "key.pem: the private key is not that of the certificate"),
        (url, {"cert": cert, "key": tmp_path / "locked.pem"}, "locked.pem: the private key has a passphrase"),
        (url, {"cert": cert, "key": tmp_path / "bad.pem"}, "bad.pem: the private key cannot be read"),
        (url, {"cert": tmp_path / "worse.pem", "key": key}, "worse.pem: the certificate cannot be read"),
        (url, {"cert": cert}, "cert.pem: contains no private key"),
        (url, {"cert": key, "key": key}, "key.pem: contains no certificate"),
        (url, {"key": key}, "a key is of no use without its certificate"),
        ("http://127.0.0.1", {"cert": cert, "key": key}, "a client certificate needs TLS"),
    ):
        with pytest.raises(ValueError, match=words):
            client(where, **options)
    with pytest.raises(FileNotFoundError):
        client(url, cert=tmp_path / "none.pem")


@asynchronous
async def test_a_body_that_is_refused_goes_out_again_with_another_token(tmp_path: Path) -> None:
    """Over real connections, where it was sent already: from its beginning, if it can be read again."""
    archive = Noting()
    archive.tokens = {"new"}
    (tmp_path / "source").write_bytes(data := bytes(range(256)) * 40_000)

    async def pieces() -> AsyncIterator[bytes]:
        yield data

    async with served(archive) as url:
        sources: tuple[Any, ...] = (data, tmp_path / "source")
        for number, source in enumerate(sources):
            given = iter(["old", "new"])
            async with client(url, token=lambda given=given: next(given)) as archived:
                await archived.put(number, source, hash_first=bool(number))
            assert archive.files[number].data == data
        given = iter(["old", "new", "new"])
        async with client(url, token=lambda: next(given)) as archived:
            with pytest.raises(Unauthorised) as caught:
                await archived.put(5, pieces())
            assert caught.value.renewed
            assert 5 not in archive.files
            await archived.put(5, pieces())
    assert archive.files[5].data == data


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@asynchronous
async def test_no_redirect_is_followed(status: int) -> None:
    """The token is for one host."""
    archive, elsewhere = Noting(), Noting()
    async with served(archive) as url, served(elsewhere) as other, client(url, token="abc") as archived:
        archive.answer_with(status, Location=f"{other}/1")
        with pytest.raises(ProtocolError):
            await archived.status(1)
    assert archive.sent == ["Bearer abc"]
    assert not elsewhere.requests


@asynchronous
async def test_many_requests_share_few_connections() -> None:
    """As many as the client was made with."""
    archive = Noting()
    seen: set[int] = set()
    real = archive.render

    def render(request: Any) -> bytes:
        seen.add(request.getClientAddress().port)
        return real(request)

    archive.render = render  # type: ignore[method-assign]
    from twisted.internet.defer import Deferred, gatherResults

    async with served(archive) as url, client(url, connections=3) as archived:
        await gatherResults([Deferred.fromCoroutine(archived.put(each, b"%d" % each)) for each in range(60)])
    assert len(archive.files) == 60
    assert len(seen) == 3
