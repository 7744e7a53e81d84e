"""The seams between floors.

A backend is two objects: an L{IBackendProvider}, found as a twisted plugin and cheap to import, and the
L{IArchiveBackend} that it makes.  C{docs/backends.md} walks through writing one; the in-memory backend
(L{pacarchive.backends.memory}) is the reference to read.

All methods below are called in the reactor thread and must not block it.  Those documented as coroutines
may be C{async def} or return a Deferred; callers only ever C{await} them.  A caller may be cancelled while it
awaits (its client hung up): an implementation then finishes or undoes what it began before it raises.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
from twisted.application.service import IService
from zope.interface import Attribute, Interface

from pacarchive.digests import Digests
from pacarchive.model import Durability, FileStatus, Health, RecallProgress, TapeLocation, WriteConditions


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


class IBackendProvider(Interface):
    """
    The plugin that makes a backend known under a name.

    Drop a module into any C{twisted/plugins/} directory on C{sys.path} which holds an instance that also provides
    L{twisted.plugin.IPlugin}; nothing of pacarchive is edited.
    """

    name: str = Attribute("The word after C{-t} and in C{[server] type}.  Unique.")

    section: str = Attribute("The section of the settings file that holds this backend's own settings.")

    settings_class: type[Any] = Attribute(
        "A frozen attrs class: each field is a key of L{section}, its converter takes the text and raises "
        "C{ValueError} with words.  Fields without default are mandatory.  C{metadata={'secret': True}} hides a value."
    )

    local_prefix: bool = Attribute(
        "Whether prefix and move roots are directories of this machine, which must exist when the settings are read.  "
        "Otherwise they are names in the storage system's own name space, taken as they are written."
    )

    def make(reactor: Any, settings: BackendSettings) -> IArchiveBackend:
        """
        Build the backend.  Nothing is opened or started here; that is C{startService}'s.

        @param reactor: The reactor, also the source of time.
        @param settings: The prefix, the common settings and an instance of L{settings_class} as C{settings.own}.
        @raise ImportError: A library that it needs cannot be loaded; C{str()} is one line for the operator.
        """


class IArchiveBackend(IService):
    """
    Files addressed by id, in one storage system.

    C{startService} opens what requests need (it may raise
    or return a Deferred that fails, which ends the start-up with its words), C{stopService} comes after the
    last request and releases it.

    The state of a request lives in the objects that C{receive} and C{open} return, never here: two requests
    share nothing but pools.

    Where something that is no file is in the place of an id, a directory for example, all calls for that id raise
    L{pacarchive.errors.NotAFile}, C{receive} at the latest with C{commit}.  Nothing is done to it.
    """

    async def receive(
        file_id: int, size: int | None, conditions: WriteConditions, algorithms: Collection[str]
    ) -> IIncomingFile:
        """
        Begin to store a file.  Nothing becomes visible under the id, and no directory is made, before C{commit}.

        @param size: The expected number of bytes where known: a hint for allocation and for refusing early.
        @param conditions: Checked now, where that is cheap or the body is worth refusing, and always at C{commit}.
        @param algorithms: Digests wanted beside the backend's own (L{pacarchive.digests.ALGORITHMS}).
        @raise pacarchive.errors.AlreadyExists: By C{conditions.overwrite}.
        @raise pacarchive.errors.PreconditionFailed: By C{conditions.if_absent} or C{conditions.if_match}.
        @raise pacarchive.errors.NoSpace: C{size} bytes do not fit now; C{TooLarge}: they never would.
        @raise pacarchive.errors.BackendUnavailable: The storage does not answer.
        """

    async def open(file_id: int) -> IStoredFile:
        """
        Open a file for reading: the version that is published at this moment, until it is closed.

        @raise pacarchive.errors.NotFound: The id has no file.
        @raise pacarchive.errors.Offline: The bytes must be recalled first.
        """

    async def status(file_id: int) -> FileStatus:
        """
        Everything that can be told without data.  Never recalls, never reads data.

        @raise pacarchive.errors.NotFound: The id has no file.
        """

    async def move(file_id: int, source: str, conditions: WriteConditions) -> FileStatus:
        """
        Move a file that is already in the storage into place, as durably as a PUT.

        @param source: An absolute path as the client gave it: untrusted.  It must resolve, symbolic links followed,
            inside a configured root.
        @raise pacarchive.errors.NotPermitted: It does not.
        @raise pacarchive.errors.NotFound: The source is not there.
        @raise pacarchive.errors.InvalidRequest: The source is not a regular file.
        @raise pacarchive.errors.AlreadyExists: By C{conditions}, as C{receive}; likewise C{PreconditionFailed}.
        """

    async def remove(file_id: int, conditions: WriteConditions) -> None:
        """
        Remove a file, durably.

        @param conditions: Only C{if_match} has a meaning here.
        @raise pacarchive.errors.NotFound: The id has no file.
        @raise pacarchive.errors.PreconditionFailed: By C{conditions.if_match}.
        """

    async def health() -> Health:
        """Whether requests can be expected to succeed; answers within seconds and never recalls."""


class IBatchStatus(Interface):
    """
    An L{IArchiveBackend} that can look many files up for much less than each of them costs by itself: a plan of a job
    asks about thousands.  Others are asked file by file (L{pacarchive.runtime.statuses.statuses_of}).
    """

    batch_most: int = Attribute("The most files of one call: so many that it keeps a thread from nobody for long.")

    async def statuses(file_ids: Sequence[int]) -> Mapping[int, FileStatus | Exception]:
        """
        L{IArchiveBackend.status} of several files.

        @param file_ids: C{batch_most} of them at the most.
        @return: For each file its status, or what C{status} raises for it.
        @raise pacarchive.errors.BackendUnavailable: The storage does not answer.
        """


class IIncomingFile(Interface):
    """
    A file on its way in.  Exactly one of C{commit} and C{abort} ends it; C{abort} after a failed C{commit} or a
    second C{abort} is allowed and does nothing.
    """

    def write(pieces: Sequence[bytes]) -> Awaitable[None]:
        """
        Append bytes.  Call again only when the result has fired: that is the backpressure.  When it has failed, a
        commit fails too.

        @raise pacarchive.errors.NoSpace: The storage is full.
        """

    def commit(mtime_ns: int | None, expected: Digests) -> Awaitable[FileStatus]:
        """
        Make the file durable and visible under its id, whole or not at all.  When the result fires with a status, the
        bytes are on stable storage, with their digests, and every reader sees them.

        @param mtime_ns: Modification time, nanoseconds since the epoch; C{None} for now.  Storage that keeps less
            cuts it down to what it keeps, of the same second; it never keeps another time.
        @param expected: Digests that the client gave; each must be one of those asked for in C{receive}.
        @raise pacarchive.errors.InvalidRequest: The storage cannot keep this time.  Nothing became visible.
        @raise pacarchive.errors.DigestMismatch: The bytes are not those.  Nothing became visible.
        @raise pacarchive.errors.AlreadyExists: By the conditions; likewise C{PreconditionFailed}.
        @raise pacarchive.errors.NoSpace: The storage is full.
        @raise pacarchive.errors.BackendUnavailable: The storage failed; what was there before is still there.
        """

    def abort() -> Awaitable[None]:
        """Forget the bytes and release everything.  Raises nothing; leaves nothing behind."""


class IStoredFile(Interface):
    """
    One version of a file, open for reading.
    """

    status: FileStatus = Attribute("The status of the very version that C{read} reads.")

    def read(offset: int, length: int) -> Awaitable[bytes]:
        """
        Read exactly C{length} bytes (the caller stays below C{status.size}).

        @raise pacarchive.errors.BackendUnavailable: The storage failed, or the file became shorter meanwhile.
        """

    def remember(digests: Digests) -> Awaitable[None]:
        """
        Store digests which the caller computed from a whole read of this version (a file that the archive's
        predecessor wrote has none).  Ignored when the file has changed since it was opened, and a failure
        is only logged: nobody's read fails for it.
        """

    def close() -> None:
        """Release the file; further calls do nothing.  Never while a C{read} is under way."""


class IRecaller(Interface):
    """
    An L{IArchiveBackend} whose storage has levels that bytes must be recalled from before they can be read.

    It passes requests on and reports how they stand; it keeps no list of them.  Who wants what, in which order, for how
    long and how often it is tried is decided above.  All methods are coroutines, and answer for every file that they
    are given; none waits for a recall.

    A I{request} is the caller's name for a recall.  The same one with the same files is the same request: it can be
    repeated, and asked about by another process, after a restart too.
    """

    batch_limit: int = Attribute("The most files of one C{recall} that the storage puts in order itself; 1: none.")

    async def locate(file_ids: Sequence[int]) -> Mapping[int, TapeLocation | None]:
        """
        Where the files would be recalled from.  C{None}: nothing is to be recalled, or there is no such file.
        """

    async def recall(request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        """
        Ask the storage to recall files, except those which are on disk and those whose recall it knows of.

        @raise pacarchive.errors.BackendUnavailable: The storage does not answer; some may have been asked for.
        """

    async def poll(request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        """
        How recalls stand.  Never starts one, and believes where the bytes are before it believes what is said of the
        recall.

        @raise pacarchive.errors.BackendUnavailable: The storage does not answer.
        """

    async def cancel(request: UUID, file_ids: Sequence[int]) -> frozenset[int]:
        """
        Ask the storage to give recalls up.

        @return: The files whose recall it agreed to give up; the others may still come.
        """

    async def release(file_id: int) -> None:
        """Tell the storage that a recalled file need not stay on disk; what it makes of that is its own policy."""


class ISendable(Interface):
    """An L{IStoredFile} that is a local file, so that the kernel can send it without copies (C{sendfile(2)})."""

    def fileno() -> int:
        """A descriptor open for reading; it stays the stored file's own, and is valid until C{close}."""
