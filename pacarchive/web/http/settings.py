"""What one client may ask for, and how long it may take: the section C{[limits]}."""

from __future__ import annotations

import attrs

from pacarchive.settings.converters import count, networks, percent, seconds, size, timeout
from pacarchive.settings.fields import setting


@attrs.frozen(kw_only=True)
class LimitSettings:
    """What one client may ask for and how long it may take: C{[limits]}."""

    request_line: int = setting(8192, size, "The longest request line, in bytes; beyond it: 414.")
    header_bytes: int = setting(32 * 2**10, size, "All header fields together, in bytes; beyond: 431.")
    header_count: int = setting(100, count, "The most header fields; beyond: 431.")
    header_timeout: float = setting(60, timeout, "Time for the whole head of a request, in seconds.")
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
    memory: int = setting(
        256 * 2**20,
        size,
        "What unfinished requests may hold in memory per worker process: heads and bodies that are not complete, "
        "documents, answers that the client has not taken; in bytes. Beyond: 503; uploads under way wait.",
    )
    client_share: int = setting(
        25,
        percent,
        "How much of connections, transfers, lookups and memory one client address (or IPv6 network of 64 bits) may "
        "have, in percent; beyond: 503.",
    )
    proxies: tuple[str, ...] = setting(
        ("127.0.0.0/8", "::1/128"),
        networks,
        "Addresses and networks that the requests of many clients come from, to which client_share does not apply. "
        "Nor does it to UNIX sockets.",
    )
    body: int = setting(16 * 2**40, size, "The largest body, in bytes; beyond: 413.")
