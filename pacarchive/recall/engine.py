"""The recall engine, as the faces see it.

Every process has one.  All of them take requests and report how they stand; one of all that share a store is the
dispatcher as well, as long as it holds the lease.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
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
from pacarchive.recall.lease import HEARTBEAT, Lease
from pacarchive.recall.moving import find_store, make_store_directory
from pacarchive.recall.noting import Notes
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
"""Seconds after which a follower hears that nothing has changed."""

_PAGE = 1000
"""Files that a follower is told about at once."""

_log = Logger()


class RecallEngine(Service):
    """
    Stage jobs over one archive.

    @param reactor: The reactor.
    @param backend: The archive; where it is no L{IRecaller}, every file is on disk.
    @param settings: The settings.
    @param archive: What the archive is known by in the store.
    @param make_pool: Makes the threads of the store's connections.
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
        self._long_reads = DeferredLock()
        self._obstacle = ""

    @property
    def obstacle(self) -> str:
        """Why jobs cannot be taken, or reported on, at present, in words; else empty."""
        return self._obstacle or self._store.trouble

    # Its life

    def startService(self) -> Deferred[None]:
        """
        Open the store where it will be needed; over an archive that has everything on disk only if there is one, and
        else when somebody asks for a job.
        """
        super().startService()
        self._running = True
        return Deferred.fromCoroutine(self._begin())

    def stopService(self) -> Deferred[None]:
        """Make way for another dispatcher, and close the store; the jobs stay."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def stop_waiting(self) -> None:
        """Those who wait for files, or follow jobs, are to come back later: the service is about to stop."""
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
            # Files are served all the same: what makes room on a full disk must not need any.
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
            self._obstacle = str(error)  # it was logged; whoever is the dispatcher cannot do anything either
        except Exception:  # noqa: BLE001  (the heart goes on beating)
            _log.failure("recalls: unexpected")
        else:
            self._obstacle = ""

    async def _follow_lease(self) -> None:
        """Be the dispatcher, or not, as the lease says."""
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
        """Read what may be many rows, one after the other: they take the interpreter from who answers requests."""
        await self._long_reads.acquire()
        try:
            return await self._read(query)
        finally:
            self._long_reads.release()

    # Requests

    async def submit(self, request: JobRequest) -> str:
        """
        Make a job, durably.

        @return: The job's identifier.
        @raise errors.BackendUnavailable: The store does not answer.
        @raise errors.QuotaReached: The owner has as much as one may have.
        @raise errors.Overloaded: The store has as much as it may have.
        @raise errors.TooLarge: It has more files than a job may have.
        """
        return await self._submissions.make(request)

    async def want(self, file_id: int, owner: str) -> Asked:
        """
        Ask for one file that is on tape; however many ask for it at once, and again and again, it is one job an owner,
        and one recall.  Its pin ends with the first whole read.

        @raise errors.BackendUnavailable: The store does not answer.
        @raise errors.QuotaReached: The owner has as much as one may have; likewise C{Overloaded}.
        """
        return await self._submissions.request_file(file_id, owner)

    async def wait(self, file_id: int, seconds: float) -> bool:
        """
        Wait until a file that was asked for has ended, in whatever way.

        @return: Whether it has, within the time; C{False} also when the service is about to stop.
        """
        return await self._watch.end_of(file_id, seconds)

    async def cancel(self, job: str, file_ids: Collection[int] | None = None) -> Cancelled:
        """
        Give files up, or all of them; what has ended already is left as it is.

        @raise errors.NotFound: There is no such job.
        @raise errors.InvalidRequest: A file is none of the job's; nothing has changed then.
        """
        return await self._write(lambda transaction: jobs.cancel(transaction, job, file_ids))

    async def delete(self, job: str) -> None:
        """
        Give all files up, end their pins, and forget the job.

        @raise errors.NotFound: There is no such job.
        """
        self._released(await self._write(lambda transaction: jobs.delete(transaction, job)))

    # Looking

    async def status(self, job: str) -> JobStatus:
        """
        How a job stands.

        @raise errors.NotFound: There is none of this name.
        """
        now = self._reactor.seconds()
        return await self._read(lambda cursor: job_status(cursor, job, self._settings, now))

    async def owner_of(self, job: str) -> str:
        """Whose a job is.  @raise errors.NotFound: There is none of this name."""
        return await self._read(lambda cursor: listing.owner_of(cursor, job))

    async def files(self, job: str, since: str = "", limit: int = 1000) -> FilesPage:
        """
        The files of a job, or those that have changed since, in the order of their changes.

        @param since: A cursor from an earlier answer.
        @raise errors.NotFound: There is no such job.
        @raise errors.InvalidRequest: It is no cursor.
        """
        return await self._read_long(lambda cursor: listing.files(cursor, job, since, limit))

    async def reason(self, file_id: int) -> str | None:
        """
        Why the last recall of a file failed, if it has, and nobody has asked for it since; or why its last try did, if
        that is under way.
        """
        now, most = self._reactor.seconds(), self._settings.attempts
        return await self._read(lambda cursor: waiting.last_failure(cursor, file_id, most, now))

    async def follow(self, job: str, since: str = "") -> AsyncIterator[FilesPage]:
        """
        The changes of a job as they happen, beginning with C{since}; a page without files is a sign of life.  Ends
        when the job has ended and all was told, or the service stops.

        @raise errors.NotFound: There is no such job (any more).
        """
        last_page = self._reactor.seconds()
        while True:
            page, left = await self._read_long(partial(listing.changes, job=job, since=since, limit=_PAGE))
            if page.files or self._reactor.seconds() - last_page >= SIGN_OF_LIFE:
                yield page
                last_page = self._reactor.seconds()
            since = page.cursor
            if page.more:
                continue
            if not left or self._watch.stopped:
                return
            # Others' jobs change the store as well, which is no news of this one.
            await self._watch.change(int(since.partition("-")[0]), last_page + SIGN_OF_LIFE - self._reactor.seconds())

    async def jobs(
        self, *, owner: str | None = None, before: int | None = None, limit: int = 100
    ) -> Sequence[JobSummary]:
        """
        Jobs, the youngest first.

        @param before: The number of the last of the page before.
        """
        return await self._read(lambda cursor: listing.jobs(cursor, owner, before, limit))

    async def plan(self, file_ids: Sequence[int]) -> Plan:
        """
        What a job would mean; nothing is asked for.

        @raise errors.BackendUnavailable: The storage does not answer.
        """
        now = self._reactor.seconds()
        query = self._read if self._recaller is not None else None
        return await make_plan(self._backend, self._recaller, query, file_ids, self._settings.drives, now)

    # Pins

    async def release(self, job: str, file_ids: Collection[int] | None = None) -> Released:
        """
        End pins of a job: its files need not stay on disk.  Ended ones are passed over; one that has not come yet is
        not pinned when it comes.

        @raise errors.NotFound: There is no such job.
        @raise errors.InvalidRequest: A file is none of the job's; nothing has changed then.
        """
        released, unpinned = await self._write(lambda transaction: jobs.release(transaction, job, file_ids))
        self._released(unpinned)
        return released

    async def pins(
        self, *, owner: str | None = None, after: tuple[int, str] | None = None, limit: int = 100
    ) -> Sequence[Pin]:
        """
        Pins, by file and job.

        @param after: File and job of the last of the page before.
        """
        return await self._read(lambda cursor: listing.pins(cursor, owner, after, limit))

    async def unpin(self, file_id: int, owner: str | None = None) -> int:
        """End an owner's pins of a file, or (C{None}) everyone's.  @return: How many there were."""
        ended, unpinned = await self._write(lambda transaction: jobs.unpin(transaction, file_id, owner))
        self._released(unpinned)
        return ended

    def was_read(self, file_id: int) -> None:
        """A file was read whole: pins that last until then end.  Returns at once."""
        if self._recaller is not None and self._is_open:
            self._notes.was_read(file_id)

    def was_removed(self, file_id: int) -> None:
        """A file was removed: its recalls end.  Returns at once."""
        if self._is_open:
            self._notes.was_removed(file_id)

    @property
    def _is_open(self) -> bool:
        """Whether somebody has asked for anything, so that there is a store to note something in."""
        return self._opening is not None and self._running

    def _released(self, file_ids: Sequence[int]) -> None:
        if self._recaller is not None and file_ids:
            self._work.keep(release_all(self._recaller, file_ids))
