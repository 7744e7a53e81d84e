"""From what HPSS says to what the archive says."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from pacarchive import errors
from pacarchive.backends.hpss.client import HpssError


@contextmanager
def translating(doing: str, absent: type[errors.ArchiveError] = errors.NotFound) -> Iterator[None]:
    """
    Put failed calls into the archive's words.  HPSS's name and number of the error are kept as the reason.

    @param doing: The predecessor's beginning of the sentence, such as C{"Can't open hpss file"}.
    @param absent: What it means that a name is not there; it is the client's affair only where he gave the name.
    """
    try:
        yield
    except HpssError as error:
        raise in_words(error, doing, absent) from error


def in_words(error: HpssError, doing: str, absent: type[errors.ArchiveError] = errors.NotFound) -> errors.ArchiveError:
    """The archive's error for one of HPSS; parameters as L{translating}."""
    reason = f"{doing} with error: {error.name} ({error.code})"
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.ELOOP | errno.ENAMETOOLONG:
            words = "No file has this id." if absent is errors.NotFound else "A part of the archive is not there."
            return absent(words, reason=reason)
        case errno.ENOSPC | errno.EDQUOT:
            return errors.NoSpace("The archive has no space left for this file.", reason=reason)
        case errno.EFBIG:
            return errors.TooLarge("The storage takes no file of this size.", reason=reason)
        case _:
            return errors.BackendUnavailable(f"The storage failed: {error.name} ({error.code}).", reason=reason)
