"""The exit codes of the command; C{docs/command.md} has them for users."""

from __future__ import annotations

OK = 0
"""Everything was done."""

FAILED = 1
"""Something was not done; messages on stderr say what."""

USAGE = 2
"""The command line or the settings are invalid; nothing was done."""

UNAVAILABLE = 3
"""The archive cannot be reached, or cannot serve the request now: the same command may succeed later."""

OFFLINE = 4
"""A file is on tape, and the command was not told to wait for it."""

DIFFERENT = 5
"""Bytes differ from what they should be."""

UNAUTHORISED = 6
"""The archive requires authentication, or does not accept the token, password or certificate."""

NOT_PERMITTED = 7
"""The archive does not allow the caller to do this."""

INTERRUPTED = 130
"""Ctrl-C; the code that shells expect."""

PIPE = 141
"""
The reader of the output has closed it: the code that shells see of a program that SIGPIPE ends.  There is no message,
as that may be intended, as with C{| head}.
"""

TEXT = """exit codes:
  0    all done
  1    something was not done; stderr says what
  2    invalid command line or settings
  3    the archive cannot be reached, or not just now: try again
  4    a file is on tape: add --wait
  5    bytes differ from what they should be
  6    the archive requires authentication, or refuses the token or password
  7    the archive does not allow this
  130  interrupted by Ctrl-C; 143 if ended by SIGTERM
  141  nobody reads the output any more
"""
