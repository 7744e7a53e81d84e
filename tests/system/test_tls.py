"""What the server speaks where an endpoint has TLS: tried by handshakes with a client that accepts anything."""

from __future__ import annotations

import importlib.util
import socket
import ssl
import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from system.harness import HOST, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from system.harness import Service

STRONG = {
    f"{exchange}-{cipher}"
    for exchange in ("ECDHE-ECDSA", "ECDHE-RSA")
    for cipher in ("AES256-GCM-SHA384", "AES128-GCM-SHA256", "CHACHA20-POLY1305")
}
HOSTS = (None, "localhost", "nobody.example")


def pair(kind: str) -> bytes:
    """A key and a certificate for localhost that it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, kind)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text + certificate.public_bytes(Encoding.PEM)


@pytest.fixture(params=["ec", "rsa"])
def certificate(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file with key and certificate, alone in its directory; the ciphers go by its kind of key."""
    path = tmp_path / "certificates/server.pem"
    path.parent.mkdir()
    path.write_bytes(pair(request.param))
    return path


@pytest.fixture(params=["own", "ssl", "tls"])
def secure(request: pytest.FixtureRequest, certificate: Path, serve: Callable[..., Service]) -> Service:
    """A server with an endpoint of each kind."""
    if request.param == "own":
        return serve(settings=f"[tls]\nendpoint = tcp:0:interface={HOST}\ncertificate = {certificate}\n", port=None)
    strings = {
        "ssl": f"ssl:0:interface={HOST}:privateKey={certificate}",
        "tls": f"tls:{certificate.parent}:0:interface={HOST}",
    }
    return serve("--endpoint", strings[request.param], port=None)


def anything(version: ssl.TLSVersion, ciphers: str = "ALL:COMPLEMENTOFALL:@SECLEVEL=0") -> ssl.SSLContext:
    """A client that takes any certificate, cipher and version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the versions that must not be spoken
        context.minimum_version = context.maximum_version = version
    context.set_ciphers(ciphers)
    return context


Agreed = tuple[str, str | None]


def handshake(service: Service, context: ssl.SSLContext, host: str | None = "localhost") -> Agreed | None:
    """The cipher and the protocol that are agreed upon, if there are any."""
    with socket.create_connection((HOST, service.port), timeout=PATIENCE) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=host) as agreed:
                return (agreed.cipher() or ("none", "", 0))[0], agreed.selected_alpn_protocol()
        except (ssl.SSLError, ConnectionResetError):
            return None


@pytest.mark.timeout(180)
def test_only_strong_ciphers_are_spoken(secure: Service) -> None:
    """Each one that the client's library knows is offered alone, by every name that a client may ask for."""
    every = [each["name"] for each in anything(ssl.TLSVersion.TLSv1_2).get_ciphers()]
    assert len(every) > 50
    assert set(every) > STRONG
    spoken = set()
    for cipher in every:
        if cipher.startswith("TLS_"):
            continue  # those of TLS 1.3, which are all strong and cannot be offered alone
        context = anything(ssl.TLSVersion.TLSv1_2, f"{cipher}:@SECLEVEL=0")
        spoken |= {agreed[0] for host in HOSTS if (agreed := handshake(secure, context, host))}
    assert spoken < STRONG
    assert len(spoken) == len(STRONG) / 2  # those of the certificate's kind of key


def test_old_versions_are_not_spoken(secure: Service) -> None:
    """But TLS 1.2 and 1.3 are."""
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        assert handshake(secure, anything(version)) is None
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert handshake(secure, anything(version)) is not None


def test_only_http_1_is_offered(secure: Service) -> None:
    """A client that would like HTTP/2 gets HTTP/1.1, and answers, though what makes Twisted offer both is installed."""
    assert importlib.util.find_spec("h2")
    context = anything(ssl.TLSVersion.TLSv1_3)
    context.set_alpn_protocols(["h2", "http/1.1"])
    agreed = handshake(secure, context)
    assert agreed is not None
    assert agreed[1] == "http/1.1"
    plain = socket.create_connection((HOST, secure.port), timeout=PATIENCE)
    with plain, context.wrap_socket(plain, server_hostname="localhost") as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"
