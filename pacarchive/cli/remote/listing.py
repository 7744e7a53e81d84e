"""C{pacarchive ls}: which files the archive has."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pacarchive.cli import exits
from pacarchive.cli.printing import size_words, when_words
from pacarchive.cli.progress import Display
from pacarchive.cli.remote.running import run
from pacarchive.cli.remote.session import Session
from pacarchive.cli.words import Misunderstood
from pacarchive.digests import PRIMARY
from pacarchive.ids import MAX_FILE_ID, parse_file_id
from pacarchive.texts import counted, printable
from pacarchive.times import SECOND, seconds_of

if TYPE_CHECKING:
    import argparse

    from pacarchive.client import ListedFile

_HEAD = "{id:>{width}}       SIZE  MODIFIED (UTC)       LOCALITY       SHA-256"


def ls(arguments: argparse.Namespace) -> int:
    """Run it."""
    only_ids: bool = arguments.only_ids

    async def command(session: Session, wanted: tuple[int, int]) -> None:
        display = Display("ls", clock=session.reactor, counts_bytes=False)
        headed = only_ids or session.json or not sys.stdout.isatty()
        pages = session.archive.files(*wanted, digests=not only_ids, locality=not only_ids)
        width = 0
        async for page in pages:
            width = width or max((len(str(file.file_id)) for file in page.files), default=0)
            for file in page.files:
                display.add(files=1)
                if file.error is not None and not only_ids:
                    session.refused(f"file {file.file_id}", printable(file.error), exits.FAILED)
                    continue
                if not headed:
                    headed = True
                    session.result({}, _HEAD.format(id="ID", width=width))
                session.result(_record(file), str(file.file_id) if only_ids else _row(file, width))
            if session.draws and not sys.stdout.isatty():
                display.look(f"ls: {counted(display.files, 'file')}")

    return run(arguments, lambda: _range(arguments), command)


def _range(arguments: argparse.Namespace) -> tuple[int, int]:
    text: str | None = arguments.range
    if text is None:
        return 0, MAX_FILE_ID
    first, dash, last = text.partition("-")
    try:
        low = parse_file_id(first)
        high = low if not dash else parse_file_id(last) if last else MAX_FILE_ID
    except ValueError:
        low, high = 1, 0
    if low > high:
        raise Misunderstood(
            f"{text!r} is not a valid range of ids; write for example 500-599, or 500- for all from there"
        )
    return low, high


def _row(file: ListedFile, width: int) -> str:
    digest = file.digests.get(PRIMARY)
    size = "-" if file.size is None else size_words(file.size)
    time = "-" if file.mtime_ns is None else when_words(file.mtime_ns // SECOND)
    where = "-" if file.locality is None else file.locality.value
    return f"{file.file_id:>{width}}  {size:>9}  {time:19}  {where:13}  {f'{digest.hex()[:10]}…' if digest else '-'}"


def _record(file: ListedFile) -> dict[str, Any]:
    return {
        "file": str(file.file_id),
        "size": file.size,
        "mtime": None if file.mtime_ns is None else seconds_of(file.mtime_ns),
        "mtime_ns": file.mtime_ns,
        "ctime": None if file.ctime_ns is None else seconds_of(file.ctime_ns),
        "locality": None if file.locality is None else file.locality.value,
        "digests": {name: digest.hex() for name, digest in file.digests.items()},
    }
