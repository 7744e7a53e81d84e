"""What happens, said where it happens, and counted by whoever wants to know.

Rooms that know nothing of metrics say here what those are about: how long a sync took, that a recall has failed.  Where
nobody listens, as in a command, that is all.  The names are those of L{pacarchive.telemetry.table}.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Protocol


class Listener(Protocol):
    """Counts, as L{pacarchive.telemetry.counts.Counts}."""

    def add(self, *series: str, amount: float = 1.0) -> None:
        """Add to a counter."""

    def observe(self, value: float, *series: str) -> None:
        """Add a value to a histogram."""


_lock = Lock()  # of what is counted here, and nowhere else: some of it in threads
_listeners: list[Listener] = []


def listen(listener: Listener) -> None:
    """Tell what happens from now on to somebody else."""
    _listeners[:] = [listener]


def stop_listening(listener: Listener) -> None:
    """Do so no more."""
    if listener in _listeners:
        _listeners.remove(listener)


def count(*series: str, amount: float = 1.0) -> None:
    """
    Something has happened, in whatever thread.

    @param series: A counter, and the values of its labels.
    """
    for each in _listeners:
        with _lock:
            each.add(*series, amount=amount)


def observe(value: float, *series: str) -> None:
    """
    Something was measured, in whatever thread.

    @param series: A histogram, and the values of its labels.
    """
    for each in _listeners:
        with _lock:
            each.observe(value, *series)


@contextmanager
def measured(*series: str) -> Iterator[None]:
    """Measure how long the block takes, whatever comes of it."""
    began = time.monotonic()
    try:
        yield
    finally:
        observe(time.monotonic() - began, *series)
