"""What the tests of the parts that have threads do over and over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher

PATIENCE = 30.0


class Reactor(Clock):
    """Time that goes when it is told to; what comes from threads goes through the real reactor."""

    def callFromThread(self, call: Callable[..., object], *args: object, **kwargs: object) -> None:
        cast("Any", reactor).callFromThread(call, *args, **kwargs)


@pytest.fixture
def clock() -> Iterator[Reactor]:
    """Nothing is left to be done at the end."""
    clock = Reactor()
    yield clock
    assert not clock.getDelayedCalls()


@pytest.fixture
def log() -> Iterator[list[LogEvent]]:
    """All that is logged; nothing critical is among it unless the test takes it out."""
    events: list[LogEvent] = []
    observer = cast("ILogObserver", events.append)
    globalLogPublisher.addObserver(observer)
    yield events
    globalLogPublisher.removeObserver(observer)
    assert not critical(events)


def critical(log: list[LogEvent]) -> list[LogEvent]:
    """Failures that nobody expected."""
    return [event for event in log if event["log_level"] is LogLevel.critical]


def words(log: list[LogEvent]) -> list[str]:
    """What is logged, as text."""
    return [formatEvent(event) for event in log]


class Work:
    """A call that ends when it is told to."""

    def __init__(self, result: object = None, error: Exception | None = None) -> None:
        self._result = result
        self._error = error
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.thread: threading.Thread | None = None

    def __call__(self) -> object:
        self.thread = threading.current_thread()
        self.begun.set()
        assert self.may_end.wait(PATIENCE)
        if self._error is not None:
            raise self._error
        return self._result


async def until(true: Callable[[], object]) -> None:
    """Wait, without blocking the reactor, for something that happens in a thread."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        await deferLater(reactor, 0.001)
