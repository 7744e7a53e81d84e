"""Puts what goes on on the screen, or tells it in lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text
from twisted.internet.task import LoopingCall

from pacarchive.cli.printing import is_screen
from pacarchive.cli.remote.lines import SHOWN, Amounts, Speed, Transfer, indented, plain, screen
from pacarchive.client import Progress

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

REFRESH = 0.125
"""How many seconds are between two looks of the screen."""

TELL, SELDOM = 5.0, 320.0
"""How many seconds are between two lines where there is no screen; each time that nothing has changed, twice as many,
up to the latter."""

_LOOK = 1.0
"""How many seconds are between two looks whether something has changed."""


def console_of(file: TextIO) -> Console:
    """A console that takes text as it is."""
    return Console(file=file, markup=False, highlight=False, emoji=False, soft_wrap=True)


class Display:
    """
    What is drawn while something goes on, on stderr.

    @param draw: Gives the lines for a screen of some width.
    @param tell: Gives one line for what is no screen.
    @param state: Gives what is the same for as long as there is no news.
    """

    def __init__(
        self,
        clock: IReactorTime,
        draw: Callable[[int], Sequence[str]],
        tell: Callable[[], str],
        state: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._draw = draw
        self._tell = tell
        self._state = state
        self._told: object = None
        self._told_at = 0.0
        self._pause = TELL
        self._console = console_of(sys.stderr)
        self._live: Live | None = None

    @contextmanager
    def shown(self, *, quiet: bool) -> Iterator[None]:
        """
        Draw until the end of the block; then what was drawn is taken away.

        @param quiet: Draw nothing at all.
        """
        if quiet:
            yield
            return
        live = is_screen(sys.stderr)
        looping = LoopingCall(self._refresh if live else self._say)
        looping.clock = self._clock
        if live:
            self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
            self._live.start()
        self._told_at = self._clock.seconds()
        looping.start(REFRESH if live else _LOOK, now=live)
        try:
            yield
        finally:
            looping.stop()
            if self._live is not None:
                self._live.stop()
                self._live = None

    def _refresh(self) -> None:
        assert self._live is not None
        text = Text("\n".join(self._draw(self._console.width)), no_wrap=True, overflow="crop")
        text.highlight_regex("█+", "green")
        text.highlight_regex("░+", "dim")
        self._live.update(text, refresh=True)

    def _say(self) -> None:
        line, state, now = self._tell(), self._state(), self._clock.seconds()
        news = state != self._told
        if now - self._told_at < (TELL if news else self._pause):
            return
        self._pause = TELL if news else min(SELDOM, self._pause * 2)
        self._told, self._told_at = state, now
        self.say(line)

    def say(self, line: str) -> None:
        """Write a line on stderr, above what is drawn."""
        if self._live is not None:
            self._live.console.print(line)
        else:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


class Tally:
    """
    Counts what is done to many files, and how far those are that are under way.

    @param what: What is done to them.
    @param total_size: Bytes in all; C{None} where nobody knows yet.
    @param counts_bytes: Whether bytes are what takes the time.
    @ivar trouble: Why it does not go on, in lines; none where it does.
    """

    def __init__(
        self, clock: IReactorTime, what: str, total: int, total_size: int | None = None, *, counts_bytes: bool = True
    ) -> None:
        self._clock = clock
        self._what = what
        self._total = total
        self._total_size = total_size
        self._counts_bytes = counts_bytes
        self._under_way: dict[int, Transfer] = {}
        self._shown: list[Transfer] = []
        self._ended_size = 0
        self._speed = Speed()
        self.files = 0
        self.failed = 0
        self.trouble: Sequence[str] = ()

    def begin(self, key: int, name: str, total: int | None = None) -> Callable[[Progress], None]:
        """A file is begun.  @return: To be told of its progress."""
        transfer = self._under_way[key] = Transfer(name, 0, total)

        def progress(state: Progress) -> None:
            transfer.done, transfer.total = state.done, state.total if state.total is not None else transfer.total

        return progress

    def end(self, key: int, size: int = 0, *, failed: bool = False) -> None:
        """A file has ended."""
        self._under_way.pop(key, None)
        self._ended_size += size
        self.files += 1
        self.failed += failed

    @property
    def size(self) -> int:
        """Bytes that have moved."""
        return self._ended_size + sum(each.done for each in self._under_way.values())

    def amounts(self) -> Amounts:
        """How far it is."""
        size = self.size
        self._speed.note(self._clock.seconds(), size if self._counts_bytes else self.files)
        rate = self._speed.rate
        total_size = self._total_size
        if total_size is None and self._total == 1 and self._under_way:
            (only,) = self._under_way.values()
            total_size = only.total
        left: float | None = None
        if rate:
            if not self._counts_bytes:
                left = (self._total - self.files) / rate
            elif total_size is not None:
                left = max(0, total_size - size) / rate
        return Amounts(
            what=self._what,
            files=self.files,
            total=self._total,
            failed=self.failed,
            size=size,
            total_size=total_size,
            rate=rate,
            left=left,
            counts_bytes=self._counts_bytes,
        )

    def draw(self, width: int) -> Sequence[str]:
        """The lines for a screen."""
        # Those that are on the screen stay in their lines until they have ended.
        under_way = list(self._under_way.values())
        kept = [each for each in self._shown if any(each is other for other in under_way)]
        fresh = [each for each in under_way if not any(each is other for other in kept)]
        self._shown = (kept + fresh)[:SHOWN]
        return [*screen(self.amounts(), self._shown, width), *indented(self.trouble, width)]

    def tell(self) -> str:
        """The line for what is no screen."""
        return "; ".join([plain(self.amounts()), *self.trouble])

    def state(self) -> object:
        """What is the same for as long as there is no news."""
        return self.files, self.failed, self.size, tuple(self.trouble)

    def display(self) -> Display:
        """What shows this."""
        return Display(self._clock, self.draw, self.tell, self.state)
