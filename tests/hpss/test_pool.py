"""Threads for a library whose calls may not come back: real threads, and limits by a clock of the test."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import hpss_build
import pytest
from threaded import PATIENCE, Reactor, Work, clock, critical, log, until, words
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import LogEvent

from pacarchive.backends.contract.handling import in_reactor, running

hpss_build.use_extension()

from hpss_simulator import Archive  # noqa: E402  (found only now)

from pacarchive import errors  # noqa: E402
from pacarchive.backends.hpss.loading import load  # noqa: E402

load(False)

from pacarchive.backends.hpss import client, pool  # noqa: E402  (it needs the library)
from pacarchive.backends.hpss.client import HpssError  # noqa: E402
from pacarchive.backends.hpss.pool import HpssPool, StuckCall  # noqa: E402
from pacarchive.backends.hpss.session import Session  # noqa: E402

__all__ = ["clock", "log"]  # the fixtures

LIMIT = 300.0


@pytest.fixture(autouse=True)
def _no_state_in_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests do without the library, and without a login."""
    monkeypatch.setattr(client, "thread_start", lambda: None)
    monkeypatch.setattr(client, "thread_end", lambda: None)


class Closable:
    """A result with something to release."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


async def stuck_in(clock: Reactor, threads: HpssPool, work: Work) -> None:
    """Let a call begin and be given up."""
    call = running(threads.run(work))
    await until(work.begun.is_set)
    clock.advance(LIMIT)
    with pytest.raises(StuckCall):
        await call


def living(name: str) -> int:
    """How many threads a pool has."""
    return sum(name in thread.name for thread in threading.enumerate())


# at the start


@in_reactor
async def test_every_thread_has_its_state_in_the_library(
    tmp_path: Path, clock: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the start to the end, and not longer."""
    monkeypatch.undo()
    with Archive.create(tmp_path / "hpss") as archive:
        session = Session(archive.principal, str(archive.keytab))
        session.open()
        before = archive.contexts()
        threads = HpssPool(clock, "states", 3, LIMIT)
        await threads.start()
        assert archive.contexts() == before + 3
        assert (await threads.run(client.stat, "/")).kind is client.Kind.DIRECTORY
        assert archive.contexts() == before + 3
        await threads.stop()
        assert archive.contexts() == before
        session.close()


@in_reactor
async def test_a_thread_that_cannot_begin_tries_again_later(
    clock: Reactor, log: list[LogEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call that it makes does the same."""

    def fail() -> None:
        raise HpssError("hpss_Umask", -50)

    monkeypatch.setattr(client, "thread_start", fail)
    monkeypatch.setattr(client, "thread_end", fail)
    threads = HpssPool(clock, "unlucky", 2, LIMIT)
    await threads.start()
    assert await threads.run(lambda: 7) == 7
    await threads.stop()
    assert sum("a thread could not be set up: hpss_Umask: HPSS_ECONN (-50)" in each for each in words(log)) == 2


@in_reactor
async def test_the_start_does_not_wait_for_a_thread_for_ever(
    clock: Reactor, log: list[LogEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins later; there are others."""
    late, first = threading.Event(), threading.Lock()

    def begin() -> None:
        if first.acquire(blocking=False):
            assert late.wait(PATIENCE)

    monkeypatch.setattr(client, "thread_start", begin)
    monkeypatch.setattr(pool, "_START_TIMEOUT", 0.1)
    threads = HpssPool(clock, "late", 2, LIMIT)
    await threads.start()
    assert await threads.run(lambda: 7) == 7
    late.set()
    works = [Work(), Work()]
    calls = [running(threads.run(work)) for work in works]
    for work in works:
        await until(work.begun.is_set)
        work.may_end.set()
    for call in calls:
        await call
    await threads.stop()


# calls


@in_reactor
async def test_a_call_gives_what_it_gives(clock: Reactor) -> None:
    """With its arguments; or raises what it raises."""
    threads = HpssPool(clock, "plain", 1, LIMIT)
    await threads.start()
    assert await threads.run(divmod, 7, 2) == (3, 1)
    error = HpssError("hpss_Stat", -2)
    work = Work(error=error)
    work.may_end.set()
    with pytest.raises(HpssError) as caught:
        await threads.run(work)
    assert caught.value is error
    assert threads.stuck == 0
    await threads.stop()


@in_reactor
async def test_a_call_that_takes_too_long_is_given_up(clock: Reactor, log: list[LogEvent]) -> None:
    """Its caller is answered, and another thread takes the place of its own until it ends after all."""
    threads = HpssPool(clock, "patient", 1, LIMIT)
    await threads.start()
    late = Closable()
    work = Work(late)
    call = running(threads.run(work))
    await until(work.begun.is_set)
    clock.advance(LIMIT - 0.1)
    await deferLater(reactor, 0)
    assert not call.called
    clock.advance(0.1)
    with pytest.raises(StuckCall) as caught:
        await call
    assert isinstance(caught.value, errors.BackendUnavailable)
    assert (threads.stuck, threads.exhausted) == (1, False)
    assert [each for each in words(log) if "abandoned, as it does not return" in each]
    other = await threads.run(threading.current_thread)
    assert other is not work.thread
    assert late.closed == 0
    work.may_end.set()
    await until(lambda: threads.stuck == 0)
    assert late.closed == 1
    await until(lambda: living("patient") == 1)
    assert await threads.run(lambda: 7) == 7
    await threads.stop()
    assert living("patient") == 0


@in_reactor
async def test_a_call_that_fails_after_it_was_given_up(clock: Reactor, log: list[LogEvent]) -> None:
    """Nobody hears of it any more."""
    threads = HpssPool(clock, "late", 1, LIMIT)
    await threads.start()
    work = Work(error=HpssError("hpss_Read", -5))
    await stuck_in(clock, threads, work)
    work.may_end.set()
    await until(lambda: threads.stuck == 0)
    assert await threads.run(lambda: 7) == 7
    await threads.stop()


@in_reactor
async def test_a_call_that_waits_too_long_for_a_thread_never_begins(clock: Reactor, log: list[LogEvent]) -> None:
    """Its caller has been told that it failed."""
    threads = HpssPool(clock, "busy", 1, LIMIT)
    await threads.start()
    first, second, third = Work(), Work(), Work()
    await stuck_in(clock, threads, first)
    call = running(threads.run(second))
    await until(second.begun.is_set)
    clock.advance(1)
    waiting = running(threads.run(third))
    clock.advance(LIMIT - 1)
    with pytest.raises(StuckCall):
        await call
    assert not waiting.called
    clock.advance(1)
    with pytest.raises(errors.BackendUnavailable, match="no thread became free in time") as caught:
        await waiting
    assert not isinstance(caught.value, StuckCall)
    assert threads.stuck == 2
    first.may_end.set()
    second.may_end.set()
    await until(lambda: threads.stuck == 0)
    assert await threads.run(lambda: 7) == 7
    assert not third.begun.is_set()
    await threads.stop()


@in_reactor
async def test_when_all_threads_are_stuck_nobody_waits(clock: Reactor, log: list[LogEvent]) -> None:
    """As many again as the pool has are made for them, and no more; then there is nothing left to wait for."""
    threads = HpssPool(clock, "exhausted", 2, LIMIT)
    await threads.start()
    works = [Work() for _ in range(4)]
    for number, work in enumerate(works):
        assert not threads.exhausted
        assert threads.stuck == number
        await stuck_in(clock, threads, work)
    assert threads.exhausted
    assert living("exhausted") == 4
    with pytest.raises(errors.BackendUnavailable, match="does not answer"):
        await threads.run(lambda: 7)
    works[0].may_end.set()
    await until(lambda: not threads.exhausted)
    assert await threads.run(lambda: 7) == 7
    for work in works:
        work.may_end.set()
    await until(lambda: threads.stuck == 0)
    await until(lambda: living("exhausted") == 2)
    await threads.stop()


@pytest.mark.parametrize("times", [1, 3])
@in_reactor
async def test_a_caller_that_leaves_waits_for_the_end_or_the_limit(
    clock: Reactor, log: list[LogEvent], times: int
) -> None:
    """The call uses what he would release; only when it is stuck is it left alone with that."""
    threads = HpssPool(clock, "left", 1, LIMIT)
    await threads.start()
    for is_stuck in (False, True):
        orphan = Closable()
        work = Work(orphan)
        call = running(threads.run(work))
        await until(work.begun.is_set)
        told: list[bool] = []

        def note(failure: Any, told: list[bool] = told) -> None:
            failure.trap(CancelledError)
            told.append(True)

        call.addErrback(note)
        for _ in range(times):
            call.cancel()
        await deferLater(reactor, 0)
        assert told == []
        if is_stuck:
            clock.advance(LIMIT)
            await call
            assert (told, threads.stuck, orphan.closed) == ([True], 1, 0)
        work.may_end.set()
        await call
        await until(lambda orphan=orphan: orphan.closed == 1)  # type: ignore[misc]
        assert told == [True]
    assert threads.stuck == 0
    await threads.stop()


@in_reactor
async def test_what_nobody_waits_for_is_logged_when_it_fails(clock: Reactor, log: list[LogEvent]) -> None:
    """And only then."""
    threads = HpssPool(clock, "unattended", 1, LIMIT)
    await threads.start()
    done = threading.Event()
    threads.run_unattended(done.set)
    await until(done.is_set)

    def fail() -> None:
        raise HpssError("hpss_Close", -5)

    threads.run_unattended(fail)
    await threads.run(lambda: 7)
    (event,) = critical(log)
    assert event["log_failure"].check(HpssError)
    log.remove(event)
    await threads.stop()


# at the end


@in_reactor
async def test_a_stop_waits_for_the_last_calls(clock: Reactor, log: list[LogEvent]) -> None:
    """Those that wait for a thread included."""
    threads = HpssPool(clock, "ending", 1, LIMIT)
    await threads.start()
    works = [Work(1), Work(2)]
    calls = [running(threads.run(work)) for work in works]
    stop = running(threads.stop())
    clock.advance(1)
    await until(works[0].begun.is_set)
    assert not stop.called
    for work in works:
        work.may_end.set()
    await stop
    assert [await call for call in calls] == [1, 2]
    assert living("ending") == 0


@pytest.mark.parametrize("given_up", [False, True])
@in_reactor
async def test_a_stop_does_not_wait_for_ever(clock: Reactor, log: list[LogEvent], given_up: bool) -> None:
    """What is stuck is left behind, and named; what has not begun never will."""
    threads = HpssPool(clock, "leaving", 1, LIMIT)
    await threads.start()
    work, never = Work(), Work()
    calls: list[Deferred[object]] = []
    if given_up:
        await stuck_in(clock, threads, work)
    else:
        calls = [running(threads.run(work)), running(threads.run(never))]
        await until(work.begun.is_set)
    began = time.monotonic()
    stop = running(threads.stop())
    if not given_up:
        assert not stop.called
        clock.advance(5)
    await stop
    assert time.monotonic() - began < PATIENCE / 2
    for call, kind in zip(calls, (StuckCall, errors.BackendUnavailable), strict=False):
        error = await call.addErrback(lambda failure: failure.value)
        assert type(error) is kind
    assert threads.stuck == 1
    assert [each for each in words(log) if "still busy at the end" in each]
    work.may_end.set()
    await until(lambda: living("leaving") == 0)
    assert not never.begun.is_set()
