"""C{pacarchive put}: files into the archive."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import attrs

from pacarchive.cli.printing import time_words
from pacarchive.cli.remote.display import Tally
from pacarchive.cli.remote.hashing import digest_of, sizes_of
from pacarchive.cli.remote.ids import Misunderstood, numbered, read_map
from pacarchive.cli.remote.pipes import read_stdin
from pacarchive.cli.remote.running import run
from pacarchive.cli.remote.session import Session
from pacarchive.cli.remote.totals import Totals
from pacarchive.client import AlreadyExists, ClientError, NotFound, PreconditionFailed, ServerError, Status
from pacarchive.digests import PRIMARY

if TYPE_CHECKING:
    import argparse


@attrs.frozen
class _Put:
    """What is put, and how."""

    session: Session
    tally: Tally
    totals: Totals
    replace: bool
    looks: bool

    async def file(self, wish: tuple[int, str]) -> None:
        """Put one file, and tell of it."""
        file_id, path = wish
        record: dict[str, Any] = {"file": str(file_id), "path": path}
        progress = self.tally.begin(file_id, os.path.basename(path) or path)
        begun = self.session.reactor.seconds()
        try:
            size, digest, there = await self._store(file_id, path, progress)
        except (ClientError, OSError) as error:
            self.tally.end(file_id, failed=True)
            self.session.failed(f"{path} (id {file_id})", error, record)
            return
        took = self.session.reactor.seconds() - begun
        how = "is there already" if there else f"stored in {time_words(took)}"
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
        if path != "-" and await _size(path) == status.size and PRIMARY in status.digests:
            size, digest = await digest_of(path)
            if digest == status.digests[PRIMARY]:
                return size, digest, True
        raise AlreadyExists("The id has another file already.") from error

    async def _status(self, file_id: int) -> Status | None:
        try:
            return await self.session.archive.status(file_id)
        except (NotFound, ServerError):  # the predecessor answers 500 where there is none
            return None


async def _size(path: str) -> int | None:
    return (await sizes_of([path]))[0]


def put(arguments: argparse.Namespace) -> int:
    """Run it."""

    async def command(session: Session, wishes: list[tuple[int, str]]) -> None:
        sizes = await sizes_of([path for _, path in wishes])
        known = None if any(path == "-" for _, path in wishes) else sum(size or 0 for size in sizes)
        tally = Tally(session.reactor, "put", len(wishes), known)
        put = _Put(
            session=session,
            tally=tally,
            totals=Totals.begin(session, tally, "stored", len(wishes)),
            replace=arguments.replace,
            looks=not arguments.replace and not await _keeps_what_it_has(session),
        )
        try:
            with session.showing(tally.display()):
                await session.each(wishes, put.file)
        finally:
            put.totals.sum_up()

    return run(arguments, lambda: _wishes(arguments), command)


def _wishes(arguments: argparse.Namespace) -> list[tuple[int, str]]:
    wishes = _named(arguments)
    takes_stdin = [path for _, path in wishes if path == "-"]
    if len(takes_stdin) + (arguments.id_file == "-") > 1:
        raise Misunderstood("standard input can be read once only: '-' is there several times")
    return wishes


def _named(arguments: argparse.Namespace) -> list[tuple[int, str]]:
    if arguments.id_file is not None:
        if arguments.files:
            raise Misunderstood("with --id-file, the files are named in there")
        return read_map(arguments.id_file, sys.stdin)
    if not arguments.files:
        raise Misunderstood("which files? Name them, or give --id-file")
    if arguments.id is None:
        raise Misunderstood("under which id? Give --id N (several files get N, N+1, ...), or --id-file")
    return numbered(arguments.files, arguments.id)


async def _keeps_what_it_has(session: Session) -> bool:
    """Whether the server knows conditions.  The predecessor does not, and would replace a file."""
    try:
        await session.archive.health()
    except (NotFound, ServerError):
        return False
    return True
