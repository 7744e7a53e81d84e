"""The test files that a check has put into the archive, so that it removes all of them and no other file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import attrs
from twisted.internet.defer import DeferredSemaphore
from twisted.internet.task import deferLater

from pacarchive.cli.check.contents import BEGINNING, HEAD_LIMIT, recognise
from pacarchive.cli.check.wire import Answer, NoAnswer
from pacarchive.client.download import together

if TYPE_CHECKING:
    from pacarchive.cli.check.wire import Wire

_OTHER = "what is there now is not what was put"

T = TypeVar("T")
R = TypeVar("R")

ABSENT = (404, 410, 500)
"""What HEAD answers for an id that is free: 500 is the predecessor's way."""

_LOOKS, _LOOK_AGAIN = 4, 0.5
"""How often, and how many seconds apart, to look for a file whose PUT was cut: it may be about to be stored."""


@attrs.define
class Entry:
    """
    A file that this run has put, or has attempted to.

    @ivar etag: The entity tag of the stored version; C{None} where it is not known.
    @ivar certain: Whether an answer has said if it was stored.
    @ivar empty: Whether it may be empty.
    @ivar foreign: Whether it was moved in, and so does not have the bytes of a test file.
    """

    file_id: int
    etag: str | None = None
    certain: bool = False
    empty: bool = False
    foreign: bool = False


async def all_of(count: int, what: Iterable[T], call: Callable[[T], Awaitable[R]]) -> list[R]:
    """
    Call a function for each item, some at a time.

    @param count: How many calls may be under way.
    @return: The results, in order.
    @raise Exception: The error of the first call that failed; no more calls are begun then.
    """
    semaphore = DeferredSemaphore(count)
    results: dict[int, R] = {}

    async def one(number: int, each: T) -> None:
        async with semaphore:
            results[number] = await call(each)

    await together(*(one(number, each) for number, each in enumerate(what)))
    return [result for _, result in sorted(results.items())]


class TestFiles:
    """
    The test files of one run.

    @param reactor: The reactor.
    @param wire: Makes the requests.
    """

    def __init__(self, reactor: object, wire: Wire) -> None:
        self._reactor = reactor
        self._wire = wire
        self._entries: dict[int, Entry] = {}

    def __contains__(self, file_id: int) -> bool:
        return file_id in self._entries

    @property
    def ids(self) -> Sequence[int]:
        """The ids of files that may be stored."""
        return list(self._entries)

    def attempt(self, file_id: int, *, empty: bool = False) -> bool:
        """
        Record that a file is about to be put.

        @param empty: Whether it may be empty.
        @return: Whether it is the first one under this id.
        """
        first = file_id not in self._entries
        entry = self._entries.setdefault(file_id, Entry(file_id))
        entry.etag, entry.certain, entry.empty = None, False, empty
        return first

    def note(self, file_id: int, answer: Answer) -> None:
        """Record the answer to the PUT of a file."""
        entry = self._entries[file_id]
        entry.certain = True
        entry.etag = (answer.field("ETag") or None) if answer.status // 100 == 2 else None

    def settle(self, file_id: int, status: int | None) -> None:
        """
        Record that the server is done with a PUT that replaces nothing.

        @param status: The status of its answer; C{None} where there was none.
        """
        self._entries[file_id].certain = True
        if status == 412:
            self.gone(file_id)  # another client has stored a file meanwhile

    def moved(self, file_id: int) -> None:
        """Record that a file which is no test file was moved to this id."""
        self._entries[file_id].foreign = True

    def etag(self, file_id: int) -> str | None:
        """Return the entity tag of the version that was put last."""
        return self._entries[file_id].etag

    def gone(self, file_id: int) -> None:
        """Record that a file was removed."""
        self._entries.pop(file_id, None)

    async def clean(self, progress: Callable[[int, int], None]) -> list[tuple[int, str]]:
        """
        Remove all test files.

        @param progress: Called with how many are done, and of how many.
        @return: The ids of those that could not be removed, and why.
        """
        entries = list(self._entries.values())
        left: list[tuple[int, str]] = []
        done = 0

        async def remove(entry: Entry) -> None:
            nonlocal done
            try:
                trouble = await self._remove(entry)
            except NoAnswer as error:
                trouble = str(error)
            if trouble is None:
                self.gone(entry.file_id)
            else:
                left.append((entry.file_id, trouble))
            done += 1
            progress(done, len(entries))

        # Those without an answer come last: by then it is decided whether they are stored.
        await all_of(self._wire.connections, sorted(entries, key=lambda each: not each.certain), remove)
        return sorted(left)

    async def _remove(self, entry: Entry) -> str | None:
        """Remove a file.  @return: Why that failed; C{None} if it did not."""
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
            return "another client has replaced it meanwhile"
        return f"DELETE was answered with {answer}"

    async def _look(self, entry: Entry) -> Answer | None:
        """Look for a file.  @return: The answer to HEAD; C{None} where there is no file."""
        for number in range(1 if entry.certain else _LOOKS):
            if number:
                await deferLater(self._reactor, _LOOK_AGAIN)  # type: ignore[arg-type]
            found = await self._wire.ask("HEAD", entry.file_id)
            if found.status // 100 == 2:
                return found
            if found.status not in ABSENT:
                raise NoAnswer(f"HEAD was answered with {found}")
        return None

    async def _is_ours(self, entry: Entry, found: Answer) -> str | None:
        """Check that a file is a test file.  @return: C{None} if it is, else why it is not removed."""
        file_id = entry.file_id
        if found.field("X-Content-Length") == "0":
            # The predecessor leaves an empty file when a PUT fails.
            return None if entry.empty or not found.field("ETag") else _OTHER
        head = await read_head(self._wire, file_id)
        # One that was cut may be shorter than the first line.
        if recognise(file_id, head) is not None or BEGINNING.startswith(head[: len(BEGINNING)]):
            return None
        return _OTHER


async def delete(wire: Wire, file_id: int, etag: str | None) -> Answer:
    """Delete a file; only the version with this entity tag, if one is given."""
    return await wire.ask("DELETE", file_id, {"If-Match": etag} if etag is not None else {})


async def read_head(wire: Wire, file_id: int) -> bytes:
    """
    Return the first bytes of a file, by C{byte_range}, which the predecessor knows too.

    @raise NoAnswer: They cannot be read.
    """
    answer = await wire.ask("GET", f"/{file_id}?byte_range=0-{HEAD_LIMIT}")
    if answer.status != 200:
        raise NoAnswer(f"GET was answered with {answer}")
    return answer.body[:HEAD_LIMIT]


async def is_test_file(wire: Wire, file_id: int, found: Answer) -> bool:
    """
    Return whether a file is a test file that an earlier check has left.

    @param found: The answer to HEAD.
    """
    if found.field("X-Content-Length") == "0":
        # An empty file is recognised by its time, where the archive keeps that.
        return found.field("Last-Modified") == f"{empty_mtime(file_id)}.0"
    try:
        return recognise(file_id, await read_head(wire, file_id)) is not None
    except NoAnswer:
        return False


def empty_mtime(file_id: int) -> int:
    """Return the time that an empty test file gets, in seconds since the epoch."""
    return 784111777 + file_id % 86399
