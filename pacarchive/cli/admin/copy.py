"""C{pacarchive admin copy}: copy all files into another archive, which may have another backend."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import attrs

from pacarchive import errors
from pacarchive.cli import exits
from pacarchive.cli.admin.archive import settings_of
from pacarchive.cli.admin.copying import Copying, Pace, side_of
from pacarchive.cli.admin.running import Interruption, NotStarted, with_backends
from pacarchive.cli.printing import amount_words, complain, print_json, size_words
from pacarchive.cli.progress import Display
from pacarchive.cli.streams import Interrupted
from pacarchive.interfaces import IInventory
from pacarchive.settings.reading import VARIABLES, ConfigError, load
from pacarchive.texts import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pacarchive.cli.admin.copying import Counts
    from pacarchive.interfaces import IArchiveBackend
    from pacarchive.model import FileStatus

_MEGABYTE = 1_000_000
_COUNTED_AT_ONCE = 1000


def run(arguments: argparse.Namespace) -> int:
    """Run the command.  @return: The exit code."""
    source = settings_of(arguments)
    # What the environment says of the archive is said of the one to copy from.
    environ = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    target = load(arguments.to, environ, {}, create_default=False)
    if source.place == target.place:
        raise ConfigError(arguments.to, "names the same archive as the one to copy from")
    command = _Command(arguments)
    code = exits.OK
    try:
        with_backends([source, target], command.work)
    except NotStarted as error:
        return complain(error, exits.UNAVAILABLE)
    except errors.Unavailable as error:
        code = complain(f"stopped: {_words_of(error)}", exits.UNAVAILABLE)
    except errors.ArchiveError as error:
        code = complain(f"stopped: {_words_of(error)}", exits.FAILED)
    except Interrupted as error:
        code = complain("interrupted; run it again to go on from here", error.code)
    return command.end(code)


def _words_of(error: errors.ArchiveError) -> str:
    side = side_of(error)
    return f"{error} ({side})" if side else str(error)


@attrs.define
class _Command:
    """
    The command at work.

    @ivar arguments: The command line.
    @ivar counts: The result; C{None} before it has begun.
    """

    arguments: argparse.Namespace
    counts: Counts | None = None
    _display: Display = attrs.field(init=False)

    async def work(self, reactor: Any, backends: Sequence[IArchiveBackend], interruption: Interruption) -> None:
        """Copy the files."""
        source, target = backends
        if not IInventory.providedBy(source):
            raise ConfigError("admin copy", "the storage of this archive cannot list its files")
        trial, rate = self.arguments.dry_run, self.arguments.rate
        self._display = Display("looking" if trial else "copying", counts_bytes=not trial)

        def stopped() -> bool:
            return interruption.received

        copying = Copying(
            source=source,
            target=target,
            pace=Pace(None if rate is None else rate * _MEGABYTE, reactor, stopped),
            jobs=self.arguments.jobs,
            trial=trial,
            stopped=stopped,
            refused=self._refused,
            moved=self._moved,
        )
        self.counts = copying.counts
        with self._display.shown():
            if self._display.draws:
                await self._count(IInventory(source), interruption)
            await copying.run()

    async def _count(self, source: IInventory, interruption: Interruption) -> None:
        """Count the files first, for the bar; files that come and go meanwhile make no difference to it."""
        place: str | None = ""
        size = 0
        while place is not None and not interruption.received:
            page = await source.inventory(place, _COUNTED_AT_ONCE, digests=False, locality=False)
            size += sum(each.size for each in page.files.values() if not isinstance(each, Exception))
            self._display.add(files=len(page.files))
            place = page.place
        self._display.begin_with(self._display.files, size)

    def _moved(self, status: FileStatus, size: int | None) -> None:
        display, file_id = self._display, status.file_id
        at = f"{display.what}: {self._words()}, at file {file_id}"
        if size is None:
            read = file_id in display.under_way
            display.end(file_id, status.size)
            if not read:
                display.add(skipped=status.size)
        else:
            if file_id not in display.under_way:
                display.begin(file_id, f"file {file_id}", status.size)
            transfer = display.under_way[file_id]
            transfer.done += size
            at += f" ({amount_words(transfer.done, status.size)})"
        display.look(at)

    def _refused(self, file_id: int, error: errors.ArchiveError) -> None:
        self._display.add(failed=not isinstance(error, errors.Offline))
        if self.arguments.json:
            document = {"kind": type(error).__name__, "message": str(error)}
            side = {"in": side_of(error).removeprefix("the ")} if side_of(error) else {}
            print_json({"file": str(file_id), **side, "error": document})
        else:
            self._display.say(f"pacarchive: file {file_id}: not copied: {_words_of(error)}")

    def end(self, code: int) -> int:
        """
        Print the summary.

        @param code: Why it was ended, if it was.
        @return: The exit code.
        """
        if self.counts is None:
            return code
        if self.arguments.json:
            print_json({"summary": {**attrs.asdict(self.counts), "dry_run": self.arguments.dry_run}})
        else:
            sys.stdout.write(f"{self._words()}\n")
        return code or (exits.FAILED if self.counts.failed or self.counts.on_tape else exits.OK)

    def _words(self) -> str:
        counts = self.counts
        assert counts is not None, "it has begun"
        would = "would be " if self.arguments.dry_run else ""
        parts = [f"{counted(counts.copied, 'file')} {would}copied, {size_words(counts.bytes)} ({counts.bytes:,} bytes)"]
        parts += [
            f"{number:,} {words}"
            for number, words in (
                (counts.there, "there already"),
                (counts.compared, "without a digest would be read, to compare them"),
                (counts.on_tape, "on tape"),
                (counts.gone, "removed meanwhile"),
                (counts.failed, "not copied"),
            )
            if number or words == "there already"
        ]
        return ", ".join(parts)
