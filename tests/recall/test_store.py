"""The job store itself: opening it, transactions, trouble; and the lease, which says who the dispatcher is."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Event, Semaphore
from typing import Any

import pymysql
import pytest
from sideband.server import MariaDB
from twisted.enterprise import adbapi
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.threads import deferToThread

from pacarchive.backends.contract.handling import in_reactor, running
from pacarchive.recall import jobs, listing
from pacarchive.recall.jobs import Submission
from pacarchive.recall.lease import HEARTBEAT, LEASE_TIMEOUT, Lease
from pacarchive.recall.schema import STEPS, statements
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import (
    READERS,
    Cursor,
    LeaseLost,
    OutcomeUnknown,
    Store,
    StoreSettings,
    StoreUnavailable,
    Transaction,
)
from pacarchive.recall.words import JobRequest
from recall.surroundings import AFTER, ARCHIVE, BEFORE, Going, Trouble, VirtualReactor, done, logged

Open = Callable[..., Store]


def settings_of(address: dict[str, Any], archive: str = ARCHIVE) -> StoreSettings:
    return StoreSettings(address=address["store"], password=address.get("store_password", ""), archive=archive)


@pytest.fixture
def time() -> VirtualReactor:
    """Virtual time."""
    return VirtualReactor()


@pytest.fixture
def open_store(store_address: dict[str, Any], time: VirtualReactor) -> Iterator[Open]:
    """Opens one and the same store again and again, each time as another process would."""
    opened = []

    def open_it(reactor: VirtualReactor = time, archive: str = ARCHIVE) -> Store:
        store = Store(reactor, settings_of(store_address, archive), reactor.make_pool)
        done(store.start())
        opened.append(store)
        return store

    yield open_it
    for each in opened:
        done(each.stop())


@pytest.fixture
def store(open_store: Open) -> Store:
    """An open store."""
    return open_store()


def execute(address: dict[str, Any], server: MariaDB | None, *texts: str) -> list[Any]:
    """Do something to a store from outside.  @return: The rows of the last statement."""
    if server is None:
        with closing(sqlite3.connect(address["store"], isolation_level=None)) as connection:
            return [connection.execute(text).fetchall() for text in texts][-1]
    name = address["store"].partition("@/")[2].partition("?")[0]
    return [server.execute(text, database=name) for text in texts][-1]


@pytest.fixture
def outside(store_address: dict[str, Any], request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    """Does something to the store from outside."""
    shared = store_address["store"].startswith("mariadb:")
    server = request.getfixturevalue("mariadb") if shared else None
    return lambda *texts: execute(store_address, server, *texts)


def submission(*file_ids: int, owner: str = "a") -> Submission:
    return Submission(request=JobRequest(owner=owner, file_ids=file_ids), pin=100, deadline=1000)


def submit(store: Store, *file_ids: int) -> str:
    (job,) = done(
        store.write(lambda transaction: jobs.submit_all(transaction, [submission(*file_ids)], RecallSettings()))
    )
    assert isinstance(job, str)
    return job


def count_of(store: Store, table: str = "jobs") -> int:
    row = done(store.read(lambda cursor: cursor.row(f"SELECT COUNT(*) FROM {table}")))
    assert row is not None
    return int(row[0])


class TestOpening:
    def test_is_made_and_found_again(self, open_store: Open) -> None:
        first = open_store()
        job = submit(first, 1, 2)
        done(first.stop())
        second = open_store()
        assert done(second.read(lambda cursor: listing.summary(cursor, listing.number_of(cursor, job)))).files == 2
        assert done(second.read(lambda cursor: cursor.row("SELECT MAX(version) FROM version"))) == (len(STEPS),)

    def test_of_a_later_version_is_refused(self, open_store: Open, outside: Callable[..., list[Any]]) -> None:
        done(open_store().stop())
        outside(f"INSERT INTO version VALUES ({len(STEPS) + 1})")
        with pytest.raises(StoreUnavailable, match="later version"):
            open_store()

    def test_of_another_archive_is_refused(self, open_store: Open, store_address: dict[str, Any]) -> None:
        done(open_store().stop())
        with pytest.raises(StoreUnavailable, match="another archive") as caught:
            open_store(archive="posix:/other")
        # Where it is, is for the log alone.
        address = store_address["store"]
        assert address not in str(caught.value)
        assert str(caught.value.__cause__) == f"{address} is that of another archive ({ARCHIVE}): name another one"
        open_store()

    def test_that_was_made_by_half(self, open_store: Open, outside: Callable[..., list[Any]]) -> None:
        # MariaDB makes each table durable by itself, so whoever makes them may be killed between two.
        done(open_store().stop())
        outside("DROP TABLE pins", "DROP TABLE media", "DELETE FROM version")
        store = open_store()
        submit(store, 1)
        assert count_of(store, "pins") == 0
        assert count_of(store, "turn") == 1

    def test_in_a_place_that_is_not_there(self, tmp_path: Path, time: VirtualReactor) -> None:
        store = Store(time, settings_of({"store": str(tmp_path / "missing/recall.sqlite")}), time.make_pool)
        with pytest.raises(StoreUnavailable, match="does not answer"):
            done(store.start())
        assert not time.getDelayedCalls()

    @in_reactor
    async def test_by_several_at_the_same_time(self, store_address: dict[str, Any]) -> None:
        # Real threads: each of them finds no table, and all want to make them.
        stores = [Store(the_reactor, settings_of(store_address)) for _ in range(8)]
        try:
            await gatherResults([running(each.start()) for each in stores])
        finally:
            for each in stores:
                await each.stop()

    def test_while_another_process_prepares_it(
        self, tmp_path: Path, time: VirtualReactor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = str(tmp_path / "recall.sqlite")
        store = Store(time, settings_of({"store": path}), time.make_pool)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            pauses = []

            def pause(seconds: float) -> None:
                pauses.append(seconds)
                if len(pauses) == 3:
                    other.rollback()

            monkeypatch.setattr("pacarchive.recall.store.time.sleep", pause)
            done(store.start())
        assert len(pauses) == 3
        assert done(store.write(lambda transaction: transaction.row("PRAGMA journal_mode"))) == ("wal",)
        done(store.stop())

    def test_is_closed_while_it_is_stopped(self, store: Store) -> None:
        done(store.stop())
        with pytest.raises(StoreUnavailable, match="about to stop"):
            done(store.read(lambda cursor: cursor.row("SELECT 1")))
        with pytest.raises(StoreUnavailable, match="about to stop"):
            submit(store, 1)


class TestTransactions:
    def test_all_or_nothing(self, store: Store) -> None:
        class Oops(Exception):
            pass

        def fail(transaction: Transaction) -> None:
            jobs.submit_all(transaction, [submission(1)], RecallSettings())
            raise Oops

        before = done(store.read(listing.circumstances))
        with pytest.raises(Oops):
            done(store.write(fail))
        assert count_of(store) == count_of(store, "recalls") == 0
        assert done(store.read(listing.circumstances)) == before

    def test_changes_are_numbered(self, open_store: Open) -> None:
        first, second = open_store(), open_store()
        numbers = [done(each.write(lambda transaction: transaction.seq)) for each in (first, second, second, first)]
        assert numbers == list(range(numbers[0], numbers[0] + 4))

    def test_a_read_sees_one_moment(self, open_store: Open) -> None:
        reader, writer = open_store(), open_store()

        def look(cursor: Any) -> tuple[Any, Any]:
            before = cursor.row("SELECT COUNT(*) FROM jobs")
            submit(writer, 1)
            return before, cursor.row("SELECT COUNT(*) FROM jobs")

        before, after = done(reader.read(look))
        assert before == after == (0,)
        assert count_of(reader) == 1

    def test_a_read_sees_one_moment_whatever_the_default(
        self, mariadb_store: dict[str, Any], mariadb: MariaDB, time: VirtualReactor
    ) -> None:
        mariadb.execute("SET GLOBAL tx_isolation = 'READ-COMMITTED'")
        reader, writer = (Store(time, settings_of(mariadb_store), time.make_pool) for _ in range(2))
        try:
            done(reader.start())
            done(writer.start())
            self.test_a_read_sees_one_moment(iter([reader, writer]).__next__)
        finally:
            mariadb.execute("SET GLOBAL tx_isolation = 'REPEATABLE-READ'")
            done(reader.stop())
            done(writer.stop())

    def test_more_keys_than_a_statement_may_have(self, store: Store) -> None:
        submit(store, *range(1234))
        keys = range(0, 4000, 2)
        found = done(store.read(lambda cursor: list(cursor.among("SELECT file FROM recalls WHERE file IN (*)", keys))))
        assert sorted(row[0] for row in found) == list(range(0, 1234, 2))
        changed = store.write(
            lambda transaction: transaction.execute_among("DELETE FROM recalls WHERE file IN (*)", keys)
        )
        assert done(changed) == 617

    @in_reactor
    async def test_writers_take_turns(self, store_address: dict[str, Any]) -> None:
        stores = [Store(the_reactor, settings_of(store_address)) for _ in range(3)]
        try:
            for each in stores:
                await each.start()
            many = [running(each.write(_take_number)) for _ in range(20) for each in stores]
            numbers = await gatherResults(many)
            assert len(set(numbers)) == len(numbers)
            made = await stores[0].read(lambda cursor: cursor.row("SELECT COUNT(*), COUNT(DISTINCT number) FROM jobs"))
            assert made == (len(numbers), len(numbers))
        finally:
            for each in stores:
                await each.stop()


class TestReadsThatNobodyWaitsFor:
    """A client asks for much, leaves, and does so again: the threads do not go on for it."""

    @in_reactor
    async def test_they_are_not_begun(self, store_address: dict[str, Any]) -> None:
        store, looks = Store(the_reactor, settings_of(store_address)), list[str]()
        goes_on, entered = Event(), Semaphore(0)

        def look(cursor: Cursor, name: str) -> str:
            looks.append(name)
            entered.release()
            assert goes_on.wait(30)
            return name

        await store.start()
        try:
            busy = [running(store.read(partial(look, name="begun"))) for _ in range(READERS)]
            for _ in busy:
                assert await deferToThread(entered.acquire, timeout=30)
            waiting = [running(store.read(partial(look, name="waits"))) for _ in range(20)]
            for each in waiting:
                each.cancel()
            for each in waiting:  # at once: no thread has to come to it first
                with pytest.raises(CancelledError):
                    await each
            outcome = list[Any]()
            busy[0].addBoth(outcome.append)
            busy[0].cancel()  # what has begun is waited for
            assert outcome == []
            goes_on.set()
            assert await busy[1] == "begun"
            assert await store.read(partial(look, name="last")) == "last"
            await busy[0]
            assert outcome[0].check(CancelledError)
        finally:
            goes_on.set()
            await store.stop()
        assert looks == ["begun"] * READERS + ["last"]

    @in_reactor
    async def test_one_that_is_stuck_at_the_end_keeps_its_connection(self, tmp_path: Path) -> None:
        settings = StoreSettings(address=str(tmp_path / "recall.sqlite"), archive=ARCHIVE, timeout=0.1)
        store, goes_on, begun, rows = Store(the_reactor, settings), Event(), Event(), list[Any]()

        def look(cursor: Cursor) -> None:
            begun.set()
            assert goes_on.wait(30)
            rows.append(cursor.row("SELECT 1"))

        await store.start()
        stuck = running(store.read(look))
        await deferToThread(begun.wait, 30)
        with logged() as told:
            await store.stop()
            goes_on.set()
            await stuck
        assert (rows, told) == ([(1,)], [])


def _take_number(transaction: Transaction) -> int:
    # In the middle of the transaction, nobody else's number is there.
    jobs.submit_all(transaction, [submission(transaction.seq)], RecallSettings())
    row = transaction.row("SELECT seq FROM turn")
    assert row is not None
    assert row[0] == transaction.seq
    return transaction.seq


class TestTrouble:
    def test_before_anything_was_done(self, store: Store, time: VirtualReactor) -> None:
        time.trouble = [BEFORE]
        with logged() as log, pytest.raises(StoreUnavailable) as caught:
            submit(store, 1)
        assert type(caught.value) is StoreUnavailable
        assert str(caught.value) == "The list of recalls does not answer."
        assert log == ["trouble before"]
        assert count_of(store) == 0
        submit(store, 1)

    def test_when_it_may_have_been_done(
        self, store: Store, time: VirtualReactor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def commit(connection: Any) -> None:
            connection._connection.commit()
            raise Trouble("trouble in the commit")

        monkeypatch.setattr(adbapi.Connection, "commit", commit, raising=False)
        with pytest.raises(OutcomeUnknown, match="does not answer"):
            submit(store, 1)
        with pytest.raises(StoreUnavailable) as caught:
            count_of(store)
        assert type(caught.value) is StoreUnavailable, "what is only read is no matter of doubt"
        monkeypatch.undo()
        assert count_of(store) == 1

    def test_a_full_disk(self, tmp_path: Path, time: VirtualReactor) -> None:
        store = Store(time, settings_of({"store": str(tmp_path / "recall.sqlite")}), time.make_pool)
        done(store.start())
        try:
            pages = done(store.write(lambda transaction: transaction.row("PRAGMA page_count")))
            assert pages is not None
            done(store.write(lambda transaction: transaction.rows(f"PRAGMA max_page_count = {pages[0] + 5}")))
            with logged() as log, pytest.raises(StoreUnavailable) as failure:
                submit(store, *range(10000))
            assert log == ["database or disk is full"]
            assert count_of(store) == 0
            submit(store, 1)
        finally:
            done(store.stop())
        assert failure.value.__cause__ is not None, "it is still there, with all that it holds"
        held = [os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if os.path.lexists(entry.path)]
        assert not [path for path in held if path.startswith(str(tmp_path))]

    def test_somebody_holds_it_for_too_long(self, tmp_path: Path, time: VirtualReactor) -> None:
        settings = StoreSettings(address=str(tmp_path / "recall.sqlite"), archive=ARCHIVE, timeout=0.01)
        store = Store(time, settings, time.make_pool)
        done(store.start())
        with closing(sqlite3.connect(settings.address, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable):
                submit(store, 1)
            assert count_of(store) == 0, "it can be read all the while"
        submit(store, 1)
        done(store.stop())


@pytest.fixture
def shared(mariadb_store: dict[str, Any], time: VirtualReactor) -> Iterator[Store]:
    """A store in MariaDB."""
    store = Store(time, settings_of(mariadb_store), time.make_pool)
    done(store.start())
    yield store
    done(store.stop())


class TestLostConnections:
    def _kill(self, transaction: Any, mariadb: MariaDB) -> None:
        row = transaction.row("SELECT CONNECTION_ID()")
        mariadb.execute(f"KILL {row[0]}")

    def test_in_the_middle_of_a_change(self, shared: Store, mariadb: MariaDB) -> None:
        tries = []

        def change(transaction: Transaction) -> int:
            tries.append(transaction.seq)
            jobs.submit_all(transaction, [submission(1)], RecallSettings())
            if len(tries) == 1:
                self._kill(transaction, mariadb)
            row = transaction.row("SELECT COUNT(*) FROM jobs")
            assert row is not None
            return int(row[0])

        assert done(shared.write(change)) == 1
        assert len(tries) == 2
        assert tries[0] == tries[1], "of the first try, nothing is left"
        assert count_of(shared) == 1

    def test_again_and_again(self, shared: Store, mariadb: MariaDB) -> None:
        def change(transaction: Transaction) -> None:
            jobs.submit_all(transaction, [submission(1)], RecallSettings())
            self._kill(transaction, mariadb)
            transaction.row("SELECT 1")

        with pytest.raises(StoreUnavailable) as caught:
            done(shared.write(change))
        assert type(caught.value) is StoreUnavailable
        assert count_of(shared) == 0
        submit(shared, 1)

    def test_between_two_changes(self, shared: Store, mariadb: MariaDB) -> None:
        submit(shared, 1)
        number = done(shared.write(lambda transaction: transaction.row("SELECT CONNECTION_ID()")))
        assert number is not None
        mariadb.execute(f"KILL {number[0]}")
        submit(shared, 2)
        assert count_of(shared) == 2

    def test_while_it_is_made_durable(self, shared: Store, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch) -> None:
        tries = []

        def commit(connection: Any) -> None:
            connection._connection.commit()
            tries.append(1)
            raise pymysql.OperationalError(2013, "Lost connection to MySQL server during query")

        monkeypatch.setattr(adbapi.Connection, "commit", commit, raising=False)
        with pytest.raises(OutcomeUnknown):
            submit(shared, 1)
        monkeypatch.undo()
        assert len(tries) == 1, "it must not be done twice"
        assert count_of(shared) == 1

    def test_in_the_middle_of_a_read(self, shared: Store, mariadb: MariaDB) -> None:
        tries = []

        def look(cursor: Any) -> Any:
            tries.append(1)
            if len(tries) == 1:
                self._kill(cursor, mariadb)
            return cursor.row("SELECT 1")

        assert done(shared.read(look)) == (1,)
        assert len(tries) == 2

    def test_the_server_is_away(self, own_mariadb: MariaDB, time: VirtualReactor) -> None:
        own_mariadb.execute("CREATE DATABASE recall")
        address = {"store": f"mariadb://root@/recall?socket={own_mariadb.socket}"}
        store = Store(time, settings_of(address), time.make_pool)
        done(store.start())
        try:
            own_mariadb.stop()
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="does not answer"):
                    submit(store, 1)
                with pytest.raises(StoreUnavailable, match="does not answer"):
                    count_of(store)
            own_mariadb.start()
            submit(store, 1)
            assert count_of(store) == 1
        finally:
            done(store.stop())

    def test_two_that_were_never_there(self, own_mariadb: MariaDB, time: VirtualReactor) -> None:
        own_mariadb.stop()
        address = {"store": f"mariadb://root@/recall?socket={own_mariadb.socket}"}
        with pytest.raises(StoreUnavailable):
            done(Store(time, settings_of(address), time.make_pool).start())
        own_mariadb.start()
        with pytest.raises(StoreUnavailable):  # there is no such database
            done(Store(time, settings_of(address), time.make_pool).start())


class Candidate:
    """A process that would be the dispatcher."""

    def __init__(self, open_store: Open, time: VirtualReactor, name: str, skew: float = 0.0) -> None:
        self.reactor = VirtualReactor(time)
        self.store = open_store(self.reactor)
        # Some clocks are wrong; nobody compares them.
        clock = VirtualReactor(time)
        clock.seconds = lambda: time.seconds() + skew  # type: ignore[method-assign]
        self.lease = Lease(clock, self.store, name)

    def renew(self) -> bool:
        done(self.lease.renew())
        return self.lease.term is not None

    def write(self) -> None:
        """Change something as the dispatcher."""
        term = self.lease.term
        assert term is not None, "this is not the dispatcher"
        done(self.store.write(lambda transaction: transaction.require(term)))


class TestLease:
    @pytest.mark.parametrize("skew", [0.0, 86400.0, -86400.0])
    def test_is_taken_over_after_silence(self, open_store: Open, time: VirtualReactor, skew: float) -> None:
        one, other = Candidate(open_store, time, "one"), Candidate(open_store, time, "other", skew)
        assert one.renew()
        assert not other.renew()
        for _ in range(20):  # it lives, so nobody takes anything over
            time.spend(HEARTBEAT)
            assert one.renew()
            assert not other.renew()
        time.spend(LEASE_TIMEOUT - 0.1)
        assert not other.renew()
        one.write()
        time.spend(0.1)
        assert other.renew()
        other.write()
        with pytest.raises(LeaseLost):
            one.write()
        assert not one.renew()
        assert not one.renew()
        assert other.renew()

    def test_silence_counts_from_the_last_sign_of_life(self, open_store: Open, time: VirtualReactor) -> None:
        one, other = Candidate(open_store, time, "one"), Candidate(open_store, time, "other")
        one.renew()
        other.renew()
        time.spend(LEASE_TIMEOUT - 0.1)
        one.renew()
        time.spend(LEASE_TIMEOUT - 0.1)
        assert not other.renew()
        time.spend(LEASE_TIMEOUT)
        assert other.renew()

    def test_is_given_up_at_once(self, open_store: Open, time: VirtualReactor) -> None:
        one, other = Candidate(open_store, time, "one"), Candidate(open_store, time, "other")
        one.renew()
        other.renew()
        done(one.lease.end())
        assert one.lease.term is None
        assert other.renew()

    def test_what_was_lost_is_not_given_up(self, open_store: Open, time: VirtualReactor) -> None:
        one, other = Candidate(open_store, time, "one"), Candidate(open_store, time, "other")
        one.renew()
        other.renew()
        time.spend(LEASE_TIMEOUT)
        assert other.renew()
        done(one.lease.end())
        assert other.renew()
        other.write()

    @pytest.mark.parametrize("after", [0.0, LEASE_TIMEOUT])
    def test_one_of_two_wins(self, open_store: Open, time: VirtualReactor, after: float) -> None:
        candidates = [Candidate(open_store, time, name) for name in ("one", "other")]
        if after:
            Candidate(open_store, time, "third").renew()
            for each in candidates:
                each.renew()
            time.spend(after)
        for each in candidates:
            each.reactor.latency = 0.1  # both look before one of them takes it
        tries = [Going(each.lease.renew()) for each in candidates]
        time.spend(1)
        assert [each.result for each in tries] == [None, None]
        winners = [each for each in candidates if each.lease.term is not None]
        assert len(winners) == 1
        for each in candidates:
            each.reactor.latency = 0.0
        winners[0].write()

    def test_terms_grow(self, open_store: Open, time: VirtualReactor) -> None:
        candidates = [Candidate(open_store, time, name) for name in ("one", "other", "third")]
        terms = []
        for each in candidates * 2:
            each.renew()
            terms.append(each.lease.term)
            done(each.lease.end())
        assert terms == list(range(1, 7))

    def test_what_one_has_let_go_of_is_its_own_at_once(self, open_store: Open, time: VirtualReactor) -> None:
        one, other = Candidate(open_store, time, "one"), Candidate(open_store, time, "other")
        one.renew()
        other.renew()
        first = one.lease.term
        assert first is not None
        one.lease.lose(first)
        with pytest.raises(AssertionError):
            one.write()
        assert not other.renew()
        assert one.renew()
        assert one.lease.term == first + 1
        one.lease.lose(first)  # what is left of the first term finds out late
        assert one.lease.term == first + 1

    def test_trouble_changes_nothing(self, open_store: Open, time: VirtualReactor) -> None:
        one = Candidate(open_store, time, "one")
        one.reactor.trouble = [BEFORE]
        with pytest.raises(StoreUnavailable):
            one.renew()
        assert one.lease.term is None
        one.reactor.trouble = [AFTER]
        with pytest.raises(StoreUnavailable):
            one.renew()
        assert one.lease.term is None
        assert one.renew(), "it was taken, and is known now"
        one.reactor.trouble = [BEFORE, AFTER]
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                one.renew()
        assert one.renew()
        one.write()


def test_statements_end_with_semicolons() -> None:
    assert statements("a;\n\nb ;\n") == ["a", "b"]
