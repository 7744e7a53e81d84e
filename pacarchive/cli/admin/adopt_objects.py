"""C{pacarchive admin adopt} in an object store: take over a bucket of plain objects."""

from __future__ import annotations

import csv
import json
import re
from typing import TYPE_CHECKING

from pacarchive.backends.s3.order import Order, Outcome
from pacarchive.cli.admin.bulk import Bulk
from pacarchive.settings.reading import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator
    from typing import TextIO

    from pacarchive.backends.s3.archive import S3Archive
    from pacarchive.settings.sections import Settings

_WORDS = {
    Outcome.MADE: "taken over",
    Outcome.THERE: "there already",
    Outcome.COMPARED: "of the same size would be read, to compare them",
    Outcome.CLASH: "whose id is taken",
    Outcome.NO_ID: "without an id",
    Outcome.STAYS: "taken over but not removed",
    Outcome.FAILED: "not taken over",
}


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Run the command.  @return: The exit code."""
    if not arguments.source:
        raise ConfigError("admin adopt", "say where the objects are: --from s3://BUCKET/START-OF-KEYS")
    if not re.match(r"s3://[^/]+(/|\Z)", arguments.source):
        raise ConfigError("--from", f"{arguments.source!r} is no place; write for example s3://bucket/start-of-keys")

    async def work(archive: S3Archive, order: Order) -> None:
        adopter = archive.adopter(arguments.source, moves=arguments.move)
        if mapping is None:
            await adopter.run(order)
        else:
            await adopter.run(order, mapped(mapping, arguments.map))

    command = Bulk(arguments, "taking over", _WORDS)
    if arguments.map is None:
        mapping = None
        return command.run(settings, work)
    try:
        with open(arguments.map, encoding="utf-8", newline="") as mapping:
            for _ in mapped(mapping, arguments.map):  # so that what is wrong with it is said before anything is done
                pass
            mapping.seek(0)
            return command.run(settings, work)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(arguments.map, getattr(error, "strerror", None) or "is no text in UTF-8") from error


def mapped(lines: TextIO, name: str) -> Iterator[tuple[str, str]]:
    """
    Read ids and keys: CSV with or without a head, or objects of JSON with C{id} and C{key}, one in a line.

    @raise ConfigError: A line is neither.
    """
    first = lines.readline()
    lines.seek(0)
    rows = _of_json(lines) if first.startswith("{") else csv.reader(lines)
    number = 0
    try:
        for number, row in enumerate(rows, 1):
            if not row or (number == 1 and row == ["id", "key"]):
                continue
            file_id, key = row
            yield file_id, key
    except (KeyError, TypeError, ValueError, RecursionError, csv.Error):
        raise ConfigError(f"{name}, line {number or 1}", "is no id and a key") from None


def _of_json(lines: Iterable[str]) -> Iterator[list[str]]:
    for line in lines:
        if line.strip():
            document = json.loads(line)
            yield [str(document["id"]), str(document["key"])]
        else:
            yield []
