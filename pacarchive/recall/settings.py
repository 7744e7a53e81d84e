"""The section C{[recall]}: recalls of files from tape."""

from __future__ import annotations

import attrs

from pacarchive.recall.places import DefaultStore, absolute_store, default_store
from pacarchive.settings.converters import count, optional_line, optional_size, percent, seconds, store_address, timeout
from pacarchive.settings.fields import setting
from pacarchive.settings.sections import Surroundings


@attrs.frozen(kw_only=True)
class RecallSettings:
    """
    The settings for recalls of files from tape: C{[recall]}.

    @ivar default_store: How the place of the store was found if C{store} is not set; C{None} if it is.
    """

    store: str = setting(
        "recall.sqlite",
        store_address,
        "Where stage jobs are kept: a file on a local file system (SQLite), or mariadb://user@host:3306/database, "
        "mariadb://user@/database?socket=/path, which several nodes can share.",
        default_words=".pacarchive/recall.sqlite below the prefix, where that is on a disk of this machine; else a "
        "name by the archive, in $STATE_DIRECTORY, which systemd sets, else in the working directory",
    )
    store_password: str = setting("", None, "The password of the store's user.", secret=True)
    store_timeout: float = setting(
        10,
        timeout,
        "The timeout of connecting to the store, and of each answer; after that the request is refused, and a "
        "store in MariaDB is not used again before it answers a probe. In seconds.",
    )
    drives: int = setting(
        4, count, "Cartridges that are read from at the same time: the drives that the archive may use."
    )
    outstanding: int = setting(
        200, count, "The most files of one cartridge that are submitted to the storage system at a time."
    )
    batch_delay: float = setting(
        5,
        seconds,
        "How long the first file of a cartridge waits for others of the same, before they are submitted, in seconds.",
    )
    turn: float = setting(
        1200,
        timeout,
        "The time slice of a cartridge: how long it is read while others wait, for owners that had less than "
        "their share. In seconds.",
    )
    buffer: int = setting(
        0,
        optional_size,
        "The disk space that recalled files may take, in bytes; what does not fit below the high-water mark "
        "waits. 0: the storage system manages it.",
    )
    high_water: int = setting(90, percent, "How much of the buffer may be in use, in percent.")
    pin: float = setting(
        86400,
        seconds,
        "How long a recalled file stays on disk if the request does not say, in seconds; one that was "
        "requested outside of a job stays until it is read, if that is earlier.",
    )
    longest_pin: float = setting(30 * 86400, seconds, "The longest pin that a caller gets, in seconds.")
    deadline: float = setting(
        7 * 86400, timeout, "After so long a recall has failed, if the request does not say. In seconds."
    )
    attempts: int = setting(
        20,
        count,
        "After how many attempts a recall has failed for good; the pauses between them grow to an hour.",
    )
    silence: float = setting(
        86400,
        timeout,
        "A recall that the storage system reports as under way for so long is cancelled, and submitted again. "
        "In seconds.",
    )
    poll_interval: float = setting(
        2,
        timeout,
        "How often the storage system is polled for recalls that are under way, in seconds; less often when idle.",
    )
    get_wait: float = setting(
        3600,
        seconds,
        "The longest that a request is held for a file from tape, by Prefer: wait or compatibility = pacifica. In "
        "seconds.",
    )
    job_files: int = setting(20_000, count, "The most files of one job; beyond: 413.")
    keep: float = setting(7 * 86400, timeout, "How long a job that has ended can be seen, in seconds.")
    owner_jobs: int = setting(
        5_000,
        count,
        "The most jobs of one owner that are kept. Those that ended longest ago, and at least an hour, are "
        "deleted to make room for new ones; beyond: 429.",
    )
    owner_files: int = setting(200_000, count, "The most files of all jobs of one owner, likewise.")
    kept_jobs: int = setting(100_000, count, "The most jobs of all owners, likewise; beyond: 503.")
    kept_files: int = setting(
        2_000_000, count, "The most files of all jobs of all owners, likewise; beyond: 503. A million take some 150 MB."
    )
    owner_header: str = setting(
        "",
        optional_line,
        "The header field in which a trusted proxy names the user, who then owns jobs and pins; without it, the "
        "client's address does.",
    )
    default_store: DefaultStore | None = attrs.field(default=None, metadata={"computed": True})

    def completed(self, surroundings: Surroundings) -> RecallSettings:
        """Make the store's address independent of the working directory; if it is not set, use the default place."""
        default = default_store(surroundings.server, surroundings.local_prefix, surroundings.environ)
        store = absolute_store(self.store) if "store" in surroundings.given else default.path
        # The default place may be set explicitly, as "pacarchive config" prints it.
        return attrs.evolve(self, store=store, default_store=default if store == default.path else None)
