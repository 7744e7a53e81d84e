"""How files come from tape: the section C{[recall]}."""

from __future__ import annotations

import attrs

from pacarchive.recall.places import DefaultStore, absolute_store, default_store
from pacarchive.settings.converters import count, optional_line, optional_size, percent, seconds, store_address, timeout
from pacarchive.settings.fields import setting
from pacarchive.settings.sections import Surroundings


@attrs.frozen(kw_only=True)
class RecallSettings:
    """
    Files that come from tape: C{[recall]}.

    @ivar default_store: Where stage jobs are kept where nobody has said so; C{None} where somebody has.
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
        "What the store may take to connect, and to answer; then the request is refused, and a store in MariaDB is "
        "not asked again before it is well. In seconds.",
    )
    drives: int = setting(
        4, count, "Cartridges that are read from at the same time: the drives that the archive may use."
    )
    outstanding: int = setting(
        200, count, "The most files of one cartridge that the storage system is asked for at a time."
    )
    batch_delay: float = setting(
        5,
        seconds,
        "How long the first file of a cartridge waits for others of the same, before the cartridge is asked for, in "
        "seconds.",
    )
    turn: float = setting(
        1200,
        timeout,
        "How long a cartridge may be read from while others, for those who had less than their share, wait. In "
        "seconds.",
    )
    buffer: int = setting(
        0,
        optional_size,
        "The disk space that recalled files may take, in bytes; what does not fit below the high-water mark waits. 0: "
        "the storage system sees to it.",
    )
    high_water: int = setting(90, percent, "How much of the buffer may be in use, in percent.")
    pin: float = setting(
        86400,
        seconds,
        "How long a recalled file is to stay on disk where the caller does not say, in seconds; one that was asked "
        "for by itself stays until it is read, if that is sooner.",
    )
    longest_pin: float = setting(30 * 86400, seconds, "The longest pin that a caller gets, in seconds.")
    deadline: float = setting(
        7 * 86400, timeout, "After so long a recall has failed, where the caller does not say. In seconds."
    )
    attempts: int = setting(
        20,
        count,
        "How often the storage system is asked for a file before its recall has failed; with pauses that grow to an "
        "hour.",
    )
    silence: float = setting(
        86400,
        timeout,
        "A recall that the storage system claims to be at for so long without an end is given up, and asked for "
        "again. In seconds.",
    )
    poll_interval: float = setting(
        2, timeout, "How often the storage system is asked how recalls stand, in seconds; less often when idle."
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
        "The most jobs of one owner that are kept. Those that ended longest ago, and at least an hour, make way for "
        "new ones; beyond: 429.",
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
        """Find out where the store is, if that is not said, and what it is called, whatever the working directory."""
        default = default_store(surroundings.server, surroundings.local_prefix, surroundings.environ)
        store = absolute_store(self.store) if "store" in surroundings.given else default.path
        # It may be named as "pacarchive config" names it.
        return attrs.evolve(self, store=store, default_store=default if store == default.path else None)
