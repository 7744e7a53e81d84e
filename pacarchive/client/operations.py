"""The queue of recalls: lists of jobs and pins, holds, and retries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlencode

from pacarchive.client.documents import job_ids, joined, member, read_job, understood
from pacarchive.client.errors import ProtocolError
from pacarchive.client.jobs import Priority
from pacarchive.client.recall_words import Hold, HoldKind, JobSummary, Pin, Retried
from pacarchive.client.words import Job, JobState
from pacarchive.ids import parse_file_id

PAGE = 1000
"""How many entries are asked for at once."""


class _Asks(Protocol):
    @property
    def _ask(self) -> Callable[..., Awaitable[Any]]: ...


class OperationCalls:
    """The calls of an L{ArchiveClient<pacarchive.client.client.ArchiveClient>} about the queue of recalls."""

    async def jobs(self: _Asks, *, owner: str | None = None) -> AsyncIterator[Sequence[JobSummary]]:
        """
        List jobs, the latest first: an asynchronous iterator of pages, each of which is asked for when it is wanted.

        @param owner: Whose; C{None} for all that the caller may see.
        """
        async for document in _pages(self._ask, "/jobs", owner):
            yield _jobs(document)

    async def pins(self: _Asks, *, owner: str | None = None) -> AsyncIterator[Sequence[Pin]]:
        """
        List pins, by file, likewise.

        @param owner: Whose; C{None} for all that the caller may see.
        """
        async for document in _pages(self._ask, "/pins", owner):
            yield _pins(document)

    async def set_priority(self: _Asks, job: Job | str, priority: Priority, *, why: str = "") -> Job:
        """
        Change the priority of a job.

        @param why: Why, for the archive's audit file.
        """
        change = {"priority": priority, **({"why": why} if why else {})}
        return joined([read_job(await self._ask("PATCH", f"/jobs/{each}", change, safe=True)) for each in job_ids(job)])

    async def holds(self: _Asks) -> Sequence[Hold]:
        """What operators hold."""
        return _holds(await self._ask("GET", "/recall/holds", safe=True))

    async def hold(
        self: _Asks,
        *,
        cartridge: str | None = None,
        drives: int | None = None,
        why: str = "",
        lasts: float | None = None,
    ) -> Hold:
        """
        Keep everything from being recalled, or what is named; it takes the right C{admin} for all files.  What was
        submitted to the tape system before comes all the same.

        @param cartridge: Only this cartridge.
        @param drives: How many drives may still be used, instead.
        @param why: Why, for others to read.
        @param lasts: After how many seconds it ends by itself.
        """
        given = {"kind": _kind(cartridge, drives).value, "cartridge": cartridge, "drives": drives, "for": lasts}
        request = {"why": why, **{name: value for name, value in given.items() if value is not None}}
        return _hold(await self._ask("POST", "/recall/holds", request, safe=True))

    async def resume(
        self: _Asks, *, cartridge: str | None = None, drives: bool = False, why: str = ""
    ) -> Sequence[Hold]:
        """
        End the hold of everything, or that of a cartridge, or of drives.

        @param why: Why, for the archive's audit file.
        @return: What is still held.
        """
        query = {"kind": _kind(cartridge, 0 if drives else None).value}
        query |= {name: value for name, value in (("cartridge", cartridge), ("why", why)) if value}
        return _holds(await self._ask("DELETE", f"/recall/holds?{urlencode(query)}", safe=False))

    async def retry(
        self: _Asks,
        *,
        cartridge: str | None = None,
        owner: str | None = None,
        reason: str | None = None,
        since: float | None = None,
        job: str | None = None,
        why: str = "",
        dry_run: bool = False,
    ) -> Retried:
        """
        Retry what has failed, and have tried at once what is to be tried again later: all of it, or what fulfils each
        condition that is given.

        @param reason: In the archive's words.
        @param since: Only what has failed since then, in seconds since the epoch.
        @param why: Why, for the archive's audit file.
        @param dry_run: Only count it.
        """
        wanted = {
            "cartridge": cartridge,
            "owner": owner,
            "reason": reason,
            "since": since,
            "job": job,
            "why": why or None,
        }
        request = {name: value for name, value in wanted.items() if value is not None}
        document = await self._ask("POST", "/recall/retry", {**request, "dry_run": dry_run}, safe=dry_run)
        return _retried(document)


def _kind(cartridge: str | None, drives: int | None) -> HoldKind:
    if cartridge is not None and drives is not None:
        raise ValueError("a hold is of a cartridge or of drives")
    if cartridge is not None:
        return HoldKind.CARTRIDGE
    return HoldKind.ALL if drives is None else HoldKind.DRIVES


async def _pages(ask: Callable[..., Awaitable[Any]], path: str, owner: str | None) -> AsyncIterator[Any]:
    query = {"limit": str(PAGE), **({"owner": owner} if owner is not None else {})}
    following: str | None = f"{path}?{urlencode(query)}"
    while following is not None:
        document = await ask("GET", following, safe=True)
        before, following = following, _following(document, path)
        if following == before:
            raise ProtocolError("The archive's list has no end.")
        yield document


def _following(document: Any, path: str) -> str | None:
    """Where the next page is: the archive names it, and no other place is believed."""
    following = document.get("next") if isinstance(document, dict) else None
    if following is None:
        return None
    if not isinstance(following, str) or not following.startswith(f"{path}?") or not following.isascii():
        raise ProtocolError("The archive's list does not say where it goes on.")
    return following


@understood
def _jobs(document: Mapping[str, Any]) -> list[JobSummary]:
    return [
        JobSummary(
            id=str(each["job"]),
            state=JobState(each["state"]),
            owner=str(each["owner"]),
            priority=str(each["priority"]),
            created=float(each["created"]),
            started=each["started"],
            ended=each["ended"],
            deadline=float(each["deadline"]),
            files=int(each["files"]),
            left=int(each["left"]),
        )
        for each in document["jobs"]
    ]


@understood
def _pins(document: Mapping[str, Any]) -> list[Pin]:
    return [
        Pin(
            file_id=parse_file_id(each["file"]),
            job=str(each["job"]),
            owner=str(each["owner"]),
            size=int(each["bytes"]),
            expires=float(each["expires"]),
            until_read=bool(each["until_read"]),
        )
        for each in document["pins"]
    ]


@understood
def _hold(document: Mapping[str, Any]) -> Hold:
    until = document["until"]
    return Hold(
        kind=HoldKind(document["kind"]),
        who=str(document["who"]),
        why=str(document["why"]),
        since=float(document["since"]),
        cartridge=document.get("cartridge"),
        drives=document.get("drives"),
        until=None if until is None else float(until),
    )


def _holds(document: Mapping[str, Any]) -> list[Hold]:
    return [_hold(each) for each in member(document, "holds")]


@understood
def _retried(document: Mapping[str, Any]) -> Retried:
    return Retried(failed=int(document["failed"]), hurried=int(document["hurried"]))
