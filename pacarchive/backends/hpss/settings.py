"""The settings of the C{hpss} backend alone: the section C{[hpss]}."""

from __future__ import annotations

import attrs

from pacarchive.settings.converters import BoundedSize, count, flag, line, number, timeout
from pacarchive.settings.fields import setting

_BLOCK_SIZE = BoundedSize("a block has 4 MiB to 32 MiB", 4 << 20, 32 << 20)


@attrs.frozen(kw_only=True)
class HpssSettings:
    """Settings of the C{hpss} backend alone: C{[hpss]}."""

    auth: str = setting("/var/hpss/etc/hpss.unix.keytab", line, "The key table file that HPSS is logged in to with.")
    sitename: str = setting("example.com", line, "The HPSS site's name.")
    user: str = setting("hpss.unix", line, "The HPSS user.")
    accept_latency: float = setting(
        5,
        timeout,
        "The timeout of a ping of the core server; when it takes longer to answer, requests are refused with 503 "
        "instead of having to wait, until it answers in time again. In seconds.",
    )
    ping_interval: float = setting(10, timeout, "How often the core server is pinged, in seconds.")
    call_timeout: float = setting(
        300,
        timeout,
        "The timeout of a call of the client library; then the request fails, and the thread is replaced. In seconds.",
    )
    threads: int = setting(16, count, "Threads for what needs no data (status, moves, removals), per worker process.")
    data_threads: int = setting(16, count, "Threads that read and write, per worker process.")
    block_size: int = setting(
        8 << 20,
        _BLOCK_SIZE,
        "How much is read or written by one call of the library, in bytes: 4 MiB to 32 MiB. A transfer has up to "
        "three blocks in memory.",
    )
    class_of_service: int = setting(
        0, number, "The class of service (COS) of new files; 0 lets HPSS choose one by the file's size."
    )
    family: int = setting(0, number, "The file family of new files; 0 stands for none.")
    deep_bind: bool = setting(
        False,
        flag,
        "Load the client library with RTLD_DEEPBIND. For HPSS 7.4.2 and later on systems whose C library still has "
        "RPC functions of its own, where the login crashes without it.",
    )
