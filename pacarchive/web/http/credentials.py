"""What the server proves itself with over TLS, and whose certificates it takes: read, checked, and made a context of.

Nothing but what has TLS imports this module: it needs OpenSSL, and C{cryptography}.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from pacarchive.runtime.files import read_file
from pacarchive.settings.errors import ConfigError
from pacarchive.web.http.settings import STRONG_CIPHERS, ClientCertificates, TlsSettings, TlsVersion

PROTOCOLS = ("http/1.1",)
"""What is offered to speak (ALPN)."""

_LONGEST_FILE = 1 << 20
_MODES = {
    ClientCertificates.NONE: ssl.CERT_NONE,
    ClientCertificates.OPTIONAL: ssl.CERT_OPTIONAL,
    ClientCertificates.REQUIRED: ssl.CERT_REQUIRED,
}
_VERSIONS = {TlsVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2, TlsVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3}


@attrs.frozen(kw_only=True)
class Credentials:
    """
    What a server with TLS needs.  Can be pickled: worker processes get it through a pipe.

    @ivar chain: The certificate, and those of the authorities between, in PEM.
    @ivar key: Its key, in PEM.
    @ivar client_ca: The authorities of clients' certificates, in PEM; empty where there are none.
    @ivar client: Whether clients are asked for a certificate.
    @ivar minimum: The oldest version that is spoken.
    @ivar names: What the certificate is for, as people read it.
    @ivar not_after: Until when it is valid, in seconds since the epoch.
    """

    chain: bytes
    key: bytes = attrs.field(repr=False)
    client_ca: str
    client: ClientCertificates
    minimum: TlsVersion
    names: tuple[str, ...]
    not_after: float

    def __str__(self) -> str:
        until = datetime.fromtimestamp(self.not_after, UTC)
        return f"certificate of {', '.join(self.names)}, valid until {until:%Y-%m-%d %H:%M} UTC"


class CredentialsFiles:
    """
    The files that credentials are in.

    @param settings: Their names.
    @param source: The file that says so, for the words of an error.
    """

    def __init__(self, settings: TlsSettings, source: str | None) -> None:
        self._settings = settings
        self._source = source or "settings"
        # twistd may change the directory later.
        named = {"certificate": settings.certificate, "key": settings.key or settings.certificate}
        named["client_ca"] = settings.client_ca
        self._paths = {key: os.path.abspath(name) for key, name in named.items() if name}

    def stamp(self) -> object:
        """Something that is another when a file is."""
        return tuple(map(_stamp, self._paths.values()))

    def read(self, now: float) -> Credentials:
        """
        Read and check all of them.

        @param now: Seconds since the epoch.
        @raise ConfigError: Something is wrong, anywhere.
        """
        settings = self._settings
        if not settings.certificate:
            raise self._error("certificate", "must be set where TLS is spoken")
        if settings.client is not ClientCertificates.NONE and not settings.client_ca:
            raise self._error("client_ca", f"must be set with client = {settings.client.value}")
        text = self._text("certificate")
        chain = self._certificates("certificate", text)
        key = self._text("key") if settings.key else text
        self._check_dates("certificate", chain[0], now)
        self._check_chain(chain)
        self._check_key(key, chain[0])
        authorities: Sequence[x509.Certificate] = ()
        if settings.client is not ClientCertificates.NONE:
            authorities = self._certificates("client_ca", self._text("client_ca"))
            for each in authorities:
                self._check_dates("client_ca", each, now)
        found = Credentials(
            chain=b"".join(each.public_bytes(Encoding.PEM) for each in chain),
            key=key,
            client_ca="".join(each.public_bytes(Encoding.PEM).decode() for each in authorities),
            client=settings.client,
            minimum=settings.minimum,
            names=_spoken_names(chain[0]),
            not_after=chain[0].not_valid_after_utc.timestamp(),
        )
        try:
            make_context(found)
        except ssl.SSLError as error:  # a key that is too short, say
            raise self._error("certificate", f"OpenSSL does not take it: {error.reason or error}") from error
        return found

    def warnings(self) -> list[str]:
        """What is not as it should be, in words."""
        path = self._paths["key"]
        if stat.S_IMODE(os.stat(path).st_mode) & stat.S_IROTH:
            return [f"[tls] key: everyone on this machine may read {path}; chmod o-rwx keeps the key secret"]
        return []

    def _error(self, key: str, words: str) -> ConfigError:
        return ConfigError(self._source, words, "tls", key)

    def _text(self, key: str) -> bytes:
        path = self._paths[key]
        try:
            return read_file(path, _LONGEST_FILE)
        except OSError as error:
            raise self._error(key, f"{path}: {error.strerror}") from error

    def _certificates(self, key: str, text: bytes) -> list[x509.Certificate]:
        try:
            return x509.load_pem_x509_certificates(text)
        except ValueError as error:
            raise self._error(key, f"{self._paths[key]} has no certificate in PEM") from error

    def _check_dates(self, key: str, certificate: x509.Certificate, now: float) -> None:
        at = datetime.fromtimestamp(now, UTC)
        whose = f"{self._paths[key]}: the certificate of {', '.join(_spoken_names(certificate))}"
        if at > certificate.not_valid_after_utc:
            raise self._error(key, f"{whose} has expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
        if at < certificate.not_valid_before_utc:
            raise self._error(key, f"{whose} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")

    def _check_chain(self, chain: Sequence[x509.Certificate]) -> None:
        for number, (below, above) in enumerate(pairwise(chain), 2):
            try:
                below.verify_directly_issued_by(above)
            except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
                path = self._paths["certificate"]
                words = f"{path}: certificate {number} ({_subject(above)}) has not issued the one before it"
                raise self._error("certificate", f"{words}; the server's comes first, then its issuer's") from error

    def _check_key(self, text: bytes, certificate: x509.Certificate) -> None:
        path = self._paths["key"]
        try:
            key = load_pem_private_key(text, None)
        except TypeError as error:
            raise self._error("key", f"the key in {path} is encrypted; the server cannot ask for a password") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise self._error("key", f"{path} has no private key in PEM") from error
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
            raise self._error("key", f"the key in {path} is not that of the certificate")


def make_context(credentials: Credentials) -> ssl.SSLContext:
    """
    What connections are made with.

    @raise ssl.SSLError: OpenSSL does not take the credentials.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[credentials.minimum]
    context.set_ciphers(STRONG_CIPHERS)
    context.set_alpn_protocols(PROTOCOLS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # Connections are kept alive; sessions that are resumed would outlive certificates.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    # Only files can be loaded: one without a name, which is in memory alone.
    with open(os.memfd_create("credentials", os.MFD_CLOEXEC), "wb", buffering=0) as file:
        file.write(credentials.key + b"\n" + credentials.chain)
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password=_no_password)
    if credentials.client is not ClientCertificates.NONE:
        context.load_verify_locations(cadata=credentials.client_ca)
        context.verify_mode = _MODES[credentials.client]
    return context


class Context:
    """
    What new connections are made with.

    @ivar current: That; another after L{renew}.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.current = make_context(credentials)

    def renew(self, credentials: Credentials) -> None:
        """Have others from now on; connections that there are keep what they have."""
        self.current = make_context(credentials)


@attrs.frozen
class PeerCertificate:
    """
    The certificate that a client has proved to have, and that one of C{[tls] client_ca} has issued.

    @ivar names: Its subject alternative names, as C{dns:robot.example.org}, C{uri:spiffe://site/robot},
        C{email:robot@example.org}, C{ip:192.0.2.7}.
    @ivar subject: Its subject, as RFC 4514 writes it.
    @ivar not_after: Until when it is valid, in seconds since the epoch.  OpenSSL has looked at it in the handshake;
        whoever trusts it on a connection that lasts looks again.
    """

    names: tuple[str, ...]
    subject: str
    not_after: float


def read_peer_certificate(encoded: bytes) -> PeerCertificate:
    """
    What is in a certificate.

    @param encoded: As DER.
    @raise ValueError: OpenSSL could read it, and C{cryptography} cannot.
    """
    certificate = x509.load_der_x509_certificate(encoded)
    return PeerCertificate(names_of(certificate), _subject(certificate), certificate.not_valid_after_utc.timestamp())


_KINDS: tuple[tuple[str, type[x509.DNSName | x509.UniformResourceIdentifier | x509.RFC822Name]], ...] = (
    ("dns", x509.DNSName),
    ("uri", x509.UniformResourceIdentifier),
    ("email", x509.RFC822Name),
)


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The subject alternative names, each with its kind before it."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):  # none, or several
        return ()
    found = [f"{kind}:{name}" for kind, cls in _KINDS for name in extension.value.get_values_for_type(cls)]
    found += [f"ip:{address}" for address in extension.value.get_values_for_type(x509.IPAddress)]
    return tuple(found)


def _spoken_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The names, for people; the subject where there are none."""
    return tuple(each.partition(":")[2] for each in names_of(certificate)) or (_subject(certificate),)


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _no_password() -> str:
    raise ssl.SSLError("the key is encrypted")
