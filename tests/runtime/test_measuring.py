"""What is measured in one room, and counted in another."""

from __future__ import annotations

import sys
import threading

import pytest

from pacarchive.runtime import measuring
from pacarchive.telemetry.counts import Counts

FAILURES, DURATIONS = ("recall_failures_total", "storage"), ("sync_duration_seconds",)


def test_nobody_listens() -> None:
    """That is no reason not to go on."""
    measuring.count(*FAILURES)
    with measuring.measured(*DURATIONS):
        pass


def test_whoever_listened_last_is_told() -> None:
    """A process has one that counts; whoever has stopped is told nothing any more."""
    first, second = Counts(), Counts()
    measuring.listen(first)
    measuring.listen(second)
    measuring.stop_listening(first)
    measuring.count(*FAILURES, amount=3)
    measuring.stop_listening(second)
    measuring.count(*FAILURES)
    assert first.read()[FAILURES] == (0.0,)
    assert second.read()[FAILURES] == (3.0,)


def test_what_fails_took_its_time_too(heard: Counts) -> None:
    """An error goes its way, and the time is counted."""
    with pytest.raises(OSError, match="full"), measuring.measured(*DURATIONS):
        raise OSError("full")
    assert sum(heard.read()[DURATIONS][:-1]) == 1


class Slowly:
    """Counts in several steps, between which another thread may come."""

    def __init__(self) -> None:
        self.sum = 0.0

    def add(self, *series: str, amount: float = 1.0) -> None:
        """To the sum."""
        before = self.sum
        for _ in range(20):
            pass
        self.sum = before + amount

    def observe(self, value: float, *series: str) -> None:
        """Likewise."""
        self.add(*series, amount=value)


def test_threads_lose_nothing() -> None:
    """Several count in the same place."""
    slowly = Slowly()
    measuring.listen(slowly)

    def measure_much() -> None:
        for _ in range(2000):
            measuring.observe(1.0, *DURATIONS)
            measuring.count(*FAILURES)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=measure_much) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    finally:
        sys.setswitchinterval(interval)
        measuring.stop_listening(slowly)
    assert slowly.sum == 16_000
