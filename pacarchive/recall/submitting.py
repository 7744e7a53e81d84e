"""Submits jobs to the store: those that arrive at the same time together, and an owner's requests for a file as one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pacarchive import errors
from pacarchive.recall import jobs
from pacarchive.recall.jobs import Submission
from pacarchive.recall.planning import answer_for, earlier_answer
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import Read, Write
from pacarchive.recall.words import Asked, JobRequest
from pacarchive.runtime.shared import Shared
from pacarchive.runtime.threads import finished

_TOGETHER = 2000
"""The most files that are stored in one transaction, unless a single job has more."""


class Submissions:
    """
    Jobs that are being submitted.

    @param clock: The source of time.
    @param settings: The settings.
    @param write: Changes the store.
    @param read: Reads from it.
    @param keep: Runs a coroutine in the background.
    """

    def __init__(
        self,
        clock: IReactorTime,
        settings: RecallSettings,
        write: Write,
        read: Read,
        keep: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._write = write
        self._read = read
        self._keep = keep
        self._pending: list[tuple[Submission, Deferred[str]]] = []
        self._submitting = False
        self._requested: dict[tuple[int, str], Shared[Asked]] = {}

    async def make(self, request: JobRequest) -> str:
        """
        Submit a job.

        @param request: The request.
        @return: The job's identifier.
        @raise errors.TooLarge: It has more files than a job may have.
        @raise errors.ArchiveError: As L{submit}.
        """
        settings = self._settings
        if len(request.file_ids) > settings.job_files:
            raise errors.TooLarge(f"A job may have {settings.job_files} files at the most.")
        pins = {file_id: min(seconds, settings.longest_pin) for file_id, seconds in request.pins.items()}
        deadline = settings.deadline if request.deadline is None else request.deadline
        return await self.submit(
            Submission(request=attrs.evolve(request, pins=pins), pin=settings.pin, deadline=deadline)
        )

    async def request_file(self, file_id: int, owner: str) -> Asked:
        """
        Request one file; requests for it by the same owner at the same time share the answer.

        @param file_id: The file.
        @param owner: The owner.
        @raise errors.ArchiveError: As L{submit}.
        """
        request = file_id, owner
        if (running := self._requested.get(request)) is None:
            running = Shared(self._request_file(file_id, owner))
            if not running.ended:
                self._requested[request] = running
        return await running.result()

    async def _request_file(self, file_id: int, owner: str) -> Asked:
        try:
            now = self._clock.seconds()
            asked = await self._read(lambda cursor: earlier_answer(cursor, file_id, owner, now))
            if asked is not None:
                return asked
            request = JobRequest(owner=owner, file_ids=[file_id])
            job = await self.submit(
                Submission(request=request, pin=self._settings.pin, deadline=self._settings.deadline, single=file_id)
            )
            return await self._read(lambda cursor: answer_for(cursor, job, file_id, now))
        finally:
            self._requested.pop((file_id, owner), None)

    async def submit(self, submission: Submission) -> str:
        """
        Store a job, together with others that arrive at the same time, as a transaction costs the same for one as for
        many.

        @param submission: The job.
        @return: The job's identifier.
        @raise errors.BackendUnavailable: The store does not answer.
        @raise errors.QuotaReached: The owner has reached the limit.
        @raise errors.Overloaded: All owners together have reached the limit.
        """
        done: Deferred[str] = Deferred()
        self._pending.append((submission, done))
        if not self._submitting:
            self._submitting = True
            self._keep(self._submit_pending())
        return await finished(done)

    async def _submit_pending(self) -> None:
        try:
            while self._pending:
                batch = self._next_batch()
                try:
                    submissions = [each for each, _ in batch]
                    results = await self._write(
                        partial(jobs.submit_all, submissions=submissions, settings=self._settings)
                    )
                except Exception as error:  # noqa: BLE001  (passed on to the callers)
                    for _, done in batch:
                        done.errback(error)
                    continue
                for (_, done), job in zip(batch, results, strict=True):
                    if isinstance(job, errors.ArchiveError):
                        done.errback(job)
                    else:
                        done.callback(job)
        finally:
            self._submitting = False

    def _next_batch(self) -> list[tuple[Submission, Deferred[str]]]:
        files = taken = 0
        for submission, _ in self._pending:
            files += len(submission.request.file_ids)
            if taken and files > _TOGETHER:
                break
            taken += 1
        batch, self._pending = self._pending[:taken], self._pending[taken:]
        return batch
