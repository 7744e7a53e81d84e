"""What is behind the server of L{support}: a storage, recalls, a pool of threads, and what the clock says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Container, Coroutine, Mapping, Sequence
from hashlib import sha256
from typing import Any, ParamSpec, TypeVar

import attrs
from twisted.internet.defer import Deferred, DeferredQueue, execute
from twisted.internet.task import Clock

from pacarchive import errors
from pacarchive.backends.memory import MemoryArchive
from pacarchive.digests import Digests
from pacarchive.interfaces import IIncomingFile, IStoredFile
from pacarchive.model import Estimate, FileStatus, Health, InventoryPage, WriteConditions
from pacarchive.recall.views import Amount, Buffer, CartridgePage, CartridgeRow, Overview, OwnerPage, OwnerRow, States
from pacarchive.recall.words import (
    Asked,
    Cancelled,
    FilesPage,
    FileState,
    Hold,
    HoldKind,
    JobFile,
    JobRequest,
    JobStatus,
    JobSummary,
    Pin,
    Plan,
    Priority,
    Released,
    Retried,
    RetryFilter,
)
from pacarchive.runtime.threads import BlockingPool
from pacarchive.telemetry.history import History

P = ParamSpec("P")
T = TypeVar("T")

NOW = 1795367928.614857
"""What the clock says at the start of every test."""


class InstantPool(BlockingPool):
    """A pool whose calls have ended when they are asked for."""

    def __init__(self) -> None:
        self.name = "instant"

    def start(self) -> None:
        """There are no threads."""

    def stop(self, seconds: float = 5.0) -> bool:
        """There are no threads."""
        return True

    def call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return execute(call, *args, **kwargs)


class Archive(MemoryArchive):
    """
    The memory backend, which also keeps account, and which can be told to wait or to fail.

    @ivar calls: The methods that were called.
    @ivar trouble: What the method of a name raises (C{receive}, C{write}, C{commit}, C{open}, C{read}, C{status}, ...).
    @ivar waits: What the method of a name waits for.
    @ivar unended: Incoming files that were neither committed nor aborted.
    @ivar unclosed: Stored files that were not closed.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.calls: list[str] = []
        self.trouble: dict[str, Exception] = {}
        self.waits: dict[str, Deferred[None]] = {}
        self.unended = 0
        self.unclosed = 0

    def data(self, file_id: int) -> bytes | None:
        """The published bytes of an id."""
        version = self._versions.get(file_id)
        return None if version is None else version.data

    def place(self, file_id: int, data: bytes, **changes: Any) -> None:
        """Publish a file behind the server's back, with whatever status."""
        hashed = changes.pop("digests", None)
        status = self.publish(file_id, data, None, _sha256(data) if hashed is None else hashed, WriteConditions())
        self._versions[file_id] = attrs.evolve(self._versions[file_id], status=attrs.evolve(status, **changes))

    def spoil(self, file_id: int, data: bytes) -> None:
        """Exchange the bytes of a file, and nothing else."""
        self._versions[file_id] = attrs.evolve(self._versions[file_id], data=data)

    def hold(self, name: str) -> Deferred[None]:
        """Let a method wait from now on, until the Deferred fires."""
        self.waits[name] = waiting = Deferred[None]()
        return waiting

    async def pass_by(self, name: str) -> None:
        """Note a call, wait for what it waits for, and fail as it was told to."""
        self.calls.append(name)
        if name in self.waits:
            await self.waits[name]
        if name in self.trouble:
            raise self.trouble[name]

    async def receive(
        self, file_id: int, size: int | None, conditions: WriteConditions, algorithms: Collection[str]
    ) -> IIncomingFile:
        await self.pass_by("receive")
        incoming = await super().receive(file_id, size, conditions, algorithms)
        self.unended += 1
        return _Accounted(self, incoming)  # type: ignore[return-value]

    async def open(self, file_id: int) -> IStoredFile:
        await self.pass_by("open")
        stored = await super().open(file_id)
        self.unclosed += 1
        return _Accounted(self, stored)  # type: ignore[return-value]

    async def status(self, file_id: int) -> FileStatus:
        await self.pass_by("status")
        return await super().status(file_id)

    async def inventory(
        self, place: str, most: int, *, ids: Container[int] | None = None, digests: bool = True, locality: bool = True
    ) -> InventoryPage:
        await self.pass_by("inventory")
        return await super().inventory(place, most, ids=ids, digests=digests, locality=locality)

    async def move(self, file_id: int, source: str, conditions: WriteConditions) -> FileStatus:
        await self.pass_by("move")
        return await super().move(file_id, source, conditions)

    async def remove(self, file_id: int, conditions: WriteConditions) -> None:
        await self.pass_by("remove")
        await super().remove(file_id, conditions)

    async def health(self) -> Health:
        await self.pass_by("health")
        return await super().health()


def _sha256(data: bytes) -> Digests:
    return {"sha256": sha256(data).digest()}


class _Accounted:
    """An incoming or stored file, with the account that L{Archive} keeps."""

    def __init__(self, archive: Archive, file: Any) -> None:
        self._archive = archive
        self._file = file
        self._over = False

    @property
    def status(self) -> FileStatus:
        status: FileStatus = self._file.status
        return status

    async def write(self, pieces: Sequence[bytes]) -> None:
        assert not self._over
        await self._archive.pass_by("write")
        await self._file.write(pieces)

    async def commit(self, mtime_ns: int | None, expected: Digests) -> FileStatus:
        assert not self._over
        await self._archive.pass_by("commit")
        status: FileStatus = await self._file.commit(mtime_ns, expected)
        self._end()
        return status

    async def abort(self) -> None:
        await self._file.abort()
        self._end()

    async def read(self, offset: int, length: int) -> bytes:
        assert not self._over
        await self._archive.pass_by("read")
        data: bytes = await self._file.read(offset, length)
        return data

    async def remember(self, digests: Digests) -> None:
        file_id = self.status.file_id
        version = self._archive._versions[file_id]
        self._archive._versions[file_id] = attrs.evolve(version, status=attrs.evolve(version.status, digests=digests))

    def close(self) -> None:
        if not self._over:
            self._over = True
            self._archive.unclosed -= 1

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._archive.unended -= 1


JOB = "0123456789abcdef0123456789abcdef"
"""The job that every file becomes part of, if the test does not say otherwise."""

COME_BACK = 61
"""Seconds after which a client is told to come back for a file that is on tape."""


def job_file(file_id: int, state: FileState = FileState.QUEUED, **changes: Any) -> JobFile:
    """A file of a job."""
    file = JobFile(
        file_id=file_id, state=state, size=None, started=None, ended=None, deadline=NOW + 1000, heard=None, attempts=0,
        reason="", pinned=None,
    )  # fmt: skip
    return attrs.evolve(file, **changes)


def job_status(job: str = JOB, **changes: Any) -> JobStatus:
    """A job of three files that has just been made; changes are those of the summary or of the status."""
    summary = JobSummary(
        job=job, number=1, owner="ada", priority=Priority.NORMAL, created=NOW, deadline=NOW + 1000, started=None,
        ended=None, files=3, left=3,
    )  # fmt: skip
    of_summary = {name: changes.pop(name) for name in list(changes) if hasattr(summary, name)}
    counts = {**dict.fromkeys(FileState, 0), FileState.QUEUED: 3}
    status = JobStatus(
        summary=attrs.evolve(summary, **of_summary), counts=counts, size=108, done=0, rate=0.0, estimate=None,
        pin=86400.0, most_attempts=20, cursor="3",
    )  # fmt: skip
    return attrs.evolve(status, **changes)


class FakeRecalls:
    """
    Has the methods of the recall engine, and does as the test says.

    @ivar calls: The methods that were called, with their arguments.
    @ivar trouble: What the method of a name raises.
    @ivar obstacle: Why jobs cannot be taken.
    @ivar reasons: Why recalls of files have failed.
    @ivar statuses: The jobs that there are.
    @ivar changes: Their files, in the order of their changes; a cursor is an index into it.
    @ivar listed: What C{jobs} and C{pins} give.
    @ivar plans: What C{plan} gives.
    @ivar waiting: Those who wait for files.
    @ivar followers: How many follow a job.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.calls: list[tuple[Any, ...]] = []
        self.trouble: dict[str, Exception] = {}
        self.obstacle = ""
        self.asked = Asked(job=JOB, retry_after=COME_BACK)
        self.reasons: dict[int, str] = {}
        self.statuses: dict[str, JobStatus] = {}
        self.changes: dict[str, list[JobFile]] = {}
        self.listed: dict[str, list[Any]] = {"jobs": [], "pins": []}
        self.plans = Plan(
            files=0, on_disk=0, missing=[], recalls=0, media=0, size=0, estimate=Estimate(seconds=0, basis="")
        )
        self.released = 0
        self.waiting: list[tuple[int, Deferred[bool]]] = []
        self.followers = 0
        self.operations = FakeOperations()
        self._news: DeferredQueue[FilesPage | Exception | None] = DeferredQueue()

    def called(self, name: str) -> list[list[Any]]:
        """The arguments of all calls of a method."""
        return [arguments for method, *arguments in self.calls if method == name]

    def place(self, status: JobStatus, *files: JobFile) -> None:
        """Have a job."""
        self.statuses[status.summary.job] = status
        self.changes[status.summary.job] = list(files)

    def ended(self, file_id: int, result: bool = True) -> None:
        """Tell those who wait for a file that it has ended; or, to no avail, that the service stops."""
        for waiter in [each for each in self.waiting if each[0] == file_id]:
            waiter[1].callback(result)

    def tell(self, news: FilesPage | Exception | None) -> None:
        """Give a page to the one who follows, or let the following fail, or end."""
        self._news.put(news)

    async def startService(self) -> None:
        """There is nothing to start."""

    async def stopService(self) -> None:
        """Nor to stop."""

    def stop_waiting(self) -> None:
        """The service is about to stop."""
        for file_id, _ in list(self.waiting):
            self.ended(file_id, False)
        self.tell(None)

    def _note(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        if name in self.trouble:
            raise self.trouble[name]

    def _require(self, job: str) -> None:
        if job not in self.statuses:
            raise errors.NotFound("There is no such job.")

    async def submit(self, request: JobRequest) -> str:
        self._note("submit", request)
        count = len(request.file_ids)
        self.place(job_status(owner=request.owner, priority=request.priority, files=count, left=count))
        return JOB

    async def want(self, file_id: int, owner: str) -> Asked:
        self._note("want", file_id, owner)
        return self.asked

    async def wait(self, file_id: int, seconds: float) -> bool:
        self._note("wait", file_id, seconds)
        waiter = (file_id, Deferred[bool]())
        self.waiting.append(waiter)
        late = self._clock.callLater(seconds, waiter[1].callback, False)
        try:
            return await waiter[1]
        finally:
            self.waiting.remove(waiter)
            if late.active():
                late.cancel()

    async def status(self, job: str) -> JobStatus:
        self._note("status", job)
        self._require(job)
        return self.statuses[job]

    async def files(self, job: str, since: str = "", limit: int = 1000) -> FilesPage:
        self._note("files", job, since, limit)
        self._require(job)
        if not (since or "0").isdigit():
            raise errors.InvalidRequest("It is no cursor.")
        start, files = int(since or "0"), self.changes[job]
        page = files[start : start + limit]
        return FilesPage(files=page, cursor=str(start + len(page)), more=start + len(page) < len(files))

    async def reason(self, file_id: int) -> str | None:
        self._note("reason", file_id)
        return self.reasons.get(file_id)

    async def follow(self, job: str, since: str = "") -> AsyncIterator[FilesPage]:
        self._note("follow", job, since)
        self._require(job)
        self.followers += 1
        try:
            while (news := await self._news.get()) is not None:
                if isinstance(news, Exception):
                    raise news
                yield news
        finally:
            self.followers -= 1

    async def jobs(
        self, *, owner: str | None = None, before: int | None = None, limit: int = 100
    ) -> Sequence[JobSummary]:
        self._note("jobs", owner, before, limit)
        return self.listed["jobs"][:limit]

    async def cancel(self, job: str, file_ids: Collection[int] | None = None) -> Cancelled:
        self._note("cancel", job, file_ids)
        self._require(job)
        return Cancelled(cancelled=2, cancelling=1, ended=0)

    async def delete(self, job: str) -> None:
        self._note("delete", job)
        self._require(job)
        del self.statuses[job]

    async def release(self, job: str, file_ids: Collection[int] | None = None) -> Released:
        self._note("release", job, file_ids)
        self._require(job)
        return Released(released=1, coming=2, unpinned=0)

    async def pins(
        self, *, owner: str | None = None, after: tuple[int, str] | None = None, limit: int = 100
    ) -> Sequence[Pin]:
        self._note("pins", owner, after, limit)
        return self.listed["pins"][:limit]

    async def owner_of(self, job: str) -> str:
        return (await self.status(job)).summary.owner

    async def unpin(self, file_id: int, owner: str | None = None) -> int:
        self._note("unpin", file_id, *(() if owner is None else (owner,)))
        return self.released

    async def plan(self, file_ids: Sequence[int]) -> Plan:
        self._note("plan", file_ids)
        return self.plans

    def was_read(self, file_id: int) -> None:
        self._note("was_read", file_id)

    def was_removed(self, file_id: int) -> None:
        self._note("was_removed", file_id)


class FakeOperations:
    """
    Has the methods of what operators see and do of recalls, and does as the test says.

    @ivar calls: The methods that were called, with their arguments.
    @ivar trouble: What all of them raise.
    @ivar seen: What C{overview} gives; C{rows} and C{owner_rows} what C{cartridges} and C{owners} do.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.trouble: Exception | None = None
        self.rows: list[CartridgeRow] = []
        self.owner_rows: list[OwnerRow] = []
        self.retried = Retried(failed=0, hurried=0)
        self.seen = Overview(
            made=NOW, planned=NOW, dispatcher="host:1", states=States(), completed_hour=Amount(),
            completed_day=Amount(), failed=Amount(), ages=[], drive_limit=4, drives_usable=4, drives=[], upcoming=[],
            through=None, reasons=[], holds=[], problems=[],
            buffer=Buffer(limit=None, pinned=Amount(), coming=Amount()), cartridges=0, owners=0,
        )  # fmt: skip

    def _note(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        if self.trouble is not None:
            raise self.trouble

    async def overview(self) -> Overview:
        self._note("overview")
        return self.seen

    async def cartridges(
        self, *, owner: str | None = None, order: Any = None, after: str | None = None, limit: int = 100
    ) -> CartridgePage:
        self._note("cartridges", owner, order, after)
        more = json.dumps(limit) if len(self.rows) > limit else None
        return CartridgePage(made=NOW, rows=self.rows[:limit], total=len(self.rows), next=more)

    async def cartridge(self, name: str) -> CartridgeRow | None:
        self._note("cartridge", name)
        return next((row for row in self.rows if row.cartridge == name), None)

    async def owners(self, *, owner: str | None = None, after: str | None = None, limit: int = 100) -> OwnerPage:
        self._note("owners", owner, after)
        more = json.dumps(limit) if len(self.owner_rows) > limit else None
        return OwnerPage(made=NOW, rows=self.owner_rows[:limit], total=len(self.owner_rows), next=more)

    async def hold(self, kind: HoldKind, who: str, **more: Any) -> Hold:
        self._note("hold", kind, who, more)
        return Hold(kind=kind, who=who, since=NOW, **more)

    async def holds(self) -> Sequence[Hold]:
        return self.seen.holds

    async def resume(self, kind: HoldKind, cartridge: str = "") -> None:
        self._note("resume", kind, cartridge)

    async def count_retries(self, wanted: RetryFilter) -> Retried:
        self._note("count_retries", wanted)
        return self.retried

    async def retry(self, wanted: RetryFilter) -> Retried:
        self._note("retry", wanted)
        return self.retried

    async def change_priority(self, job: str, priority: Priority) -> None:
        self._note("change_priority", job, priority)


class FakeAudit:
    """
    Has the methods of the audit file that routes use.

    @ivar lines: What was written down.
    @ivar refusals: Likewise, of what was refused.
    @ivar fails: Whether nothing can be written.
    @ivar histories: What it has of files, by id.
    """

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.refusals: list[Mapping[str, Any]] = []
        self.fails = False
        self.histories: dict[int, History | errors.BackendUnavailable] = {}

    async def history(self, file_id: int) -> History:
        found = self.histories.get(file_id, History([], whole=True))
        if isinstance(found, errors.BackendUnavailable):
            raise found
        return found

    async def to_the_end(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self.fails:
            raise errors.BackendUnavailable("The audit file cannot be written; nothing was done therefore.")
        return await work()

    async def record(self, **what: Any) -> None:
        self.lines.append({name: each for name, each in what.items() if each is not None})

    def note(self, address: str, what: Mapping[str, Any]) -> None:
        self.refusals.append(what)
