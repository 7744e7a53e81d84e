"""Whether a directory that was opened is still the one that its path leads to."""

from __future__ import annotations

import os

from pacarchive import errors

GONE = "The directory of the archive is not in its place any more."
ANOTHERS = (
    "Another directory is in the place of the archive's than when the server was started: what it stored now could not "
    "be seen there. It has to be started again."
)


def require_in_place(path: str, directory: int) -> None:
    """
    See that a directory can still be found under its path: it may have been renamed, removed, unmounted, or hidden by
    what was mounted there since.  What is stored in it then is lost to everybody else.

    @param path: An absolute path.
    @param directory: A descriptor.
    @raise errors.BackendUnavailable: It cannot.
    @raise OSError: The file system does not say.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise errors.BackendUnavailable(GONE) from error
    except PermissionError:
        return  # the user that the server has become has no right to walk there, and needs none
    if not os.path.samestat(found, os.fstat(directory)):
        raise errors.BackendUnavailable(ANOTHERS)
