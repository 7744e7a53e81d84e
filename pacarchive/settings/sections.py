"""The settings, section by section.

Each section of the file is a frozen attrs class and each key a field of it.  C{metadata} holds C{"doc"}, which feeds
C{--help}, C{pacarchive config} and the manual; C{"default"}, the words for a default that is computed; C{"key"}, the
name in the file where it differs from the field's; and C{"secret"}, which hides the value.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import attrs

from pacarchive.model import Durability, Overwrite
from pacarchive.recall.places import DefaultStore
from pacarchive.settings.converters import (
    block_size,
    command,
    count,
    digest_names,
    endpoint_strings,
    flag,
    host_names,
    line,
    mount_path,
    networks,
    number,
    optional_line,
    optional_size,
    optional_url,
    percent,
    place,
    places,
    port_number,
    seconds,
    size,
    store_address,
    time_zone,
    timeout,
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


@attrs.frozen(kw_only=True)
class PoolSettings:
    """Threads per worker process: C{[pools]}."""

    io: int = attrs.field(
        default=16, converter=count, metadata={"doc": "Threads for the local file system, per worker process."}
    )


@attrs.frozen(kw_only=True)
class RecallSettings:
    """Files that come from tape: C{[recall]}."""

    store: str = attrs.field(
        default="recall.sqlite",  # whose directory, and perhaps another name, follow from the archive
        converter=store_address,
        metadata={
            "doc": "Where stage jobs are kept: a file on a local file system (SQLite), or "
            "mariadb://user@host:3306/database, mariadb://user@/database?socket=/path, which several nodes can share.",
            "default": ".pacarchive/recall.sqlite below the prefix, where that is on a disk of this machine; else a "
            "name by the archive, in $STATE_DIRECTORY, which systemd sets, else in the working directory",
        },
    )
    store_password: str = attrs.field(
        default="", repr=False, metadata={"doc": "The password of the store's user.", "secret": True}
    )
    store_timeout: float = attrs.field(
        default=10,
        converter=timeout,
        metadata={
            "doc": "What the store may take to connect, and to answer; then the request is refused, and a store in "
            "MariaDB is not asked again before it is well. In seconds."
        },
    )
    drives: int = attrs.field(
        default=4,
        converter=count,
        metadata={"doc": "Cartridges that are read from at the same time: the drives that the archive may use."},
    )
    outstanding: int = attrs.field(
        default=200,
        converter=count,
        metadata={"doc": "The most files of one cartridge that the storage system is asked for at a time."},
    )
    batch_delay: float = attrs.field(
        default=5,
        converter=seconds,
        metadata={
            "doc": "How long the first file of a cartridge waits for others of the same, before the cartridge is asked "
            "for, in seconds."
        },
    )
    turn: float = attrs.field(
        default=1200,
        converter=timeout,
        metadata={
            "doc": "How long a cartridge may be read from while others, for those who had less than their share, wait. "
            "In seconds."
        },
    )
    buffer: int = attrs.field(
        default=0,
        converter=optional_size,
        metadata={
            "doc": "The disk space that recalled files may take, in bytes; what does not fit below the high-water mark "
            "waits. 0: the storage system sees to it."
        },
    )
    high_water: int = attrs.field(
        default=90, converter=percent, metadata={"doc": "How much of the buffer may be in use, in percent."}
    )
    pin: float = attrs.field(
        default=86400,
        converter=seconds,
        metadata={
            "doc": "How long a recalled file is to stay on disk where the caller does not say, in seconds; one that "
            "was asked for by itself stays until it is read, if that is sooner."
        },
    )
    longest_pin: float = attrs.field(
        default=30 * 86400, converter=seconds, metadata={"doc": "The longest pin that a caller gets, in seconds."}
    )
    deadline: float = attrs.field(
        default=7 * 86400,
        converter=timeout,
        metadata={"doc": "After so long a recall has failed, where the caller does not say. In seconds."},
    )
    attempts: int = attrs.field(
        default=20,
        converter=count,
        metadata={
            "doc": "How often the storage system is asked for a file before its recall has failed; with pauses that "
            "grow to an hour."
        },
    )
    silence: float = attrs.field(
        default=86400,
        converter=timeout,
        metadata={
            "doc": "A recall that the storage system claims to be at for so long without an end is given up, and asked "
            "for again. In seconds."
        },
    )
    poll_interval: float = attrs.field(
        default=2,
        converter=timeout,
        metadata={"doc": "How often the storage system is asked how recalls stand, in seconds; less often when idle."},
    )
    get_wait: float = attrs.field(
        default=3600,
        converter=seconds,
        metadata={
            "doc": "The longest that a request is held for a file from tape, by Prefer: wait or compatibility = "
            "pacifica. In seconds."
        },
    )
    job_files: int = attrs.field(
        default=20_000, converter=count, metadata={"doc": "The most files of one job; beyond: 413."}
    )
    keep: float = attrs.field(
        default=7 * 86400, converter=timeout, metadata={"doc": "How long a job that has ended can be seen, in seconds."}
    )
    owner_jobs: int = attrs.field(
        default=5_000,
        converter=count,
        metadata={
            "doc": "The most jobs of one owner that are kept. Those that ended longest ago, and at least an hour, make "
            "way for new ones; beyond: 429."
        },
    )
    owner_files: int = attrs.field(
        default=200_000, converter=count, metadata={"doc": "The most files of all jobs of one owner, likewise."}
    )
    kept_jobs: int = attrs.field(
        default=100_000,
        converter=count,
        metadata={"doc": "The most jobs of all owners, likewise; beyond: 503."},
    )
    kept_files: int = attrs.field(
        default=2_000_000,
        converter=count,
        metadata={
            "doc": "The most files of all jobs of all owners, likewise; beyond: 503. A million take some 150 MB."
        },
    )
    owner_header: str = attrs.field(
        default="",
        converter=optional_line,
        metadata={
            "doc": "The header field in which a trusted proxy names the user, who then owns jobs and pins; without it, "
            "the client's address does."
        },
    )


@attrs.frozen(kw_only=True)
class PosixSettings:
    """The C{posix} backend's own: C{[posix]}."""

    use_id2filename: bool = attrs.field(
        default=False,
        converter=flag,
        metadata={"doc": "Spread the files over a tree of directories made from the id, instead of one directory."},
    )


@attrs.frozen
class MemorySettings:
    """The C{memory} backend has nothing to set: C{[memory]}."""


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


@attrs.frozen(kw_only=True)
class SidebandSettings:
    """The C{hsmsideband} backend's own: C{[hsm_sideband]}."""

    sam_qfs_prefix: str = attrs.field(
        default="/data/pacifica/test",
        converter=mount_path,
        metadata={
            "doc": "The archive's directory as the database has it: its path below SAM's mount point. / where it is "
            "the mount point itself."
        },
    )
    schema: str = attrs.field(default="samqfs1db", converter=line, metadata={"doc": "The sideband database."})
    host: str = attrs.field(default="host", converter=line, metadata={"doc": "The database server."})
    user: str = attrs.field(default="user", converter=line, metadata={"doc": "The database user."})
    password: str = attrs.field(
        default="", repr=False, metadata={"doc": "The database user's password.", "secret": True}
    )
    port: int = attrs.field(default=3306, converter=port_number, metadata={"doc": "The database server's TCP port."})
    unix_socket: str = attrs.field(
        default="",
        converter=optional_line,
        metadata={"doc": "The database server's socket on this machine, instead of host and port."},
    )
    database_timeout: float = attrs.field(
        default=2,
        converter=timeout,
        metadata={
            "doc": "What the database may take to connect, and to answer; then the request is answered without it, and "
            "it is not asked again before it is well. In seconds."
        },
    )
    connections: int = attrs.field(
        default=4, converter=count, metadata={"doc": "The most connections to the database, per worker process."}
    )
    remember: float = attrs.field(
        default=5,
        converter=seconds,
        metadata={
            "doc": "How long an answer of the database is used again, so that a client that asks over and over "
            "costs it little; it is some 15 s late in any case. In seconds; 0 for never."
        },
    )
    stage_command: str = attrs.field(
        default="",
        converter=command,
        metadata={
            "doc": "The command that has SAM stage files, run without a shell; an argument with {path} (on this host) "
            "or {sam_path} (below SAM's mount point) in it is repeated for each file. It is to return at once. Without "
            "one, libsam is used where it is installed; else the files are read.",
        },
    )
    stage_threads: int = attrs.field(
        default=4,
        converter=count,
        metadata={
            "doc": "Threads that have files staged through libsam or by reading them, per worker process; a file that "
            "is read keeps one until it is back."
        },
    )
    recall_timeout: float = attrs.field(
        default=86400,
        converter=timeout,
        metadata={
            "doc": "When a recall of which nothing more is heard counts as lost, and is asked for again. In seconds."
        },
    )
    read_timeout: float = attrs.field(
        default=10,
        converter=timeout,
        metadata={
            "doc": "How long a file that should be on disk may keep a reader waiting for its first byte; then it "
            "counts as being on tape. In seconds."
        },
    )


@attrs.frozen(kw_only=True)
class BackendSettings:
    """
    What a backend is made from.

    @ivar own: An instance of its provider's C{settings_class}.
    """

    prefix: Path
    move_roots: tuple[Path, ...]
    digests: tuple[str, ...]
    durability: Durability
    io_threads: int
    own: Any


@attrs.frozen(kw_only=True)
class Settings:
    """
    Everything that is in force.  Can be pickled: worker processes get it through a pipe.

    @ivar source: The path of the file that was read, if any.
    @ivar default_store: Where stage jobs are kept, where nobody has said so.
    """

    server: ServerSettings
    limits: LimitSettings
    pools: PoolSettings
    recall: RecallSettings
    backend: BackendSettings
    source: str | None
    default_store: DefaultStore | None
