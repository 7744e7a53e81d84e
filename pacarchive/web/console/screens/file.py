"""The page of one file: where its bytes are, what is known of them, and what happened to it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from twisted.web.template import tags

from pacarchive.access.rights import Right
from pacarchive.model import FileStatus, Locality
from pacarchive.times import SECOND
from pacarchive.web.console.asking import Question, Screen, or_words
from pacarchive.web.console.parts import NOTHING, Column, facts, mark, moment, panel, table
from pacarchive.web.console.words import percent_of, size_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twisted.web.template import Flattenable, Tag

_LINES = 20
"""Lines of its history."""

_LONGEST = 200
"""Characters of what a line says of one thing."""

_HISTORY = (
    Column("When"),
    Column("What"),
    Column("Who", "name"),
    Column("Address", "name"),
    Column("Size", "num"),
    Column("Digest", "wide"),
    Column("Why", "wide"),
)
_LOCALITIES = {
    Locality.DISK: ("good", "on disk"),
    Locality.DISK_AND_TAPE: ("good", "on disk and on tape"),
    Locality.TAPE: ("wait", "on tape"),
    Locality.LOST: ("bad", "lost: the storage system has no bytes of it"),
    Locality.NONE: ("off", "empty"),
    Locality.UNAVAILABLE: ("bad", "unavailable: the storage system cannot give it now"),
}


async def _file(question: Question) -> Sequence[Flattenable]:
    file_id = question.names["file_id"]
    status = await question.app.backend.status(file_id)
    failure = await or_words(question.app.recall.reason(file_id))
    return [_known(status, failure, question), _levels(status), _digests(status), await _history(question, file_id)]


def _known(status: FileStatus, failure: str | None, question: Question) -> Tag:
    kind, words = _LOCALITIES[status.locality]
    pairs: list[tuple[str, Flattenable]] = [
        ("Where", mark(kind, words)),
        ("Size", f"{size_words(status.size)} ({status.size:,} bytes)"),
        ("Modified, by its sender", moment(status.mtime_ns / SECOND, question.now)),
        ("Changed in the storage", moment(status.ctime_ns / SECOND, question.now)),
        ("Version", tags.code(status.etag)),
    ]
    if question.viewer.is_admin:
        pairs.append(("Path", tags.code(status.path)))
    if failure:
        pairs.append(("Last recall", mark("bad", failure)))
    pairs.append(("Fixity", mark("off", "not watched yet")))
    return panel("File", facts(pairs), ident="file")


def _levels(status: FileStatus) -> Tag:
    columns = (Column("Level"), Column("Medium"), Column("Bytes", "num"), Column("Of the file", "num"))
    rows = [
        [str(number), medium, f"{there:,}", f"{percent_of(there, status.size)} %"]
        for number, (medium, there) in enumerate(zip(status.media, status.bytes_per_level, strict=True), 1)
    ]
    caption = "How many of its bytes each level of the storage has, the fastest first."
    return panel("Levels", table(caption, columns, rows, "The storage names no levels."), ident="levels")


def _digests(status: FileStatus) -> Tag:
    columns = (Column("Algorithm"), Column("Digest", "wide"))
    rows: list[Sequence[Flattenable]] = [
        [name, tags.code(digest.hex())] for name, digest in sorted(status.digests.items())
    ]
    caption = "The digests that are stored with it."
    empty = "No digest is stored with it: it was not written by this server."
    return panel("Digests", table(caption, columns, rows, empty), ident="digests")


async def _history(question: Question, file_id: int) -> Tag:
    audit, viewer = question.app.audit, question.viewer
    if audit is None:
        words = "There is no history: no audit file is set, which would have a line for each change ([audit] file)."
        return panel("History", tags.p(words, class_="empty"), ident="history")
    found = await or_words(audit.history(file_id))
    if isinstance(found, str):
        return panel("History", tags.p(mark("bad", found)), ident="history")
    shown = [each for each in found.lines if viewer.is_admin or _is_of(viewer.owner, each)][:_LINES]
    whose = "What was done with it" if viewer.is_admin else "What you have done with it"
    reach = "" if found.whole else "; what was long ago is not looked for"
    caption = f"{whose}, the last first, by the audit file and the one before it{reach}."
    empty = "The audit file has nothing about it." if viewer.is_admin else "The audit file has nothing that you did."
    rows = [_line(each, question.now) for each in shown]
    return panel("History", table(caption, _HISTORY, rows, empty), ident="history")


def _is_of(owner: str | None, line: Mapping[str, object]) -> bool:
    """Whether a line is about what somebody did.  Those who are not recognised have no name that is theirs alone."""
    return owner is not None and ":" in owner and line.get("principal") == owner


def _line(line: Mapping[str, object], now: float) -> Sequence[Flattenable]:
    said = {name: str(value)[:_LONGEST] for name, value in line.items()}
    try:
        when = moment(datetime.fromisoformat(said.get("time", "")).timestamp(), now)
    except (ValueError, OverflowError):
        when = NOTHING
    size = line.get("bytes")
    return [
        when,
        said.get("what", NOTHING),
        said.get("principal", NOTHING),
        said.get("address", NOTHING),
        size_words(size) if isinstance(size, int) else NOTHING,
        tags.code(said["digest"]) if "digest" in said else NOTHING,
        said.get("why", NOTHING),
    ]


def _title(names: Mapping[str, object]) -> str:
    return f"File {names['file_id']}"


SCREEN = Screen(path="/files/<file_id:file_id>", title=_title, make=_file, section=None, needs=Right.STAT)
