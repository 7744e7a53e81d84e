"""The recall engine, as its callers use it.

Every process has one.  All of them take requests and report on jobs; one of those that share a store is also the
dispatcher, as long as it holds the lease.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from uuid import uuid4

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pacarchive import errors
from pacarchive.interfaces import IArchiveBackend, IRecaller
from pacarchive.recall import jobs, listing, waiting
from pacarchive.recall.dispatcher import Dispatcher
from pacarchive.recall.following import Following
from pacarchive.recall.lease import HEARTBEAT, Lease
from pacarchive.recall.moving import find_store, make_store_directory
from pacarchive.recall.noting import Notes
from pacarchive.recall.operations import Operations
from pacarchive.recall.planning import job_status, make_plan
from pacarchive.recall.releasing import release_all
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import Cursor, MakePool, Store, StoreRefused, StoreSettings, StoreUnavailable, Transaction
from pacarchive.recall.submitting import Submissions
from pacarchive.recall.watch import Watch
from pacarchive.recall.words import (
    Asked,
    Cancelled,
    FilesPage,
    JobRequest,
    JobStatus,
    JobSummary,
    Pin,
    Plan,
    Released,
)
from pacarchive.runtime.shared import OwnedWork, Shared
from pacarchive.runtime.threads import BlockingPool

T = TypeVar("T")

SIGN_OF_LIFE = 15.0
"""Seconds without changes after which L{RecallEngine.follow} yields a page without files."""

_log = Logger()


class RecallEngine(Service):
    """
    Stage jobs over one archive.

    @param reactor: The reactor.
    @param backend: The archive; if it is not an L{IRecaller}, every file is on disk.
    @param settings: The settings.
    @param archive: The archive's name in the store.
    @param make_pool: Makes the threads for the store's connections.
    @ivar operations: What operators see and do.
    """

    name = "recall"

    def __init__(
        self,
        reactor: Any,
        backend: IArchiveBackend,
        settings: RecallSettings,
        archive: str,
        make_pool: MakePool = BlockingPool,
    ) -> None:
        self._reactor = reactor
        self._backend = backend
        self._recaller = IRecaller(backend) if IRecaller.providedBy(backend) else None
        self._settings = settings
        self._make_pool = make_pool
        self._store_settings = StoreSettings(
            address=settings.store,
            password=settings.store_password,
            archive=archive,
            timeout=settings.store_timeout,
            default=settings.default_store,
        )
        self._store = Store(reactor, self._store_settings, make_pool)
        self._lease = Lease(reactor, self._store, f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}")
        self._watch = Watch(reactor, self._store)
        self._dispatcher: Dispatcher | None = None
        self._beat = LoopingCall(lambda: Deferred.fromCoroutine(self._renew()))
        self._beat.clock = reactor
        self._beat_ended: Deferred[LoopingCall] | None = None
        self._opening: Shared[None] | None = None
        self._running = False
        self._work = OwnedWork("recalls: unexpected")
        self._submissions = Submissions(reactor, settings, self._write, self._read, self._work.keep)
        self._notes = Notes(reactor, self._write, self._read, self._work.keep, self._released)
        self.operations = Operations(reactor, settings, self._write, self._read)
        self._long_reads = DeferredLock()
        self._following = Following(self._read_long)
        self._obstacle = ""

    @property
    def obstacle(self) -> str:
        """Why jobs cannot be accepted or reported on now, for a person; else empty."""
        return self._obstacle or self._store.trouble

    # Start and stop

    def startService(self) -> Deferred[None]:
        """
        Open the store if it is needed; over an archive that has everything on disk, only if there is one already, and
        else when a job is submitted.
        """
        super().startService()
        self._running = True
        return Deferred.fromCoroutine(self._begin())

    def stopService(self) -> Deferred[None]:
        """Release the lease, and close the store; the jobs stay."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def stop_waiting(self) -> None:
        """End the waiting for files and the following of jobs, as the service is about to stop."""
        self._watch.stop()

    async def _begin(self) -> None:
        try:
            if await find_store(self._reactor, self._store_settings, self._make_pool) or self._recaller is not None:
                await self._open()
        except StoreRefused:
            raise
        except StoreUnavailable as error:
            if self._recaller is not None:
                raise
            # Files are served all the same: deletions on a full disk must not need space.
            self._obstacle = str(error)

    async def _open(self) -> None:
        """
        Open the store, once.

        @raise StoreUnavailable: It cannot be opened now.
        """
        if self._opening is None or self._opening.failed:
            self._opening = Shared(self._start())
        await self._opening.result()

    async def _start(self) -> None:
        if not self._running:
            raise StoreUnavailable("The server is about to stop.")
        make_store_directory(self._store_settings)
        await self._store.start()
        if self._running:
            self._beat_ended = self._beat.start(HEARTBEAT)

    async def _stop(self) -> None:
        self._running = False
        self._watch.stop()
        self._notes.stop()
        if self._beat.running:
            self._beat.stop()
        if self._beat_ended is not None:
            await self._beat_ended  # a renewal may be under way, and may just become the dispatcher
        if self._opening is not None:
            with suppress(errors.Unavailable):
                await self._open()
            self._work.keep(self._notes.write_notes())
        await self._work.ended()
        await self._end_dispatcher()
        with suppress(errors.Unavailable):
            await self._lease.end()
        await self._store.stop()

    async def _renew(self) -> None:
        try:
            await self._lease.renew()
            await self._follow_lease()
        except StoreUnavailable as error:
            self._obstacle = str(error)  # it was logged; the dispatcher cannot do anything either
        except Exception:  # noqa: BLE001  (the next renewal may succeed)
            _log.failure("recalls: unexpected")
        else:
            self._obstacle = ""

    async def _follow_lease(self) -> None:
        """Start or stop the dispatcher, according to the lease."""
        if self._dispatcher is not None and self._dispatcher.term != self._lease.term:
            await self._end_dispatcher()
        if self._dispatcher is None and self._lease.term is not None and self._running:
            self._dispatcher = Dispatcher(
                self._reactor, self._store, self._backend, self._settings, self._lease, self._watch.poke
            )
            self._dispatcher.start()

    async def _end_dispatcher(self) -> None:
        dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is not None:
            await dispatcher.stop()

    async def _write(self, change: Callable[[Transaction], T]) -> T:
        await self._open()
        result = await self._store.write(change)
        self._watch.poke()
        if self._dispatcher is not None:
            self._dispatcher.poke()
        return result

    async def _read(self, query: Callable[[Cursor], T]) -> T:
        await self._open()
        return await self._store.read(query)

    async def _read_long(self, query: Callable[[Cursor], T]) -> T:
        """Read what may be many rows, one call at a time, as that keeps the reactor's thread from running."""
        await self._long_reads.acquire()
        try:
            return await self._read(query)
        finally:
            self._long_reads.release()

    # Requests

    async def submit(self, request: JobRequest) -> str:
        """
        Submit a job; it is stored durably.

        @param request: The request.
        @return: The job's identifier.
        @raise errors.BackendUnavailable: The store does not answer.
        @raise errors.QuotaReached: The owner has reached the limit.
        @raise errors.Overloaded: All owners together have reached the limit.
        @raise errors.TooLarge: It has more files than a job may have.
        """
        return await self._submissions.make(request)

    async def want(self, file_id: int, owner: str) -> Asked:
        """
        Request one file that is on tape: however often, it is one job for each owner, and one recall.  Its pin ends
        with the first read of the whole file.

        @raise errors.BackendUnavailable: The store does not answer.
        @raise errors.QuotaReached: The owner has reached the limit; likewise C{Overloaded} for all owners together.
        """
        return await self._submissions.request_file(file_id, owner)

    async def wait(self, file_id: int, seconds: float) -> bool:
        """
        Wait until the recall of a file has ended, in whatever way.

        @param seconds: The timeout, in seconds.
        @return: Whether it has ended; C{False} after the timeout, and when the service is about to stop.
        """
        return await self._watch.end_of(file_id, seconds)

    async def cancel(self, job: str, file_ids: Collection[int] | None = None) -> Cancelled:
        """
        Cancel files of a job, or all of them; files that have ended stay as they are.

        @raise errors.NotFound: There is no such job.
        @raise errors.InvalidRequest: A file is not in the job; nothing has changed then.
        """
        return await self._write(lambda transaction: jobs.cancel(transaction, job, file_ids))

    async def delete(self, job: str) -> None:
        """
        Cancel all files of a job, end its pins, and delete it.

        @raise errors.NotFound: There is no such job.
        """
        self._released(await self._write(lambda transaction: jobs.delete(transaction, job)))

    # Reports

    async def status(self, job: str) -> JobStatus:
        """
        Return a job and its progress.

        @raise errors.NotFound: No job has this identifier.
        """
        now = self._reactor.seconds()
        return await self._read(lambda cursor: job_status(cursor, job, self._settings, now))

    async def owner_of(self, job: str) -> str:
        """Return the owner of a job.  @raise errors.NotFound: No job has this identifier."""
        return await self._read(lambda cursor: listing.owner_of(cursor, job))

    async def files(self, job: str, since: str = "", limit: int = 1000) -> FilesPage:
        """
        List the files of a job, or those that have changed since, in the order of their changes.

        @param since: A cursor from an earlier answer.
        @raise errors.NotFound: There is no such job.
        @raise errors.InvalidRequest: It is not a cursor.
        """
        return await self._read_long(lambda cursor: listing.files(cursor, job, since, limit))

    async def reason(self, file_id: int) -> str | None:
        """
        Return why the last recall of a file failed, if there is no later request; or why the last attempt of the one
        that is under way did; or C{None}.
        """
        now, most = self._reactor.seconds(), self._settings.attempts
        return await self._read(lambda cursor: waiting.last_failure(cursor, file_id, most, now))

    async def follow(self, job: str, since: str = "") -> AsyncIterator[FilesPage]:
        """
        Yield the changes of a job as they happen, from C{since} on, and a page without files when there was none for a
        while. Ends when the job has ended and all was reported, or when the service stops.

        @raise errors.NotFound: There is no such job (any more).
        """
        last_page = self._reactor.seconds()
        while True:
            page, left = await self._following.changes(job, since)
            if page.files or self._reactor.seconds() - last_page >= SIGN_OF_LIFE:
                yield page
                last_page = self._reactor.seconds()
            since = page.cursor
            if page.more:
                continue
            if not left or self._watch.stopped:
                return
            # Other jobs change the store as well.
            await self._watch.change(int(since.partition("-")[0]), last_page + SIGN_OF_LIFE - self._reactor.seconds())

    async def jobs(
        self, *, owner: str | None = None, before: int | None = None, limit: int = 100
    ) -> Sequence[JobSummary]:
        """
        List jobs, the latest first.

        @param before: The number of the last job of the page before.
        """
        return await self._read(lambda cursor: listing.jobs(cursor, owner, before, limit))

    async def plan(self, file_ids: Sequence[int]) -> Plan:
        """
        Return what a job would mean, without recalling anything.

        @raise errors.BackendUnavailable: The storage does not answer.
        """
        now = self._reactor.seconds()
        query = self._read if self._recaller is not None else None
        return await make_plan(self._backend, self._recaller, query, file_ids, self._settings.drives, now)

    async def release(self, job: str, file_ids: Collection[int] | None = None) -> Released:
        """
        Release pins of a job: its files need not stay on disk.  Those that were not recalled yet will not be pinned.

        @raise errors.NotFound: There is no such job.
        @raise errors.InvalidRequest: A file is not in the job; nothing has changed then.
        """
        released, unpinned = await self._write(lambda transaction: jobs.release(transaction, job, file_ids))
        self._released(unpinned)
        return released

    async def pins(
        self, *, owner: str | None = None, after: tuple[int, str] | None = None, limit: int = 100
    ) -> Sequence[Pin]:
        """
        List pins, by file and job.

        @param after: File and job of the last pin of the page before.
        """
        return await self._read(lambda cursor: listing.pins(cursor, owner, after, limit))

    async def unpin(self, file_id: int, owner: str | None = None) -> int:
        """End an owner's pins of a file, or with C{None} those of all owners.  @return: How many there were."""
        ended, unpinned = await self._write(lambda transaction: jobs.unpin(transaction, file_id, owner))
        self._released(unpinned)
        return ended

    def was_read(self, file_id: int) -> None:
        """Note that the whole of a file was read, which ends pins that last until then.  Returns at once."""
        if self._recaller is not None and self._is_open:
            self._notes.was_read(file_id)

    def was_removed(self, file_id: int) -> None:
        """Note that a file was removed, which ends its recall.  Returns at once."""
        if self._is_open:
            self._notes.was_removed(file_id)

    @property
    def _is_open(self) -> bool:
        """Whether the store has been opened, as there was a request or there are jobs."""
        return self._opening is not None and self._running

    def _released(self, file_ids: Sequence[int]) -> None:
        if self._recaller is not None and file_ids:
            self._work.keep(release_all(self._recaller, file_ids))
