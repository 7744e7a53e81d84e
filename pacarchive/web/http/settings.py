"""What one client may ask for, and how long it may take: the section C{[limits]}."""

from __future__ import annotations

import attrs

from pacarchive.settings.converters import count, networks, percent, seconds, size, timeout


@attrs.frozen(kw_only=True)
class LimitSettings:
    """What one client may ask for and how long it may take: C{[limits]}."""

    request_line: int = attrs.field(
        default=8192, converter=size, metadata={"doc": "The longest request line, in bytes; beyond it: 414."}
    )
    header_bytes: int = attrs.field(
        default=32 * 2**10, converter=size, metadata={"doc": "All header fields together, in bytes; beyond: 431."}
    )
    header_count: int = attrs.field(
        default=100, converter=count, metadata={"doc": "The most header fields; beyond: 431."}
    )
    header_timeout: float = attrs.field(
        default=60, converter=timeout, metadata={"doc": "Time for the whole head of a request, in seconds."}
    )
    idle_timeout: float = attrs.field(
        default=75,
        converter=timeout,
        metadata={"doc": "How long a connection without a request stays open, in seconds."},
    )
    progress_timeout: float = attrs.field(
        default=60,
        converter=timeout,
        metadata={"doc": "A transfer in which fewer than progress_bytes move for this long is broken off, in seconds."},
    )
    progress_bytes: int = attrs.field(
        default=60 * 2**10,
        converter=size,
        metadata={"doc": "The least that must move of a transfer within progress_timeout, in bytes."},
    )
    linger_timeout: float = attrs.field(
        default=5,
        converter=seconds,
        metadata={"doc": "How long a refused sender is still read from, so that it sees the answer, in seconds."},
    )
    connections: int = attrs.field(
        default=10_000, converter=count, metadata={"doc": "Open connections per worker process."}
    )
    transfers: int = attrs.field(
        default=512,
        converter=count,
        metadata={
            "doc": "Bodies under way (PUT and GET) per worker process; beyond: 503. One that is sent in one piece, or "
            "in which nothing moves, does not count."
        },
    )
    lookups: int = attrs.field(
        default=50_000,
        converter=count,
        metadata={
            "doc": "Files of plans, archiveinfo and jobs that are being made, that are worked on at a time per worker "
            "process; beyond: 503."
        },
    )
    memory: int = attrs.field(
        default=256 * 2**20,
        converter=size,
        metadata={
            "doc": "What unfinished requests may hold in memory per worker process: heads and bodies that are not "
            "complete, documents, answers that the client has not taken; in bytes. Beyond: 503; uploads under way wait."
        },
    )
    client_share: int = attrs.field(
        default=25,
        converter=percent,
        metadata={
            "doc": "How much of connections, transfers, lookups and memory one client address (or IPv6 network of 64 "
            "bits) may have, in percent; beyond: 503."
        },
    )
    proxies: tuple[str, ...] = attrs.field(
        default=("127.0.0.0/8", "::1/128"),
        converter=networks,
        metadata={
            "doc": "Addresses and networks that the requests of many clients come from, to which client_share does not "
            "apply. Nor does it to UNIX sockets."
        },
    )
    body: int = attrs.field(
        default=16 * 2**40, converter=size, metadata={"doc": "The largest body, in bytes; beyond: 413."}
    )
