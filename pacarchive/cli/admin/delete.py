"""C{pacarchive admin delete}: remove files by their ids, by the rules of the backend."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pacarchive import errors
from pacarchive.cli import exits
from pacarchive.cli.admin.archive import settings_of
from pacarchive.cli.admin.running import Interruption, NotStarted, with_backend
from pacarchive.cli.asking import require_yes
from pacarchive.cli.printing import complain, print_json
from pacarchive.cli.streams import Interrupted
from pacarchive.ids import parse_file_id
from pacarchive.model import WriteConditions
from pacarchive.settings.making import make_archive
from pacarchive.settings.reading import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from pacarchive.interfaces import IArchiveBackend

    Report = Callable[[int, errors.ArchiveError | None], None]


def run(arguments: argparse.Namespace) -> int:
    """Run the command.  @return: The exit code."""
    ids = _ids(arguments.ids)
    settings = settings_of(arguments)
    if not arguments.yes:
        require_yes(ids, f"{settings.server.type} archive {settings.server.prefix}")
    outcomes: dict[int, errors.ArchiveError | None] = {}

    def report(file_id: int, error: errors.ArchiveError | None) -> None:
        outcomes[file_id] = error
        if arguments.json:
            print_json(_as_json(file_id, error))
        elif error is not None:
            sys.stderr.write(f"pacarchive: file {file_id}: {_describe(error)}\n")

    code = exits.FAILED
    try:
        with_backend(
            settings,
            lambda backend, interruption: _remove_all(backend, ids, report, interruption),
            make_archive,  # what another archive would bring back is not removed
        )
        if all(error is None for error in outcomes.values()):
            code = exits.OK
        elif any(isinstance(error, errors.Unavailable) for error in outcomes.values()):
            code = exits.UNAVAILABLE
    except NotStarted as error:
        return complain(error, exits.UNAVAILABLE)
    except Interrupted as error:
        code = error.code
    _summarise(ids, outcomes, as_json=arguments.json)
    return code


def _ids(texts: Sequence[str]) -> list[int]:
    ids = []
    for text in texts:
        try:
            ids.append(parse_file_id(text))
        except ValueError as error:
            raise ConfigError(f"{text!r}", "is not a valid id (a plain number below 2^64); removed nothing") from error
    return list(dict.fromkeys(ids))


async def _remove_all(backend: IArchiveBackend, ids: Sequence[int], report: Report, interruption: Interruption) -> None:
    for file_id in ids:
        if interruption.received:
            return
        try:
            await backend.remove(file_id, WriteConditions())
        except errors.ArchiveError as error:
            report(file_id, error)
        else:
            report(file_id, None)


def _describe(error: errors.ArchiveError) -> str:
    if _is_absence(error):
        return "there is none"
    return f"not removed: {error.reason}"


def _is_absence(error: errors.ArchiveError | None) -> bool:
    return isinstance(error, errors.NotFound) and not isinstance(error, errors.NotAFile)


def _as_json(file_id: int, error: errors.ArchiveError | None) -> dict[str, object]:
    if error is None:
        return {"file": str(file_id), "removed": True}
    document = {"kind": type(error).__name__, "message": error.reason}
    return {"file": str(file_id), "removed": False, "error": document}


def _summarise(ids: Sequence[int], outcomes: dict[int, errors.ArchiveError | None], *, as_json: bool) -> None:
    counts = {
        "removed": sum(error is None for error in outcomes.values()),
        "absent": sum(_is_absence(error) for error in outcomes.values()),
    }
    counts["failed"] = len(outcomes) - sum(counts.values())
    counts["left"] = len(ids) - len(outcomes)
    if as_json:
        print_json({"summary": counts})
        return
    parts = [f"{counts[key]} {words}" for key, words in _COUNTED.items() if counts[key] or key == "removed"]
    sys.stdout.write(", ".join(parts) + "\n")


_COUNTED = {"removed": "removed", "absent": "had no file", "failed": "not removed", "left": "not tried: interrupted"}
