"""L{pacarchive.runtime.threads}, with real threads."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from pacarchive.backends.contract.handling import in_reactor
from pacarchive.runtime.threads import DELIVERY, BlockingPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.logger import ILogObserver, LogEvent

PATIENCE = 30.0


@pytest.fixture
def pool() -> Iterator[BlockingPool]:
    """A pool of two threads."""
    pool = BlockingPool(reactor, "test", 2)
    pool.start()
    yield pool
    pool.stop()


@pytest.fixture
def log() -> Iterator[list[LogEvent]]:
    """All that is logged."""
    events: list[LogEvent] = []
    observer = cast("ILogObserver", events.append)
    globalLogPublisher.addObserver(observer)
    yield events
    globalLogPublisher.removeObserver(observer)


class Work:
    """
    A blocking call that ends when it is told to.
    """

    def __init__(self, result: object = None, error: Exception | None = None) -> None:
        self._result = result
        self._error = error
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.ended = False

    def __call__(self) -> object:
        self.begun.set()
        assert self.may_end.wait(PATIENCE)
        self.ended = True
        if self._error is not None:
            raise self._error
        return self._result

    async def has_begun(self) -> None:
        """Wait, without blocking the reactor, until a thread is in the call."""
        deadline = time.monotonic() + PATIENCE
        while not self.begun.is_set():
            assert time.monotonic() < deadline
            await deferLater(reactor, 0.001)


class Closable:
    """A result with something to release."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def run(pool: BlockingPool, call: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
    """The call, as something that can be cancelled."""
    return Deferred.fromCoroutine(pool.run(call, *args, **kwargs))


@in_reactor
async def test_a_call_runs_in_a_thread_of_the_pool(pool: BlockingPool) -> None:
    """With its arguments; what it returns comes back into the reactor's thread."""

    def call(*args: object, **kwargs: object) -> tuple[object, ...]:
        return args, kwargs, threading.current_thread()

    args, kwargs, thread = await pool.run(call, 1, two=2)
    assert (args, kwargs) == ((1,), {"two": 2})
    assert isinstance(thread, threading.Thread)
    assert thread is not threading.current_thread()
    assert "test" in thread.name
    assert thread.daemon


@in_reactor
async def test_what_a_call_raises_comes_back(pool: BlockingPool) -> None:
    """As it is."""
    error = OSError(5, "words")
    work = Work(error=error)
    work.may_end.set()
    with pytest.raises(OSError, match="words") as raised:
        await pool.run(work)
    assert raised.value is error


@in_reactor
async def test_no_more_threads_than_were_allowed(pool: BlockingPool) -> None:
    """What comes on top waits, and is counted."""
    works = [Work() for _ in range(5)]
    calls = [run(pool, work) for work in works]
    for work in works[:2]:
        await work.has_begun()
    assert pool.backlog == 3
    assert not any(work.begun.is_set() for work in works[2:])
    for work in works:
        work.may_end.set()
    await gatherResults(calls)
    assert pool.backlog == 0


@pytest.mark.parametrize("times", [1, 2, 5])
@in_reactor
async def test_the_call_ends_before_its_caller_goes_on(pool: BlockingPool, times: int) -> None:
    """Whoever is cancelled may release what the call was using: nothing uses it any more."""
    work = Work()
    call = run(pool, work)
    await work.has_begun()
    told: list[bool] = []
    call.addErrback(lambda failure: told.append(work.ended) if failure.check(CancelledError) else failure)
    for _ in range(times):
        call.cancel()
        await deferLater(reactor, 0)
    assert told == []
    work.may_end.set()
    await call
    assert told == [True]


@in_reactor
async def test_a_call_that_still_waits_for_a_thread(pool: BlockingPool) -> None:
    """Is waited for as well when its caller leaves: it is under way as far as anybody knows."""
    busy = [Work(), Work()]
    calls = [run(pool, work) for work in busy]
    late = Work()
    late.may_end.set()
    left = run(pool, late)
    left.cancel()
    for work in busy:
        work.may_end.set()
    await gatherResults(calls)
    with pytest.raises(CancelledError):
        await left
    assert late.ended


@pytest.mark.parametrize("times", [1, 2])
@in_reactor
async def test_a_result_that_nobody_takes_is_closed(pool: BlockingPool, times: int) -> None:
    """Once; one that somebody takes is not."""
    kept = Closable()
    work = Work(kept)
    work.may_end.set()
    assert await pool.run(work) is kept
    assert kept.closed == 0
    orphan = Closable()
    work = Work(orphan)
    call = run(pool, work)
    await work.has_begun()
    for _ in range(times):
        call.cancel()
    work.may_end.set()
    with pytest.raises(CancelledError):
        await call
    assert orphan.closed == 1


@pytest.mark.parametrize("result", [None, 7, b"words"])
@in_reactor
async def test_a_result_with_nothing_to_close(pool: BlockingPool, result: object) -> None:
    """Is dropped."""
    work = Work(result)
    call = run(pool, work)
    await work.has_begun()
    call.cancel()
    work.may_end.set()
    with pytest.raises(CancelledError):
        await call


@in_reactor
async def test_an_error_that_nobody_hears_is_logged(pool: BlockingPool, log: list[LogEvent]) -> None:
    """The caller hears only that it was cancelled."""
    work = Work(error=OSError("words"))
    call = run(pool, work)
    await work.has_begun()
    call.cancel()
    work.may_end.set()
    with pytest.raises(CancelledError):
        await call
    (event,) = [event for event in log if "log_failure" in event]
    assert event["log_failure"].check(OSError)


@in_reactor
async def test_a_stop_leaves_no_thread() -> None:
    """However many there were."""
    before = threading.active_count()
    pool = BlockingPool(reactor, "short", 4)
    pool.start()
    await gatherResults([run(pool, time.monotonic) for _ in range(20)])
    assert threading.active_count() > before
    pool.stop()
    assert threading.active_count() == before


@in_reactor
async def test_a_stop_does_not_wait_for_ever(log: list[LogEvent]) -> None:
    """A thread that is stuck is named, and left behind."""
    pool = BlockingPool(reactor, "stuck", 2)
    pool.start()
    stuck = Work()
    call = run(pool, stuck)
    await stuck.has_begun()
    began = time.monotonic()
    pool.stop(0.2)
    assert 0.2 <= time.monotonic() - began < PATIENCE
    (event,) = [event for event in log if event.get("pool") == "stuck"]
    (name,) = event["threads"]
    assert "stuck" in name
    stuck.may_end.set()
    await call


@in_reactor
async def test_a_stop_waits_for_what_ends_in_time(log: list[LogEvent]) -> None:
    """And says nothing."""
    pool = BlockingPool(reactor, "busy", 2)
    pool.start()
    work = Work()
    call = run(pool, work)
    await work.has_begun()
    threading.Timer(0.05, work.may_end.set).start()
    pool.stop(PATIENCE)
    assert work.ended
    await call
    assert not [event for event in log if event.get("pool") == "busy"]


# threads that last


class Account:
    """What the threads of a pool say of themselves."""

    def __init__(self) -> None:
        self.begun: list[threading.Thread] = []
        self.ended: list[threading.Thread] = []

    def begin(self) -> None:
        self.begun.append(threading.current_thread())

    def end(self) -> None:
        self.ended.append(threading.current_thread())

    async def has_begun(self, count: int) -> None:
        """Wait until so many threads have begun."""
        await until(lambda: len(self.begun) >= count)
        assert len(self.begun) == count


async def until(true: Callable[[], bool]) -> None:
    """Wait, without blocking the reactor, for something that happens in a thread."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        await deferLater(reactor, 0.001)


@in_reactor
async def test_lasting_threads_are_there_before_any_work() -> None:
    """All of them; each begins before its first work, and ends after its last."""
    account = Account()
    pool = BlockingPool(
        reactor,
        "lasting",
        3,
        lasting=True,
        begin=account.begin,
        end=account.end,
    )
    assert not account.begun
    pool.start()
    await account.has_begun(3)
    threads = set(account.begun)
    together = threading.Barrier(3, timeout=PATIENCE)

    def meet() -> threading.Thread:
        together.wait()
        assert not account.ended
        return threading.current_thread()

    for _ in range(5):
        assert set(await gatherResults([run(pool, meet) for _ in range(3)])) == threads
    pool.stop()
    assert len(account.begun) == 3
    assert set(account.ended) == threads
    assert not any(thread.is_alive() for thread in threads)


@in_reactor
async def test_other_threads_are_made_when_there_is_work() -> None:
    """And begin and end as well."""
    account = Account()
    pool = BlockingPool(reactor, "passing", 3, begin=account.begin, end=account.end)
    pool.start()
    assert not account.begun
    thread = await pool.run(threading.current_thread)
    assert account.begun == [thread]
    pool.stop()
    assert account.ended == [thread]


@in_reactor
async def test_a_lasting_pool_grows_while_a_thread_is_stuck_and_shrinks_afterwards() -> None:
    """The new thread begins as the others did; the one that is too many ends when it is free."""
    account = Account()
    pool = BlockingPool(
        reactor,
        "changing",
        1,
        lasting=True,
        begin=account.begin,
        end=account.end,
    )
    pool.start()
    stuck = Work()
    call = run(pool, stuck)
    await stuck.has_begun()
    waiting = run(pool, threading.current_thread)
    assert not waiting.called
    pool.resize(2)
    assert await waiting is account.begun[1]
    stuck.may_end.set()
    await call
    pool.resize(1)
    assert pool.size == 1
    await until(lambda: len(account.ended) == 1)
    (left,) = set(account.begun) - set(account.ended)
    assert await pool.run(threading.current_thread) is left
    pool.stop()
    assert set(account.ended) == set(account.begun)


@in_reactor
async def test_a_pool_that_shrinks_and_grows_while_its_threads_are_stuck() -> None:
    """It has as many in the end as were asked for last."""
    account = Account()
    pool = BlockingPool(reactor, "changing", 3, begin=account.begin, end=account.end)
    pool.start()
    stuck = [Work() for _ in range(3)]
    calls = [run(pool, each) for each in stuck]
    for each in stuck:
        await each.has_begun()
    for size in (1, 3, 2):
        pool.resize(size)
    for each in stuck:
        each.may_end.set()
    await gatherResults(calls)
    together = threading.Barrier(2, timeout=PATIENCE)
    await gatherResults([run(pool, together.wait) for _ in range(2)])
    await until(lambda: len(account.begun) - len(account.ended) == 2)
    pool.stop()
    assert len(account.ended) == len(account.begun)


@in_reactor
async def test_work_that_comes_too_late() -> None:
    """What was asked for before the stop is done; what is asked for after it is refused, rather than forgotten."""
    pool = BlockingPool(reactor, "late", 1)
    pool.start()
    work = [run(pool, int, number) for number in range(10)]
    pool.stop()
    assert await gatherResults(work) == list(range(10))
    with pytest.raises(RuntimeError):
        await pool.run(int)


@in_reactor
async def test_work_before_the_start() -> None:
    """It waits for it."""
    pool = BlockingPool(reactor, "early", 2)
    work = run(pool, int, 5)
    assert pool.backlog == 1
    pool.start()
    assert await work == 5
    pool.stop()


@pytest.mark.parametrize("lasting", [False, True])
@in_reactor
async def test_signals_are_for_the_main_thread(lasting: bool) -> None:
    """One that came to a pool's thread would break off the C call there; the main thread still takes them."""
    here = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    pool = BlockingPool(reactor, "deaf", 1, lasting=lasting)
    pool.start()
    blocked = await pool.run(signal.pthread_sigmask, signal.SIG_BLOCK, [])
    assert blocked == signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == here
    pool.stop()


@in_reactor
async def test_signals_are_blocked_before_a_thread_begins() -> None:
    """The library's own state is made there."""
    masks: list[set[int]] = []
    pool = BlockingPool(
        reactor,
        "deaf",
        1,
        lasting=True,
        begin=lambda: masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    )
    pool.start()
    await until(lambda: bool(masks))
    assert {signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD} <= masks[0]
    pool.stop()


class Turns(Clock):
    """A reactor whose turns are taken when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def callFromThread(self, call: Callable[..., object], *args: object) -> None:
        self.arrived.append((call, args))

    def turn(self) -> None:
        """Do what came from threads."""
        arrived, self.arrived = self.arrived, []
        for call, args in arrived:
            call(*args)


def test_results_are_dealt_with_in_turns() -> None:
    """However many calls have ended while the reactor did something else; in their order, and whatever comes of one."""
    turns, done, failures = Turns(), list[int](), list[Failure]()

    def deal(number: int) -> None:
        done.append(number)
        turns.rightNow += DELIVERY * 0.3
        if number == 7:
            raise ZeroDivisionError

    pool = BlockingPool(turns, "many", 1)
    pool.start()
    for number in range(50):
        pool.call(int, number).addCallback(deal).addErrback(lambda failure: failures.append(failure))
    assert pool.stop()
    assert len(turns.arrived) == 1, "the reactor is woken once for all"
    counts = []
    while len(done) < 50:
        before = len(done)
        turns.turn()
        counts.append(len(done) - before)
    assert done == list(range(50))
    assert set(counts[:-1]) == {4}
    assert len(failures) == 1
    assert not turns.arrived
