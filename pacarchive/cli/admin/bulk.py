"""What C{pacarchive admin} does for all objects of a store: makes records again, and takes buckets over."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from pacarchive import errors
from pacarchive.backends.s3.order import Order, Outcome, Told
from pacarchive.cli import exits
from pacarchive.cli.admin.copying import Pace
from pacarchive.cli.admin.running import Interruption, NotStarted, with_backends
from pacarchive.cli.printing import complain, print_json, size_words
from pacarchive.cli.progress import Display
from pacarchive.cli.streams import Interrupted
from pacarchive.texts import counted, printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from pacarchive.backends.s3.archive import S3Archive
    from pacarchive.interfaces import IArchiveBackend
    from pacarchive.settings.sections import Settings

_MEGABYTE = 1_000_000

_QUIET = frozenset({Outcome.MADE, Outcome.THERE, Outcome.COMPARED, Outcome.MARKED})
"""Of which no line is written."""

_BAD = frozenset({Outcome.NO_ID, Outcome.CLASH, Outcome.STAYS, Outcome.FAILED, Outcome.YOUNG})
"""Of which the operator has to know."""


class Bulk:
    """
    A command at work.

    @param arguments: The command line.
    @param doing: What it does, as one word.
    @param words: What is said of each outcome; those without words are not said.
    """

    def __init__(self, arguments: argparse.Namespace, doing: str, words: Mapping[Outcome, str]) -> None:
        self._arguments = arguments
        self._words = words
        self._counts: Counter[Outcome] = Counter()
        self._size = 0
        self._has_begun = self._is_complete = False
        self._display = Display(doing, counts_bytes=False)

    def run(self, settings: Settings, work: Callable[[S3Archive, Order], Awaitable[None]]) -> int:
        """
        Do it.

        @return: The exit code.
        """

        async def with_archive(reactor: Any, backends: Sequence[IArchiveBackend], interruption: Interruption) -> None:
            from pacarchive.backends.s3.archive import S3Archive

            (backend,) = backends
            assert isinstance(backend, S3Archive), "that is what the settings name"
            arguments = self._arguments

            def stopped() -> bool:
                return interruption.received

            rate = None if arguments.rate is None else arguments.rate * _MEGABYTE
            pace = Pace(rate, reactor, stopped)
            self._has_begun = True
            with self._display.shown():
                await work(
                    backend,
                    Order(
                        trial=arguments.dry_run, jobs=arguments.jobs, pace=pace.take, stopped=stopped, told=self._told
                    ),
                )
            self._is_complete = not interruption.received

        code = exits.OK
        try:
            with_backends([settings], with_archive)
        except NotStarted as error:
            return complain(error, exits.UNAVAILABLE)
        except errors.Unavailable as error:
            code = complain(f"stopped: {error}", exits.UNAVAILABLE)
        except errors.ArchiveError as error:
            code = complain(f"stopped: {error}", exits.FAILED)
        except Interrupted as error:
            code = complain("interrupted; run it again to go on from here", error.code)
        if self._has_begun:
            self._summary()
        return code or (exits.FAILED if any(self._counts[each] for each in _BAD) else exits.OK)

    def _told(self, told: Told) -> None:
        self._counts[told.outcome] += 1
        if told.outcome is Outcome.MADE:
            self._size += told.size
        self._display.add(files=1, failed=told.outcome in _BAD)
        self._display.look(f"{self._display.what}: {self._line()}, at {printable(told.key)}")
        if told.outcome in _QUIET:
            return
        if self._arguments.json:
            about = {} if told.file_id is None else {"file": str(told.file_id)}
            print_json({"outcome": told.outcome.value, "key": told.key, **about, "message": told.words})
        else:
            what = "" if told.file_id is None else f"file {told.file_id}: "
            self._display.say(f"pacarchive: {what}{printable(told.key)}: {printable(told.words)}")

    def _summary(self) -> None:
        if self._arguments.json:
            counts = {each.value: self._counts[each] for each in self._words}
            about = {"bytes": self._size, "complete": self._is_complete, "dry_run": self._arguments.dry_run}
            print_json({"summary": {**counts, **about}})
        else:
            sys.stdout.write(f"{self._line()}\n")

    def _line(self) -> str:
        would = "would be " if self._arguments.dry_run else ""
        made = f"{counted(self._counts[Outcome.MADE], 'file')} {would}{self._words[Outcome.MADE]}"
        parts = [f"{made}, {size_words(self._size)} ({self._size:,} bytes)"]
        parts += [
            f"{self._counts[each]:,} {words}"
            for each, words in self._words.items()
            if each is not Outcome.MADE and self._counts[each]
        ]
        return ", ".join(parts)
