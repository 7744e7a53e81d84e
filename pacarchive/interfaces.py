"""The interfaces of storage backends.

A backend is two objects: an L{IBackendProvider}, found as a Twisted plugin and cheap to import, and the
L{IArchiveBackend} that it makes.  C{docs/backends.md} explains how to write one; the C{memory} backend
(L{pacarchive.backends.memory}) is the reference to read.

All methods below are called in the reactor's thread and must not block it.  Those documented as coroutines may be
C{async def} or return a Deferred; callers only C{await} them.  A caller may be cancelled meanwhile, because its client
has disconnected: the backend then finishes or undoes what it has begun before it raises C{CancelledError}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Container, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
from twisted.application.service import IService
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface

from pacarchive.digests import Digests
from pacarchive.model import (
    Durability,
    FileStatus,
    Health,
    InventoryLines,
    InventoryPage,
    RecallProgress,
    TapeLocation,
    WriteConditions,
)


@attrs.frozen(kw_only=True)
class BackendSettings:
    """
    The settings that a backend gets.

    @ivar prefix: The directory of the archive, or its path in the storage system.
    @ivar move_roots: Where files may be moved from.
    @ivar digests: The algorithms of digests to store with each file, besides the primary one.
    @ivar durability: What an acknowledged write must survive.
    @ivar io_threads: The number of threads for the local file system.
    @ivar own: The backend's own settings, an instance of its provider's C{settings_class}.
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
        "A frozen attrs class: each field is a key of L{section}, its converter takes the text, and raises "
        "C{ValueError} with a message.  Fields without default are mandatory; C{metadata={'secret': True}} hides one."
    )

    local_prefix: bool = Attribute(
        "Whether prefix and move roots are directories of this machine, which must exist when the settings are read.  "
        "Otherwise they are paths in the storage system's own name space, used as they are written."
    )

    def make(reactor: Any, settings: BackendSettings) -> IArchiveBackend:
        """
        Build the backend.  Nothing is opened or started here, but in C{startService}.

        @param reactor: The reactor, also the source of time.
        @param settings: The prefix, the common settings and an instance of L{settings_class} as C{settings.own}.
        @raise ImportError: A library that it needs cannot be loaded; C{str()} is one line for the operator.
        """


class IArchiveBackend(IService):
    """
    Files addressed by id, in one storage system.

    C{startService} opens what requests need; if it raises an error, or returns a Deferred that fails, the start-up ends
    with that message.  C{stopService} is called after the last request and releases everything.

    The state of a request is in the objects that C{receive} and C{open} return: two requests share nothing but pools.

    Where something that is not a file has the path of an id, such as a directory, all calls for that id raise
    L{pacarchive.errors.NotAFile}; C{receive} may do so in C{commit} only.  It is never changed or removed.
    """

    async def receive(
        file_id: int, size: int | None, conditions: WriteConditions, algorithms: Collection[str]
    ) -> IIncomingFile:
        """
        Begin to store a file.  Nothing becomes visible under the id, and no directory is created, before C{commit}.

        @param size: The expected size in bytes, where known: a hint for allocation and for refusing early.
        @param conditions: Always checked by C{commit}; also here where that is cheap, or saves a large body.
        @param algorithms: Digests to compute besides the backend's own (L{pacarchive.digests.ALGORITHMS}).
        @raise pacarchive.errors.AlreadyExists: C{conditions.overwrite} does not allow it.
        @raise pacarchive.errors.PreconditionFailed: C{conditions.if_absent} or C{conditions.if_match} does not hold.
        @raise pacarchive.errors.NoSpace: There is no space for C{size} bytes; C{TooLarge} where there never will be.
        @raise pacarchive.errors.BackendUnavailable: The storage does not answer.
        """

    async def open(file_id: int) -> IStoredFile:
        """
        Open the version of a file that is published at this moment, for reading until it is closed.

        @raise pacarchive.errors.NotFound: The id has no file.
        @raise pacarchive.errors.Offline: The bytes must be recalled first.
        """

    async def status(file_id: int) -> FileStatus:
        """
        Return the status of a file.  Never recalls it, and never reads its data.

        @raise pacarchive.errors.NotFound: The id has no file.
        """

    async def move(file_id: int, source: str, conditions: WriteConditions) -> FileStatus:
        """
        Give a file that is already in the storage an id, as durably as a PUT.

        @param source: An absolute path as the client sent it: untrusted.  With symbolic links resolved it must be
            inside a configured root.
        @raise pacarchive.errors.NotPermitted: It is not.
        @raise pacarchive.errors.InArchive: It is below the prefix, where it may be another id's file, and C{conditions}
            do not allow that (C{from_archive}).
        @raise pacarchive.errors.NotFound: The source does not exist.
        @raise pacarchive.errors.InvalidRequest: The source is not a regular file.
        @raise pacarchive.errors.AlreadyExists: As C{receive}, by C{conditions}; likewise C{PreconditionFailed}.
        """

    async def remove(file_id: int, conditions: WriteConditions) -> None:
        """
        Remove a file, durably.

        @param conditions: Only C{if_match} applies.
        @raise pacarchive.errors.NotFound: The id has no file.
        @raise pacarchive.errors.PreconditionFailed: C{conditions.if_match} does not hold.
        """

    async def health() -> Health:
        """Return whether requests can be expected to succeed, within seconds and without recalling a file."""


class IBatchStatus(Interface):
    """
    An L{IArchiveBackend} that looks many files up for much less than as many calls of C{status} cost; the plan of a job
    has thousands.  Other backends are asked file by file (L{pacarchive.runtime.statuses.statuses_of}).
    """

    batch_most: int = Attribute("The most files of one call; few enough that it does not occupy a thread for long.")

    async def statuses(file_ids: Sequence[int]) -> Mapping[int, FileStatus | Exception]:
        """
        Return what L{IArchiveBackend.status} does, for several files.

        @param file_ids: At most C{batch_most} ids.
        @return: For each file its status, or the error that C{status} raises for it.
        @raise pacarchive.errors.BackendUnavailable: The storage does not answer.
        """


class IQuickReads(Interface):
    """
    An L{IArchiveBackend} that can tell of a file, and read a small one, without waiting for anything: in the reactor's
    thread, and in less time than it takes to pass the work to another.
    """

    def look_now(file_id: int) -> FileStatus | None:
        """
        Return what L{IArchiveBackend.status} does; C{None} where that would have to be waited for, or is an error.
        """

    def read_now(file_id: int, most: int) -> tuple[FileStatus, bytes] | None:
        """
        Read a whole file.

        @param most: The most bytes that it may have.
        @return: Its status and its bytes, which are not compared with its digest; C{None} where it has more, where that
            would have to be waited for, or is an error.
        """


class IQuickWrites(Interface):
    """
    An L{IArchiveBackend} that can be given a small file in one call, and reports what came of it: less for the
    reactor's thread to do than a file that may come in pieces takes.
    """

    def store_small(
        file_id: int,
        data: bytes,
        mtime_ns: int | None,
        expected: Digests,
        conditions: WriteConditions,
        report: Callable[[FileStatus | Failure], None],
    ) -> bool:
        """
        Store a whole file, as L{IArchiveBackend.receive}, C{write} and C{commit} do together.  It is done to the end,
        whoever still wants to know.

        @param report: Called later in the reactor's thread, once, with the status of the stored file, or with why it
            is not stored.  Does not fail.
        @return: Whether it will be; else nothing has happened, and the file is to be stored in the general way.
        """


class IInventory(Interface):
    """
    An L{IArchiveBackend} that can list its files, a page at a time, in an order of its own.

    Nothing is kept between two pages, and what a page costs does not grow with the archive: it begins where the last
    one ended.  While files come and go, whatever is there from the first page to the last is listed once, and what is
    added or removed meanwhile is listed or not.  No file is opened or recalled.
    """

    async def inventory(
        place: str, most: int, *, ids: Container[int] | None = None, digests: bool = True, locality: bool = True
    ) -> InventoryPage:
        """
        List files.

        @param place: Where to begin: empty for the start, or what an earlier page gave.  It comes from a client.
        @param most: The most names to look at, and so the most files of the page, which may have fewer, or none.
        @param ids: The ids that are wanted, for which C{in} is safe in any thread; C{None} for all.  The others cost
            little, and count as looked at.
        @param digests: Whether stored digests are; where they are not and would cost much, they are left out.
        @param locality: Likewise, whether the locality is.
        @return: The files; one that is removed meanwhile is left out.
        @raise pacarchive.errors.InvalidRequest: C{place} is none.
        @raise pacarchive.errors.BackendUnavailable: The storage does not answer, or a directory cannot be read.
        """


class IInventoryLines(IInventory):
    """An L{IInventory} that writes lines faster than they can be made of statuses."""

    async def inventory_lines(
        place: str, most: int, *, ids: Container[int] | None = None, fields: Collection[str]
    ) -> InventoryLines:
        """
        L{inventory}, as lines.

        @param fields: As of L{pacarchive.model.inventory_line}.
        """


class IIncomingFile(Interface):
    """
    A file on its way in.  Exactly one of C{commit} and C{abort} ends it; C{abort} after a failed C{commit} or a
    second C{abort} is allowed and does nothing.
    """

    def write(pieces: Sequence[bytes]) -> Awaitable[None]:
        """
        Append bytes.  To be called again only after the result has fired, so that a slow storage slows the sender.  If
        it fails, a commit fails too.

        @raise pacarchive.errors.NoSpace: The storage is full.
        """

    def commit(mtime_ns: int | None, expected: Digests) -> Awaitable[FileStatus]:
        """
        Make the file durable, and visible under its id, completely or not at all.  When the result fires with a status,
        the bytes and their digests are on stable storage, and all readers see the file.

        @param mtime_ns: The modification time in nanoseconds since the epoch; C{None} for now.  Storage with a coarser
            resolution stores the time rounded down, but never another second.
        @param expected: Digests that the client has sent, of algorithms that were given to C{receive}.
        @raise pacarchive.errors.InvalidRequest: The storage cannot store this time.  Nothing became visible.
        @raise pacarchive.errors.DigestMismatch: The bytes have another digest.  Nothing became visible.
        @raise pacarchive.errors.AlreadyExists: By the conditions; likewise C{PreconditionFailed}.
        @raise pacarchive.errors.NoSpace: The storage is full.
        @raise pacarchive.errors.BackendUnavailable: The storage failed; the previous version is still stored.
        """

    def abort() -> Awaitable[None]:
        """Discard the file and release everything.  Raises nothing, and leaves nothing behind."""


class IPullingFile(IIncomingFile):
    """
    A file on its way in that takes bytes from where they come, in a thread of its own.
    """

    def pull(read: Callable[[memoryview], int]) -> Awaitable[None]:
        """
        Append what a function puts into buffers, until it puts nothing there, or others wait for the thread.  As
        C{write} otherwise.

        @param read: Takes a buffer, which may be more than it fills, and returns how many bytes it has put there.  It
            is called in a thread.
        """


class IStoredFile(Interface):
    """
    One version of a file, open for reading.
    """

    status: FileStatus = Attribute("The status of the version that C{read} reads.")

    def read(offset: int, length: int) -> Awaitable[bytes]:
        """
        Read exactly C{length} bytes at an offset; the file has as many, by C{status.size}.

        @raise pacarchive.errors.BackendUnavailable: The storage failed, or the file became shorter meanwhile.
        """

    def remember(digests: Digests) -> Awaitable[None]:
        """
        Store digests that the caller has computed while reading all of this version (files that the predecessor wrote
        have none).  Does nothing if the file has been replaced since it was opened.  Failures are logged, not raised.
        """

    def close() -> None:
        """Release the file; further calls do nothing.  Must not be called while a C{read} is under way."""


class IRecaller(Interface):
    """
    An L{IArchiveBackend} whose storage has levels that bytes must be recalled from before they can be read.

    It passes requests on to the storage system and reports their progress, without a list of them.  The recall engine
    decides which files are recalled, in which order, for how long, and when it is retried.  All methods are coroutines,
    and return a result for every file that they are given; none waits for a recall.

    A C{request} is the caller's id of a recall.  The same id with the same files is the same request: it can be
    repeated, and polled by another process, also after a restart.
    """

    batch_limit: int = Attribute(
        "The most files of one C{recall} that the storage system itself orders by tape; 1 if it does not."
    )

    async def locate(file_ids: Sequence[int]) -> Mapping[int, TapeLocation | None]:
        """
        Return where files would be recalled from; C{None} for one that is on disk or does not exist.
        """

    async def recall(request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        """
        Request the storage system to recall files, except for those on disk and those whose recall it already knows of.

        @raise pacarchive.errors.BackendUnavailable: It does not answer; some files may have been requested.
        """

    async def poll(request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        """
        Return the progress of recalls, without starting one.  Where the bytes are counts for more than what the storage
        system reports of the recall.

        @raise pacarchive.errors.BackendUnavailable: The storage does not answer.
        """

    async def cancel(request: UUID, file_ids: Sequence[int]) -> frozenset[int]:
        """
        Request the storage system to cancel recalls.

        @return: The files whose recall was cancelled; the others may still be recalled.
        """

    async def release(file_id: int) -> None:
        """Allow the storage system to purge a recalled file from disk; whether it does is its own policy."""


class ISendable(Interface):
    """An L{IStoredFile} that is a local file, so that the kernel can send it without copies (C{sendfile(2)})."""

    def fileno() -> int:
        """Return a descriptor that is open for reading; it belongs to the stored file, and is valid until C{close}."""
