"""Certificates for tests, made as fast as they are needed."""

from __future__ import annotations

import ssl
import warnings
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

DAY = timedelta(days=1)


class Pair:
    """
    A key and its certificate.

    @param name: The common name; of an authority, its name.
    @param issuer: Who signs; the key itself if C{None}.
    @param names: Subject alternative names of hosts, addresses, URIs and users.
    @param authority: Whether it may issue others.
    @param days: When it begins to be valid, and ends to be, from now on.
    @param kind: Of the key: C{"ec"} or C{"rsa"}.
    """

    def __init__(
        self,
        name: str,
        issuer: Pair | None = None,
        *,
        names: tuple[str, ...] = (),
        authority: bool = False,
        days: tuple[float, float] = (-1, 100),
        kind: str = "ec",
    ) -> None:
        self.private: CertificateIssuerPrivateKeyTypes = (
            ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
        )
        self.subject = x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
        )
        now = datetime.now(UTC)
        by = issuer or self
        builder = (
            x509.CertificateBuilder(by.subject, self.subject, self.private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + days[0] * DAY)
            .not_valid_after(now + days[1] * DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_name(each) for each in names]), False)
        self.certificate = builder.sign(by.private, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key(self) -> bytes:
        """The key."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def locked_key(self) -> bytes:
        """The key, for those who know a password."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))

    def write(self, path: Path) -> Path:
        """Write a file with both."""
        path.touch(0o600)
        path.write_bytes(self.key + self.pem)
        return path


def _name(text: str) -> x509.GeneralName:
    if "//" in text:
        return x509.UniformResourceIdentifier(text)
    if "@" in text:
        return x509.RFC822Name(text)
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def trusting(authority: Pair, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """
    A client that trusts an authority.

    @param version: The one that it speaks, where it is not to be the newest.
    """
    context = ssl.create_default_context(cadata=authority.pem.decode())
    if version is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
    return context
