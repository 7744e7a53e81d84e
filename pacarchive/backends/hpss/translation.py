"""Translate errors of HPSS into the archive's own."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from pacarchive import errors
from pacarchive.backends.hpss.client import HpssError


@contextmanager
def translating(doing: str, absent: type[errors.ArchiveError] = errors.NotFound) -> Iterator[None]:
    """
    Raise L{HpssError}s of the block as the archive's errors.  HPSS's name and number are in their reason.

    @param doing: How the predecessor's message begins, such as C{"Can't open hpss file"}.
    @param absent: The error for a missing name; L{errors.NotFound} only where it is that of a client's file.
    """
    try:
        yield
    except HpssError as error:
        raise archive_error(error, doing, absent) from error


def archive_error(
    error: HpssError, doing: str, absent: type[errors.ArchiveError] = errors.NotFound
) -> errors.ArchiveError:
    """Return the archive's error for one of HPSS; parameters as those of L{translating}."""
    reason = f"{doing} with error: {error.name} ({error.code})"
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.ELOOP | errno.ENAMETOOLONG:
            message = "No file has this id." if absent is errors.NotFound else "A part of the archive is not there."
            return absent(message, reason=reason)
        case errno.ENOSPC | errno.EDQUOT:
            return errors.NoSpace("The archive has no space left for this file.", reason=reason)
        case errno.EFBIG:
            return errors.TooLarge("The storage takes no file of this size.", reason=reason)
        case _:
            return errors.BackendUnavailable(f"The storage failed: {error.name} ({error.code}).", reason=reason)
