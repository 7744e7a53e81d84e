"""Counts what is done to many files, and computes the progress; L{pacarchive.cli.progress} displays it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from pacarchive.cli.printing import amount_words, size_words, time_words
from pacarchive.texts import counted

_COST_OF_A_FILE = 64 << 10
"""A file counts as so many bytes more: without that, many small files at the end would make every estimate wrong."""


@attrs.define(eq=False)
class Transfer:
    """
    A file that is being transferred.

    @ivar name: Its name.
    @ivar done: Bytes that are done.
    @ivar total: Its bytes; C{None} while that is not known.
    @ivar words: What is being done to it, if that changes.
    """

    name: str
    done: int = 0
    total: int | None = None
    words: str = ""

    def progress(self, state: Any) -> None:
        """Update the bytes; an L{OnProgress<pacarchive.client.OnProgress>}."""
        self.done, self.total = state.done, self.total if state.total is None else state.total


@attrs.define(eq=False)
class Tally:
    """
    Counts what is done to files, in any thread.

    @ivar what: What is done to them, in a word.
    @ivar total: The count of files; C{None} while they are counted.
    @ivar total_size: Their bytes; C{None} if that is not known.
    @ivar counts_bytes: Whether the time is spent on bytes, rather than on files.
    @ivar noun: What is counted, if not files.
    @ivar estimates: Whether to show the time that is left, rather than the time that has passed.
    @ivar files: The count of files that are done, including those that failed.
    @ivar failed: The count of those that failed.
    @ivar size: The bytes of those that are done.
    @ivar skipped: Those of these bytes that did not have to be transferred.
    @ivar left: Seconds left by an estimate of the archive; C{None} to estimate them here.
    @ivar notes: Lines about all files, such as why there is no progress.
    @ivar table: Lines for terminals only.
    @ivar details: What is shown elsewhere instead.
    @ivar under_way: Transfers that are under way, by key.
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

    # Counting

    def begin(self, key: int, name: str, total: int | None = None) -> Callable[[Any], None]:
        """
        Begin with a file.

        @param key: Its key.
        @param name: Its name.
        @param total: Its bytes, if that is known.
        @return: To be called with its L{Progress<pacarchive.client.Progress>}.
        """
        transfer = self.under_way[key] = Transfer(name, 0, total)
        return transfer.progress

    def end(self, key: int, size: int = 0, *, failed: bool = False) -> None:
        """End with a file that was begun."""
        self.under_way.pop(key, None)
        self.add(files=1, size=size, failed=failed)

    def add(self, *, files: int = 0, size: int = 0, skipped: int = 0, failed: int = 0) -> None:
        """Count files, or bytes of one, as done."""
        with self._lock:
            self.files += files
            self.size += size
            self.skipped += skipped
            self.failed += failed

    def begin_with(self, total: int, total_size: int | None = None) -> None:
        """Set the totals, after all files have been counted; nothing is done yet."""
        self.files, self.total_size, self.total = 0, total_size, total

    # Progress

    @property
    def done(self) -> int:
        """The bytes of all files that are done, including those of transfers under way."""
        return self.size + sum(each.done for each in list(self.under_way.values()))

    @property
    def whole(self) -> int | None:
        """The bytes of all files; C{None} if that is not known."""
        if self.total_size is None and self.total == 1:
            return next((each.total for each in list(self.under_way.values())), None)
        return self.total_size

    @property
    def share(self) -> float:
        """The share of the time that is over, from 0 to 1."""
        if self.total is None:
            return 0.0
        whole = self.total * _COST_OF_A_FILE + (self.total_size or 0)
        done = self.files * _COST_OF_A_FILE + (self.done if self.total_size else 0)
        return min(1.0, done / whole) if whole else 0.0

    @property
    def files_words(self) -> str:
        """How many files of how many are done, as text."""
        if self.total is None:
            return f"counting: {counted(self.files, self.noun)}"
        return f"{self.files:,}/{counted(self.total, self.noun)}"

    @property
    def failed_words(self) -> str:
        """How many of them have failed, as text; empty if none has."""
        return f"{self.failed:,} failed" if self.failed else ""

    @property
    def size_words(self) -> str:
        """How many bytes of how many are done, as text; empty if bytes are not counted."""
        return amount_words(self.done, self.whole) if self.counts_bytes else ""

    def rate_words(self, rate: float | None) -> str:
        """
        Return a rate as text.

        @param rate: Bytes or files per second; C{None} if that is not known.
        """
        if not rate:
            return ""
        return f"{size_words(rate)}/s" if self.counts_bytes else f"{rate:,.0f} {self.noun}s/s"

    def left_words(self, left: float | None) -> str:
        """
        Return the time that is left as text.

        @param left: Seconds, for when C{self.left} is not known; C{None} if that is not known either.
        """
        left = left if self.left is None else self.left
        return f"{time_words(left)} left" if left and self.estimates else ""
