"""How the core server is: from pings, by a clock of the test."""

from __future__ import annotations

import queue
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias, cast

import hpss_build
import pytest
from threaded import PATIENCE, Reactor, clock, log, until, words
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, LogLevel

from pacarchive.backends.contract.handling import in_reactor, running

hpss_build.use_extension()

from hpss_simulator import Archive  # noqa: E402  (found only now)

from pacarchive import errors  # noqa: E402
from pacarchive.backends.hpss.loading import load  # noqa: E402

load(False)

from pacarchive.backends.hpss import client, monitor  # noqa: E402  (they need the library)
from pacarchive.backends.hpss.client import HpssError  # noqa: E402
from pacarchive.backends.hpss.monitor import CoreServerMonitor  # noqa: E402
from pacarchive.backends.hpss.session import Session  # noqa: E402

__all__ = ["clock", "log"]  # the fixtures

INTERVAL, ACCEPTED = 10.0, 5.0
LOST = HpssError("hpss_PingCore", -50)


class Server:
    """
    A core server, in place of the library.

    @ivar asked: How many pings have come.
    @ivar time: The time where the pings are timed.
    """

    def __init__(self) -> None:
        self._answers: queue.Queue[tuple[float, HpssError | None]] = queue.Queue()
        self.asked = 0
        self.time = 0.0

    def call(self, function: Any, site: str) -> None:
        """What L{Session.call} is to the monitor."""
        assert (function, site) == (client.ping, "site")
        self.asked += 1
        seconds, error = self._answers.get(timeout=PATIENCE)
        self.time += seconds
        if error is not None:
            raise HpssError(error.call, error.code)

    def answer(self, error: HpssError | None, seconds: float) -> None:
        """Let a ping end, the present one or the next, as if it had taken so long."""
        self._answers.put((seconds, error))

    def monotonic(self) -> float:
        """What C{time.monotonic} is to the monitor."""
        return self.time


class Observed:
    """A monitor of such a server."""

    def __init__(self, clock: Reactor, interval: float) -> None:
        self._clock = clock
        self.server = Server()
        self.times_well = 0
        session = cast("Session", self.server)
        self.monitor = CoreServerMonitor(clock, session, "site", interval, ACCEPTED, self._well)

    def _well(self) -> None:
        assert self.monitor.trouble == ""
        self.times_well += 1

    async def begins(self, error: HpssError | None = None) -> None:
        """Start, with what the first ping is answered with."""
        self.server.answer(error, 0)
        await self.monitor.start()
        await deferLater(reactor, 0)

    async def asks(self, after: float) -> None:
        """Let time go by until the next ping is sent, and not longer."""
        asked = self.server.asked
        self._clock.advance(after - 0.125)
        assert self.server.asked == asked
        self._clock.advance(0.125)
        await until(lambda: self.server.asked == asked + 1)

    async def hears(self, error: HpssError | None = None, seconds: float = 0.0) -> None:
        """Let the ping end, and wait until the answer has come in."""
        before = list(self._clock.getDelayedCalls())
        self.server.answer(error, seconds)
        await until(lambda: [call for call in self._clock.getDelayedCalls() if call not in before])


Observe: TypeAlias = Callable[..., Observed]


@pytest.fixture
def observe(clock: Reactor, monkeypatch: pytest.MonkeyPatch) -> Observe:
    """Makes one, without the library, and without a login."""

    def observe(interval: float = INTERVAL) -> Observed:
        observed = Observed(clock, interval)
        monkeypatch.setattr(monitor, "time", observed.server)
        return observed

    monkeypatch.setattr(client, "thread_start", lambda: None)
    monkeypatch.setattr(client, "thread_end", lambda: None)
    return observe


@pytest.fixture
def observed(observe: Observe) -> Observed:
    return observe()


def said(log: list[LogEvent]) -> list[tuple[LogLevel, str]]:
    """What the operator is told."""
    told = [event for event in log if event["log_level"] >= LogLevel.info and "HPSS" in str(event.get("log_format"))]
    return [(event["log_level"], text) for event, text in zip(told, words(told), strict=True)]


def assert_well(observed: Observed) -> None:
    """See that requests are let through."""
    assert observed.monitor.trouble == ""
    observed.monitor.require_answering()


def assert_refusing(observed: Observed, trouble: str, retry_after: int = 10) -> None:
    """See that requests are refused, and that the operator can find out why."""
    assert observed.monitor.trouble == trouble
    with pytest.raises(errors.BackendUnavailable) as caught:
        observed.monitor.require_answering()
    assert caught.value.retry_after == retry_after


DOWN = "the core server does not answer: hpss_PingCore: HPSS_ECONN (-50)"
LATE = "the core server has not answered a ping within 5 s"
RECOVERED = (LogLevel.info, "HPSS: the core server answers again")


def outage(trouble: str) -> tuple[LogLevel, str]:
    """The line with which one begins."""
    return LogLevel.error, f"HPSS: {trouble}; requests are refused until it does"


@in_reactor
async def test_a_server_that_answers_is_asked_at_intervals(observed: Observed, log: list[LogEvent]) -> None:
    """From the start on; and nothing is said of it."""
    await observed.begins()
    for number in (1, 2, 3):
        assert_well(observed)
        assert (observed.server.asked, observed.times_well) == (number, number)
        await observed.asks(after=INTERVAL)
        await observed.hears()
    observed.monitor.stop()
    assert said(log) == []


@in_reactor
async def test_latency_is_measured_by_our_own_clock(observed: Observed) -> None:
    """In the thread, around the whole call."""
    await observed.begins()
    await observed.asks(after=INTERVAL)
    await observed.hears(seconds=1.5)
    assert observed.monitor.latency == 1.5
    assert_well(observed)
    observed.monitor.stop()


@in_reactor
async def test_a_slow_server_is_trouble(observed: Observed, log: list[LogEvent]) -> None:
    """Requests would only wait; it is asked again soon."""
    await observed.begins()
    await observed.asks(after=INTERVAL)
    await observed.hears(seconds=ACCEPTED + 1)
    assert_refusing(observed, "the core server took 6.0 s to answer a ping")
    assert observed.times_well == 1
    await observed.asks(after=1)
    await observed.hears(seconds=ACCEPTED - 1)
    assert_well(observed)
    assert observed.times_well == 2
    observed.monitor.stop()
    assert said(log) == [outage("the core server took 6.0 s to answer a ping"), RECOVERED]


@in_reactor
async def test_a_ping_that_does_not_end_is_trouble_before_it_ends(
    clock: Reactor, observed: Observed, log: list[LogEvent]
) -> None:
    """Nobody is left waiting for what will not come; the log has it at once, and no second ping is sent after it."""
    await observed.begins()
    await observed.asks(after=INTERVAL)
    clock.advance(ACCEPTED - 0.125)
    assert_well(observed)
    clock.advance(0.125)
    assert_refusing(observed, LATE)
    assert said(log) == [outage(LATE)]
    clock.advance(3600)
    assert_refusing(observed, LATE)
    assert observed.server.asked == 2
    await observed.hears(seconds=3605)
    assert_refusing(observed, "the core server took 3605.0 s to answer a ping")
    assert observed.times_well == 1
    await observed.asks(after=1)
    await observed.hears()
    assert_well(observed)
    observed.monitor.stop()
    assert said(log) == [outage(LATE), RECOVERED]


@in_reactor
async def test_a_server_that_is_down_is_asked_more_often(observed: Observed, log: list[LogEvent]) -> None:
    """Each second, so that it is soon known when it is back; the log has one line of each change."""
    await observed.begins()
    for again in (False, True):
        await observed.asks(after=INTERVAL)
        await observed.hears(LOST)
        for _ in range(5):
            assert_refusing(observed, DOWN)
            await observed.asks(after=1)
            await observed.hears(LOST)
        assert_refusing(observed, DOWN)
        await observed.asks(after=1)
        await observed.hears()
        assert_well(observed)
        assert observed.times_well == (3 if again else 2)
    observed.monitor.stop()
    assert said(log) == [outage(DOWN), RECOVERED] * 2


@in_reactor
async def test_one_trouble_after_another_is_one_outage(clock: Reactor, observed: Observed, log: list[LogEvent]) -> None:
    """The words change, and the log keeps still."""
    await observed.begins(LOST)
    assert_refusing(observed, DOWN)
    await observed.asks(after=1)
    clock.advance(ACCEPTED)
    assert_refusing(observed, LATE)
    await observed.hears(HpssError("hpss_PingCore", -16))
    assert_refusing(observed, "the core server does not answer: hpss_PingCore: HPSS_EBUSY (-16)")
    await observed.asks(after=1)
    await observed.hears(seconds=ACCEPTED + 1)
    assert_refusing(observed, "the core server took 6.0 s to answer a ping")
    assert observed.times_well == 0
    observed.monitor.stop()
    assert said(log) == [outage(DOWN)]


@in_reactor
async def test_the_start_does_not_wait_for_the_first_answer_for_ever(clock: Reactor, observed: Observed) -> None:
    """Requests are refused until it comes."""
    start = running(observed.monitor.start())
    await until(lambda: observed.server.asked == 1)
    clock.advance(ACCEPTED - 0.125)
    assert not start.called
    clock.advance(0.125)
    await start
    assert_refusing(observed, LATE)
    await observed.hears()
    assert_well(observed)
    assert observed.times_well == 1
    observed.monitor.stop()


@pytest.mark.parametrize("error", [None, LOST])
@in_reactor
async def test_a_ping_that_ends_after_the_stop_is_the_last(observed: Observed, error: HpssError | None) -> None:
    """The stop leaves it behind, and nothing is done any more for its answer."""
    await observed.begins()
    await observed.asks(after=INTERVAL)
    observed.monitor.stop()
    observed.server.answer(error, 3.5)
    await until(lambda: observed.monitor.latency == 3.5 or observed.monitor.trouble)
    assert (observed.server.asked, observed.times_well) == (2, 1)


@in_reactor
async def test_nobody_is_told_to_come_back_at_once(observe: Observe) -> None:
    """However short the interval is."""
    observed = observe(0.25)
    await observed.begins(LOST)
    assert_refusing(observed, DOWN, retry_after=1)
    await observed.asks(after=0.25)
    await observed.hears()
    observed.monitor.stop()


# with the simulator


@asynccontextmanager
async def monitoring(directory: Path, clock: Reactor, site: str) -> AsyncIterator[tuple[Archive, CoreServerMonitor]]:
    """A monitor of a simulated core server."""
    with Archive.create(directory / "hpss", retry_delay_ms=1) as archive:
        session = Session(archive.principal, str(archive.keytab))
        session.open()
        try:
            observer = CoreServerMonitor(clock, session, site, INTERVAL, ACCEPTED, lambda: None)
            await observer.start()
            await deferLater(reactor, 0)
            try:
                yield archive, observer
            finally:
                observer.stop()
        finally:
            session.close()


async def next_ping(clock: Reactor, seconds: float) -> None:
    """Let the next ping be sent, and answered."""
    clock.advance(seconds)
    before = list(clock.getDelayedCalls())
    await until(lambda: [call for call in clock.getDelayedCalls() if call not in before])


@in_reactor
async def test_a_core_server_goes_down_and_comes_back(tmp_path: Path, clock: Reactor) -> None:
    """Also with another address: it is looked up again."""
    async with monitoring(tmp_path, clock, "simulated") as (archive, observer):
        assert observer.trouble == ""
        archive.set("server_state", "down")
        await next_ping(clock, INTERVAL)
        assert observer.trouble.endswith("HPSS_ECONN (-50)")
        looked_up = archive.calls("hpss_LookupRootCS")
        archive.set("server_state", "up")
        await next_ping(clock, 1)
        assert observer.trouble == ""
        assert archive.calls("hpss_LookupRootCS") == looked_up + 1


@pytest.mark.parametrize("skew", [-86400, 86400])
@in_reactor
async def test_a_clock_that_is_wrong_is_no_trouble(tmp_path: Path, clock: Reactor, skew: int) -> None:
    """The predecessor subtracted one machine's time from the other's."""
    async with monitoring(tmp_path, clock, "simulated") as (archive, observer):
        archive.set("ping_skew", skew)
        await next_ping(clock, INTERVAL)
        assert observer.trouble == ""
        assert 0 <= observer.latency < ACCEPTED


@in_reactor
async def test_a_site_that_nobody_knows(tmp_path: Path, clock: Reactor) -> None:
    """Is a slip in the settings, as the login has succeeded: the start fails, and nothing is left of it."""
    threads = threading.active_count()
    with pytest.raises(errors.BackendUnavailable, match=r"^HPSS: there is no site example\.com: hpss_LookupRootCS: "):
        async with monitoring(tmp_path, clock, "example.com"):
            raise AssertionError("started")
    assert threading.active_count() == threads


@in_reactor
async def test_a_ping_renews_an_expired_login(tmp_path: Path, clock: Reactor) -> None:
    """Before a request has to."""
    async with monitoring(tmp_path, clock, "simulated") as (archive, observer):
        archive.expire_credentials()
        await next_ping(clock, INTERVAL)
        assert observer.trouble == ""
        assert archive.calls("hpss_SetLoginCred") == 2
