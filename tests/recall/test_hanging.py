"""A store that hangs: it costs those who ask one time limit, later ones nothing, and is asked again when it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pymysql
import pytest
from pymysql.constants import CR, ER
from sideband.server import MariaDB
from sideband.watching import SLACK, Watch, until
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from pacarchive import errors
from pacarchive.backends.contract.handling import in_reactor, running
from pacarchive.recall import jobs
from pacarchive.recall.channel import RETRY, Call, Channel, NotExecuted
from pacarchive.recall.engine import RecallEngine
from pacarchive.recall.jobs import Submission
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import OutcomeUnknown, Store, StoreSettings, StoreUnavailable
from pacarchive.recall.store import Transaction as StoreTransaction
from pacarchive.recall.words import JobRequest
from pacarchive.runtime import mariadb
from recall.surroundings import ARCHIVE, Going, Surroundings, Tapes, logged, settings

LIMIT = 2.0
"""What the stuck connections of the tests in virtual time may take."""

SOON = 1.0
"""What a real server may take to answer."""

ROUNDS = 40
"""In which nobody waits: what one costs that waits is seen on a busy machine, too."""


class Transaction:
    """What stands for adbapi's."""

    def close(self) -> None:
        """There is nothing to close."""


@attrs.define
class Taken:
    """What a pool was asked for, and what its thread makes of that."""

    take: Callable[[], None]
    call: Callable[[Any], Any]
    answer: Deferred[Any] = attrs.field(factory=Deferred)

    def end(self, error: BaseException | None = None) -> None:
        """It succeeds, or fails after it was made."""
        try:
            result = self.call(Transaction())
        except NotExecuted:
            self.answer.errback(Failure())
            return
        self.answer.callback(result) if error is None else self.answer.errback(error)


class StuckPool:
    """Connections whose every step is the test's to make."""

    dbapi = pymysql

    def __init__(self) -> None:
        self.losses = 0
        self.asked: list[Taken] = []
        self.closed = False

    def interact(self, take: Callable[[], None], call: Callable[[Any], Any]) -> Deferred[Any]:
        """As that of a real pool, whose threads are busy."""
        self.asked.append(Taken(take, call))
        return self.asked[-1].answer

    def close(self) -> None:
        """End."""
        self.closed = True


class Stuck:
    """
    A channel over connections that are stuck.

    @ivar ran: What was done.
    """

    def __init__(self, limit: float | None = LIMIT) -> None:
        self.clock = Clock()
        self.pool = StuckPool()
        pool: Any = self.pool
        self.channel = Channel(self.clock, pool, lambda transaction: None, limit)
        self.ran: list[str] = []
        self.calls: list[Call[Any]] = []

    def ask(self, name: str = "") -> Going:
        """Ask for something."""
        self.calls.append(Call(lambda transaction: self.ran.append(name)))
        return Going(self.channel.run(self.calls[-1], cancellable=False))


@pytest.fixture
def stuck() -> Stuck:
    """A channel over connections that are stuck."""
    return Stuck()


def late(number: int = CR.CR_SERVER_LOST) -> pymysql.OperationalError:
    """What the driver raises when nothing has come in time."""
    error = pymysql.OperationalError(number, "Lost connection to MySQL server during query (timed out)")
    error.__context__ = TimeoutError()
    return error


def refused(*asked: Going) -> bool:
    """Whether all have been."""
    for each in asked:
        with pytest.raises(NotExecuted):
            _ = each.result
    return True


class TestStuckConnections:
    def test_whoever_waits_does_so_no_longer_than_the_first(self, stuck: Stuck) -> None:
        asked = [stuck.ask("first")]
        stuck.pool.asked[0].take()
        for _ in range(3):
            stuck.clock.advance(LIMIT / 4)
            asked.append(stuck.ask("later"))
        stuck.clock.advance(LIMIT / 4 - 0.01)
        assert not any(each.ended for each in asked)
        with logged() as log:
            stuck.clock.advance(0.01)
            assert stuck.channel.hangs
            assert refused(*asked)
            assert refused(stuck.ask("after that"))
        assert log == ["no connection within 2 s"]
        assert len(stuck.pool.asked) == 4 + 1, "those that come reach no thread; the other one is the probe"

    def test_what_was_refused_is_never_done(self, stuck: Stuck) -> None:
        stuck.ask("first")
        waiting = stuck.ask("waits")
        stuck.pool.asked[0].take()
        stuck.clock.advance(LIMIT)
        assert refused(waiting)
        stuck.pool.asked[0].end()  # its connection is there, too late
        with pytest.raises(NotExecuted):  # so that no thread looks for a connection
            stuck.pool.asked[1].take()
        assert stuck.ran == []

    def test_the_limit_begins_when_a_thread_is_there(self, stuck: Stuck) -> None:
        """Before, others are at work, and that takes as long as it does."""
        asked = stuck.ask()
        stuck.clock.advance(LIMIT * 1.7)
        stuck.pool.asked[0].take()
        stuck.clock.pump([LIMIT * 0.3, LIMIT * 0.69])
        assert not stuck.channel.hangs
        stuck.clock.advance(LIMIT * 0.02)
        assert refused(asked)

    def test_what_has_a_connection_may_take_as_long_as_it_does(self, stuck: Stuck) -> None:
        asked, waiting = stuck.ask("first"), stuck.ask("waits")
        stuck.pool.asked[0].take()
        stuck.pool.asked[0].call(Transaction())
        stuck.clock.pump([LIMIT] * 9)
        assert not asked.ended
        assert not waiting.ended
        assert not stuck.channel.hangs

    @pytest.mark.parametrize("error", [late(), late(CR.CR_CONN_HOST_ERROR), pymysql.OperationalError(1205, "Lock")])
    def test_one_that_has_run_into_its_limit(self, stuck: Stuck, error: pymysql.Error) -> None:
        assert ER.LOCK_WAIT_TIMEOUT == 1205
        asked, waiting, losses = stuck.ask("first"), stuck.ask("waits"), stuck.pool.losses
        stuck.pool.asked[0].end(error)
        with pytest.raises(pymysql.OperationalError):  # what has become of it is for who asked to judge
            _ = asked.result
        assert stuck.calls[0].completed
        assert refused(waiting, stuck.ask("later"))
        assert stuck.pool.losses == losses + 1, "no connection is trusted untried"

    def test_one_that_is_at_work_is_not_refused(self, stuck: Stuck) -> None:
        """It may be done or not: that is seen from how it ends, and nobody is told something else before."""
        stuck.ask()
        at_work = stuck.ask("at work")
        stuck.pool.asked[1].take()
        stuck.pool.asked[1].call(Transaction())
        stuck.pool.asked[0].end(late())
        assert stuck.channel.hangs
        assert not at_work.ended
        stuck.pool.asked[1].answer.callback("its result")
        assert at_work.result == "its result"

    @pytest.mark.parametrize("error", [pymysql.OperationalError(CR.CR_SERVER_LOST, ""), ValueError()])
    def test_other_failures_are_those_of_one_alone(self, stuck: Stuck, error: Exception) -> None:
        stuck.ask("first")
        waiting = stuck.ask("waits")
        stuck.pool.asked[0].end(error)
        assert not stuck.channel.hangs
        assert not waiting.ended

    def test_a_file_is_waited_for(self) -> None:
        stuck = Stuck(None)
        asked = stuck.ask()
        stuck.pool.asked[0].take()
        stuck.clock.advance(100)
        assert not asked.ended
        assert not stuck.clock.getDelayedCalls()


class TestProbes:
    def test_one_at_a_time_until_one_succeeds(self, stuck: Stuck) -> None:
        stuck.ask()
        stuck.pool.asked[0].end(late())
        asked = stuck.pool.asked
        assert len(asked) == 1
        stuck.clock.advance(0)  # at once: it may have been one slow answer
        assert len(asked) == 2
        stuck.clock.pump([RETRY] * 5)
        assert len(asked) == 2
        for count in (3, 4):
            asked[-1].end(late())
            stuck.clock.advance(RETRY - 0.01)
            assert len(asked) == count - 1
            stuck.clock.advance(0.01)
            assert len(asked) == count
            assert stuck.channel.hangs
            assert refused(stuck.ask("while it hangs"))
        asked[-1].end()
        assert not stuck.channel.hangs
        again = stuck.ask("again")
        asked[-1].end()
        assert again.ended
        assert stuck.ran == ["", "again"]
        assert not stuck.clock.getDelayedCalls()

    def test_what_hung_before_says_nothing_of_now(self, stuck: Stuck) -> None:
        stuck.ask()
        at_work = stuck.ask()
        stuck.pool.asked[0].end(late())
        stuck.clock.advance(0)
        stuck.pool.asked[2].end()
        assert not stuck.channel.hangs
        stuck.pool.asked[1].answer.errback(late())
        assert at_work.ended
        assert not stuck.channel.hangs

    def test_they_end(self, stuck: Stuck) -> None:
        stuck.ask()
        stuck.pool.asked[0].end(late())
        stuck.clock.advance(0)
        stuck.channel.stop()
        stuck.pool.asked[1].end(late())
        assert stuck.pool.closed
        assert not stuck.clock.getDelayedCalls()

    def test_nothing_is_looked_after_at_the_end(self, stuck: Stuck) -> None:
        asked = stuck.ask("first")
        stuck.channel.stop()
        assert not stuck.clock.getDelayedCalls()
        stuck.pool.asked[0].end()  # what was accepted is done
        assert asked.ended
        assert stuck.ran == ["first"]


def test_it_is_told_where_only_reading_hangs(locally: Surroundings) -> None:
    """The dispatcher's signs of life, which are written, succeed all the while."""
    engine = locally.engine()
    reading = engine._store._readers
    assert reading is not None
    told = [engine.obstacle]
    reading.hangs = True
    told.append(engine.obstacle)
    locally.spend(10)
    told.append(engine.obstacle)
    reading.hangs = False
    told.append(engine.obstacle)
    words = "The list of recalls does not answer."
    assert told == ["", words, words, ""]


# With a real server, which is stopped.


def address(server: MariaDB) -> str:
    """Where its database is, which is made."""
    server.execute("CREATE DATABASE recall")
    return f"mariadb://root@/recall?socket={server.socket}"


@asynccontextmanager
async def opened(server: MariaDB) -> AsyncIterator[Store]:
    """A store in real time."""
    store = Store(the_reactor, StoreSettings(address=address(server), archive=ARCHIVE, timeout=SOON))
    await store.start()
    try:
        yield store
    finally:
        server.thaw()
        await store.stop()


def submit(transaction: StoreTransaction) -> None:
    """Make a job."""
    submission = Submission(request=JobRequest(owner="a", file_ids=[1]), pin=100, deadline=1000)
    jobs.submit_all(transaction, [submission], RecallSettings())


async def count_of_jobs(store: Store) -> int:
    row = await store.read(lambda cursor: cursor.row("SELECT COUNT(*) FROM jobs"))
    assert row is not None
    return int(row[0])


async def failures_of(work: list[Deferred[Any]]) -> list[BaseException]:
    """What all of them fail with."""
    ended = await DeferredList(work, consumeErrors=True)
    assert not any(succeeded for succeeded, _ in ended)
    return [failure.value for _, failure in ended if isinstance(failure, Failure) and failure.value is not None]


async def require_refusals(store: Store) -> None:
    """However many ask, they are refused, with the words of a store that does not answer."""
    reads = [running(count_of_jobs(store)) for _ in range(30)]
    writes = [running(store.write(submit)) for _ in range(30)]
    failures = await failures_of([*reads, *writes])
    assert {type(each) for each in failures} == {StoreUnavailable}
    assert {str(each) for each in failures} == {"The list of recalls does not answer."}


def is_well(store: Store) -> Callable[[], Awaitable[bool]]:
    """Tells whether it has been found out that it answers again."""

    async def is_it() -> bool:
        return not store.trouble

    return is_it


@pytest.mark.parametrize("fresh", [-1.0, 60.0], ids=["connections are tried first", "just used"])
@in_reactor
async def test_a_frozen_server(own_mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch, fresh: float) -> None:
    """It costs what is asked meanwhile one limit, however much that is; what is asked next waits no more."""
    monkeypatch.setattr(mariadb, "_FRESH", fresh)
    async with opened(own_mariadb) as store:
        await store.write(submit)
        assert await count_of_jobs(store) == 1
        own_mariadb.freeze()
        watch = Watch()
        await require_refusals(store)
        assert watch.seconds < SOON + SLACK
        watch = Watch()
        for _ in range(ROUNDS):
            assert store.trouble == "The list of recalls does not answer."
            await require_refusals(store)
        assert watch.seconds < ROUNDS * SOON / 2
        own_mariadb.thaw()
        await until(is_well(store))
        assert await count_of_jobs(store) == 1, "what was acknowledged is there, and nothing that was refused"
        await store.write(submit)
        assert await count_of_jobs(store) == 2


@in_reactor
async def test_a_server_that_freezes_while_it_makes_a_change_durable(own_mariadb: MariaDB) -> None:
    """Nobody knows whether that one was done; those that wait for it were not."""

    def change(transaction: StoreTransaction) -> None:
        submit(transaction)
        own_mariadb.freeze()

    async with opened(own_mariadb) as store:
        await store.write(submit)
        first = running(store.write(change))
        others = [running(store.write(submit)) for _ in range(10)]
        failures = await failures_of([first, *others])
        assert [type(each) for each in failures] == [OutcomeUnknown] + [StoreUnavailable] * 10
        own_mariadb.thaw()
        await until(is_well(store))
        assert await count_of_jobs(store) in (1, 2)


@in_reactor
async def test_somebody_holds_the_turn(own_mariadb: MariaDB) -> None:
    """Another node hangs in the middle of a change: no other can be made, but all can be read."""
    async with opened(own_mariadb) as store:
        with own_mariadb.connect(database="recall", autocommit=False) as other, other.cursor() as cursor:
            cursor.execute("UPDATE turn SET seq = seq + 1")
            watch = Watch()
            failures = await failures_of([running(store.write(submit)) for _ in range(20)])
            assert watch.seconds < SOON + SLACK
            assert {type(each) for each in failures} == {StoreUnavailable}
            assert {await count_of_jobs(store) for _ in range(20)} == {0}
            assert store.trouble, "a probe that has not had the turn says nothing"
            watch = Watch()
            for _ in range(ROUNDS):
                await failures_of([running(store.write(submit)) for _ in range(20)])
            assert watch.seconds < ROUNDS * SOON / 2
            other.rollback()
        await until(is_well(store))
        await store.write(submit)
        assert await count_of_jobs(store) == 1


@in_reactor
async def test_recalls_go_on_when_it_is_over(own_mariadb: MariaDB) -> None:
    """The engine says what is the matter, and does afterwards what it was asked for before."""
    tapes = Tapes(the_reactor)  # type: ignore[arg-type]
    tapes.add(1, 2, 3)
    engine = RecallEngine(
        the_reactor, tapes, settings(store=address(own_mariadb), store_timeout=SOON, poll_interval=0.1), ARCHIVE
    )
    await engine.startService()
    try:
        job = await engine.submit(JobRequest(owner="a", file_ids=[1, 2, 3]))
        own_mariadb.freeze()
        watch = Watch()
        failures = await failures_of([running(engine.jobs()) for _ in range(20)])
        assert watch.seconds < SOON + SLACK
        assert engine.obstacle == "The list of recalls does not answer."
        watch = Watch()
        failures += await failures_of([running(engine.submit(JobRequest(owner="b", file_ids=[1])))])
        assert watch.seconds < SOON + SLACK
        assert all(isinstance(each, errors.BackendUnavailable) for each in failures)
        own_mariadb.thaw()
        tapes.prompt = True

        async def is_done() -> bool:
            return not engine.obstacle and not (await engine.status(job)).summary.left

        await until(is_done)
        assert [each.job for each in await engine.jobs()] == [job]
    finally:
        own_mariadb.thaw()
        await engine.stopService()
