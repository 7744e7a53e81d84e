"""The command's standard files: what is printed goes out whatever the locale, and what does not is an error.

Nothing that is printed is worth a traceback: characters that the encoding lacks are written in others, whoever has
stopped reading is left in peace, and a full disk is one line.
"""

from __future__ import annotations

import argparse
import codecs
import io
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from pacarchive.cli import exits
from pacarchive.texts import printable

_ERRORS = "pacarchive-plain"
_PLAIN: Mapping[str, str] = {"…": "...", "█": "#", "░": "-", "━": "-", "╸": "-", "╺": "-", "·": "."}
"""How characters that the commands print themselves look where there is only ASCII; those of C{rich} as well."""

_SPINNER = range(0x2800, 0x2900)
_SANE_SIZE = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)


class Interrupted(KeyboardInterrupt):
    """
    A signal has ended the command.

    @param number: The signal.
    @ivar code: The exit code that shells expect of it: 130 for SIGINT, 143 for SIGTERM.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


class Parser(argparse.ArgumentParser):
    """A parser whose help is not taken for printed where it was not."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            (file or sys.stderr).write(message)


def run_program(name: str, command: Callable[[], int]) -> int:
    """
    Do what a program does, on standard files that can be relied on.

    @param name: How it begins its words about failures.
    @param command: Returns the exit code.
    @return: The exit code.
    @raise SystemExit: It ended so, as C{argparse} ends.
    """
    prepare()
    try:
        try:
            return _flushed(command())
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else exits.OK if ended.code is None else exits.FAILED
            ended.code = _flushed(code)
            raise
    except KeyboardInterrupt as error:
        sys.stderr.write(f"{name}: interrupted\n")
        return error.code if isinstance(error, Interrupted) else exits.INTERRUPTED
    except BrokenPipeError:
        _write_no_more()  # whoever read the output has gone
        return exits.PIPE
    except OSError as error:
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        sys.stderr.write(f"{name}: {printable(f'{where}{error.strerror or error}')}\n")
        _write_no_more()
        return exits.FAILED


def prepare() -> None:
    """Have standard files that can be written to, whatever the environment says about them."""
    _fill_standard_files()
    codecs.register_error(_ERRORS, _in_plain)
    for file in (sys.stdout, sys.stderr):
        if isinstance(file, io.TextIOWrapper):
            file.reconfigure(errors=_ERRORS)
    if sys.stderr is sys.__stderr__ and type(sys.stderr) is io.TextIOWrapper:
        sys.stderr = _Stderr(sys.stderr)
    for name in ("COLUMNS", "LINES"):
        # Without it, the terminal is asked.
        if not _SANE_SIZE.fullmatch(os.environ.get(name, "1")):
            del os.environ[name]


class _Stderr(io.TextIOWrapper):
    """
    Standard error that never fails: where it is full or gone, that cannot be reported, and what was done, and the exit
    code, are the same.
    """

    def __init__(self, file: io.TextIOWrapper) -> None:
        self._file = file  # whose end would close the buffer
        super().__init__(
            file.buffer, encoding=file.encoding, errors=file.errors, line_buffering=True, write_through=True
        )

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def _in_plain(error: UnicodeError) -> tuple[str, int]:
    """What cannot be encoded, in characters of ASCII; an error handler of C{codecs}."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    return _PLAIN.get(character) or ("*" if ord(character) in _SPINNER else ascii(character)[1:-1])


def _flushed(code: int) -> int:
    """
    See that what was printed has gone out.

    @param code: The exit code, if so.
    @raise OSError: It has not, and nothing has been said of any failure so far.
    """
    try:
        sys.stdout.flush()
    except OSError:
        if code == exits.OK:
            raise
        _write_no_more()
    return code


def _fill_standard_files() -> None:
    """
    Put something in the place of standard input, output and error where a shell has closed them (C{<&-}, C{>&-}): the
    next file or connection that is opened would be there, and get what is printed.  What is wanted of them fails.
    """
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # which has the lowest number that is free
    files: Any = sys
    files.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115  (to the end of the process)
    files.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    files.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _write_no_more() -> None:
    """At exit Python would complain about what it could not write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
