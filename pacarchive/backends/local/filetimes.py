"""Times of files: what a file system cannot keep is refused, and never becomes another time."""

from __future__ import annotations

import errno
import os

from pacarchive import errors
from pacarchive.times import SECOND

_REFUSED = frozenset({errno.EINVAL, errno.ERANGE, errno.EOVERFLOW})


def set_time(descriptor: int, mtime_ns: int) -> None:
    """
    Give an open file its time of modification.

    The kernel says nothing when it takes the nearest time that the file system has: the year 9999 becomes 2446 on
    ext4, and 2038 where its inodes are small.  So the time is read back.  A part of a second that is cut off, as the
    file system counts in coarser steps, is in order.

    @param mtime_ns: Nanoseconds since the epoch.
    @raise errors.InvalidRequest: The file system does not keep this time.
    @raise OSError: It failed.
    """
    try:
        os.utime(descriptor, ns=(mtime_ns, mtime_ns))
    except OverflowError as error:
        raise _not_kept() from error
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        raise _not_kept() from error
    if not 0 <= mtime_ns - os.fstat(descriptor).st_mtime_ns < SECOND:
        raise _not_kept()


def _not_kept() -> errors.InvalidRequest:
    return errors.InvalidRequest("The file system of this archive cannot keep a time so early or so late.")
