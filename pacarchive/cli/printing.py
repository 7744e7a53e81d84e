"""What commands print: sizes, times, names from a file system, and JSON."""

from __future__ import annotations

import json
import math
import os
import sys
from datetime import UTC, datetime
from typing import TextIO

from pacarchive.texts import counted

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def is_screen(file: TextIO) -> bool:
    """Return whether lines on a file can be drawn again."""
    return file.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def write_line(line: str, file: TextIO | None = None) -> None:
    """Write a line and flush it, by default to standard output."""
    file = file or sys.stdout
    file.write(f"{line}\n")
    file.flush()


def print_json(value: object) -> None:
    """Print a value as one line of JSON; undecodable bytes of names are kept, as C{surrogateescape} encodes them."""
    write_line(json.dumps(value))


def complain(error: object, code: int) -> int:
    """
    Write to stderr why a command ends.

    @return: C{code}.
    """
    write_line(f"pacarchive: {error}", sys.stderr)
    return code


def size_words(size: float) -> str:
    """Return a size in bytes as text, of at most nine characters."""
    exponent = 0
    while size >= 1023.95 and exponent < len(_UNITS) - 1:  # larger ones would be shown as 1024.0
        size /= 1024
        exponent += 1
    return f"{size:.0f} B" if exponent == 0 else f"{size:.1f} {_UNITS[exponent]}"


def amount_words(size: int, total: int | None) -> str:
    """Return how many of how many bytes as text, both in the same unit."""
    if not total:
        return size_words(size)
    number, unit = size_words(total).split()
    factor = 1024 ** _UNITS.index(unit)
    done = size_words(size).split()[0] if factor == 1 else f"{size / factor:.1f}"
    return f"{done}/{number} {unit}"


def time_words(seconds: float) -> str:
    """Return a duration as text, of at most eight characters."""
    if seconds < 0.95:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    if whole < 48 * 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02} h"
    return f"{whole // 86400} days" if whole < 10_000 * 86400 else "very long"


def clock_words(time: float, now: float) -> str:
    """Return a time as text, in the local time zone; with the date if it is not near C{now}."""
    try:
        return datetime.fromtimestamp(time).strftime("%H:%M" if abs(time - now) < 20 * 3600 else "%Y-%m-%d %H:%M")  # noqa: DTZ006
    except (OverflowError, ValueError, OSError):
        return f"{time:g}"


def when_words(time: float) -> str:
    """Return a time as text, in UTC, rounded down to a second."""
    try:
        return datetime.fromtimestamp(math.floor(time), UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{time:g}"


def decapitalised(text: str) -> str:
    """Return a sentence as it can follow another: with a small letter, unless it begins with a name in capitals."""
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def wait_words(seconds: float) -> str:
    """Return as text how long one has to wait at least: in whole units, rounded up."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return counted(math.ceil(seconds / length), unit)
    return counted(max(1, math.ceil(seconds)), "second")


def age_words(seconds: float) -> str:
    """Return a duration as text, in the unit that fits."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return counted(round(max(0.0, seconds)), "second")
