"""The audit file: one line of JSON for each change and each refusal.

A line is written by this process itself (L{AppendedFile}).  That of a change is there before the change is
acknowledged: it survives the end of every process.  Writing may wait for a disk, so that it has a thread; lines that
come while one is written are written together.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pacarchive.errors import ArchiveError, BackendUnavailable
from pacarchive.runtime import measuring
from pacarchive.runtime.shared import OwnedWork, Shared
from pacarchive.runtime.threads import BlockingPool
from pacarchive.telemetry.appending import AppendedFile
from pacarchive.telemetry.history import History, read_history

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path

    from twisted.internet.interfaces import IDelayedCall

    from pacarchive.telemetry.table import Series

WINDOW = 60.0
"""Seconds."""

LINES, ALL_LINES = 100, 3000
"""Refusals of one address within L{WINDOW}, and of all, that have a line each.  Of more it is said how many there were:
else whoever is refused as fast as the network takes it would fill the disk."""

ADDRESSES = 1000
"""Addresses of which that is said; of others together."""

FRESH = 10.0
"""Seconds for which what was read is good for all that ask for it."""

_READ = 100
"""Histories that are kept so long."""

T = TypeVar("T")

_log = Logger()


class AuditLog:
    """
    Appends lines to the audit file.

    @param reactor: The reactor.
    @param path: The file.
    """

    def __init__(self, reactor: Any, path: Path) -> None:
        self._reactor = reactor
        self._path = path
        self._pool = BlockingPool(reactor, "audit", 1)
        self._readers = BlockingPool(reactor, "audit-history", 1)  # what is to be written does not wait for them
        self._read: dict[int, tuple[float, Shared[History]]] = {}
        self._work = OwnedWork("writing the audit file")
        self._lines: list[bytes] = []
        self._waiting: list[Deferred[None]] = []
        self._file = AppendedFile(path)
        self._reopens = False
        self._writes = False
        self._fails = False
        self._window = -WINDOW
        self._refused: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._summing: IDelayedCall | None = None

    async def start(self) -> None:
        """
        Open the file.

        @raise OSError: It cannot be.
        """
        self._pool.start()
        self._readers.start()
        await self._pool.run(self._file.open)

    async def stop(self) -> None:
        """Write what waits, and close the file."""
        self._sum_up()
        await self._work.ended()
        if self._file.is_open:
            await self._pool.run(self._file.close)
        self._pool.stop()
        self._readers.stop()

    async def history(self, file_id: int) -> History:
        """
        Return what was written down of a file, as it was at most L{FRESH} seconds ago.

        @raise BackendUnavailable: The audit file cannot be read.
        """
        now = self._reactor.seconds()
        self._read = {
            each: kept for each, kept in self._read.items() if not kept[1].ended or 0 <= now - kept[0] < FRESH
        }
        if file_id not in self._read:
            if len(self._read) >= _READ:
                raise BackendUnavailable("The histories of too many files are being looked at.")
            self._read[file_id] = now, Shared(self._readers.run(read_history, self._path, file_id))
        try:
            return await self._read[file_id][1].result()
        except OSError as error:
            raise BackendUnavailable(f"The audit file cannot be read: {error.strerror}.") from error

    def sample(self) -> list[tuple[Series, float]]:
        """What metrics say of it."""
        return [(("log_waiting_bytes", "audit"), float(sum(map(len, self._lines))))]

    def reopen(self) -> None:
        """Open the file again before the next line: it was moved away."""
        self._reopens = True

    async def to_the_end(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """
        Do what changes something, and what comes after it, to the end: also when whoever waits for it has gone.

        @raise BackendUnavailable: Nothing can be recorded at present; nothing was done.
        """
        if self._fails and await self._write([_line({"what": "resume"}, self._reactor.seconds())]) is not None:
            raise BackendUnavailable("The audit file cannot be written; nothing was done therefore.")
        shared = Shared(work())
        self._work.keep(_until_the_end(shared))
        return await shared.result()

    async def record(self, **what: Any) -> None:
        """
        Write a line, and wait until it is there.

        @param what: What it says; members that are C{None} are left out.
        @raise BackendUnavailable: It cannot be written.
        @raise CancelledError: The caller was cancelled; it is written all the same.
        """
        written: Deferred[None] = Deferred()
        self._waiting.append(written)
        self._append(what)
        try:
            await written
        except OSError as error:
            raise BackendUnavailable(
                "The change was made, and could not be written into the audit file; it is not acknowledged therefore."
            ) from error

    def note(self, address: str, what: Mapping[str, Any]) -> None:
        """Write a line of a refusal of an address, sooner or later; where there are too many it is counted."""
        now = self._reactor.seconds()
        if not 0 <= now - self._window < WINDOW:
            self._sum_up()
            self._window = now
        self._refused[address] += 1
        if self._refused[address] <= LINES and self._refused.total() <= ALL_LINES:
            self._append(what)
            return
        known = address in self._left_out or len(self._left_out) < ADDRESSES
        self._left_out[address if known else "others"] += 1
        if self._summing is None:
            self._summing = self._reactor.callLater(max(0.0, self._window + WINDOW - now), self._sum_up)

    def _sum_up(self) -> None:
        """Say how many refusals have no line, and begin to count anew."""
        if self._summing is not None and self._summing.active():
            self._summing.cancel()
        self._summing = None
        left_out, self._left_out = self._left_out, Counter()
        self._refused.clear()
        for address, count in left_out.items():
            self._append({"address": address, "result": "refused", "count": count, "why": "more, without a line each"})

    def _append(self, what: Mapping[str, Any]) -> None:
        self._lines.append(_line(what, self._reactor.seconds()))
        if not self._writes:
            self._writes = True
            self._work.keep(self._write_all())

    async def _write_all(self) -> None:
        try:
            while self._lines:
                lines, self._lines = self._lines, []
                waiting, self._waiting = self._waiting, []
                if (failure := await self._write(lines)) is not None:
                    measuring.count("log_lines_dropped_total", "audit", amount=len(lines))
                for each in waiting:
                    if each.called:  # cancelled
                        continue
                    if failure is None:
                        each.callback(None)
                    else:
                        each.errback(failure)
        finally:
            self._writes = False

    async def _write(self, lines: list[bytes]) -> OSError | None:
        reopens, self._reopens = self._reopens, False
        try:
            await self._pool.run(self._file.append, b"".join(lines), reopens=reopens)
        except OSError as error:
            if not self._fails:
                _log.error("{path}: {error}; no change is acknowledged", path=self._path, error=error.strerror)
            self._fails = True
            self._reopens = True
            return error
        if self._fails:
            _log.info("{path} is written again", path=self._path)
        self._fails = False
        return None


def _line(what: Mapping[str, Any], seconds: float) -> bytes:
    moment = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    said = {name: each for name, each in what.items() if each is not None}
    return json.dumps({"time": moment.replace("+00:00", "Z"), **said}).encode("ascii") + b"\n"


async def _until_the_end(work: Shared[Any]) -> None:
    with suppress(ArchiveError):  # which is told to whoever waits, if anybody does
        await work.result()
