"""The confirmation before files are removed for good, and before much is done at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pacarchive.cli.words import Misunderstood
from pacarchive.texts import counted

_NAMED = 5


def require_yes(ids: Sequence[int], archive: str = "archive") -> None:
    """
    Ask the user at the terminal whether to remove files.

    @param ids: The files.
    @param archive: The archive, as the question names it.
    @raise Misunderstood: The answer is not yes, or there is no terminal.
    """
    what = f"file {ids[0]}"
    if len(ids) > 1:
        more = f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
        what = f"{counted(len(ids), 'file')} ({', '.join(map(str, ids[:_NAMED]))}{more})"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Misunderstood(f"to remove {what} for good without being asked, give --yes")
    sys.stderr.write(f"Remove {what} from the {archive}, for good? Type yes: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != "yes":
        raise Misunderstood("nothing was removed")


def agrees(question: str) -> bool:
    """Ask the user at the terminal.  @return: Whether the answer is yes; also where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    sys.stderr.write(f"{question} Type yes: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip() == "yes"
