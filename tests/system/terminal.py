"""The C{pacarchive} command as a person has it: typed at a terminal, and read from its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import forks
import pyte

from system.harness import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

COMMAND = (sys.executable, "-c", "import sys; from pacarchive.cli import main; sys.exit(main())")

ON_TERMINAL = (*COMMAND[:2], f"import os; os.close(os.open(os.ttyname(0), os.O_RDWR)); {COMMAND[2]}")
"""The same, for the first process of a session: Ctrl-C is for whoever has opened the terminal."""


def run(
    directory: Path,
    *arguments: str,
    command: Sequence[str] = COMMAND,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """A command without a terminal."""
    given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    return forks.run(
        [*command, *arguments], cwd=directory, env={**os.environ, **(environment or {})},
        capture_output=True, text=True, check=False, timeout=PATIENCE, **given,
    )  # fmt: skip


class Terminal:
    """
    A command on a terminal; a context manager.

    @param columns: How wide it is.
    @param redirect: A file for standard output.
    @ivar screens: All that was to be seen, one after the other: the lines that are not empty.
    @ivar received: All that came.
    @ivar cursor_shown: Whether the cursor is to be seen now.
    """

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        columns: int = 80,
        rows: int = 40,
        environment: Mapping[str, str] | None = None,
        redirect: str | None = None,
    ) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.screens: list[list[str]] = []
        self.received = b""
        self._terminal, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        output = other if redirect is None else os.open(directory / redirect, os.O_WRONLY | os.O_CREAT, 0o644)
        # The size is the terminal's own; the variables, where whoever runs the tests has them, would come before it.
        ours = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        told = {"TERM": "xterm", "LC_ALL": "C.UTF-8", **(environment or {})}
        self._process = forks.Popen(
            [*ON_TERMINAL, *arguments], cwd=directory, env={**ours, **told},
            stdin=other, stdout=output, stderr=other, start_new_session=True,
        )  # fmt: skip
        for each in {other, output}:
            os.close(each)

    @property
    def cursor_shown(self) -> bool:
        return not self._screen.cursor.hidden

    def type(self, text: str) -> None:
        """As a person would."""
        os.write(self._terminal, text.encode())

    def kill(self) -> None:
        """End it as nobody can resist."""
        self._process.send_signal(signal.SIGKILL)

    def read(self) -> bool:
        """Take in what was printed.  @return: Whether there may be more."""
        try:
            data = os.read(self._terminal, 4096)
        except OSError:  # EIO: nobody has the other end any more
            return False
        self.received += data
        self._stream.feed(data)
        shown = [line.rstrip() for line in self._screen.display if line.strip()]
        if not self.screens or self.screens[-1] != shown:
            self.screens.append(shown)
        return bool(data)

    def shows(self, *texts: str) -> list[str]:
        """
        Wait until some texts are on the screen, all at once: it is not drawn in one go.

        @return: All of the screen.
        """
        while missing := [each for each in texts if not any(each in line for line in (self.screens or [[]])[-1])]:
            assert self.read(), f"it ended without {missing}: {self.screens[-3:]}"
        return self.screens[-1]

    def ends(self) -> int:
        """Read all there is.  @return: The exit code."""
        while self.read():
            pass
        return self._process.wait(PATIENCE)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._terminal)
        self._process.kill()
        self._process.wait()
