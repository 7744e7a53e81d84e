"""The C{hpss} backend's own settings: the section C{[hpss]}."""

from __future__ import annotations

import attrs

from pacarchive.settings.converters import block_size, count, flag, line, number, timeout


@attrs.frozen(kw_only=True)
class HpssSettings:
    """The C{hpss} backend's own: C{[hpss]}."""

    auth: str = attrs.field(
        default="/var/hpss/etc/hpss.unix.keytab",
        converter=line,
        metadata={"doc": "The key table file that HPSS is logged in to with."},
    )
    sitename: str = attrs.field(default="example.com", converter=line, metadata={"doc": "The HPSS site's name."})
    user: str = attrs.field(default="hpss.unix", converter=line, metadata={"doc": "The HPSS user."})
    accept_latency: float = attrs.field(
        default=5,
        converter=timeout,
        metadata={
            "doc": "How long the core server may take to answer a ping; when it takes longer, requests are refused "
            "with 503 instead of being left waiting, until it is quick again. In seconds."
        },
    )
    ping_interval: float = attrs.field(
        default=10, converter=timeout, metadata={"doc": "How often the core server is pinged, in seconds."}
    )
    call_timeout: float = attrs.field(
        default=300,
        converter=timeout,
        metadata={
            "doc": "A call of the client library that takes longer is given up: its request fails, and its thread is "
            "replaced. In seconds."
        },
    )
    threads: int = attrs.field(
        default=16,
        converter=count,
        metadata={"doc": "Threads for what needs no data (status, moves, removals), per worker process."},
    )
    data_threads: int = attrs.field(
        default=16, converter=count, metadata={"doc": "Threads that read and write, per worker process."}
    )
    block_size: int = attrs.field(
        default=8 << 20,
        converter=block_size,
        metadata={
            "doc": "How much is read or written by one call of the library, in bytes: 4 MiB to 32 MiB. A transfer "
            "holds up to three of them in memory."
        },
    )
    class_of_service: int = attrs.field(
        default=0,
        converter=number,
        metadata={"doc": "The class of service (COS) of new files; 0 lets HPSS choose one by the file's size."},
    )
    family: int = attrs.field(
        default=0, converter=number, metadata={"doc": "The file family of new files; 0 stands for none."}
    )
    deep_bind: bool = attrs.field(
        default=False,
        converter=flag,
        metadata={
            "doc": "Load the client library with RTLD_DEEPBIND. For HPSS 7.4.2 and later on systems whose C library "
            "still brings RPC functions of its own, where the login crashes without it."
        },
    )
