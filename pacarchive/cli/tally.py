"""Counts what is done to many files, and works out how far that is.  What is seen of it: L{pacarchive.cli.progress}."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from pacarchive.cli.printing import amount_words, size_words, time_words
from pacarchive.texts import counted

_COST_OF_A_FILE = 64 << 10
"""A file takes as long as so many bytes more: without that, many small files at the end would spoil every estimate."""


@attrs.define(eq=False)
class Transfer:
    """
    A file that is under way.

    @ivar done: Bytes.
    @ivar total: Bytes; C{None} while they are not known.
    @ivar words: What is done to it now, where that is not the same all the time.
    """

    name: str
    done: int = 0
    total: int | None = None
    words: str = ""

    def progress(self, state: Any) -> None:
        """It has come so far; an L{OnProgress<pacarchive.client.OnProgress>}."""
        self.done, self.total = state.done, self.total if state.total is None else state.total


@attrs.define(eq=False)
class Tally:
    """
    Counts what is done to files, in any thread.

    @ivar what: What is done to them, in a word.
    @ivar total: How many there are; C{None} while they are counted.
    @ivar total_size: Their bytes; C{None} where they are not known.
    @ivar counts_bytes: Whether bytes take the time, rather than files.
    @ivar noun: What is counted in the place of files.
    @ivar estimates: Whether to tell what time is left, rather than what time has passed.
    @ivar files: How many are done, with those that failed.
    @ivar size: Bytes of those that are done.
    @ivar skipped: Those of them that did not have to be moved.
    @ivar left: Seconds that are left by an estimate of the archive; C{None} to estimate them here.
    @ivar notes: Lines about all of it, such as why it does not go on.
    @ivar table: Lines for terminals only.
    @ivar details: What stands in their place elsewhere.
    """

    what: str
    total: int | None = None
    total_size: int | None = None
    counts_bytes: bool = attrs.field(default=True, kw_only=True)
    noun: str = attrs.field(default="file", kw_only=True)
    estimates: bool = attrs.field(default=True, kw_only=True)
    files: int = attrs.field(default=0, init=False)
    failed: int = attrs.field(default=0, init=False)
    size: int = attrs.field(default=0, init=False)
    skipped: int = attrs.field(default=0, init=False)
    left: float | None = attrs.field(default=None, init=False)
    notes: Sequence[str] = attrs.field(default=(), init=False)
    table: Sequence[str] = attrs.field(default=(), init=False)
    details: str = attrs.field(default="", init=False)
    under_way: dict[int, Transfer] = attrs.field(factory=dict, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    # what is done

    def begin(self, key: int, name: str, total: int | None = None) -> Callable[[Any], None]:
        """
        A file is begun.

        @return: To be called with its L{Progress<pacarchive.client.Progress>}.
        """
        transfer = self.under_way[key] = Transfer(name, 0, total)
        return transfer.progress

    def end(self, key: int, size: int = 0, *, failed: bool = False) -> None:
        """A file that was begun has ended."""
        self.under_way.pop(key, None)
        self.add(files=1, size=size, failed=failed)

    def add(self, *, files: int = 0, size: int = 0, skipped: int = 0, failed: int = 0) -> None:
        """Files, or bytes of one, are done."""
        with self._lock:
            self.files += files
            self.size += size
            self.skipped += skipped
            self.failed += failed

    def begin_with(self, total: int, total_size: int | None = None) -> None:
        """All files have been counted; nothing is done yet."""
        self.files, self.total_size, self.total = 0, total_size, total

    # how far that is

    @property
    def done(self) -> int:
        """Bytes of all files, those that are under way as well."""
        return self.size + sum(each.done for each in list(self.under_way.values()))

    @property
    def whole(self) -> int | None:
        """Bytes in all; C{None} where they are not known."""
        if self.total_size is None and self.total == 1:
            return next((each.total for each in list(self.under_way.values())), None)
        return self.total_size

    @property
    def share(self) -> float:
        """From 0 to 1: what part of the time is over."""
        if self.total is None:
            return 0.0
        whole = self.total * _COST_OF_A_FILE + (self.total_size or 0)
        done = self.files * _COST_OF_A_FILE + (self.done if self.total_size else 0)
        return min(1.0, done / whole) if whole else 0.0

    @property
    def files_words(self) -> str:
        """How many files of how many are done."""
        if self.total is None:
            return f"counting: {counted(self.files, self.noun)}"
        return f"{self.files:,}/{counted(self.total, self.noun)}"

    @property
    def failed_words(self) -> str:
        """How many of them have failed; empty where none has."""
        return f"{self.failed:,} failed" if self.failed else ""

    @property
    def size_words(self) -> str:
        """How many bytes of how many are done; empty where they do not count."""
        return amount_words(self.done, self.whole) if self.counts_bytes else ""

    def rate_words(self, rate: float | None) -> str:
        """
        How fast it goes.

        @param rate: Bytes or files a second; C{None} where that is not known.
        """
        if not rate:
            return ""
        return f"{size_words(rate)}/s" if self.counts_bytes else f"{rate:,.0f} {self.noun}s/s"

    def left_words(self, left: float | None) -> str:
        """
        For how long it goes on.

        @param left: Seconds, where C{self.left} is not known; C{None} where they are not known either.
        """
        left = left if self.left is None else self.left
        return f"{time_words(left)} left" if left and self.estimates else ""
