"""A log file that another program rotates: logrotate renames it, and then sends SIGHUP."""

from __future__ import annotations

import os
import stat
import sys
from typing import IO, TYPE_CHECKING, Any, cast

from twisted.logger import FileLogObserver, ILogObserver, textFileLogObserver

from pacarchive.launch.jsonlog import json_line
from pacarchive.settings.server import LogFormat

if TYPE_CHECKING:
    from collections.abc import Mapping

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY

DEFAULT_NAME = "twistd.log"
"""The log file of a twistd in the background, unless its options name another."""


class LogFile:
    """
    The file object of a log observer.  Unlike Twisted's own it never renames the file, and it can be reopened without
    a moment in which a line is lost.

    @param path: The file, which is created if it does not exist.
    @raise OSError: It cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)  # twistd changes the directory later
        self._descriptor = os.open(self.path, _FLAGS, 0o666)

    def write(self, text: str) -> None:
        """
        Append text to the file, at once and completely.

        @raise OSError: The file system refuses it.
        """
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        while data:
            data = data[os.write(self._descriptor, data) :]

    def flush(self) -> None:
        """Do nothing: L{write} does not buffer."""

    def reopen(self) -> None:
        """
        Continue in the file that has the name now.  A file that has to be created gets the mode of the previous one.

        @raise OSError: It cannot be opened; lines still go to the previous file.
        """
        is_new = not os.path.lexists(self.path)
        mode = stat.S_IMODE(os.fstat(self._descriptor).st_mode)
        opened = os.open(self.path, _FLAGS, mode)
        try:
            if is_new:
                os.fchmod(opened, mode)  # the umask has restricted it
            os.dup2(opened, self._descriptor, inheritable=False)
        finally:
            os.close(opened)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def log_file(twistd: Mapping[str, Any] | None) -> LogFile | None:
    """
    Open the log file that twistd is to write.

    @param twistd: twistd's own options; C{None} where another program runs the service.
    @return: C{None} where the log goes elsewhere: to standard output, to syslog, or to an observer of the operator's.
    @raise OSError: It cannot be opened.
    """
    if twistd is None or twistd["syslog"] or twistd["logger"]:
        return None
    name: str | None = twistd["logfile"]
    if name == "-" or (not name and twistd["nodaemon"]):
        return None
    return LogFile(name or DEFAULT_NAME)


def log_observer(twistd: Mapping[str, Any] | None, file: LogFile | None, log_format: LogFormat) -> ILogObserver | None:
    """
    Make the log observer that writes where twistd would.

    @param twistd: twistd's own options; C{None} where another program runs the service.
    @param file: The log file, where there is one.
    @param log_format: What a line is.
    @return: C{None} where it is twistd that writes, or an observer of the operator's.
    """
    if log_format is LogFormat.TEXT:
        return None if file is None else textFileLogObserver(cast("IO[str]", file))
    if file is not None:
        return FileLogObserver(cast("IO[str]", file), json_line)
    if twistd is None or twistd["syslog"] or twistd["logger"] or not twistd["nodaemon"]:
        return None
    return FileLogObserver(sys.stdout, json_line)
