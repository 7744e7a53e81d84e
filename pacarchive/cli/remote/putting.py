"""C{pacarchive put}: files into the archive."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import attrs

from pacarchive.cli.printing import time_words
from pacarchive.cli.progress import Display
from pacarchive.cli.remote.hashing import digest_of, may_have, sizes_of
from pacarchive.cli.remote.maps import SavedMap, named_files
from pacarchive.cli.remote.pipes import read_stdin
from pacarchive.cli.remote.running import run
from pacarchive.cli.remote.session import Session
from pacarchive.cli.remote.totals import Totals
from pacarchive.cli.words import Misunderstood
from pacarchive.client import AlreadyExists, ClientError, NotFound, PreconditionFailed, ServerError, Status
from pacarchive.digests import PRIMARY
from pacarchive.texts import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_TOLD = 20
"""Of how many files the ids are told on a screen; of more, those of the first and the last."""


@attrs.frozen
class _Put:
    """
    What is put, and how.

    @ivar stored: The ids of what is in the archive by now.
    """

    session: Session
    display: Display
    totals: Totals
    replace: bool
    looks: bool
    stored: set[int] = attrs.field(factory=set)

    async def file(self, pair: tuple[int, str]) -> None:
        """Put one file, and report it."""
        file_id, path = pair
        record: dict[str, Any] = {"file": str(file_id), "path": path}
        progress = self.display.begin(file_id, os.path.basename(path) or path)
        begun = self.session.reactor.seconds()
        try:
            size, digest, there = await self._store(file_id, path, progress)
        except (ClientError, OSError) as error:
            self.display.end(file_id, failed=True)
            self.session.failed(f"{path} (id {file_id})", error, record)
            return
        self.stored.add(file_id)
        took = self.session.reactor.seconds() - begun
        how = "was there already" if there else f"stored in {time_words(took)}"
        record["sha256"] = digest.hex()
        self.totals.end(file_id, path, size, f"sha256:{digest.hex()[:16]}…", how, record, there=there)

    async def _store(self, file_id: int, path: str, progress: Any) -> tuple[int, bytes, bool]:
        """@return: Size, digest, and whether it was there already."""
        archive = self.session.archive
        if self.looks and (status := await self._status(file_id)) is not None:
            return await self._compared(status, path, AlreadyExists("The id has another file already."))
        try:
            source = read_stdin(self.session.reactor) if path == "-" else path
            stored = await archive.put(file_id, source, if_absent=not self.replace, on_progress=progress)
        except (AlreadyExists, PreconditionFailed) as error:
            if path == "-" or (status := await self._status(file_id)) is None:
                raise
            return await self._compared(status, path, error)
        return stored.size, stored.digests[PRIMARY], False

    async def _compared(self, status: Status, path: str, error: Exception) -> tuple[int, bytes, bool]:
        """See whether the archive has just these bytes: then the same command was typed before."""
        if path != "-" and may_have(status.size, *await sizes_of([path])) and PRIMARY in status.digests:
            size, digest = await digest_of(path)
            if digest == status.digests[PRIMARY]:
                return size, digest, True
        raise AlreadyExists("The id has another file already.") from error

    async def _status(self, file_id: int) -> Status | None:
        try:
            return await self.session.archive.status(file_id)
        except (NotFound, ServerError):  # the predecessor answers 500 where there is none
            return None


def put(arguments: argparse.Namespace) -> int:
    """Run it."""

    async def command(session: Session, wanted: tuple[list[tuple[int, str]], SavedMap | None]) -> None:
        pairs, saved = wanted
        sizes = await sizes_of([path for _, path in pairs])
        known = None if any(path == "-" for _, path in pairs) else sum(size or 0 for size in sizes)
        display = Display("put", len(pairs), known, clock=session.reactor)
        put = _Put(
            session=session,
            display=display,
            totals=Totals(session, display, "stored"),
            replace=arguments.replace,
            looks=not arguments.replace and not await _keeps_what_it_has(session),
        )
        try:
            with session.showing(display):
                await session.each(pairs, put.file)
        finally:
            if saved is not None:
                _save(session, saved, put.stored)
            if arguments.id_file is None:
                _tell_ids(session, [pair for pair in pairs if pair[0] in put.stored], saved)
            put.totals.sum_up()

    return run(arguments, lambda: _wanted(arguments), command)


def _save(session: Session, saved: SavedMap, stored: set[int]) -> None:
    """Write the map, however the command has ended."""
    try:
        saved.write(stored)
    except OSError as error:
        session.failed("", error)
    finally:
        saved.close()


def _tell_ids(session: Session, stored: Sequence[tuple[int, str]], saved: SavedMap | None) -> None:
    """
    Tell which file has which id, where there was no line about each: the archive keeps no names.

    @param stored: The files, in order.
    """
    if session.json or session.quiet or len(stored) < 2 or not sys.stdout.isatty():
        return
    lines = [f"{file_id}  {printable(path)}" for file_id, path in stored]
    if (left := len(lines) - _TOLD) > 0:
        where = f"all are in {printable(saved.path)}" if saved else "one after the other; --save-map FILE keeps all"
        lines[_TOLD // 2 : -_TOLD // 2] = [f"... {left:,} more: {where}"]
    for line in lines:
        session.result({}, line)


def _wanted(arguments: argparse.Namespace) -> tuple[list[tuple[int, str]], SavedMap | None]:
    """
    What is wanted: files under ids, and where to write that down.

    @raise Misunderstood: That cannot be.
    @raise OSError: It cannot be written down.
    """
    pairs = _pairs(arguments)
    if arguments.save_map is None:
        return pairs, None
    if arguments.save_map == "-":
        raise Misunderstood("--save-map takes the name of a file")
    if arguments.id_file not in (None, "-") and _same(arguments.save_map, arguments.id_file):
        raise Misunderstood("--save-map would replace the map that --id-file names")
    return pairs, SavedMap(arguments.save_map, pairs)


def _same(path: str, other: str) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


def _pairs(arguments: argparse.Namespace) -> list[tuple[int, str]]:
    pairs = named_files(arguments)
    takes_stdin = [path for _, path in pairs if path == "-"]
    if len(takes_stdin) + (arguments.id_file == "-") > 1:
        raise Misunderstood("standard input can be read once only: '-' is there several times")
    return pairs


async def _keeps_what_it_has(session: Session) -> bool:
    """Whether the server knows conditions.  The predecessor does not, and would replace a file."""
    try:
        await session.archive.health()
    except (NotFound, ServerError):
        return False
    return True
