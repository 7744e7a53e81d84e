"""TLS: trusted authorities, and the client's own certificate.  OpenSSL is imported only where it is used."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs

if TYPE_CHECKING:
    from pacarchive.client.addresses import Place

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(rb"-----BEGIN (?P<kind>[A-Z ]*)PRIVATE KEY-----.+?-----END (?P=kind)PRIVATE KEY-----", re.DOTALL)


@attrs.frozen
class ClientCertificate:
    """
    The certificate that identifies the client, with those of intermediate authorities, and its private key; in PEM.

    @ivar files: The paths of both, for messages.
    """

    certificates: list[bytes]
    key: bytes = attrs.field(repr=False)
    files: tuple[str, str]

    @classmethod
    def of(
        cls, place: Place, cert: str | os.PathLike[str] | None, key: str | os.PathLike[str] | None = None
    ) -> Self | None:
        """
        Read it.

        @param place: The archive.
        @return: C{None} where no certificate is given.
        @raise ValueError: It cannot be used; C{str()} contains nothing of the key.
        @raise OSError: A file cannot be read.
        """
        if cert is None:
            if key is not None:
                raise ValueError("a key is of no use without its certificate")
            return None
        if not place.secure:
            raise ValueError(f"a client certificate needs TLS, and {place.whole_url} has none")
        certificates = _certificates(cert)
        where = os.fspath(cert if key is None else key)
        if (found := _KEY.search(Path(where).read_bytes())) is None:
            raise ValueError(f"{where}: contains no private key (PEM)")
        return cls(certificates, found[0], (os.fspath(cert), where))

    def options(self) -> dict[str, Any]:
        """
        The arguments for Twisted's C{CertificateOptions}.

        @raise ValueError: It cannot be used.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from cryptography.x509 import load_pem_x509_certificate

        cert, where = self.files
        try:
            own, *others = [load_pem_x509_certificate(each) for each in self.certificates]
        except ValueError:
            raise ValueError(f"{cert}: the certificate cannot be read") from None
        try:
            key = load_pem_private_key(self.key, None)
        except TypeError:
            raise ValueError(f"{where}: the private key has a passphrase, and must have none") from None
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError(f"{where}: the private key cannot be read") from None
        if own.public_key() != key.public_key():
            raise ValueError(f"{where}: the private key is not that of the certificate")
        return {"certificate": own, "privateKey": key, "extraCertChain": others}


def client_tls(place: Place, ca: str | os.PathLike[str] | None, shown: ClientCertificate | None) -> Any:
    """
    The creator of TLS connections to an archive.

    @param ca: The file with the certificates to trust; C{None} for the system's.
    @param shown: The client's certificate.
    @raise ValueError: A certificate or key cannot be used.
    @raise OSError: A file cannot be read.
    """
    from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates

    trusted = None
    if ca is not None:
        trusted = trustRootFromCertificates([Certificate.loadPEM(each) for each in _certificates(ca)])
    options = None if shown is None else shown.options()
    return optionsForClientTLS(place.host, trusted, extraCertificateOptions=options)


def _certificates(path: str | os.PathLike[str]) -> list[bytes]:
    found = _CERTIFICATE.findall(Path(path).read_bytes())
    if not found:
        raise ValueError(f"{os.fspath(path)}: contains no certificate (PEM)")
    return found
