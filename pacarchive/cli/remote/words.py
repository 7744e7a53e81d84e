"""Failures as a person reads them, and durations as he writes them."""

from __future__ import annotations

import re

from pacarchive.cli import exits
from pacarchive.cli.printing import decapitalised, wait_words
from pacarchive.cli.words import Misunderstood
from pacarchive.client import (
    AlreadyExists,
    CertificateRefused,
    ClientError,
    ConnectionFailed,
    DigestMismatch,
    InvalidRequest,
    NotFound,
    NotPermitted,
    NotVerifiable,
    Offline,
    PreconditionFailed,
    ServerUnavailable,
    Stalled,
    TokenUnusable,
    Unauthorised,
    WrongName,
    WrongScheme,
)
from pacarchive.texts import printable

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw]?)", re.ASCII)


def parse_duration(text: str) -> float:
    """
    Read how long something is to last: C{90s}, C{15m}, C{2h}, C{7d} or C{2w}.

    @return: Seconds.
    @raise Misunderstood: It is none of these.
    """
    if (found := _DURATION.fullmatch(text)) is None:
        raise Misunderstood(f"{text!r} is not a valid time; write 90s, 15m, 2h or 7d")
    if not found[2]:
        raise Misunderstood(f"{text!r} has no unit; write {text}s, {text}m, {text}h or {text}d")
    return float(found[1]) * _SECONDS[found[2]]


_JUST_ON_TAPE = "The file is on tape"
"""How the archive's words begin where nothing is wrong."""


def failure_words(error: Exception, what: str = "") -> str:
    """
    What went wrong, and what to type or do about it, in one line.

    @param what: What stands before it, and need not be said twice.
    """
    if isinstance(error, Offline):
        wait = f"add --wait (expected wait: at least {wait_words(error.retry_after)})"
        if (words := str(error)).startswith(_JUST_ON_TAPE):
            begun = "" if error.job is None else ", and is being recalled now"
            return f"is on tape{begun}; {wait}"
        return printable(f"is on tape: {decapitalised(words.rstrip('.'))}; {wait}")
    if isinstance(error, OSError):
        named = isinstance(error.filename, str) and not what.startswith(error.filename)
        return printable(f"{f'{error.filename}: ' if named else ''}{error.strerror or error}")
    words = str(error) or type(error).__name__
    return printable(f"{words.rstrip('.')}. {advice_of(error)}".strip())


def advice_of(error: Exception) -> str:
    """What to do about it, in the words of this command."""
    if isinstance(error, Unauthorised):
        ways = [words for scheme, words in _WAYS if scheme in error.schemes] or [words for _, words in _WAYS]
        return f"Give {', or '.join(ways)}."
    for kind, advice in _ADVICE:
        if isinstance(error, kind):
            return advice
    return error.advice if isinstance(error, ClientError) else ""


_WAYS = (
    ("Bearer", "a fresh token with --token-file or in $PACARCHIVE_TOKEN"),
    ("Basic", "--user NAME"),
    ("Certificate", "--cert FILE"),
)
"""The options for credentials, by the scheme that the archive accepts."""

_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (Offline, "Add --wait."),
    (NotFound, ""),
    (InvalidRequest, ""),
    (NotPermitted, "Ask whoever runs the archive."),
    (AlreadyExists, "Use another id; or --replace, if what is there may go and the archive allows that."),
    (PreconditionFailed, "Use another id; or --replace, if what is there may go and the archive allows that."),
    (WrongScheme, ""),
    (WrongName, "Use a URL with a name that the certificate has."),
    (CertificateRefused, "If it is an authority of your own that signed it, name its certificate with --ca."),
    (Stalled, "Try again later."),
    (ConnectionFailed, "Check the address ($PACARCHIVE_URL or --url) and the network."),
    (ServerUnavailable, "Try again later; 'pacarchive health' tells more."),
    (NotVerifiable, "Whoever runs the archive can have it computed: pacarchive admin digest."),
)


def exit_code_of(error: Exception) -> int:
    """What the command ends with if nothing else went wrong."""
    if isinstance(error, Misunderstood | TokenUnusable):
        return exits.USAGE
    if isinstance(error, Unauthorised):
        return exits.UNAUTHORISED
    if isinstance(error, NotPermitted):
        return exits.NOT_PERMITTED
    if isinstance(error, Offline):
        return exits.OFFLINE
    if isinstance(error, DigestMismatch):
        return exits.DIFFERENT
    if isinstance(error, ServerUnavailable) or (
        isinstance(error, ConnectionFailed) and not isinstance(error, CertificateRefused)
    ):
        return exits.UNAVAILABLE
    return exits.FAILED
