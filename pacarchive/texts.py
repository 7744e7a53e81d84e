"""Text that people write with an editor, any editor's: settings, lists of ids, tokens; and text that they see."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

# The longer ones first: that of UTF-32 begins with that of UTF-16.
_FOREIGN_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


class NotText(ValueError):
    """What was read is no text that can be used; C{str()} says why, in words that follow the name of the file."""


def read_text(path: str | os.PathLike[str], errors: str = "strict") -> str:
    """
    Read a whole text file.

    @param path: The file.
    @param errors: As for C{bytes.decode}.
    @return: As L{decoded}.
    @raise OSError: It cannot be read.
    @raise NotText: As L{decoded}.
    """
    return decoded(Path(path).read_bytes(), errors)


def decoded(data: bytes, errors: str = "strict") -> str:
    """
    Make text of bytes: UTF-8, with or without the byte order mark that some editors write.

    @param errors: As for C{bytes.decode}.
    @return: The text without the mark, its lines ended by C{\\n}, whatever ended them.
    @raise NotText: It is something else.
    """
    for mark, encoding in _FOREIGN_MARKS:
        if data.startswith(mark):
            raise NotText(f"is {encoding}; save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if (place := data.find(b"\0")) >= 0:
        raise NotText(f"line {_line(data, place)} has a NUL in it; save it as UTF-8 text")
    try:
        return data.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise NotText(f"line {_line(data, error.start)} is not UTF-8 text") from None


def printable(text: str) -> str:
    """
    Text as a person can see it: what is not printable would do things to his terminal, make two lines of one in a log,
    or could not be written at all, as the odd bytes of a file's name.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _line(data: bytes, place: int) -> int:
    return data.count(b"\n", 0, place) + 1


def counted(number: int, noun: str) -> str:
    """So many of something that has its plural in s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
