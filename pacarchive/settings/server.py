"""What is served, where and how, and with how many threads: the sections C{[server]} and C{[pools]}."""

from __future__ import annotations

import enum
from pathlib import Path
from zoneinfo import ZoneInfo

import attrs

from pacarchive.model import Durability, Overwrite
from pacarchive.settings.converters import (
    count,
    digest_names,
    endpoint_strings,
    host_names,
    line,
    optional_url,
    place,
    places,
    seconds,
    time_zone,
    worker_count,
)

DEFAULT_ENDPOINT = "tcp:8080:interface=127.0.0.1"
"""Loopback only: a server that nobody configured is not for strangers."""


class Compatibility(enum.Enum):
    """How close to the predecessor the answers are."""

    NONE = "none"
    PACIFICA = "pacifica"


class VerifyReads(enum.Enum):
    """Which whole reads are compared with the stored digest while they stream."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@attrs.frozen(kw_only=True)
class ServerSettings:
    """What is served, where and how: C{[server]}."""

    type: str = attrs.field(
        default="posix",
        converter=line,
        metadata={
            "doc": "The storage backend: posix, hpss, hsmsideband, memory (for trials; forgets everything) or an "
            "installed plugin."
        },
    )
    prefix: Path = attrs.field(
        default=Path("archive"),
        converter=place,
        metadata={
            "doc": "The directory that the archive lives in. It must exist; only the default is made when missing.",
            "default": "./archive",
        },
    )
    endpoints: tuple[str, ...] = attrs.field(
        default=DEFAULT_ENDPOINT,
        converter=endpoint_strings,
        metadata={
            "key": "endpoint",
            "doc": "Where to listen: Twisted endpoint strings, one per line or with semicolons between them.",
        },
    )
    workers: int = attrs.field(
        default=0,
        converter=worker_count,
        metadata={"doc": "Worker processes; 0 stands for one per usable core.", "default": "0"},
    )
    compatibility: Compatibility = attrs.field(
        default=Compatibility.NONE,
        converter=Compatibility,
        metadata={"doc": "pacifica: answer with the status codes and habits of pacifica-archiveinterface; or none."},
    )
    overwrite: Overwrite = attrs.field(
        converter=Overwrite,
        metadata={
            "doc": "What a PUT or move to a taken id does. allow: replace atomically; identical: succeed only with the "
            "very same bytes; deny: refuse.",
            "default": "allow; deny with compatibility = pacifica",
        },
    )
    move_roots: tuple[Path, ...] = attrs.field(
        converter=places,
        metadata={
            "doc": "Existing directories, one per line, that PATCH may move files from; symbolic links are resolved.",
            "default": "the prefix",
        },
    )
    asctime_zone: ZoneInfo = attrs.field(
        default=ZoneInfo("UTC"),
        converter=time_zone,
        metadata={"doc": "The time zone of Last-Modified headers that name none (C's asctime format)."},
    )
    verify_reads: VerifyReads = attrs.field(
        default=VerifyReads.AUTO,
        converter=VerifyReads,
        metadata={
            "doc": "Compare whole reads with the stored digest while they stream, and break off on a mismatch: always, "
            "never, or auto: wherever it does not cost zero-copy sending."
        },
    )
    digests: tuple[str, ...] = attrs.field(
        default=(),
        converter=digest_names,
        metadata={"doc": "Digests stored beside sha256 with each new file: any of md5, adler32, sha1, sha512."},
    )
    durability: Durability = attrs.field(
        default=Durability.FULL,
        converter=Durability,
        metadata={
            "doc": "full: an acknowledged write is on stable storage. relaxed: nothing is synced, a power cut loses "
            "acknowledged files; for scratch use only."
        },
    )
    drain_timeout: float = attrs.field(
        default=60,
        converter=seconds,
        metadata={"doc": "How long transfers may go on after SIGTERM, in seconds."},
    )

    public_url: str = attrs.field(
        default="",
        converter=optional_url,
        metadata={
            "doc": "The URL under which clients reach the server, where a proxy makes it another than they ask this "
            "server for; for clients of the WLCG Tape REST API."
        },
    )
    hosts: tuple[str, ...] = attrs.field(
        default=(),
        converter=host_names,
        metadata={
            "doc": "Names and addresses, without ports, by which clients or a proxy ask for this server, beside "
            "localhost and its own addresses. What listens on the loopback interface refuses others with 421, except "
            "with compatibility = pacifica; and no URL is made of others."
        },
    )
    site_name: str = attrs.field(
        default="pacarchive",
        converter=line,
        metadata={"doc": "The name of the site, for clients of the WLCG Tape REST API."},
    )

    @overwrite.default
    def _overwrite_default(self) -> Overwrite:
        return Overwrite.DENY if self.compatibility is Compatibility.PACIFICA else Overwrite.ALLOW

    @move_roots.default
    def _move_roots_default(self) -> tuple[Path, ...]:
        return (self.prefix,)


@attrs.frozen(kw_only=True)
class PoolSettings:
    """Threads per worker process: C{[pools]}."""

    io: int = attrs.field(
        default=16, converter=count, metadata={"doc": "Threads for the local file system, per worker process."}
    )
