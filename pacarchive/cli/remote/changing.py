"""C{pacarchive mv} and C{rm}."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pacarchive.cli.asking import require_yes
from pacarchive.cli.progress import Display
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
        display = Display("rm", len(ids), clock=session.reactor, counts_bytes=False)

        async def one(file_id: int) -> None:
            display.begin(file_id, str(file_id))
            try:
                await session.archive.delete(file_id)
            except ClientError as error:
                display.end(file_id, failed=True)
                session.failed(f"file {file_id}", error, {"file": str(file_id)})
                return
            display.end(file_id)
            lists = len(ids) == 1 or not sys.stdout.isatty()
            session.result({"file": str(file_id)}, f"{file_id}  removed" if lists and not session.quiet else None)

        with session.showing(display):
            await session.each(ids, one)
        if len(ids) > 1:
            removed = display.files - display.failed
            words = f"{removed:,} of {len(ids):,} files removed"
            if display.failed:
                words += f", {display.failed:,} failed"
            record = {"removed": removed, "failed": display.failed}
            session.result({"summary": record}, None if session.quiet else words)

    def wanted() -> list[int]:
        ids = _ids(arguments)
        if not arguments.yes:
            require_yes(ids)
        return ids

    return run(arguments, wanted, command)


def _ids(arguments: argparse.Namespace) -> list[int]:
    if not arguments.ids and arguments.id_file is None:
        raise Misunderstood("which files? Give their ids, or --id-file")
    if arguments.id_file is None:
        return parse_ids(arguments.ids, sys.stdin)
    if arguments.ids:
        raise Misunderstood("with --id-file, the ids are in there")
    return [file_id for file_id, _ in read_map(arguments.id_file, sys.stdin)]
