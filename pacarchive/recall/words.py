"""The data types of the recall engine: jobs, their files, pins and plans.

Times are float seconds since the epoch, sizes are bytes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import attrs

from pacarchive.model import Estimate, Trouble


class FileState(enum.IntEnum):
    """
    The state of one file of a job.  C{docs/recall.md} has a drawing of the transitions.

    The numbers are stored in the database.  States below L{COMPLETED} have not ended.
    """

    QUEUED = 0
    """Waits until its cartridge is read."""
    STARTED = 1
    """Was submitted to the storage system."""
    CANCELLING = 2
    """No request needs it any more, but the storage system has not agreed yet to cancel it."""
    COMPLETED = 3
    """Its bytes are on disk."""
    FAILED = 4
    """Failed for good, for the reason that is stored with it."""
    CANCELLED = 5
    """Was cancelled."""

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self >= FileState.COMPLETED


LIVE = FileState.COMPLETED
"""States below this one have not ended."""


class Priority(enum.IntEnum):
    """The priority of a job among those of its owner, and for the size of its owner's fair share."""

    LOW = -1
    NORMAL = 0
    HIGH = 1


@attrs.frozen(kw_only=True)
class JobRequest:
    """
    A request to recall files.

    @ivar owner: The owner, as far as it is known; fair shares are by owner.
    @ivar file_ids: The files, each once.
    @ivar pins: The pin of each file after its recall, in seconds, by file id; the others get the setting's.
    @ivar deadline: Seconds until files that were not recalled have failed; C{None} for the setting's.
    @ivar priority: The priority.
    @ivar others: Requested names that are not file ids; they are stored and reported, and nothing is recalled for them.
    """

    owner: str
    file_ids: Sequence[int]
    pins: Mapping[int, float] = attrs.field(factory=dict)
    deadline: float | None = None
    priority: Priority = Priority.NORMAL
    others: Sequence[str] = ()


@attrs.frozen(kw_only=True)
class JobSummary:
    """
    A job without its files.

    @ivar job: Its identifier: 32 hexadecimal digits.
    @ivar number: Its number, in the order of submission; pages of jobs are ordered by it.
    @ivar deadline: When files that were not recalled will have failed.
    @ivar started: When the first of its files was submitted to the storage system; C{None} before.
    @ivar ended: When its last file ended; C{None} before.
    @ivar files: The count of its files.
    @ivar left: The count of its files that have not ended.
    """

    job: str
    number: int
    owner: str
    priority: Priority
    created: float
    deadline: float
    started: float | None
    ended: float | None
    files: int
    left: int


@attrs.frozen(kw_only=True)
class JobStatus:
    """
    A job and its progress.

    @ivar counts: The counts of its files by state; every state has one.
    @ivar size: Bytes of all its files, as far as their sizes are known.
    @ivar done: Bytes of those that are completed.
    @ivar rate: Bytes per second, on average since the first file was submitted; 0 while that is not known.
    @ivar estimate: When the last file will be on disk; C{None} if the job has ended, or if that cannot be estimated.
    @ivar trouble: Why files are not recalled; C{None} while no problem is known.
    @ivar pin: The longest pin that was granted to one of its files, in seconds.
    @ivar most_attempts: After how many attempts a file has failed for good.
    @ivar cursor: The value of C{since} with which only later changes are listed.
    @ivar others: As in the request.
    """

    summary: JobSummary
    counts: Mapping[FileState, int]
    size: int
    done: int
    rate: float
    estimate: Estimate | None
    trouble: Trouble | None = None
    pin: float
    most_attempts: int
    cursor: str
    others: Sequence[str] = ()


@attrs.frozen(kw_only=True)
class JobFile:
    """
    A file of a job.

    @ivar size: Bytes; C{None} if that is not known.
    @ivar deadline: When it will have failed, unless it ends earlier.
    @ivar heard: When the storage system last reported on it.
    @ivar attempts: How often it was submitted to the storage system.
    @ivar next_try: When it is retried, if it is backing off after an attempt that failed.
    @ivar reason: For a person: why it is in this state.  Never empty if it failed.
    @ivar pinned: When its pin expires; C{None} if it has none.
    """

    file_id: int
    state: FileState
    size: int | None
    started: float | None
    ended: float | None
    deadline: float
    heard: float | None
    attempts: int
    next_try: float | None = None
    reason: str
    pinned: float | None


@attrs.frozen(kw_only=True)
class Cancelled:
    """
    The result of cancelling files of a job.

    @ivar cancelled: How many were cancelled by this call.
    @ivar cancelling: How many will be when the storage system agrees, unless they are recalled before.
    @ivar ended: How many had ended before, and were not changed.
    """

    cancelled: int
    cancelling: int
    ended: int


@attrs.frozen(kw_only=True)
class Released:
    """
    The result of releasing pins of a job.

    @ivar released: How many files were pinned, and are not any more.
    @ivar coming: How many have not been recalled yet, and will not be pinned when they are.
    @ivar unpinned: How many had no pin, or none any more.
    """

    released: int
    coming: int
    unpinned: int


@attrs.frozen(kw_only=True)
class FilesPage:
    """
    A page of the files of a job.

    @ivar cursor: Where the next page begins; after the last page, where later changes begin.
    @ivar more: Whether there is a next page now.
    """

    files: Sequence[JobFile]
    cursor: str
    more: bool


@attrs.frozen(kw_only=True)
class Pin:
    """
    The guarantee that a file stays on disk.

    @ivar expires: When it expires.
    @ivar until_read: Whether the first read of the whole file ends it.
    """

    file_id: int
    job: str
    owner: str
    size: int
    expires: float
    until_read: bool


@attrs.frozen(kw_only=True)
class Plan:
    """
    What a job would mean; nothing is recalled for it.

    @ivar files: The count of files in the request.
    @ivar on_disk: How many of them need no recall.
    @ivar missing: Ids that have no file.
    @ivar recalls: How many must be recalled.
    @ivar media: The count of cartridges that they are on.
    @ivar size: Bytes of disk buffer that they need.
    """

    files: int
    on_disk: int
    missing: Sequence[int]
    recalls: int
    media: int
    size: int
    estimate: Estimate


@attrs.frozen(kw_only=True)
class Asked:
    """
    The answer to a request for one file.

    @ivar job: The job that the request became part of.
    @ivar retry_after: Seconds after which the client should retry.
    """

    job: str
    retry_after: int


class HoldKind(enum.IntEnum):
    """What is held.  The numbers are stored in the database."""

    ALL = 0
    """Everything: nothing more is submitted to the storage system."""
    DRIVES = 1
    """Drives: fewer cartridges are read at a time."""
    CARTRIDGE = 2
    """A cartridge: no more of its files are submitted."""


@attrs.frozen(kw_only=True)
class Hold:
    """
    What an operator keeps from being recalled.  What was submitted to the storage system before is recalled all the
    same.

    @ivar cartridge: Its name; empty for the other kinds.
    @ivar drives: How many drives may still be used; C{None} for the other kinds.
    @ivar who: Who holds it, C{since} when, and C{why}; that may be empty.
    @ivar until: When it ends by itself; C{None} if it does not.
    """

    kind: HoldKind
    cartridge: str = ""
    drives: int | None = None
    who: str
    why: str = ""
    since: float
    until: float | None = None

    @property
    def by_whom(self) -> str:
        """By whom it is held, and why, for a person."""
        return f"held by {self.who}: {self.why.rstrip('.')}" if self.why else f"held by {self.who}"


@attrs.frozen(kw_only=True)
class RetryFilter:
    """
    Which files to retry; without any of these, all.

    @ivar cartridge: Those of one cartridge.
    @ivar owner: Those of one owner.
    @ivar reason: Those that failed for this reason, in the same words.
    @ivar since: Those that failed since then.
    @ivar job: Those of one job.
    """

    cartridge: str | None = None
    owner: str | None = None
    reason: str | None = None
    since: float | None = None
    job: str | None = None


@attrs.frozen(kw_only=True)
class Retried:
    """
    What a retry is about.

    @ivar failed: How many requests that had failed; their jobs go on.
    @ivar hurried: How many files that were to be tried again later, and are now.
    """

    failed: int
    hurried: int
