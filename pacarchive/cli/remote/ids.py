"""Which files a command is about: ids, ranges of ids, and files of ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from pacarchive.cli.words import Misunderstood
from pacarchive.ids import MAX_FILE_ID, parse_file_id
from pacarchive.texts import NotText, decoded, read_text

MOST = 1_000_000
"""How many ids one command takes: a slip of the pen in a range is not to run for a year."""


def parse_ids(texts: Iterable[str], stdin: TextIO) -> list[int]:
    """
    Read ids as a user gives them.

    @param texts: Each C{12}, C{12-20}, C{@FILE} or C{-}; a file has any number of the first two, with white space,
        commas or ends of lines between them, and comments after C{#}.
    @return: Each id once, in the order in which they were given.
    @raise Misunderstood: One of them is none of these, or they are too many.
    """
    ids: dict[int, None] = {}
    for text, where in _words(texts, stdin):
        span = _span(text, where)
        if len(ids) + len(span) > MOST:
            raise Misunderstood(f"{where}that is more than {MOST:,} files; give fewer at a time")
        ids.update(dict.fromkeys(span))
    if not ids:
        raise Misunderstood("no ids were given")
    return list(ids)


def _words(texts: Iterable[str], stdin: TextIO) -> Iterator[tuple[str, str]]:
    """Each id or range, with the words that say where it stands."""
    for text in texts:
        if text != "-" and not text.startswith("@"):
            yield text, ""
            continue
        for number, line in read_lines(text.removeprefix("@") or "-", stdin):
            for word in line.replace(",", " ").split():
                yield word, f"{'stdin' if text in ('-', '@') else text[1:]}, line {number}: "


def read_lines(path: str, stdin: TextIO) -> Iterator[tuple[int, str]]:
    """
    Lines of a file without comments, those with something in them, and their numbers.

    @param path: C{-} for standard input.
    @raise Misunderstood: It cannot be read.
    """
    for number, line in enumerate(text_of(path, stdin).split("\n"), 1):
        if (line := line.partition("#")[0].strip()) != "":
            yield number, line


def text_of(path: str, stdin: TextIO, errors: str = "strict") -> str:
    """
    All of a file.

    @param path: C{-} for standard input.
    @param errors: What becomes of bytes that are no UTF-8, as for C{bytes.decode}: names of files may have them.
    @raise Misunderstood: It cannot be read, or is no text.
    """
    try:
        # Not stdin's own decoder: it goes by the terminal's language.
        return decoded(stdin.buffer.read(), errors) if path == "-" else read_text(path, errors)
    except OSError as error:
        raise Misunderstood(f"{path}: {error.strerror}") from error
    except NotText as error:
        raise Misunderstood(f"{'stdin' if path == '-' else path}: {error}") from None


def _span(text: str, where: str) -> range:
    first, dash, last = text.partition("-")
    try:
        start = parse_file_id(first)
        end = parse_file_id(last) if dash else start
    except ValueError:
        raise Misunderstood(f"{where}{text!r} is not a valid id; {_why_not(first, last)}") from None
    if end < start:
        raise Misunderstood(f"{where}the range {text} ends before it begins")
    return range(start, end + 1)


def _why_not(*texts: str) -> str:
    for text in texts:
        if text.isascii() and text.isdigit():
            if text != "0" and text.startswith("0"):
                return "ids have no leading zeros"
            if len(text) > 20 or int(text) > MAX_FILE_ID:
                return f"the largest is {MAX_FILE_ID}"
    return "ids are like 12, ranges like 12-20"


def parse_id(text: str) -> int:
    """
    @raise Misunderstood: It is no id.
    """
    return _span(text, "").start if "-" not in text else _refuse(text)


def _refuse(text: str) -> int:
    raise Misunderstood(f"{text!r} is not a valid id; one is needed here, like 12")


def numbered(files: Sequence[str], first: str) -> list[tuple[int, str]]:
    """
    Files by consecutive ids.

    @raise Misunderstood: The ids are none.
    """
    start = parse_id(first)
    ids = range(start, start + len(files))
    _span(str(ids[-1]), "")
    return list(zip(ids, files, strict=True))


def ids_of_directory(directory: str) -> list[tuple[int, str]]:
    """
    Files whose names are ids, as C{get -o DIRECTORY} makes them.

    @raise Misunderstood: There are none, or it cannot be read.
    """
    found = []
    try:
        entries = sorted(Path(directory).iterdir())
    except OSError as error:
        raise Misunderstood(f"{directory}: {error.strerror}") from error
    for entry in entries:
        try:
            file_id = parse_file_id(entry.name)
        except ValueError:
            continue
        if entry.is_file():
            found.append((file_id, str(entry)))
    if not found:
        raise Misunderstood(f"{directory}: no file in it has an id for a name")
    return sorted(found)
