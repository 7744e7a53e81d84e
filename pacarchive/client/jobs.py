"""Recalls: one job for many files, followed until the last has come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import quote

import attrs
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pacarchive.client.documents import (
    effects_joined,
    file_lists,
    halves,
    job_ids,
    joined,
    member,
    plans_joined,
    read_files,
    read_job,
    read_located,
    read_plan,
)
from pacarchive.client.download import together
from pacarchive.client.errors import ClientError, ConnectionFailed, NotFound, ProtocolError, ServerUnavailable, TooLarge
from pacarchive.client.events import EventParser
from pacarchive.client.refusals import refused
from pacarchive.client.retry import Tries
from pacarchive.client.words import (
    Changes,
    Job,
    JobFile,
    JobResult,
    JobState,
    Located,
    OnJobProgress,
    Plan,
    RetryPolicy,
)

if TYPE_CHECKING:
    from pacarchive.client.wire import Wire

PAGE = 10_000
"""How many files of a job are asked for at once."""

LOCATED = 500
"""How many files the archive is asked about at once."""

POLL = 2.0
"""How many seconds are between two looks at a job, where it cannot be followed; they grow to C{SLOWEST_POLL}."""

SLOWEST_POLL = 30.0

TOLD_AGAIN = 10
"""How often each file of a job may have changed, in the mean, while it is asked for its changes."""

LASTED = 5.0
"""How many seconds a connection has to last to be of use."""

SILENCE = 60.0
"""For how many seconds more than else nothing may be heard of a job: the archive says that it is there now and then."""

Priority: TypeAlias = Literal["low", "normal", "high"]

_JSON = {"Content-Type": "application/json"}

_log = Logger()


class JobCalls:
    """The calls of an L{ArchiveClient<pacarchive.client.client.ArchiveClient>} about recalls."""

    _wire: Wire
    _policy: RetryPolicy

    async def _ask(self, method: str, path: str, document: object = None, *, safe: bool, status: int = 200) -> Any:
        """
        Send a document, and read the one that comes back.

        @param safe: Whether it may be done twice.
        @param status: That of success.
        """
        body = None if document is None else json.dumps(document).encode("ascii")
        tries = Tries(self._wire.clock, self._policy, safe=safe)
        while True:
            try:
                async with self._wire.exchange(method, path, _JSON if body else None, body) as answer:
                    if answer.status != status:
                        raise await refused(answer)
                    try:
                        return await answer.document()
                    except ConnectionFailed as error:
                        error.uncertain = True
                        raise
            except (ConnectionFailed, ServerUnavailable) as error:
                await tries.after(error)

    async def stage(
        self,
        ids: Iterable[int],
        *,
        pin: float | None = None,
        deadline: float | None = None,
        priority: Priority = "normal",
    ) -> Job:
        """
        Bring files to disk, one or thousands.

        @param pin: For how many seconds each is to stay there.
        @param deadline: Seconds after which what has not come has failed.
        """
        request: dict[str, object] = {"priority": priority}
        if pin is not None:
            request["pin"] = pin
        if deadline is not None:
            request["deadline"] = deadline
        made: list[Job] = []

        async def submit(files: Sequence[int | str]) -> None:
            document = await self._ask("POST", "/jobs", {**request, "files": files}, safe=False, status=201)
            made.append(read_job(document))

        try:
            await self._in_lists(file_lists(ids), submit)
        except ClientError as error:
            if made:
                error.add_note(f"A part is asked for already, as {joined(made).id}.")
            raise
        return joined(made)

    async def plan(self, ids: Iterable[int]) -> Plan:
        """Say what L{stage} would mean; nothing is asked for."""
        plans: list[Plan] = []

        async def submit(files: Sequence[int | str]) -> None:
            # A dry run leaves nothing behind, however often it is made.
            plans.append(read_plan(await self._ask("POST", "/jobs", {"files": files, "dry_run": True}, safe=True)))

        await self._in_lists(file_lists(ids), submit)
        return plans_joined(plans)

    async def _in_lists(self, lists: list[list[int | str]], submit: Callable[[Sequence[int | str]], Any]) -> None:
        """Submit lists, each cut in two as often as the archive finds it too long."""
        left = list(reversed(lists))
        while left:
            files = left.pop()
            try:
                await submit(files)
            except TooLarge:
                if (two := halves(files)) is None:
                    raise
                left += reversed(two)

    async def job(self, job: Job | str) -> Job:
        """How a job stands now."""
        return joined([read_job(await self._ask("GET", f"/jobs/{each}", safe=True)) for each in job_ids(job)])

    async def changes(self, job: Job | str, since: str = "") -> Changes:
        """
        How a job stands now, and its files that have changed.

        @param since: The C{cursor} of an earlier answer; empty for all files.
        """
        ids = job_ids(job)
        cursors = since.split(",") if since else [""] * len(ids)
        if len(cursors) != len(ids):
            raise ValueError("the cursor belongs to another job")
        found = [await self._changes(each, cursor) for each, cursor in zip(ids, cursors, strict=True)]
        return Changes(
            job=joined([each.job for each in found]),
            files=[file for each in found for file in each.files],
            cursor=",".join(each.cursor for each in found),
        )

    async def _changes(self, job: str, since: str) -> Changes:
        files: list[JobFile] = []
        while True:
            path = f"/jobs/{job}?since={quote(since, safe='')}&limit={PAGE}"
            document = await self._ask("GET", path, safe=True)
            page = read_files(member(document, "changes"))
            files += page
            since = str(member(document, "cursor"))
            found = read_job(document)
            if not member(document, "more"):
                return Changes(job=found, files=files, cursor=since)
            if not page or len(files) > TOLD_AGAIN * found.files + PAGE:
                raise ProtocolError("The archive's list of a job's changes has no end.")

    async def cancel(self, job: Job | str, ids: Iterable[int] | None = None) -> Job:
        """Give files of a job up, or all of them."""
        return await self._end(job, "cancel", ids)

    async def release(self, job: Job | str, ids: Iterable[int] | None = None) -> Job:
        """End the pins of files of a job, or of all of them: they need not stay on disk."""
        return await self._end(job, "release", ids)

    async def _end(self, job: Job | str, what: str, ids: Iterable[int] | None) -> Job:
        parts = job_ids(job)
        bodies: list[object] = [{"files": each} for each in file_lists(ids)] if ids is not None else [None]
        done = [
            read_job(await self._ask("POST", f"/jobs/{part}/{what}", body, safe=False))
            for part in parts
            for body in bodies
        ]
        return attrs.evolve(await self.job(job), effect=effects_joined(each.effect for each in done))

    async def archiveinfo(self, ids: Iterable[int]) -> Sequence[Located]:
        """Where files are, in the order in which they are asked about; nothing is recalled."""
        asked, found = list(ids), list[Located]()
        for start in range(0, len(asked), LOCATED):
            paths = [f"/{each}" for each in asked[start : start + LOCATED]]
            document = await self._ask("POST", "/api/v1/archiveinfo", {"paths": paths}, safe=True)
            located = read_located(document)
            if [each.file_id for each in located] != asked[start : start + LOCATED]:
                raise ProtocolError("The archive answers about other files than it was asked about.")
            found += located
        return found

    async def wait_for(self, job: Job | str, on_progress: OnJobProgress | None = None) -> JobResult:
        """Wait until the last file of a job has ended, however long that takes."""
        watchers: list[_Watcher] = []
        untold: list[JobFile] = []

        def tell(files: Sequence[JobFile]) -> None:
            untold.extend(files)
            jobs = [each.job for each in watchers if each.job is not None]
            if on_progress is not None and len(jobs) == len(watchers):
                files, untold[:] = list(untold), []
                on_progress(joined(jobs), files)

        for number, part in enumerate(job_ids(job)):
            # Each that listens has a connection, and as many as there may be are enough: the others look now and then.
            listens = number < self._wire.connections
            watchers.append(_Watcher(self, self._wire, self._policy, part, tell, listens=listens))
        await together(*(each.run() for each in watchers))
        jobs = [each.job for each in watchers if each.job is not None]
        files: dict[int, JobFile] = {}
        for each in watchers:
            files.update(each.files)
        return JobResult(job=joined(jobs), files=files)


class _Watcher:
    """
    Watches one of the archive's jobs.

    Events are listened to as long as they come; where they do not, as through a proxy that keeps them, the job is
    looked at again and again.
    """

    def __init__(
        self,
        jobs: JobCalls,
        wire: Wire,
        policy: RetryPolicy,
        job: str,
        tell: Callable[[Sequence[JobFile]], None],
        *,
        listens: bool,
    ) -> None:
        self._listens = listens
        self._jobs = jobs
        self._wire = wire
        self._policy = policy
        self._id = job
        self._tell = tell
        self._cursor = ""
        self.job: Job | None = None
        self.files: dict[int, JobFile] = {}

    async def run(self) -> None:
        tries = Tries(self._wire.clock, self._policy)
        await self._look()
        while not self._over:
            begun = self._wire.clock.seconds()
            try:
                listened = self._listens and await self._listen()
            except (ConnectionFailed, ServerUnavailable) as error:
                # A connection that lasted is no failure to count, however often it has to be made again.
                await tries.after(error, resumes=self._wire.clock.seconds() - begun > LASTED)
            else:
                if not listened:
                    await self._poll()
        # The last word is the job's own: what was changed at the end, and all that an event may have left out.
        await self._look()

    @property
    def _over(self) -> bool:
        return self.job is not None and self.job.ended is not None

    async def _look(self) -> None:
        changes = await self._jobs._changes(self._id, self._cursor)
        self._take(changes.job, changes.files, changes.cursor)

    def _take(self, job: Job, files: Sequence[JobFile], cursor: str) -> None:
        told = self.job
        self.job, self._cursor = job, cursor
        self.files.update((each.file_id, each) for each in files)
        if files or told != job:
            self._tell(files)

    async def _poll(self) -> None:
        pause = POLL
        await self._look()  # where it is gone, this says so
        while not self._over:
            await deferLater(self._wire.clock, pause)
            pause = min(SLOWEST_POLL, pause * 1.5)
            await self._look()

    async def _listen(self) -> bool:
        """
        Follow the job's events until they end.

        @return: Whether there are any.
        """
        fields = {"Accept": "text/event-stream", "Last-Event-ID": self._cursor}
        parser = EventParser()
        heard = False
        path = f"/jobs/{self._id}/events"
        try:
            async with self._wire.exchange("GET", path, fields, patience=SILENCE, lasting=True) as answer:
                if answer.status != 200:
                    raise await refused(answer)
                if not answer.field("Content-Type").startswith("text/event-stream"):
                    return False
                while pieces := await answer.read(1):
                    heard = True
                    for event in parser.feed(b"".join(pieces)):
                        if event.kind in ("progress", "end"):
                            self._event(event.data)
        except NotFound:
            return False  # the job is gone, or only its events are
        except ConnectionFailed as error:
            if not heard:
                _log.debug("No events of job {job}: {error}", job=self._id, error=error)
                return False
            raise
        if not self._over:
            raise ConnectionFailed("The archive ended its events of a job before the job had ended.")
        return True

    def _event(self, data: str) -> None:
        try:
            document: Mapping[str, Any] = json.loads(data)
        except (ValueError, RecursionError):
            raise ProtocolError("An event is not a JSON document.") from None
        if member(document, "state") == JobState.DELETED.value:
            raise NotFound("The job was deleted while it was waited for.")
        files = read_files(document.get("changes", []))
        job = read_job(document)
        self._take(job, files, job.cursor)
