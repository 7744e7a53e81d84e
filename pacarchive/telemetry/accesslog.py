"""The access log: a line for each request that is over, in a file of its own.

Lines are gathered, and written together by a thread: at most L{PAUSE} after the first of them, and in one call at the
end of the file, so that those of several workers never mix.  Nobody waits for a line.  Where the disk is slower than
they come, those that there is no room for are dropped, and counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from pacarchive.runtime.shared import OwnedWork
from pacarchive.runtime.threads import BlockingPool
from pacarchive.telemetry.appending import AppendedFile

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.internet.interfaces import IDelayedCall

    from pacarchive.telemetry.counts import Counts
    from pacarchive.telemetry.table import Series

PAUSE = 0.1
"""Seconds for which lines are gathered."""

MOST = 1 << 20
"""Bytes that may wait to be written."""

_log = Logger()


class AccessLog:
    """
    Appends lines to the access log.

    @param reactor: The reactor.
    @param path: The file.
    @param counts: Where lines that are dropped are counted.
    """

    def __init__(self, reactor: Any, path: Path, counts: Counts) -> None:
        self._reactor = reactor
        self._path = path
        self._counts = counts
        self._dropped = counts.slot("log_lines_dropped_total", "access")
        self._pool = BlockingPool(reactor, "access-log", 1)
        self._work = OwnedWork("writing the access log")
        self._lines: list[bytes] = []
        self._size = 0
        self._call: IDelayedCall | None = None
        self._writes = False
        self._reopens = False
        self._fails = False
        self._file = AppendedFile(path)

    async def start(self) -> None:
        """
        Open the file.

        @raise OSError: It cannot be.
        """
        self._pool.start()
        await self._pool.run(self._file.open)

    async def stop(self) -> None:
        """Write what waits, and close the file."""
        if self._call is not None:
            self._call.cancel()
            self._write_soon()
        await self._work.ended()
        if self._file.is_open:
            await self._pool.run(self._file.close)
        self._pool.stop()

    def sample(self) -> list[tuple[Series, float]]:
        """What metrics say of it."""
        return [
            (("log_waiting_bytes", "access"), float(self._size)),
            (("log_waiting_limit_bytes", "access"), float(MOST)),
        ]

    def reopen(self) -> None:
        """Open the file again before the next line: it was moved away."""
        self._reopens = True

    def add(self, line: bytes, number: int = 1) -> None:
        """
        Have a line written, with its end; or dropped.

        @param number: How many lines it is.
        """
        self._size += len(line)
        if self._size > MOST:
            self._size -= len(line)
            self._counts.values[self._dropped] += number
            return
        self._lines.append(line)
        if self._call is None and not self._writes:
            self._call = self._reactor.callLater(PAUSE, self._write_soon)

    def _write_soon(self) -> None:
        self._call = None
        self._writes = True
        self._work.keep(self._write())

    async def _write(self) -> None:
        lines, self._lines, self._size = self._lines, [], 0
        reopens, self._reopens = self._reopens, False
        try:
            await self._pool.run(self._file.append, b"".join(lines), reopens=reopens)
        except OSError as error:
            if not self._fails:
                words = "lines are dropped until it can be written again"
                _log.error("{path}: {error}; {words}", path=self._path, error=error.strerror, words=words)
            self._fails = self._reopens = True
            self._counts.values[self._dropped] += self._file.lost
        else:
            if self._fails:
                _log.info("{path} is written again", path=self._path)
            self._fails = False
        finally:
            self._writes = False
            if self._lines:
                self._call = self._reactor.callLater(PAUSE, self._write_soon)
