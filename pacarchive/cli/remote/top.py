"""C{pacarchive top}: how a server is, again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall, deferLater

from pacarchive.cli import exits
from pacarchive.cli.printing import is_screen, print_json, write_line
from pacarchive.cli.remote.figures import Figures
from pacarchive.cli.remote.keys import pressed
from pacarchive.cli.remote.overview import LATENCIES_OVER, Line, Mood, Overview
from pacarchive.cli.remote.running import run
from pacarchive.cli.remote.session import Session
from pacarchive.cli.remote.words import exit_code_of, failure_words, parse_duration
from pacarchive.cli.words import Misunderstood
from pacarchive.client import ClientError, ProtocolError

if TYPE_CHECKING:
    import argparse

    from pacarchive.model import Health

PATIENCE = 10.0
"""Seconds in which a server is to answer."""

_LEAST, _MOST = 0.5, 3600.0
_REDRAWN = 1.0
_STYLES = {Mood.PLAIN: "", Mood.GOOD: "green", Mood.WARNING: "yellow", Mood.BAD: "bold red"}


def top(arguments: argparse.Namespace) -> int:
    """Run it."""

    def prepare() -> float:
        interval = parse_duration(arguments.interval)
        if not _LEAST <= interval <= _MOST:
            raise Misunderstood(f"--interval must be from {_LEAST:g}s to {_MOST:g}s")
        return interval

    async def command(session: Session, interval: float) -> None:
        watching = _Watching(session, interval)
        if arguments.once:
            await watching.once()
        elif session.json or not is_screen(sys.stdout):
            await watching.go_on(watching.print_line)
        else:
            with pressed(session.reactor, watching.key), _drawn(session.reactor, watching) as draw:
                await watching.go_on(draw)

    if not arguments.once:
        arguments.retry = 0  # it goes on trying by itself, and says so
    return run(arguments, prepare, command)


class _Watching:
    """
    What is known of a server.

    @ivar lost: Why it does not answer, and since when; C{None} as long as it does.
    """

    def __init__(self, session: Session, interval: float) -> None:
        self._session = session
        self._reactor = session.reactor
        self._interval = interval
        self._history: list[Figures] = []
        self._overview: Overview | None = None
        self._waits: Deferred[Any] | None = None
        self._ended = False
        self._begun = self._reactor.seconds()
        self.lost: tuple[str, float] | None = None

    async def once(self) -> None:
        """Look twice, for there to be rates, and say what there is."""
        await self._look()
        await deferLater(self._reactor, self._interval)
        overview = await self._look()
        if self._session.json:
            print_json(overview.record())
        else:
            for line in overview.lines():
                write_line(str(line))
        if not overview.health.ready:
            self._session.note_code(exits.UNAVAILABLE)

    async def go_on(self, show: Callable[[], object]) -> None:
        """
        Look until somebody ends it.

        @param show: Called after each look.
        """
        while not self._ended:
            try:
                await self._wait(Deferred.fromCoroutine(self._tried()))
                show()
                await self._wait(deferLater(self._reactor, self._interval))
            except CancelledError:
                if not self._ended:
                    raise

    def key(self, key: str) -> None:
        """A key was pressed."""
        if key in "qQ":
            self._ended = True
            if self._waits is not None:
                self._waits.cancel()

    def print_line(self) -> None:
        """One line of how it is, or a record."""
        if self.lost is not None:
            words = f"no answer: {self.lost[0]}"
            record: dict[str, Any] = {"time": time.time(), "well": False, "troubles": [words]}
        elif self._overview is not None:
            words, record = self._overview.summary(), self._overview.record()
        if self._session.json:
            print_json(record)
        else:
            write_line(f"{time.strftime('%H:%M:%S')}  {words}")

    def lines(self) -> Iterator[Line]:
        """All that is to be on the screen."""
        if self.lost is not None:
            why, since = self.lost
            yield Line("", f"no answer for {self._reactor.seconds() - since:.0f} s; trying again", Mood.BAD)
            yield Line("", f"  {why}", Mood.BAD)
            if self._overview is not None:
                yield Line("", "")
                yield Line("", "Below is how it was before.", Mood.WARNING)
        if self._overview is not None:
            for line in self._overview.lines():
                yield line if self.lost is None else attrs.evolve(line, mood=Mood.PLAIN)
        elif self.lost is None:
            yield Line("", "Asking the archive...")
        yield Line("", "")
        yield Line("", "q ends it.")

    async def _tried(self) -> None:
        try:
            await self._look()
            self.lost = None
        except (ClientError, defer.TimeoutError) as error:
            if isinstance(error, ClientError) and exit_code_of(error) != exits.UNAVAILABLE:
                raise
            words = failure_words(error) if isinstance(error, ClientError) else "It does not answer."
            self.lost = words, self._history[-1].time if self._history else self._begun

    async def _look(self) -> Overview:
        asked = Deferred.fromCoroutine(self._asked())
        text, health = await asked.addTimeout(PATIENCE, self._reactor)
        try:
            figures = Figures.read(self._reactor.seconds(), text)
        except ValueError as error:
            raise ProtocolError(f"The archive's metrics are not understood: {error}") from None
        last = self._history[-1:]
        recent = [each for each in self._history[:-1] if figures.time - each.time <= LATENCIES_OVER]
        self._history = [*recent, *last, figures]
        self._overview = Overview(self._session.archive.url, self._history, health, time.time())
        return self._overview

    async def _asked(self) -> tuple[str, Health]:
        archive = self._session.archive
        return await archive.metrics(), await archive.health()

    async def _wait(self, waited: Deferred[Any]) -> None:
        self._waits = waited
        try:
            await waited
        finally:
            self._waits = None


@contextmanager
def _drawn(reactor: Any, watching: _Watching) -> Iterator[Callable[[], None]]:
    """
    Have all of a terminal's screen, to the end of the block, and draw there once a second.

    @return: Draws at once.
    """
    from rich.console import Console, Group  # here, as others need it not
    from rich.live import Live
    from rich.text import Text

    def text_of(line: Line) -> Text:
        return Text(str(line), style=_STYLES[line.mood], no_wrap=True, overflow="ellipsis")

    def draw() -> None:
        lines = [text_of(each) for each in watching.lines()]
        live.update(Group(*lines), refresh=True)

    console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False)
    drawing = LoopingCall(draw)
    drawing.clock = reactor
    with Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        drawing.start(_REDRAWN)
        try:
            yield draw
        finally:
            drawing.stop()
