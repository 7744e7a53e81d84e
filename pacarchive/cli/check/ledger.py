"""What a check has put into the archive, and how it gets it out again: that, and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import attrs
from twisted.internet.defer import DeferredSemaphore
from twisted.internet.task import deferLater

from pacarchive.cli.check.contents import BEGINNING, HEAD_LIMIT, recognise
from pacarchive.cli.check.wire import Answer, Trouble
from pacarchive.client.download import together

if TYPE_CHECKING:
    from pacarchive.cli.check.wire import Wire

_OTHER = "what is there now is not what was put"

T = TypeVar("T")
R = TypeVar("R")

ABSENT = (404, 410, 500)
"""What HEAD answers for an id that is free: 500 is the predecessor's way."""

_LOOKS, _LOOK_AGAIN = 4, 0.5
"""How often, and how many seconds apart, to look for a file whose PUT was broken off: it may just be stored."""


@attrs.define
class Entry:
    """
    A file that this run has put, or tried to.

    @ivar etag: The entity tag of what is there now; C{None} where that is not known.
    @ivar certain: Whether an answer said what became of it.
    @ivar empty: Whether an empty file may be what was put.
    @ivar foreign: The bytes are not a test file's: it was moved in.
    """

    file_id: int
    etag: str | None = None
    certain: bool = False
    empty: bool = False
    foreign: bool = False


async def all_of(count: int, what: Iterable[T], call: Callable[[T], Awaitable[R]]) -> list[R]:
    """
    Call it for all, so many at a time.

    @return: The results, in order.
    @raise Exception: What the first that failed failed with; those that were not begun are not.
    """
    semaphore = DeferredSemaphore(count)
    results: dict[int, R] = {}

    async def one(number: int, each: T) -> None:
        async with semaphore:
            results[number] = await call(each)

    await together(*(one(number, each) for number, each in enumerate(what)))
    return [result for _, result in sorted(results.items())]


class Ledger:
    """
    The entries.

    @param wire: Where requests are made.
    """

    def __init__(self, reactor: object, wire: Wire) -> None:
        self._reactor = reactor
        self._wire = wire
        self._entries: dict[int, Entry] = {}

    def __contains__(self, file_id: int) -> bool:
        return file_id in self._entries

    @property
    def ids(self) -> Sequence[int]:
        """What may be there."""
        return list(self._entries)

    def attempt(self, file_id: int, *, empty: bool = False) -> bool:
        """
        Something is about to be put there.

        @param empty: Whether it may be empty.
        @return: Whether it is the first time.
        """
        first = file_id not in self._entries
        entry = self._entries.setdefault(file_id, Entry(file_id))
        entry.etag, entry.certain, entry.empty = None, False, empty
        return first

    def note(self, file_id: int, answer: Answer) -> None:
        """It was answered."""
        entry = self._entries[file_id]
        entry.certain = True
        entry.etag = (answer.field("ETag") or None) if answer.status // 100 == 2 else None

    def settle(self, file_id: int, status: int | None) -> None:
        """
        The server is done with a request that replaces nothing.

        @param status: Of its answer, where there is one.
        """
        self._entries[file_id].certain = True
        if status == 412:
            self.gone(file_id)  # it is somebody else's, who came first

    def moved(self, file_id: int) -> None:
        """A file that is not a test file was moved there."""
        self._entries[file_id].foreign = True

    def etag(self, file_id: int) -> str | None:
        """The entity tag of what was put there last."""
        return self._entries[file_id].etag

    def gone(self, file_id: int) -> None:
        """It was removed."""
        self._entries.pop(file_id, None)

    async def clean(self, progress: Callable[[int, int], None]) -> list[tuple[int, str]]:
        """
        Remove all of it.

        @return: What is still there, and why.
        """
        entries = list(self._entries.values())
        left: list[tuple[int, str]] = []
        done = 0

        async def remove(entry: Entry) -> None:
            nonlocal done
            try:
                trouble = await self._remove(entry)
            except Trouble as error:
                trouble = str(error)
            if trouble is None:
                self.gone(entry.file_id)
            else:
                left.append((entry.file_id, trouble))
            done += 1
            progress(done, len(entries))

        # Those that nobody knows about come last: by then they are there or not.
        await all_of(self._wire.connections, sorted(entries, key=lambda each: not each.certain), remove)
        return sorted(left)

    async def _remove(self, entry: Entry) -> str | None:
        """@return: Why it could not be removed."""
        etag = entry.etag
        if etag is None:
            found = await self._look(entry)
            if found is None:
                return None
            trouble = None if entry.foreign else await self._is_ours(entry, found)
            if trouble is not None:
                return trouble
            etag = found.field("ETag") or None
        answer = await delete(self._wire, entry.file_id, etag)
        if answer.status // 100 == 2:
            return None
        if (await self._wire.ask("HEAD", entry.file_id)).status in ABSENT:
            return None
        if answer.status == 412:
            return "somebody has replaced it meanwhile"
        return f"DELETE was answered with {answer}"

    async def _look(self, entry: Entry) -> Answer | None:
        """@return: What HEAD says of the file; C{None} where there is none."""
        for number in range(1 if entry.certain else _LOOKS):
            if number:
                await deferLater(self._reactor, _LOOK_AGAIN)  # type: ignore[arg-type]
            found = await self._wire.ask("HEAD", entry.file_id)
            if found.status // 100 == 2:
                return found
            if found.status not in ABSENT:
                raise Trouble(f"HEAD was answered with {found}")
        return None

    async def _is_ours(self, entry: Entry, found: Answer) -> str | None:
        """@return: C{None} if it is."""
        file_id = entry.file_id
        if found.field("X-Content-Length") == "0":
            # The predecessor leaves an empty file where a PUT fails.
            return None if entry.empty or not found.field("ETag") else _OTHER
        head = await read_head(self._wire, file_id)
        # Of one that was cut there may be less than the first line.
        if recognise(file_id, head) is not None or BEGINNING.startswith(head[: len(BEGINNING)]):
            return None
        return _OTHER


async def delete(wire: Wire, file_id: int, etag: str | None) -> Answer:
    """Remove a file; that version only, where there is an entity tag."""
    return await wire.ask("DELETE", file_id, {"If-Match": etag} if etag is not None else {})


async def read_head(wire: Wire, file_id: int) -> bytes:
    """
    The first bytes of a file, in the way that every archive of the family knows.

    @raise Trouble: They cannot be had.
    """
    answer = await wire.ask("GET", f"/{file_id}?byte_range=0-{HEAD_LIMIT}")
    if answer.status != 200:
        raise Trouble(f"GET was answered with {answer}")
    return answer.body[:HEAD_LIMIT]


async def whose(wire: Wire, file_id: int, found: Answer) -> bool:
    """
    Whether an earlier check has left this file.

    @param found: What HEAD says of it.
    """
    if found.field("X-Content-Length") == "0":
        # An empty file says nothing; its time does, where the archive keeps it.
        return found.field("Last-Modified") == f"{empty_mtime(file_id)}.0"
    try:
        return recognise(file_id, await read_head(wire, file_id)) is not None
    except Trouble:
        return False


def empty_mtime(file_id: int) -> int:
    """The time that an empty test file gets, in seconds since the epoch."""
    return 784111777 + file_id % 86399
