"""The progress of work on many files, on stderr: bars on a terminal, an occasional line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from pacarchive.cli.printing import is_screen, write_line
from pacarchive.cli.tally import Tally
from pacarchive.texts import counted

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from pacarchive.cli.bars import Bars

LINE, SELDOM = 5.0, 320.0
"""
The least seconds between two lines where there is no terminal.  Each time that nothing has changed, the pause is
doubled, up to the second value.
"""

_INTERVAL = 1.0
"""Seconds between two checks for changes."""


@attrs.define(eq=False)
class Display(Tally):
    """
    A tally that is displayed.

    @ivar clock: The clock that schedules lines where there is no terminal; C{None} for work that calls L{look} itself.
    """

    clock: IReactorTime | None = attrs.field(default=None, kw_only=True)
    _bars: Bars | None = attrs.field(default=None, init=False)
    _draws: bool = attrs.field(default=False, init=False)
    _written: object = attrs.field(default=None, init=False)
    _written_at: float = attrs.field(default=0.0, init=False)
    _pause: float = attrs.field(default=LINE, init=False)

    def _seconds(self) -> float:
        return time.monotonic() if self.clock is None else self.clock.seconds()

    @contextmanager
    def shown(self, *, quiet: bool = False) -> Iterator[None]:
        """
        Display the progress until the end of the block; bars are removed then.

        @param quiet: Display nothing at all.
        """
        self._written_at = self._seconds()
        if quiet:
            yield
        elif is_screen(sys.stderr):
            self._draws = True
            try:
                with self._made_bars():
                    yield
            finally:
                self._draws = False
        elif self.clock is None:
            yield
        else:
            from twisted.internet.task import LoopingCall  # here, as other commands have no reactor

            looping = LoopingCall(self.look)
            looping.clock = self.clock
            looping.start(_INTERVAL, now=False)
            try:
                yield
            finally:
                looping.stop()

    @property
    def draws(self) -> bool:
        """Whether there are bars, for which it is worth counting the files first."""
        return self._draws

    def look(self, words: str = "") -> None:
        """
        Write a line, where there are no bars, if it is time for one and something has changed.

        @param words: The line, instead of the usual one.
        """
        if self._draws:
            return
        if not words:
            self._made_bars().sample()  # rates are means over these samples, however rare the lines are
        state = self.files, self.failed, self.done, self.details, tuple(self.notes), words
        changed, now = state != self._written, self._seconds()
        if now - self._written_at < (LINE if changed else self._pause):
            return
        self._pause = LINE if changed else min(SELDOM, self._pause * 2)
        self._written, self._written_at = state, now
        self.say(words or self.line())

    def line(self) -> str:
        """Return the progress as one line."""
        rate, left = self._made_bars().sample()
        parts = [f"{self.what}: {self.files:,} of {counted(self.total or 0, self.noun)}", self.failed_words]
        parts += [self.size_words, self.rate_words(rate), self.left_words(left)]
        details = f" ({self.details})" if self.details else ""
        return "; ".join([", ".join(filter(None, parts)) + details, *self.notes])

    def say(self, line: str) -> None:
        """Write a line, above the bars."""
        if self._draws:
            self._made_bars().live.console.print(line)
        else:
            write_line(line, sys.stderr)

    def _made_bars(self) -> Bars:
        from pacarchive.cli.bars import Bars  # here, as the import takes time that a command without progress saves

        if self._bars is None:
            self._bars = Bars(self, self._seconds)
        return self._bars
