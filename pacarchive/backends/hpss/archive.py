"""An archive in HPSS: the backend as the reactor's thread calls it.

Calls that block run in several pools, so that none can hold up another's:

    pool         for                                          may be blocked by
    hpss         status and removals                          the core server
    hpss-data    opening, reading, writing and moving         the core server and the movers
    hpss-recall  requests to stage, and their progress        a core server that is full of them
    hpss-list    lists of files                               the core server, for as long as a list takes
    hpss-ping    pings                                        the core server
"""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from typing import Any
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pacarchive import errors
from pacarchive.backends.hpss.inventory import list_files
from pacarchive.backends.hpss.monitor import CoreServerMonitor
from pacarchive.backends.hpss.move import move_into, resolve
from pacarchive.backends.hpss.openfile import OpenFile
from pacarchive.backends.hpss.pool import HpssPool
from pacarchive.backends.hpss.publish import remove
from pacarchive.backends.hpss.recall import BATCH_MOST, Stager
from pacarchive.backends.hpss.residency import Residency, residency_of
from pacarchive.backends.hpss.session import session_of
from pacarchive.backends.hpss.settings import HpssSettings
from pacarchive.backends.hpss.transfer import (
    SMALL_FILE_LIMIT,
    IncomingFile,
    SmallFile,
    StoreOptions,
    StreamedFile,
    read_part,
)
from pacarchive.backends.hpss.translation import translating
from pacarchive.backends.hpss.tree import HpssTree
from pacarchive.digests import PRIMARY
from pacarchive.interfaces import (
    BackendSettings,
    IArchiveBackend,
    IBatchStatus,
    IIncomingFile,
    IInventory,
    IRecaller,
    IStoredFile,
)
from pacarchive.model import FileStatus, Health, InventoryPage, RecallProgress, TapeLocation, WriteConditions
from pacarchive.runtime.threads import BlockingPool

_RECALL_THREADS = 4
_LIST_THREADS = 2
_RETRY_OFFLINE = 60
"""Seconds after which a client should retry to read a file from tape: the time of a mount and a seek."""

_LOGOUT_TIMEOUT = 5.0
"""Seconds."""

_WRITABLE_FOR = 30.0
"""Seconds for which the archive counts as writable after a name could be created in it."""

_log = Logger()


@implementer(IArchiveBackend, IBatchStatus, IInventory, IRecaller)
class HpssArchive(Service):
    """
    An L{IArchiveBackend} over an L{HpssTree}.

    @param reactor: The reactor.
    @param settings: The settings, with L{HpssSettings} as C{own}.
    """

    name = "backend"
    batch_most = 32

    def __init__(self, reactor: Any, settings: BackendSettings) -> None:
        own: HpssSettings = settings.own
        prefix = str(settings.prefix)
        self._reactor = reactor
        self._session = session_of(own.user, own.auth)
        self._tree = HpssTree(self._session, prefix, [str(root) for root in settings.move_roots])
        self._names = HpssPool(reactor, "hpss", own.threads, own.call_timeout)
        self._data = HpssPool(reactor, "hpss-data", own.data_threads, own.call_timeout)
        self._recalls = HpssPool(reactor, "hpss-recall", _RECALL_THREADS, own.call_timeout)
        self._lists = HpssPool(reactor, "hpss-list", _LIST_THREADS, own.call_timeout)
        self._monitor = CoreServerMonitor(
            reactor, self._session, own.sitename, own.ping_interval, own.accept_latency, self._drop_left_over
        )
        self._algorithms = {PRIMARY, *settings.digests}
        self._options = StoreOptions(
            self._tree, self._data, own.block_size, own.class_of_service or None, own.family or None
        )
        self._stager = Stager(self._tree)
        self._pools = (self._names, self._data, self._recalls, self._lists)
        self._login = BlockingPool(reactor, "hpss-login", 1)
        self._logged_in = False
        self._writable_until = 0.0

    def startService(self) -> Deferred[None]:
        """Log in, and open the archive."""
        super().startService()
        return Deferred.fromCoroutine(self._start())

    def stopService(self) -> Deferred[None]:
        """Stop, and log out unless calls are stuck in the library; those are left to themselves."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        self._login.start()
        await self._login.call(self._session.open)
        self._logged_in = True
        await self._login.call(self._tree.prepare)
        await self._login.call(resolve_move_roots, self._tree)
        for pool in self._pools:
            await pool.start()
        await self._monitor.start()

    async def _stop(self) -> None:
        self._monitor.stop()
        await gatherResults([Deferred.fromCoroutine(pool.stop()) for pool in self._pools])
        if self._logged_in:
            self._logged_in = False
            # Logging out would wait for a lock that a stuck call may hold.
            if not any(pool.stuck for pool in self._pools):
                logout = self._login.call(self._session.close).addTimeout(_LOGOUT_TIMEOUT, self._reactor)
                await logout.addErrback(_logout_failed)
        self._login.stop()

    async def receive(
        self, file_id: int, size: int | None, conditions: WriteConditions, algorithms: Collection[str]
    ) -> IIncomingFile:
        self._monitor.require_answering()
        if not conditions.unconditional:
            await self._names.run(self._tree.check, file_id, conditions)
        return IncomingFile(self._options, file_id, size, conditions, self._algorithms.union(algorithms))

    async def open(self, file_id: int) -> IStoredFile:
        self._monitor.require_answering()
        return await self._data.run(self._open, file_id)

    async def status(self, file_id: int) -> FileStatus:
        self._monitor.require_answering()
        return await self._names.run(self._tree.status, file_id)

    async def statuses(self, file_ids: Sequence[int]) -> dict[int, FileStatus | Exception]:
        self._monitor.require_answering()
        return await self._names.run(self._statuses, file_ids)

    async def inventory(
        self, place: str, most: int, *, ids: Container[int] | None = None, digests: bool = True, locality: bool = True
    ) -> InventoryPage:
        self._monitor.require_answering()
        return await self._lists.run(list_files, self._tree, place, most, ids, digests=digests, locality=locality)

    async def move(self, file_id: int, source: str, conditions: WriteConditions) -> FileStatus:
        self._monitor.require_answering()
        return await self._data.run(move_into, self._tree, file_id, source, conditions)

    async def remove(self, file_id: int, conditions: WriteConditions) -> None:
        self._monitor.require_answering()
        await self._names.run(remove, self._tree, file_id, conditions)

    async def health(self) -> Health:
        if trouble := self._monitor.trouble:
            return Health(False, f"HPSS: {trouble}")
        if exhausted := [pool.name for pool in self._pools if pool.exhausted]:
            return Health(False, f"HPSS: too many calls do not return: {', '.join(exhausted)}")
        message = f"HPSS: the core server answers in {self._monitor.latency * 1000:.0f} ms"
        if self._reactor.seconds() < self._writable_until:
            return Health(True, message)
        try:
            await self._names.run(self._tree.require_writable)
        except errors.ArchiveError as error:
            return Health(False, f"{message}, but nothing can be stored: {error}")
        self._writable_until = self._reactor.seconds() + _WRITABLE_FOR
        return Health(True, message)

    @property
    def batch_limit(self) -> int:
        return BATCH_MOST if self._stager.batches else 1

    async def locate(self, file_ids: Sequence[int]) -> dict[int, TapeLocation | None]:
        self._monitor.require_answering()
        return await self._recalls.run(self._stager.locate, file_ids)

    async def recall(self, request: UUID, file_ids: Sequence[int]) -> dict[int, RecallProgress]:
        self._monitor.require_answering()
        return await self._recalls.run(self._stager.recall, request, file_ids)

    async def poll(self, request: UUID, file_ids: Sequence[int]) -> dict[int, RecallProgress]:
        self._monitor.require_answering()
        return await self._recalls.run(self._stager.poll, request, file_ids)

    async def cancel(self, request: UUID, file_ids: Sequence[int]) -> frozenset[int]:
        """Cancel nothing: HPSS has no call for it, and stages whatever was requested."""
        return frozenset()

    async def release(self, file_id: int) -> None:
        """Do nothing: HPSS purges by its own policy, by the time of the last access."""

    def _drop_left_over(self) -> None:
        if self._tree.has_left_over:
            self._names.run_unattended(self._tree.drop_left_over)

    def _statuses(self, file_ids: Sequence[int]) -> dict[int, FileStatus | Exception]:
        found: dict[int, FileStatus | Exception] = {}
        for file_id in file_ids:
            try:
                found[file_id] = self._tree.status(file_id)
            except errors.Unavailable:  # the others would fail too
                raise
            except Exception as error:  # noqa: BLE001  (the error of this file alone; the caller decides)
                found[file_id] = errors.light(error)
        return found

    def _open(self, file_id: int) -> IStoredFile:
        """
        Open a file, and make sure that the status is of the version that was opened: it may be replaced or removed
        between the two calls.

        @raise errors.Offline: It is on tape.
        """
        status, found = self._tree.describe(file_id)
        while True:
            if residency_of(found.size, found.levels) is Residency.ARCHIVED:
                raise errors.Offline(
                    "The file is on tape; it has to be recalled first.", job=None, retry_after=_RETRY_OFFLINE
                )
            file = self._open_file(status.path, found.file_id)
            try:
                status, now = self._tree.describe(file_id)
                if now.file_id == found.file_id:
                    if file is None:
                        raise errors.BackendUnavailable("The storage knows the file, and cannot open it.")
                    if status.size <= SMALL_FILE_LIMIT:
                        return SmallFile(self._tree, self._data, status, bytes(read_part(file, 0, status.size)))
                    streamed, file = StreamedFile(self._tree, self._data, status, file, self._options.block), None
                    return streamed
                found = now
            finally:
                if file is not None:
                    file.close()

    def _open_file(self, path: str, identity: int) -> OpenFile | None:
        """Open a version for reading; C{None} where there is none any more."""
        try:
            with translating("Can't open hpss file"):
                return OpenFile.read_only(self._session, path, identity)
        except errors.NotFound:
            return None


def _logout_failed(failure: Failure) -> None:
    _log.warn("HPSS: not logged out: {reason}", reason=failure.getErrorMessage())


def resolve_move_roots(tree: HpssTree) -> None:
    """Follow the symbolic links in the move roots, as those of the sources are followed."""
    with translating("Can't move hpss file"):
        tree.move_roots = tuple(resolve(tree, root)[0] for root in tree.move_roots)
