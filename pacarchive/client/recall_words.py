"""What the calls about the archive's queue of recalls give and take."""

from __future__ import annotations

import enum

import attrs

from pacarchive.client.words import JobState


@attrs.frozen(kw_only=True)
class JobSummary:
    """
    A job, as lists have it.

    @ivar files: How many files it has, and how many of them have not ended: C{left}.
    """

    id: str
    state: JobState
    owner: str
    priority: str
    created: float
    started: float | None
    ended: float | None
    deadline: float
    files: int
    left: int


@attrs.frozen(kw_only=True)
class Pin:
    """
    The promise that a file stays on disk.

    @ivar size: Bytes.
    @ivar until_read: Whether it ends when the whole file was read.
    """

    file_id: int
    job: str
    owner: str
    size: int
    expires: float
    until_read: bool


class HoldKind(enum.Enum):
    """What is held."""

    ALL = "all"
    DRIVES = "drives"
    CARTRIDGE = "cartridge"


@attrs.frozen(kw_only=True)
class Hold:
    """
    What an operator keeps from being recalled.

    @ivar cartridge: Its name; C{None} for other kinds.
    @ivar drives: How many drives may still be used; C{None} for other kinds.
    @ivar until: When it ends by itself; C{None} if it does not.
    """

    kind: HoldKind
    who: str
    why: str
    since: float
    cartridge: str | None = None
    drives: int | None = None
    until: float | None = None


@attrs.frozen(kw_only=True)
class Retried:
    """
    What a retry is about.

    @ivar failed: How many requests that had failed: their jobs go on.
    @ivar hurried: How many files that were to be tried again later, and are now.
    """

    failed: int
    hurried: int
