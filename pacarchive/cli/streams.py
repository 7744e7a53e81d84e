"""The command's standard files: output appears whatever the locale, and a failure to write is an error.

No failure to print leads to a traceback: characters that the encoding lacks are replaced by others, a closed pipe ends
the program silently, and a full disk is reported in one line.
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
"""Replacements in ASCII for characters that the commands and C{rich} print."""

_SPINNER = range(0x2800, 0x2900)
_SANE_SIZE = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)


class Interrupted(KeyboardInterrupt):
    """
    A signal has ended the command.

    @param number: The signal.
    @ivar code: The exit code that shells expect: 130 for SIGINT, 143 for SIGTERM.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


class Parser(argparse.ArgumentParser):
    """A parser that fails if its help cannot be printed."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            (file or sys.stderr).write(message)


def run_program(name: str, command: Callable[[], int]) -> int:
    """
    Run a program on standard files that can be relied on.

    @param name: The program's name, for messages.
    @param command: Returns the exit code.
    @return: The exit code.
    @raise SystemExit: The command has raised it, as C{argparse} does.
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
        _write_no_more()  # the reader of the output has closed it
        return exits.PIPE
    except OSError as error:
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        sys.stderr.write(f"{name}: {printable(f'{where}{error.strerror or error}')}\n")
        _write_no_more()
        return exits.FAILED


def prepare() -> None:
    """Make the standard files usable, whatever the environment has made of them."""
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
    Standard error that never fails: if it is full or closed, that cannot be reported, and the work and the exit code
    are the same.
    """

    def __init__(self, file: io.TextIOWrapper) -> None:
        self._file = file  # kept, as its end would close the buffer
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
    """Replace what cannot be encoded by ASCII; an error handler of C{codecs}."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    return _PLAIN.get(character) or ("*" if ord(character) in _SPINNER else ascii(character)[1:-1])


def _flushed(code: int) -> int:
    """
    Flush standard output.

    @param code: The exit code so far.
    @return: The exit code.
    @raise OSError: That failed, and no failure has been reported before.
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
    Open something in place of standard input, output and error where a shell has closed them (C{<&-}, C{>&-}):
    otherwise the next file or connection would get that number, and receive what is printed.  Reading or writing them
    fails.
    """
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # it gets the lowest free number
    files: Any = sys
    files.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115  (to the end of the process)
    files.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    files.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _write_no_more() -> None:
    """Drop further output, as Python would complain at exit about what it cannot write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
