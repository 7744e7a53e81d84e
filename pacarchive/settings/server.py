"""The sections C{[server]} (what is served, where and how) and C{[pools]} (threads)."""

from __future__ import annotations

import enum
from datetime import UTC, tzinfo
from pathlib import Path

import attrs

from pacarchive.model import Durability, Overwrite
from pacarchive.settings.converters import (
    count,
    digest_names,
    endpoint_strings,
    host_names,
    line,
    optional_path,
    optional_url,
    place,
    places,
    seconds,
    time_zone,
    worker_count,
)
from pacarchive.settings.fields import setting

DEFAULT_ENDPOINT = "tcp:8080:interface=127.0.0.1"
"""Loopback only, so that a server without settings is not reachable from other machines."""


class Compatibility(enum.Enum):
    """How closely the answers follow the predecessor's."""

    NONE = "none"
    PACIFICA = "pacifica"


class VerifyReads(enum.Enum):
    """Which reads of whole files are verified against the stored digest while they are sent."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class LogFormat(enum.Enum):
    """What a line of the log is."""

    TEXT = "text"
    JSON = "json"


@attrs.frozen(kw_only=True)
class ServerSettings:
    """What is served, where and how: C{[server]}."""

    type: str = setting(
        "posix",
        line,
        "The storage backend: posix, hpss, hsmsideband, s3, memory (for trials; forgets everything) or an installed "
        "plugin.",
    )
    prefix: Path = setting(
        Path("archive"),
        place,
        "The directory that the archive lives in. It must exist; only the default is made when missing.",
        default_words="./archive",
    )
    endpoints: tuple[str, ...] = setting(
        DEFAULT_ENDPOINT,
        endpoint_strings,
        "Where to listen: Twisted endpoint strings, one per line or with semicolons between them.",
        key="endpoint",
    )
    workers: int = setting(0, worker_count, "Worker processes; 0 stands for one per usable core.", default_words="0")
    compatibility: Compatibility = setting(
        Compatibility.NONE,
        Compatibility,
        "pacifica: answer with the status codes and habits of pacifica-archiveinterface; or none.",
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
    asctime_zone: tzinfo = setting(
        UTC, time_zone, "The time zone of Last-Modified headers that name none (C's asctime format)."
    )
    verify_reads: VerifyReads = setting(
        VerifyReads.AUTO,
        VerifyReads,
        "Compare whole reads with the stored digest while they stream, and break off on a mismatch: always, never, or "
        "auto: wherever it does not cost zero-copy sending.",
    )
    fallback: Path | None = setting(
        None,
        optional_path,
        "The settings file of an archive that this one takes the place of: files that are not copied yet are read "
        "from there, and nothing is written there. An absolute path.",
    )
    digests: tuple[str, ...] = setting(
        (), digest_names, "Digests stored beside sha256 with each new file: any of md5, adler32, sha1, sha512."
    )
    durability: Durability = setting(
        Durability.FULL,
        Durability,
        "full: an acknowledged write is on stable storage. relaxed: nothing is synced, a power cut loses acknowledged "
        "files; for scratch use only.",
    )
    drain_timeout: float = setting(60, seconds, "How long transfers may go on after SIGTERM, in seconds.")

    public_url: str = setting(
        "",
        optional_url,
        "The URL under which clients reach the server, where a proxy makes it another than they ask this server for; "
        "for clients of the WLCG Tape REST API.",
    )
    hosts: tuple[str, ...] = setting(
        (),
        host_names,
        "Names and addresses, without ports, by which clients or a proxy ask for this server, beside localhost and "
        "its own addresses. What listens on the loopback interface refuses others with 421, except with compatibility "
        "= pacifica; and no URL is made of others.",
    )
    site_name: str = setting("pacarchive", line, "The name of the site, for clients of the WLCG Tape REST API.")
    log_format: LogFormat = setting(
        LogFormat.TEXT,
        LogFormat,
        "What the log is made of: text, or json: an object in a line for each event, also for one with a traceback.",
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

    io: int = setting(16, count, "Threads for the local file system, per worker process.")
