"""The C{hsmsideband} backend's own settings: the section C{[hsm_sideband]}."""

from __future__ import annotations

import attrs

from pacarchive.settings.converters import (
    command,
    count,
    line,
    mount_path,
    optional_line,
    port_number,
    seconds,
    timeout,
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
