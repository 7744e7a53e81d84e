"""What a command reports while it runs, and its exit code."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import attrs

from pacarchive.cli import exits
from pacarchive.cli.printing import is_screen, print_json, write_line
from pacarchive.cli.progress import Display
from pacarchive.cli.remote.words import advice_of, exit_code_of, failure_words
from pacarchive.client import ArchiveClient, ConnectionFailed
from pacarchive.client.download import together
from pacarchive.texts import printable

T = TypeVar("T")


@attrs.define
class Session:
    """
    A command that runs.

    @ivar quiet: Whether only failures are reported, and results that were asked for.
    @ivar json: Whether results are JSON.
    @ivar live: What is on the screen.
    @ivar lost: The archive cannot be reached, after all tries: nothing more is begun.
    """

    reactor: Any
    archive: ArchiveClient
    connections: int
    quiet: bool
    json: bool
    live: Display | None = None
    lost: bool = False
    _told_lost: bool = False
    _codes: set[int] = attrs.field(factory=set)

    @property
    def draws(self) -> bool:
        """Whether progress is to be shown."""
        return not self.quiet and (not self.json or is_screen(sys.stderr))

    def result(self, record: dict[str, Any], line: str | None) -> None:
        """
        Report a result.

        @param record: For programs.
        @param line: For people; C{None} where there is nothing to tell them.
        """
        if self.json:
            print_json(record)
        elif line is not None:
            if self.live is not None and is_screen(sys.stderr) and sys.stdout.isatty():
                self.live.say(line)  # both are on the same screen
            else:
                write_line(line)

    def note(self, line: str) -> None:
        """Write what is no result, for people."""
        if not self.quiet and not self.json:
            self._say(line)

    def failed(self, what: str, error: Exception, record: dict[str, Any] | None = None) -> None:
        """
        Report a failure; the command goes on, and ends with its exit code.

        @param what: What it is about.
        """
        if self.is_lost(error):
            if self._told_lost and not (self.json and record):
                self.note_code(exits.UNAVAILABLE)
                return
            self._told_lost = True
        self.refused(what, failure_words(error, what), exit_code_of(error), error, record)

    def is_lost(self, error: Exception) -> bool:
        """Whether a failure says that the archive cannot be reached, after all tries; then nothing more is begun."""
        found = isinstance(error, ConnectionFailed) and not error.uncertain
        self.lost |= found
        return found

    def refused(
        self, what: str, words: str, code: int, error: Exception | None = None, record: dict[str, Any] | None = None
    ) -> None:
        """As L{failed}, in other words."""
        self.note_code(code)
        if self.json and record is not None:
            kind = type(error).__name__ if error is not None else "Refused"
            told = {"kind": kind, "message": str(error) if error is not None else words}
            if error is not None and (advice := advice_of(error)):
                told["advice"] = advice
            print_json({**record, "error": told})
        else:
            separator = " " if words.startswith("is ") else ": "
            self._say(f"pacarchive: {printable(what)}{separator}{words}" if what else f"pacarchive: {words}")

    @contextmanager
    def showing(self, display: Display) -> Iterator[None]:
        """Show progress to the end of the block."""
        self.live = display
        try:
            with display.shown(quiet=not self.draws):
                yield
        finally:
            self.live = None

    def _say(self, line: str) -> None:
        if self.live is not None:
            self.live.say(line)
        else:
            write_line(line, sys.stderr)

    def note_code(self, code: int) -> None:
        """Something failed for which there is an exit code."""
        self._codes.add(code)

    @property
    def code(self) -> int:
        """The exit code: that of the failures if all were of one kind."""
        if not self._codes:
            return exits.OK
        return self._codes.pop() if len(self._codes) == 1 else exits.FAILED

    async def each(self, items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
        """
        Do something to each of many, as many at a time as there are connections.

        @raise Exception: What C{work} raises; the others are given up.
        """
        queue = iter(items)

        async def take() -> None:
            while not self.lost and (item := next(queue, None)) is not None:
                await work(item)

        await together(*(take() for _ in range(self.connections)))
