"""C{pacarchive mv} and C{rm}."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pacarchive.cli.remote.display import Tally
from pacarchive.cli.remote.ids import parse_id, parse_ids
from pacarchive.cli.remote.maps import read_map
from pacarchive.cli.remote.running import run
from pacarchive.cli.remote.session import Session
from pacarchive.cli.words import Misunderstood
from pacarchive.client import ClientError
from pacarchive.texts import printable

if TYPE_CHECKING:
    import argparse


def move(arguments: argparse.Namespace) -> int:
    """Run it."""

    async def command(session: Session, file_id: int) -> None:
        record: dict[str, Any] = {"file": str(file_id), "moved_from": arguments.path}
        try:
            await session.archive.move(file_id, arguments.path, if_absent=not arguments.replace)
        except ClientError as error:
            session.failed(f"{arguments.path} (id {file_id})", error, record)
            return
        session.result(record, None if session.quiet else f"{file_id}  moved from {printable(arguments.path)}")

    return run(arguments, lambda: parse_id(arguments.id), command)


def remove(arguments: argparse.Namespace) -> int:
    """Run it."""

    async def command(session: Session, ids: list[int]) -> None:
        tally = Tally(session.reactor, "rm", len(ids), counts_bytes=False)

        async def one(file_id: int) -> None:
            tally.begin(file_id, str(file_id))
            try:
                await session.archive.delete(file_id)
            except ClientError as error:
                tally.end(file_id, failed=True)
                session.failed(f"file {file_id}", error, {"file": str(file_id)})
                return
            tally.end(file_id)
            lists = len(ids) == 1 or not sys.stdout.isatty()
            session.result({"file": str(file_id)}, f"{file_id}  removed" if lists and not session.quiet else None)

        with session.showing(tally.display()):
            await session.each(ids, one)
        if len(ids) > 1:
            removed = tally.files - tally.failed
            words = f"{removed:,} of {len(ids):,} files removed"
            if tally.failed:
                words += f", {tally.failed:,} failed"
            record = {"removed": removed, "failed": tally.failed}
            session.result({"summary": record}, None if session.quiet else words)

    return run(arguments, lambda: _confirmed(_ids(arguments), arguments.yes), command)


def _ids(arguments: argparse.Namespace) -> list[int]:
    if not arguments.ids and arguments.id_file is None:
        raise Misunderstood("which files? Give their ids, or --id-file")
    if arguments.id_file is None:
        return parse_ids(arguments.ids, sys.stdin)
    if arguments.ids:
        raise Misunderstood("with --id-file, the ids are in there")
    return [file_id for file_id, _ in read_map(arguments.id_file, sys.stdin)]


def _confirmed(ids: list[int], sure: bool) -> list[int]:
    """
    Ask the user.

    @param sure: Do not.
    @raise Misunderstood: The user does not want that, or there is none who could.
    """
    if sure:
        return ids
    named = ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
    what = f"file {named}" if len(ids) == 1 else f"{len(ids):,} files ({named})"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Misunderstood(f"to remove {what} for good without being asked, give --yes")
    sys.stderr.write(f"Remove {what} from the archive, for good? Type yes: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != "yes":
        raise Misunderstood("nothing was removed")
    return ids
