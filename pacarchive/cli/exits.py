"""What the command's exit codes say; C{docs/command.md} has them for users."""

from __future__ import annotations

OK = 0
"""All of it was done."""

FAILED = 1
"""Something that was asked for was not done, or of several things not all: words on stderr say which."""

USAGE = 2
"""A command line, or settings, that mean nothing; nothing was done."""

UNAVAILABLE = 3
"""The archive was not reached, or is not able to just now: the same command may succeed later."""

OFFLINE = 4
"""A file is on tape, and it was not asked to wait for it."""

DIFFERENT = 5
"""Bytes are not those that they should be."""

UNAUTHORISED = 6
"""The archive requires authentication, or does not accept the token, password or certificate."""

NOT_PERMITTED = 7
"""The archive does not allow the caller to do this."""

INTERRUPTED = 130
"""Ctrl-C; what shells expect of it."""

PIPE = 141
"""Whoever read the output has gone: what shells see of a program that SIGPIPE ends.  No words: it may be what was
wanted, as with C{| head}."""

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
