"""The client: one object, one archive, one pool of connections."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pacarchive.client.words import (
    Changes,
    Fetched,
    Job,
    JobResult,
    Located,
    OnJobProgress,
    OnProgress,
    Plan,
    RetryPolicy,
    Status,
    Stored,
)
from pacarchive.model import Health

if TYPE_CHECKING:
    from twisted.internet.interfaces import IConsumer
    from twisted.web.iweb import IBodyProducer

Source: TypeAlias = "str | os.PathLike[str] | bytes | AsyncIterator[bytes] | IBodyProducer"
"""What is put: a path, bytes, or something that makes them.  The last two can be read once only, so that a connection
that is lost on the way is an error instead of another try."""

Destination: TypeAlias = "str | os.PathLike[str] | Callable[[bytes], Awaitable[object] | None] | IConsumer"
"""Where a file goes: a path, a function (whose awaitable is waited for before it is called again), or a consumer."""

Priority: TypeAlias = Literal["low", "normal", "high"]


class ArchiveClient:
    """
    An archive, seen from outside.

    Every call is a coroutine; run it with C{Deferred.fromCoroutine}, or C{await} it in another.  Cancelling it gives up
    what is under way.  Every call fails with a L{ClientError<pacarchive.client.errors.ClientError>}, whose C{advice}
    says what to do; local files with C{OSError}.

    @param reactor: Where time, connections and threads come from.
    @param url: The archive's, C{http} or C{https}, without anything after the host and port but a path that a proxy
        serves it under.
    @param token: A bearer token; it is sent to this URL's host only, and never logged.
    @param ca: The file (PEM) with the certificates of the authorities to trust, instead of the system's.
    @param connections: How many requests are under way at the same time; more wait.
    @param progress_timeout: For how many seconds no byte may move.  There are no limits on whole transfers.
    @param retry: When to try again.
    @param treq: What makes requests, in the place of treq with a pool of this client's own; for tests.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        *,
        token: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        connections: int = 8,
        progress_timeout: float = 60.0,
        retry: RetryPolicy = RetryPolicy(),
        treq: Any = None,
    ) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> ArchiveClient:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """Close all connections and end all threads.  What is under way fails."""
        raise NotImplementedError

    async def put(
        self,
        file_id: int,
        source: Source,
        *,
        mtime: float | None = None,
        size: int | None = None,
        digests: Collection[str] = ("sha256",),
        if_absent: bool = False,
        if_match: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Stored:
        """
        Store a file.

        @param mtime: Its time of modification; the file's own for a path, else now.
        @param size: How many bytes will come, where the source does not tell and it is known.
        @param digests: Which to compute and have the archive check, beside C{sha256}.
        @param if_absent: Fail with L{PreconditionFailed} where the id is taken.
        @param if_match: Replace just the version of this entity tag.
        """
        raise NotImplementedError

    async def get(
        self,
        file_id: int,
        destination: Destination,
        *,
        wait: float | None = None,
        parallel: int = 4,
        verify: bool = True,
        on_progress: OnProgress | None = None,
    ) -> Fetched:
        """
        Read a file.

        A path gets the file whole and checked, or stays as it was.  A function or consumer gets the bytes in order, as
        they come; whether they were right is known when this returns.

        @param wait: For how many seconds to wait for a file on tape; without it, that fails with L{Offline} at once.
        @param parallel: How many connections a large file is read over; to a path only.
        @param verify: Compare with the archive's digest.
        """
        raise NotImplementedError

    async def status(self, file_id: int) -> Status:
        """Ask about a file; never recalls it."""
        raise NotImplementedError

    async def move(
        self, file_id: int, source: str, *, if_absent: bool = False, if_match: str | None = None
    ) -> None:
        """
        Have the archive take a file that lies in its storage already.

        @param source: Its path, as the archive sees it.
        """
        raise NotImplementedError

    async def delete(self, file_id: int, *, if_match: str | None = None) -> None:
        """Remove a file; with C{if_match}, just the version of this entity tag."""
        raise NotImplementedError

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
        raise NotImplementedError

    async def plan(self, ids: Iterable[int]) -> Plan:
        """Say what L{stage} would mean; nothing is asked for."""
        raise NotImplementedError

    async def job(self, job: Job | str) -> Job:
        """How a job stands now."""
        raise NotImplementedError

    async def changes(self, job: Job | str, since: str = "") -> Changes:
        """
        How a job stands now, and its files that have changed.

        @param since: The C{cursor} of an earlier answer; empty for all files.
        """
        raise NotImplementedError

    async def wait_for(self, job: Job | str, on_progress: OnJobProgress | None = None) -> JobResult:
        """Wait until the last file of a job has ended, however long that takes."""
        raise NotImplementedError

    async def cancel(self, job: Job | str, ids: Iterable[int] | None = None) -> Job:
        """Give files of a job up, or all of them."""
        raise NotImplementedError

    async def release(self, job: Job | str, ids: Iterable[int] | None = None) -> Job:
        """End the pins of files of a job, or of all of them: they need not stay on disk."""
        raise NotImplementedError

    async def archiveinfo(self, ids: Iterable[int]) -> Sequence[Located]:
        """Where files are, in the order in which they are asked about; nothing is recalled."""
        raise NotImplementedError

    async def health(self) -> Health:
        """Whether requests can be expected to succeed; also where the answer is no."""
        raise NotImplementedError
