"""Sizes, times and failures, as a person reads them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from pacarchive.cli import exits
from pacarchive.cli.remote.ids import Misunderstood
from pacarchive.client import (
    AlreadyExists,
    CertificateRefused,
    ClientError,
    ConnectionFailed,
    DigestMismatch,
    NotFound,
    NotVerifiable,
    Offline,
    PreconditionFailed,
    ServerUnavailable,
    Unauthorised,
)

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw]?)", re.ASCII)


def size_words(size: float) -> str:
    """A number of bytes, in at most nine characters."""
    exponent = 0
    while size >= 1023.95 and exponent < len(_UNITS) - 1:  # what would be shown as 1024.0
        size /= 1024
        exponent += 1
    return f"{size:.0f} B" if exponent == 0 else f"{size:.1f} {_UNITS[exponent]}"


def amount_words(size: int, total: int | None) -> str:
    """How many of how many bytes; in the same unit, so that it is short."""
    if not total:
        return size_words(size)
    number, unit = size_words(total).split()
    factor = 1024 ** _UNITS.index(unit)
    done = size_words(size).split()[0] if factor == 1 else f"{size / factor:.1f}"
    return f"{done}/{number} {unit}"


def time_words(seconds: float) -> str:
    """How long something takes, in at most eight characters."""
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


def when_words(time: float) -> str:
    """A time, in UTC."""
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{time:g}"


def parse_duration(text: str) -> float:
    """
    Read how long something is to last: C{90}, C{90s}, C{15m}, C{2h}, C{7d} or C{2w}.

    @return: Seconds.
    @raise Misunderstood: It is none of these.
    """
    if (found := _DURATION.fullmatch(text)) is None:
        raise Misunderstood(f"{text!r} is no duration; write 90s, 15m, 2h or 7d")
    return float(found[1]) * _SECONDS[found[2]]


def printable(text: str) -> str:
    """Text without anything that a terminal would obey."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def failure_words(error: Exception) -> str:
    """What went wrong, and what to type or do about it, in one line."""
    if isinstance(error, Offline):
        return f"is on tape; add --wait (the archive thinks of {time_words(error.retry_after)} at least)"
    if isinstance(error, OSError):
        name = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return printable(f"{name}{error.strerror or error}")
    words = str(error) or type(error).__name__
    return printable(f"{words.rstrip('.')}. {advice_of(error)}".strip())


def advice_of(error: Exception) -> str:
    """What to do about it, in the words of this command."""
    for kind, advice in _ADVICE:
        if isinstance(error, kind):
            return advice
    return error.advice if isinstance(error, ClientError) else ""


_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (Offline, "Add --wait."),
    (NotFound, ""),
    (AlreadyExists, "Use another id; or --replace, if what is there may go and the archive allows that."),
    (PreconditionFailed, "Use another id; or --replace, if what is there may go and the archive allows that."),
    (Unauthorised, "Give a token in $PACARCHIVE_TOKEN, or with --token-file."),
    (CertificateRefused, "If it is an authority of your own that signed it, name its certificate with --ca."),
    (ConnectionFailed, "Check the address ($PACARCHIVE_URL or --url), and the network; pacarchive health tells more."),
    (ServerUnavailable, "Try again later; pacarchive health tells more."),
    (NotVerifiable, "Whoever runs the archive can have it computed: pacarchive admin digest."),
)


def exit_code_of(error: Exception) -> int:
    """What the command ends with if nothing else went wrong."""
    if isinstance(error, Misunderstood):
        return exits.USAGE
    if isinstance(error, Offline):
        return exits.OFFLINE
    if isinstance(error, DigestMismatch):
        return exits.DIFFERENT
    if isinstance(error, ServerUnavailable) or (
        isinstance(error, ConnectionFailed) and not isinstance(error, CertificateRefused)
    ):
        return exits.UNAVAILABLE
    return exits.FAILED
