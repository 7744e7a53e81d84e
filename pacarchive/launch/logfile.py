"""A log file that others rotate: logrotate renames it, and then says so by SIGHUP."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY

DEFAULT_NAME = "twistd.log"
"""Where a twistd in the background logs to when nobody says where."""


class LogFile:
    """
    The file object of a log observer.  Unlike Twisted's own it never renames the file, and it can be opened anew
    without a moment in which a line has nowhere to go.

    @param path: The file, which is made if need be.
    @raise OSError: It cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)  # twistd changes the directory later
        self._descriptor = os.open(self.path, _FLAGS, 0o666)

    def write(self, text: str) -> None:
        """
        Write a line.

        @raise OSError: The file system does not take it.
        """
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        while data:
            data = data[os.write(self._descriptor, data) :]

    def flush(self) -> None:
        """Nothing waits to be written."""

    def reopen(self) -> None:
        """
        Go on in the file that has the name now; one that has to be made gets the mode of the one before.

        @raise OSError: It cannot be opened; what is written goes on to where it went.
        """
        is_new = not os.path.lexists(self.path)
        mode = stat.S_IMODE(os.fstat(self._descriptor).st_mode)
        opened = os.open(self.path, _FLAGS, mode)
        try:
            if is_new:
                os.fchmod(opened, mode)  # the umask was for it, too
            os.dup2(opened, self._descriptor, inheritable=False)
        finally:
            os.close(opened)

    def close(self) -> None:
        """Release it."""
        os.close(self._descriptor)


def log_file(twistd: Mapping[str, Any] | None) -> LogFile | None:
    """
    The log file that twistd is to write.

    @param twistd: twistd's own options, where it is twistd.
    @return: C{None} where the log goes elsewhere: to standard output, syslog, or an observer of the operator's.
    @raise OSError: It cannot be opened.
    """
    if twistd is None or twistd["syslog"] or twistd["logger"]:
        return None
    name: str | None = twistd["logfile"]
    if name == "-" or (not name and twistd["nodaemon"]):
        return None
    return LogFile(name or DEFAULT_NAME)
