"""How far long work has come: a bar on a terminal, a line now and then elsewhere; always on stderr."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import attrs

from pacarchive.cli.printing import is_screen
from pacarchive.texts import counted

if TYPE_CHECKING:
    from types import TracebackType

_LINE_EVERY = 5.0
_BAR_EVERY = 0.1
_RATE_OVER = 10.0
_ROOM_FOR_ECHO = 4
"""Columns that stay free: a terminal prints ^C behind the bar, and where that takes another line the bar stays."""

_COST_OF_A_FILE = 64 << 10
"""A file takes as long as so many bytes more: without that, many small files at the end would spoil every estimate."""


@attrs.define
class Meter:
    """
    What is done, of how much.

    @ivar files: Files that are done.
    @ivar read: Bytes that were read.
    @ivar passed: Bytes of files that are done, whether they had to be read or not.
    @ivar total_files: All files, once they are counted.
    @ivar total_bytes: Their bytes.
    """

    files: int = 0
    read: int = 0
    passed: int = 0
    total_files: int | None = None
    total_bytes: int = 0
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False, repr=False)

    def add(self, *, files: int = 0, read: int = 0, passed: int = 0) -> None:
        """More is done; from any thread."""
        with self._lock:
            self.files += files
            self.read += read
            self.passed += passed

    @property
    def share(self) -> float:
        """From 0 to 1: what part of the time is over."""
        whole = (self.total_files or 0) * _COST_OF_A_FILE + self.total_bytes
        return min(1.0, (self.files * _COST_OF_A_FILE + self.passed) / whole) if whole else 0.0


class Display(Protocol):
    """
    Shows a L{Meter}; a context manager.

    @ivar counts: Whether it is worth counting the files first.
    """

    counts: bool

    def __enter__(self) -> Display: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def counting(self, files: int) -> None:
        """So many files were found so far; nothing is done yet."""

    def show(self, words: str) -> None:
        """
        Time passes: call it often.

        @param words: How things stand, for displays of lines.
        """

    def say(self, line: str) -> None:
        """Print a line of its own."""


def display_of(meter: Meter, what: str, *, reads: bool) -> Display:
    """
    What fits stderr.

    @param what: What is being done, in a word.
    @param reads: Whether the rate is one of bytes, not of files.
    """
    if is_screen(sys.stderr):
        return _Bar(meter, what, reads=reads)
    return _Lines()


class _Lines:
    """A line now and then."""

    counts = False

    def __init__(self) -> None:
        self._next = time.monotonic() + _LINE_EVERY

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def counting(self, files: int) -> None:
        self.show(f"counting: {counted(files, 'file')}")

    def show(self, words: str) -> None:
        if (now := time.monotonic()) >= self._next:
            self._next = now + _LINE_EVERY
            self.say(words)

    def say(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


class _Bar:
    """One line that changes."""

    counts = True

    def __init__(self, meter: Meter, what: str, *, reads: bool) -> None:
        from rich.console import Console  # only now: elsewhere nobody needs it
        from rich.progress import BarColumn, Progress, TextColumn

        self._meter = meter
        self._reads = reads
        self._next = 0.0
        self._samples: deque[tuple[float, int, float]] = deque()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[words]}", markup=False),
            console=Console(file=sys.stderr),
            auto_refresh=False,
            expand=True,
            transient=True,
        )
        self._task = self._bar.add_task(what, total=None, words="counting")

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def counting(self, files: int) -> None:
        if self._is_time():
            self._update(None, f"counting: {counted(files, 'file')}")

    def show(self, words: str) -> None:
        if self._is_time():
            self._update(self._meter.share, self._words())

    def say(self, line: str) -> None:
        self._bar.console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def _is_time(self) -> bool:
        if (now := time.monotonic()) < self._next:
            return False
        self._next = now + _BAR_EVERY
        return True

    def _update(self, share: float | None, words: str) -> None:
        with suppress(OSError):
            self._bar.console.width = max(20, os.get_terminal_size(sys.stderr.fileno()).columns - _ROOM_FOR_ECHO)
        self._bar.update(self._task, total=None if share is None else 1.0, completed=share or 0.0, words=words)
        self._bar.refresh()

    def _words(self) -> str:
        meter, now = self._meter, time.monotonic()
        share = meter.share
        self._samples.append((now, meter.read if self._reads else meter.files, share))
        while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_OVER:
            self._samples.popleft()
        then, count, before = self._samples[0]
        passed = max(now - then, 1e-6)
        rate = (self._samples[-1][1] - count) / passed
        words = [f"{meter.files:,}/{counted(meter.total_files or 0, 'file')}"]
        if passed > _BAR_EVERY / 2:
            words.append(f"{rate / (1 << 20):,.0f} MiB/s" if self._reads else f"{rate:,.0f}/s")
        if share > before:
            words.append(f"{_clock((1.0 - share) * passed / (share - before))} left")
        return "  ".join(words)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
