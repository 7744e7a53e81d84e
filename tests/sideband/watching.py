"""What tests of the sideband do over and over: wait for what threads do, and read what is logged."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogPublisher

PATIENCE = 15.0
"""Seconds that a test waits for what comes by itself; far more than it ever takes."""

UNHURRIED = 60.0
"""What a database may take that is well, in seconds, however busy the machine is."""

SLACK = 10.0
"""Seconds that a busy machine may add to a time limit; what is not limited takes longer than that."""


async def pause(seconds: float) -> None:
    """Let the reactor run."""
    await deferLater(cast("Any", reactor), seconds)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what comes by itself."""
    deadline = time.monotonic() + PATIENCE
    while not await condition():
        assert time.monotonic() < deadline, "it did not come"
        await pause(0.02)


class Watch:
    """How long something takes."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began


@contextmanager
def logged(*, quietly: bool = True) -> Iterator[list[LogEvent]]:
    """
    All that is logged meanwhile.

    @param quietly: Nothing may be critical: failures that nobody expected.
    """
    events: list[LogEvent] = []
    observer = cast("ILogObserver", events.append)
    globalLogPublisher.addObserver(observer)
    try:
        yield events
    finally:
        globalLogPublisher.removeObserver(observer)
    critical = [eventAsText(event) for event in events if event["log_level"] is LogLevel.critical]
    assert not (quietly and critical), critical


def all_words(events: list[LogEvent]) -> str:
    """Every word of the events: as text with tracebacks, and each of their values by itself."""
    words = [eventAsText(event) for event in events]
    words += [f"{value} {value!r}" for event in events for value in event.values()]
    return "\n".join(words)
