"""C{pacarchive admin inventory}: all files of the archive, from the storage itself, as CSV or JSON lines."""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING, Any

import attrs

from pacarchive import errors
from pacarchive.cli import exits
from pacarchive.cli.admin.archive import settings_of
from pacarchive.cli.admin.running import Interruption, NotStarted, with_backend
from pacarchive.cli.printing import complain
from pacarchive.cli.progress import Display
from pacarchive.cli.streams import Interrupted
from pacarchive.interfaces import IInventory
from pacarchive.model import INVENTORY_FIELDS, inventory_entry
from pacarchive.settings.reading import ConfigError
from pacarchive.texts import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pacarchive.interfaces import IArchiveBackend

_PAGE = 500
_COLUMNS = ("file", *INVENTORY_FIELDS, "error")


@attrs.define
class _Counts:
    files: int = 0
    bytes: int = 0
    failed: int = 0
    complete: bool = False

    def __str__(self) -> str:
        words = f"{counted(self.files, 'file')}, {counted(self.bytes, 'byte')}"
        return f"{words}, {self.failed} of them cannot be told of" if self.failed else words


def run(arguments: argparse.Namespace) -> int:
    """Run the command.  @return: The exit code."""
    settings = settings_of(arguments)
    counts = _Counts()
    write = _write_csv() if arguments.csv else _write_json
    code = exits.OK
    try:
        with_backend(settings, lambda backend, interruption: _list_all(backend, write, counts, interruption))
    except NotStarted as error:
        return complain(error, exits.UNAVAILABLE)
    except errors.Unavailable as error:
        code = complain(error, exits.UNAVAILABLE)
    except Interrupted as error:
        code = error.code
    sys.stdout.flush()
    if not counts.complete:
        sys.stderr.write("pacarchive: the list is not complete\n")
    sys.stderr.write(f"{counts}\n")
    return code or (exits.FAILED if counts.failed else exits.OK)


async def _list_all(
    backend: IArchiveBackend, write: Callable[[dict[str, Any]], None], counts: _Counts, interruption: Interruption
) -> None:
    if not IInventory.providedBy(backend):
        raise ConfigError("admin inventory", "the storage of this archive cannot list its files")
    display = Display("inventory")
    place: str | None = ""
    with display.shown(quiet=True):  # lines alone: nobody knows how many there are
        while place is not None and not interruption.received:
            page = await IInventory(backend).inventory(place, _PAGE)
            for file_id, status in page.files.items():
                entry = inventory_entry(file_id, status)
                counts.files += 1
                counts.bytes += entry.get("bytes", 0)
                counts.failed += isinstance(status, Exception)
                write(entry)
            display.look(f"inventory: {counts}")
            place = page.place
    counts.complete = place is None


def _write_json(entry: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(entry)}\n")


def _write_csv() -> Callable[[dict[str, Any]], None]:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_COLUMNS)

    def write(entry: dict[str, Any]) -> None:
        digests = " ".join(f"{name}:{digest}" for name, digest in entry.get("digests", {}).items())
        error = entry.get("error", {}).get("message")
        writer.writerow([{**entry, "digests": digests, "error": error}.get(column) for column in _COLUMNS])

    return write
