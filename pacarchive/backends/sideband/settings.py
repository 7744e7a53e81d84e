"""The settings of the C{hsmsideband} backend alone: the section C{[hsm_sideband]}."""

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
from pacarchive.settings.fields import setting


@attrs.frozen(kw_only=True)
class SidebandSettings:
    """Settings of the C{hsmsideband} backend alone: C{[hsm_sideband]}."""

    sam_qfs_prefix: str = setting(
        "/data/pacifica/test",
        mount_path,
        "The archive's directory as the database has it: its path below SAM's mount point. / where it is the mount "
        "point itself.",
    )
    schema: str = setting("samqfs1db", line, "The sideband database.")
    host: str = setting("host", line, "The database server.")
    user: str = setting("user", line, "The database user.")
    password: str = setting("", None, "The database user's password.", secret=True)
    port: int = setting(3306, port_number, "The database server's TCP port.")
    unix_socket: str = setting(
        "", optional_line, "The database server's socket on this machine, instead of host and port."
    )
    database_timeout: float = setting(
        2,
        timeout,
        "The timeout for connecting to the database and for its answers. After that, requests are answered without it, "
        "and it is not asked again until it answers a check. In seconds.",
    )
    connections: int = setting(4, count, "The most connections to the database, per worker process.")
    remember: float = setting(
        5,
        seconds,
        "How long an answer of the database is reused, so that a client that polls costs it little; the database is "
        "some 15 s late in any case. In seconds; 0 for not at all.",
    )
    stage_command: str = setting(
        "",
        command,
        "The command that makes SAM stage files, run without a shell; an argument with {path} (on this host) or "
        "{sam_path} (below SAM's mount point) in it is repeated for each file. It should return at once. Without one, "
        "libsam is used where it is installed; else the files are read.",
    )
    stage_threads: int = setting(
        4,
        count,
        "Threads that stage files through libsam or by reading them, per worker process; a file that is read "
        "occupies one until it is on disk.",
    )
    recall_timeout: float = setting(
        86400,
        timeout,
        "When a recall without any report counts as lost, and is requested again. In seconds.",
    )
    read_timeout: float = setting(
        10,
        timeout,
        "How long a reader waits for the first byte of a file that should be on disk; after that, the file counts as "
        "being on tape. In seconds.",
    )
