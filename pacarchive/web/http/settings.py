"""What one client may ask for and how long it may take, and what TLS is spoken with: C{[limits]} and C{[tls]}."""

from __future__ import annotations

import enum

import attrs

from pacarchive.settings.converters import (
    count,
    endpoint_strings,
    networks,
    optional_line,
    percent,
    seconds,
    size,
    timeout,
)
from pacarchive.settings.fields import setting

STRONG_CIPHERS = "ECDH+AESGCM:ECDH+CHACHA20:DH+AESGCM:DH+CHACHA20:!aNULL:!MD5:!DSS"
"""What TLS 1.2 is spoken with: keys that are forgotten (forward secrecy), and encryption that authenticates."""


@attrs.frozen(kw_only=True)
class LimitSettings:
    """What one client may ask for and how long it may take: C{[limits]}."""

    request_line: int = setting(8192, size, "The longest request line, in bytes; beyond it: 414.")
    header_bytes: int = setting(32 * 2**10, size, "All header fields together, in bytes; beyond: 431.")
    header_count: int = setting(100, count, "The most header fields; beyond: 431.")
    header_timeout: float = setting(
        60, timeout, "Time for the whole head of a request, and for a TLS handshake, in seconds."
    )
    idle_timeout: float = setting(75, timeout, "How long a connection without a request stays open, in seconds.")
    progress_timeout: float = setting(
        60, timeout, "A transfer in which fewer than progress_bytes move for this long is broken off, in seconds."
    )
    progress_bytes: int = setting(
        60 * 2**10, size, "The least that must move of a transfer within progress_timeout, in bytes."
    )
    linger_timeout: float = setting(
        5, seconds, "How long a refused sender is still read from, so that it sees the answer, in seconds."
    )
    connections: int = setting(10_000, count, "Open connections per worker process.")
    transfers: int = setting(
        512,
        count,
        "Bodies under way (PUT and GET) per worker process; beyond: 503. One that is sent in one piece, or in which "
        "nothing moves, does not count.",
    )
    lookups: int = setting(
        50_000,
        count,
        "Files of plans, archiveinfo and jobs that are being made, that are worked on at a time per worker process; "
        "beyond: 503.",
    )
    listings: int = setting(8, count, "Lists of the archive's files under way per worker process; beyond: 503.")
    memory: int = setting(
        256 * 2**20,
        size,
        "What unfinished requests may hold in memory per worker process: heads and bodies that are not complete, "
        "documents, answers that the client has not taken; in bytes. Beyond: 503; uploads under way wait.",
    )
    client_share: int = setting(
        25,
        percent,
        "How much of connections, transfers, lookups, listings and memory one client address (or IPv6 network of 64 "
        "bits) may have, in percent; beyond: 503.",
    )
    proxies: tuple[str, ...] = setting(
        ("127.0.0.0/8", "::1/128"),
        networks,
        "Addresses and networks that the requests of many clients come from, to which client_share does not apply. "
        "Nor does it to UNIX sockets.",
    )
    body: int = setting(16 * 2**40, size, "The largest body, in bytes; beyond: 413.")


class ClientCertificates(enum.Enum):
    """Whether clients are asked for a certificate."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


class TlsVersion(enum.Enum):
    """The oldest version that is spoken."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


@attrs.frozen(kw_only=True)
class TlsSettings:
    """Where TLS is spoken, and with what: C{[tls]}."""

    endpoints: tuple[str, ...] = setting(
        (),
        endpoint_strings,
        "Where to listen for TLS: Twisted endpoint strings without TLS of their own, as tcp:443, one per line or with "
        "semicolons between them. Where this is set and [server] endpoint is not, nothing listens without TLS.",
        key="endpoint",
    )
    certificate: str = setting(
        "", optional_line, "The server's certificate, and behind it those of the authorities between, in PEM."
    )
    key: str = setting("", optional_line, "The certificate's key, in PEM.", default_words="in the certificate's file")
    client_ca: str = setting(
        "", optional_line, "The certificates of the authorities that clients' certificates are from, in PEM."
    )
    client: ClientCertificates = setting(
        ClientCertificates.NONE,
        ClientCertificates,
        "Whether clients are asked for a certificate: none, optional (those who have none are served too) or required.",
    )
    minimum: TlsVersion = setting(TlsVersion.TLS_1_2, TlsVersion, "The oldest version that is spoken: 1.2 or 1.3.")
