"""What requests about stage jobs ask for, read from their URLs and bodies."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pacarchive import errors
from pacarchive.ids import MAX_FILE_ID, parse_file_id
from pacarchive.recall.words import Priority
from pacarchive.web.http.documents import parse_in_turn, read_document, read_text, require_json
from pacarchive.web.http.durations import parse_duration

if TYPE_CHECKING:
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest

PAGE = 1000
"""How many entries a page has where the client does not say."""

LARGEST_PAGE = 10_000
"""The most that it may ask for."""

_JOB = re.compile(r"[0-9a-f]{32}", re.ASCII)
_RANGE = re.compile(r"([0-9]{1,20})-([0-9]{1,20})", re.ASCII)
_PIN = re.compile(r"([0-9]+)-([0-9a-f]{32})", re.ASCII)
_PRIORITIES = {priority.name.lower(): priority for priority in Priority}
_OVERLAP = 4  # how often over a list may name what a job may have: ranges that overlap cost time and say nothing
_LONGEST = 1e10  # seconds, some three centuries: times stay what a calendar can say
_LONGEST_LINE = 250
_STEPS = 1000  # of the work on a list, before others have their turn: about a millisecond


def check_job(job: str) -> None:
    if _JOB.fullmatch(job) is None:
        raise errors.NotFound("There is no such job.")


def query(request: ArchiveRequest, name: str) -> str | None:
    """A parameter of the URL; an empty one is none."""
    texts = (request.args or {}).get(name.encode("ascii"), [])
    if len(texts) > 1:
        raise errors.InvalidRequest(f'"{name}" is given twice.')
    return texts[0].decode("latin-1") or None if texts else None


def number(name: str, text: str, least: int, most: int) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 20 and least <= (number := int(text)) <= most:
        return number
    raise errors.InvalidRequest(f'"{name}" is a number from {least} to {most}.')


def page_limit(request: ArchiveRequest) -> int:
    text = query(request, "limit")
    return PAGE if text is None else number("limit", text, 1, LARGEST_PAGE)


def duration(document: Mapping[str, Any], name: str) -> float | None:
    """Seconds, from a number of them or from text such as C{PT1H}."""
    value = document.get(name)
    seconds = parse_duration(value) if isinstance(value, str) else value
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _LONGEST:
        raise errors.InvalidRequest(f'"{name}" is a number of seconds, or text such as PT1H or P1D.')
    return float(seconds)


def priority(value: object) -> Priority:
    if not isinstance(value, str) or value not in _PRIORITIES:
        raise errors.InvalidRequest(f'"priority" is one of {", ".join(_PRIORITIES)}.')
    return _PRIORITIES[value]


async def json_object(request: ArchiveRequest, known: Collection[str], what: str) -> Mapping[str, Any]:
    """
    The body, which is a JSON object.

    @param known: The members that it may have.
    @param what: What it is, for a message.
    """
    require_json(request)
    document = await read_document(request)
    if not isinstance(document, dict):
        raise errors.InvalidRequest("The body is a JSON object.")
    if unknown := document.keys() - known:
        raise errors.InvalidRequest(f"A {what} has no {quoted(min(unknown))}.")
    return document


def line(document: Mapping[str, Any], name: str) -> str | None:
    """A member that is text in one line, as long as the store keeps; C{None} where there is none."""
    if (value := document.get(name)) is None:
        return None
    if not isinstance(value, str) or len(value) > _LONGEST_LINE or not value.isprintable():
        raise errors.InvalidRequest(f'"{name}" is text in one line, of at most {_LONGEST_LINE} characters.')
    return value


async def some_files(app: RouteContext, request: ArchiveRequest) -> Sequence[int] | None:
    """The files that a body names; C{None} for all: an empty body.  An empty array is a mistake rather than all."""
    text = await read_text(request)
    if not text:
        return None
    require_json(request)
    document = await parse_in_turn(request, text)
    if not isinstance(document, dict) or document.keys() - {"files"}:
        raise errors.InvalidRequest('The body is empty, or a JSON object with "files", an array of ids and ranges.')
    return await expand(app, request, document["files"]) if "files" in document else None


async def expand(app: RouteContext, request: ArchiveRequest, entries: object) -> Sequence[int]:
    """
    The ids that ids and ranges name, each once.

    @raise errors.InvalidRequest: It is no array of those.
    @raise errors.TooLarge: They are more than a job may have.
    """
    if not isinstance(entries, list) or not entries:
        raise errors.InvalidRequest('"files" is an array of ids and ranges such as 12, "13", "20-35", and not empty.')
    limit = app.recall_settings.job_files
    file_ids: dict[int, None] = {}
    left = limit * _OVERLAP
    steps = 0
    for entry in entries:
        first, last = _first_and_last(entry)
        left -= last - first + 1
        if left >= 0:
            file_ids.update(dict.fromkeys(range(first, last + 1)))
        if left < 0 or len(file_ids) > limit:
            raise errors.TooLarge(f"A job has {limit} files at the most.")
        steps += 1 + (last - first >> 4)
        if steps >= _STEPS:
            steps = 0
            await request.give_way()
    return list(file_ids)


def _first_and_last(entry: object) -> tuple[int, int]:
    try:
        if isinstance(entry, str):
            if match := _RANGE.fullmatch(entry):
                first, last = parse_file_id(match[1]), parse_file_id(match[2])
            else:
                first = last = parse_file_id(entry)
            if first <= last:
                return first, last
        elif isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry <= MAX_FILE_ID:
            return entry, entry
    except ValueError:
        pass
    raise errors.InvalidRequest(f"{quoted(entry)} is neither an id nor a range of ids.")


def quoted(value: object) -> str:
    """What a client wrote, short enough to be said again."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def pin_key(text: str) -> tuple[int, str]:
    """The file and the job of the pin that a page ended with."""
    if match := _PIN.fullmatch(text):
        with suppress(ValueError):
            return parse_file_id(match[1]), match[2]
    raise errors.InvalidRequest('"after" is what an earlier page gave.')
