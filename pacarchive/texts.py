"""Read text that people have written with any editor (settings, lists of ids, tokens), and write text for people."""

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
    """Data is not valid text.  C{str()} says why, as a message to be preceded by the name of the file."""


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
    Decode UTF-8, with or without the byte order mark that some editors write.

    @param errors: As for C{bytes.decode}.
    @return: The text without the mark, and with C{\\n} for every line end.
    @raise NotText: It is not UTF-8 text.
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
    Return text with characters that are not printable escaped: they could control a terminal, break a line of a log in
    two, or not be encodable at all, as undecodable bytes of a file's name.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _line(data: bytes, place: int) -> int:
    return data.count(b"\n", 0, place) + 1


def counted(number: int, noun: str) -> str:
    """Return a number and a noun, in the plural with C{s} where that is needed: C{"1 file"}, C{"2,000 files"}."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
