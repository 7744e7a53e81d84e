"""C{pacarchive stat}, C{verify} and C{health}: what the archive has, and whether it is what it should be."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pacarchive.cli import exits
from pacarchive.cli.printing import size_words, time_words, when_words
from pacarchive.cli.progress import Display
from pacarchive.cli.remote.hashing import digest_of, may_have, sizes_of
from pacarchive.cli.remote.ids import ids_of_directory, parse_ids
from pacarchive.cli.remote.maps import named_files
from pacarchive.cli.remote.running import run
from pacarchive.cli.remote.session import Session
from pacarchive.cli.words import Misunderstood
from pacarchive.client import ClientError, NotVerifiable, OnProgress, ServerUnavailable, Status
from pacarchive.digests import PRIMARY
from pacarchive.texts import counted, printable
from pacarchive.times import SECOND

if TYPE_CHECKING:
    import argparse

T = TypeVar("T")

_LEVEL_CELLS = 4
_AHEAD = 1000
"""How many answers are kept until one that was asked for before has come."""


async def in_order(
    session: Session, items: Sequence[T], ask: Callable[[T], Awaitable[Any]], tell: Callable[[T, Any], None]
) -> None:
    """
    Ask about many at a time, and report them in the order in which they stand.

    @param ask: Asks about one.
    @param tell: Reports one, with the answer or the failure.
    """
    for start in range(0, len(items), _AHEAD):
        some = items[start : start + _AHEAD]
        answers: dict[int, Any] = {}
        told = 0

        async def one(index: int, some: Sequence[T] = some, answers: dict[int, Any] = answers) -> None:
            nonlocal told
            try:
                answers[index] = await ask(some[index])
            except (ClientError, OSError) as error:
                session.is_lost(error)
                answers[index] = error
            while told in answers:
                tell(some[told], answers.pop(told))
                told += 1

        await session.each(range(len(some)), one)


def stat(arguments: argparse.Namespace) -> int:
    """Run it."""

    async def command(session: Session, ids: list[int]) -> None:
        width = max(2, *(len(str(each)) for each in ids[:_AHEAD]))
        headed = arguments.long or session.json

        def tell(file_id: int, answer: Status | Exception) -> None:
            nonlocal headed
            display.end(file_id, failed=isinstance(answer, Exception))
            if isinstance(answer, Exception):
                session.failed(f"file {file_id}", answer, {"file": str(file_id)})
            else:
                if not headed:
                    headed = True
                    session.result({}, _HEAD.format(id="ID", width=width))
                line = _long(answer) if arguments.long else _row(answer, width)
                session.result(_record(answer), line)

        display = Display("stat", len(ids), clock=session.reactor, counts_bytes=False)
        if len(ids) > 1 and not sys.stdout.isatty():
            with session.showing(display):
                await in_order(session, ids, session.archive.status, tell)
        else:
            await in_order(session, ids, session.archive.status, tell)

    return run(arguments, lambda: parse_ids(arguments.ids, sys.stdin), command)


_HEAD = "{id:>{width}}       SIZE  MODIFIED (UTC)       LOCALITY       LEVELS     SHA-256"


def _row(status: Status, width: int) -> str:
    digest = status.digests.get(PRIMARY)
    shown = f"{digest.hex()[:10]}…" if digest else "-"
    return (
        f"{status.file_id:>{width}}  {size_words(status.size):>9}  {when_words(status.mtime_ns // SECOND):19}  "
        f"{status.locality.value:13}  {level_bars(status):9}  {shown}"
    )


def level_bars(status: Status) -> str:
    """How much of a file is on each storage level, as small bars, the fastest level first."""
    cells = []
    for count in status.bytes_per_level[:3]:
        share = 1.0 if status.size == 0 else min(1.0, count / status.size)
        full = min(_LEVEL_CELLS, round(share * _LEVEL_CELLS)) or (count > 0)
        if full == _LEVEL_CELLS and share < 1:
            full -= 1
        cells.append("█" * full + "░" * (_LEVEL_CELLS - full))
    return " ".join(cells)


def _long(status: Status) -> str:
    lines = [
        f"file      {status.file_id}",
        f"size      {counted(status.size, 'byte')} ({size_words(status.size)})",
        f"modified  {when_words(status.mtime_ns // SECOND)} UTC",
        f"changed   {when_words(status.ctime)} UTC",
        f"locality  {status.locality.value}",
    ]
    for level, (count, cells) in enumerate(zip(status.bytes_per_level, level_bars(status).split(), strict=False)):
        lines.append(f"level {level}   {cells} {counted(count, 'byte')}")
    lines += [f"{name:8}  {digest.hex()}" for name, digest in sorted(status.digests.items())] or ["digest    none"]
    lines += [f"etag      {status.etag}"] if status.etag else []
    return "\n".join([*lines, f"path      {printable(status.path)}", ""])


def _record(status: Status) -> dict[str, Any]:
    return {
        "file": str(status.file_id),
        "size": status.size,
        "mtime": status.mtime,
        "mtime_ns": status.mtime_ns,
        "ctime": status.ctime,
        "locality": status.locality.value,
        "bytes_per_level": list(status.bytes_per_level),
        "digests": {name: digest.hex() for name, digest in status.digests.items()},
        "etag": status.etag,
        "path": status.path,
    }


def verify(arguments: argparse.Namespace) -> int:
    """Run it."""

    async def command(session: Session, pairs: list[tuple[int, str]]) -> None:
        sizes = await sizes_of([path for _, path in pairs])
        known = dict(zip(pairs, sizes, strict=True))
        display = Display("verify", len(pairs), sum(size or 0 for size in sizes), clock=session.reactor)
        found: dict[str, int] = dict.fromkeys(("same", "different", "not_compared"), 0)
        single = len(pairs) == 1

        async def one(pair: tuple[int, str]) -> None:
            file_id, path = pair
            record: dict[str, Any] = {"file": str(file_id), "path": path}
            progress = display.begin(file_id, path, known[pair])
            size = 0
            try:
                same, size, how = await _compare(session, file_id, path, progress, reads=arguments.read)
            except (ClientError, OSError) as error:
                found["not_compared"] += 1
                session.failed(f"{path} (id {file_id})", error, record)
                display.end(file_id, failed=True)
                return
            display.end(file_id, size, failed=not same)
            found["same" if same else "different"] += 1
            if same:
                lists = single or not sys.stdout.isatty()
                line = f"{file_id}  {printable(path)}  {size_words(size)}  {how}"
                session.result({**record, "same": True, "size": size}, line if lists and not session.quiet else None)
            elif session.json:
                session.note_code(exits.DIFFERENT)
                session.result({**record, "same": False, "size": size, "why": how}, None)
            else:
                session.refused(f"{path} (id {file_id})", how, exits.DIFFERENT)

        begun = session.reactor.seconds()
        with session.showing(display):
            await session.each(pairs, one)
        if not single:
            took = time_words(session.reactor.seconds() - begun)
            words = f"{found['same']:,} of {counted(len(pairs), 'file')} are the same as the archive's, in {took}"
            if found["different"]:
                words += f", {found['different']:,} are different"
            if found["not_compared"]:
                words += f", {found['not_compared']:,} could not be compared"
            session.result({"summary": found}, None if session.quiet else words)

    return run(arguments, lambda: _pairs(arguments), command)


def _pairs(arguments: argparse.Namespace) -> list[tuple[int, str]]:
    files: list[str] = arguments.files
    if arguments.id_file is None and arguments.id is None:
        if len(files) == 1 and Path(files[0]).is_dir():
            return ids_of_directory(files[0])
        raise Misunderstood("which files? Give FILE... with --id N, --id-file MAP, or a directory whose files are ids")
    return named_files(arguments)


async def _compare(
    session: Session, file_id: int, path: str, progress: OnProgress, *, reads: bool
) -> tuple[bool, int, str]:
    """@return: Whether it is the same, the size of the local file, and how that is known."""
    status = await session.archive.status(file_id)
    (size,) = await sizes_of([path])
    digest = b""
    if size is None or may_have(status.size, size):
        size, digest = await digest_of(path, progress)
    if size != status.size:
        return False, size, f"is different: {counted(size, 'byte')} here, {status.size:,} in the archive"
    if (theirs := status.digests.get(PRIMARY)) is None:
        if not reads:
            raise NotVerifiable("The archive has no digest of it; --read reads it to compare.")
        fetched = await session.archive.get(file_id, _drop)
        theirs = fetched.digests[PRIMARY]
    if theirs == digest:
        return True, size, f"sha256:{digest.hex()[:16]}…  the same"
    return False, size, f"is different: its SHA-256 is {digest.hex()} here, {theirs.hex()} in the archive"


def _drop(piece: bytes) -> None:
    """Bytes that are only hashed."""


def health(arguments: argparse.Namespace) -> int:
    """Run it."""

    async def command(session: Session, _: None) -> None:
        try:
            found = await session.archive.health()
        except ServerUnavailable as error:  # whose usual advice is to ask for this
            session.refused("", printable(str(error)), exits.UNAVAILABLE, error)
            return
        words = found.words or ("The archive is well." if found.ready else "The archive is not well.")
        record = {"ready": found.ready, "degraded": found.degraded, "message": found.words}
        if found.ready:
            session.result(record, words)
            return
        if session.json:
            session.note_code(exits.UNAVAILABLE)
            session.result(record, None)
        else:
            session.refused("", words, exits.UNAVAILABLE)

    return run(arguments, lambda: None, command)
