"""The states of wishes and recalls: whatever happens in whichever order, only what is drawn; and everything ends."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
from examples import examples
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from pacarchive import errors
from pacarchive.model import RecallProgress
from pacarchive.model import RecallState as Said
from pacarchive.recall import listing
from pacarchive.recall.counting import Counted
from pacarchive.recall.engine import RecallEngine
from pacarchive.recall.schema import SQLITE, to_key
from pacarchive.recall.store import Cursor
from pacarchive.recall.tables import NOT_SUBMITTED, RecallState
from pacarchive.recall.words import FileState, HoldKind, JobRequest, Priority, RetryFilter
from recall.drawing import BEGINNING, GONE, Arrow, drawn
from recall.surroundings import AFTER, BEFORE, Going, Surroundings, VirtualReactor, done

WISHES, RECALLS = drawn()

FILES = [1, 2, 3, 4, 5, 6, (1 << 63) + 7, (1 << 64) - 1]
"""Half of them on one cartridge, half on another."""

MISSING = 99

_RECORDING = """
CREATE TABLE arrows (kind TEXT, job INTEGER, file INTEGER, old INTEGER, new INTEGER);
CREATE TRIGGER wish_made AFTER INSERT ON wishes
    BEGIN INSERT INTO arrows VALUES ('wish', new.job, new.file, NULL, new.state); END;
CREATE TRIGGER wish_changed AFTER UPDATE OF state ON wishes WHEN old.state <> new.state
    BEGIN INSERT INTO arrows VALUES ('wish', new.job, new.file, old.state, new.state); END;
CREATE TRIGGER recall_made AFTER INSERT ON recalls
    BEGIN INSERT INTO arrows VALUES ('recall', NULL, new.file, NULL, new.state); END;
CREATE TRIGGER recall_changed AFTER UPDATE OF state ON recalls WHEN old.state <> new.state
    BEGIN INSERT INTO arrows VALUES ('recall', NULL, new.file, old.state, new.state); END;
CREATE TRIGGER recall_ended AFTER DELETE ON recalls
    BEGIN INSERT INTO arrows VALUES ('recall', NULL, old.file, old.state, NULL); END;
"""


class Records:
    """
    The store as it is, looked at from outside, and all arrows that were followed.

    @param path: Where it is; an engine has made it.
    """

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript(_RECORDING)
        self.cursor = Cursor(self._database.cursor(), SQLITE)
        self.wishes: set[Arrow] = set()
        self.recalls: set[Arrow] = set()

    def close(self) -> None:
        self._database.close()

    def collect(self) -> list[tuple[str, Arrow]]:
        """The arrows since the last time."""
        found: list[tuple[str, Arrow]] = []
        for kind, old, new in self.cursor.rows("SELECT kind, old, new FROM arrows ORDER BY rowid"):
            names: type[FileState] | type[RecallState] = FileState if kind == "wish" else RecallState
            arrow = (BEGINNING if old is None else names(old).name, GONE if new is None else names(new).name)
            (self.wishes if kind == "wish" else self.recalls).add(arrow)
            found.append((kind, arrow))
        self.cursor.execute("DELETE FROM arrows")
        return found

    def require_order(self) -> None:
        """What holds at any moment."""
        for kind, arrow in self.collect():
            assert arrow in (WISHES if kind == "wish" else RECALLS), f"{kind}: {' -> '.join(arrow)} is not drawn"
        self._require_counts()
        self._require_recalls()
        self._require_kept_counts()
        for job, file, reason in self.cursor.rows("SELECT job, file, reason FROM wishes WHERE state = 4"):
            assert reason, f"{file} of {job} has failed without a word"
        stray = self.cursor.rows(
            "SELECT p.file, p.job, w.state FROM pins p LEFT JOIN wishes w ON w.job = p.job AND w.file = p.file"
            " WHERE w.state IS NULL OR w.state <> ?",
            FileState.COMPLETED,
        )
        assert not stray, "pinned, and has not come"

    def _require_counts(self) -> None:
        rows = self.cursor.rows(
            "SELECT j.number, j.files, j.remaining, j.ended IS NOT NULL, COUNT(w.file),"
            " COALESCE(SUM(w.state < 3), 0), COALESCE(SUM((w.ended IS NULL) <> (w.state < 3)), 0)"
            " FROM jobs j LEFT JOIN wishes w ON w.job = j.number GROUP BY j.number"
        )
        for number, files, remaining, ended, wishes, live, odd in rows:
            assert files == wishes, f"job {number} has another number of files"
            assert remaining == live, f"job {number} counts {remaining} where {live} are left"
            assert bool(ended) == (live == 0), f"job {number} has ended, or has not"
            assert odd == 0, f"job {number} has a file that has ended without a time, or a time without an end"
        assert not self.cursor.rows("SELECT 1 FROM wishes WHERE job NOT IN (SELECT number FROM jobs)")

    def _require_kept_counts(self) -> None:
        """What is counted as it changes is what there is."""
        found: Counter[tuple[Any, ...]] = Counter()
        sizes: Counter[tuple[Any, ...]] = Counter()

        def add(size: int, *key: Any) -> None:
            found[key] += 1
            sizes[key] += size

        for state, medium, owner, reason, since, size in self.cursor.rows(
            "SELECT state, medium, owner, reason, since, COALESCE(size, 0) FROM recalls"
        ):
            add(size, state, medium, owner, reason if state == RecallState.BACKING_OFF else "")
            if state in NOT_SUBMITTED:
                add(size, Counted.WAITING_SINCE, f"{int(since // 3600):010}", "", "")
        for medium, owner, reason, size in self.cursor.rows("SELECT medium, owner, reason, size FROM failed"):
            add(size, Counted.FAILED, medium, owner, reason)
        pinned: dict[int, int] = {}
        for file, owner, size in self.cursor.rows(
            "SELECT p.file, j.owner, p.size FROM pins p JOIN jobs j ON j.number = p.job"
        ):
            add(size, Counted.PINS, "", owner, "")
            pinned[file] = max(size, pinned.get(file, 0))
        for size in pinned.values():
            add(size, Counted.PINNED, "", "", "")
        kept = {
            tuple(key): (files, size)
            for *key, files, size in self.cursor.rows("SELECT state, medium, owner, reason, files, size FROM counts")
            if key[0] not in (Counted.COMPLETED, Counted.CANCELLED)
        }
        assert kept == {key: (files, sizes[key]) for key, files in found.items()}, "miscounted"
        failed = "SELECT job, file, reason FROM {} ORDER BY job, file"
        assert self.cursor.rows(failed.format("failed")) == self.cursor.rows(failed.format("wishes WHERE state = 4"))

    def _require_recalls(self) -> None:
        wishes: defaultdict[int, list[FileState]] = defaultdict(list)
        for file, state in self.cursor.rows("SELECT file, state FROM wishes WHERE state < 3"):
            wishes[file].append(FileState(state))
        recalls = {file: RecallState(state) for file, state in self.cursor.rows("SELECT file, state FROM recalls")}
        for file in wishes.keys() | recalls.keys():
            recall, states = recalls.get(file), wishes[file]
            assert recall is not None, f"{file} is wished for, {states}, and nothing is done about it"
            wanted = [state for state in states if state is not FileState.CANCELLING]
            assert bool(wanted) == (recall is not RecallState.CANCELLING), f"{file}: {recall!r} for {states}"
            if FileState.QUEUED in wanted:
                assert recall is not RecallState.STARTED, f"{file} is asked for, and somebody is told that it waits"
            assert not (wanted and FileState.CANCELLING in states), f"{file}: {states}"


@attrs.define
class Follower:
    """Somebody who asks again and again for what has changed in a job."""

    job: str
    since: str = ""
    known: dict[int, FileState] = attrs.field(factory=dict)

    def look(self, cursor: Cursor) -> None:
        """Each change is told, and none twice."""
        while True:
            page = listing.files(cursor, self.job, self.since, 2)
            for file in page.files:
                # A try that failed is told as well, although its wish stays as it is.
                assert self.known.get(file.file_id) is not file.state or file.reason, f"told twice: {file}"
                self.known[file.file_id] = file.state
            self.since = page.cursor
            if not page.more:
                break
        number = listing.number_of(cursor, self.job)
        found = {file: state for file, state in cursor.rows("SELECT file, state FROM wishes WHERE job = ?", number)}  # noqa: C416
        assert {to_key(file_id): state for file_id, state in self.known.items()} == found, "not all was told"


@attrs.define
class Node:
    """A process."""

    reactor: VirtualReactor
    engine: RecallEngine

    def crash(self) -> None:
        """It ends as by C{kill -9}; the kernel closes its connections."""
        self.reactor.die()
        for each in (self.engine._store._writer, self.engine._store._readers):
            for connection in [] if each is None else each.pool.connections.values():
                connection.close()


SETTINGS: dict[str, Any] = {"drives": 1, "outstanding": 3, "pin": 100, "deadline": 2000, "silence": 200}


class Recalls(RuleBasedStateMachine):
    """All that can happen to two processes and a storage system."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        shared_memory = Path("/dev/shm")
        self.directory = tempfile.mkdtemp(prefix="pa-", dir=shared_memory if shared_memory.is_dir() else None)
        path = f"{self.directory}/recall.sqlite"
        self.around = Surroundings({"store": path, **SETTINGS})
        self.tapes = self.around.tapes
        self._fill()
        self.nodes = [self._node(), self._node()]
        self.records = Records(path)
        self.followers: dict[str, Follower] = {}

    def _fill(self) -> None:
        for index, file_id in enumerate(FILES):
            self.tapes.add(file_id, medium=f"V{index % 2}", position=len(FILES) - index, size=1000 + index)

    def _node(self) -> Node:
        reactor = VirtualReactor(self.around.time)
        return Node(reactor, self.around.engine(reactor))

    def _ask(self, node: int, call: Callable[[RecallEngine], Any]) -> Any:
        """Ask a process for something.  @return: What it answers; C{None}: it could not."""
        work = Going(_awaited(call(self.nodes[node].engine)))
        for _ in range(40):
            if work.ended:
                break
            self.around.spend(0.1)
        try:
            return work.result
        except errors.Unavailable:
            return None

    def _made(self, job: str | None) -> Any:
        if job is None:
            return multiple()
        self.followers.setdefault(job, Follower(job))
        return job

    # Those who ask

    @rule(
        target=jobs,
        node=st.integers(0, 1),
        owner=st.sampled_from("ab"),
        files=st.lists(st.sampled_from([*FILES, MISSING]), max_size=6),
        priority=st.sampled_from(Priority),
        deadline=st.sampled_from([None, None, None, 40.0]),
        pin=st.sampled_from([None, 0.0, 20.0]),
    )
    def submit(
        self, node: int, owner: str, files: list[int], priority: Priority, deadline: float | None, pin: float | None
    ) -> Any:
        pins = {} if pin is None else dict.fromkeys(files, pin)
        request = JobRequest(owner=owner, file_ids=files, priority=priority, deadline=deadline, pins=pins)
        return self._made(self._ask(node, lambda engine: engine.submit(request)))

    @rule(target=jobs, node=st.integers(0, 1), owner=st.sampled_from("ab"), file=st.sampled_from(FILES))
    def want(self, node: int, owner: str, file: int) -> Any:
        asked = self._ask(node, lambda engine: engine.want(file, owner))
        return multiple() if asked is None else self._made(asked.job)

    @rule(node=st.integers(0, 1), job=jobs, part=st.integers(0, 2))
    def cancel(self, node: int, job: str, part: int) -> None:
        if job not in self.followers:
            return
        files = sorted(self.followers[job].known)
        some = None if part == 0 else files[:part]
        with suppress(errors.NotFound):
            self._ask(node, lambda engine: engine.cancel(job, some))

    @rule(node=st.integers(0, 1), job=consumes(jobs))
    def delete(self, node: int, job: str) -> None:
        with suppress(errors.NotFound):
            self._ask(node, lambda engine: engine.delete(job))

    @rule(node=st.integers(0, 1), job=jobs, part=st.integers(0, 2))
    def release(self, node: int, job: str, part: int) -> None:
        if job not in self.followers:
            return
        some = None if part == 0 else sorted(self.followers[job].known)[:part]
        with suppress(errors.NotFound):
            self._ask(node, lambda engine: engine.release(job, some))

    @rule(node=st.integers(0, 1), file=st.sampled_from(FILES))
    def unpin(self, node: int, file: int) -> None:
        self._ask(node, lambda engine: engine.unpin(file))

    @rule(node=st.integers(0, 1), file=st.sampled_from(FILES))
    def read(self, node: int, file: int) -> None:
        self.nodes[node].engine.was_read(file)

    @rule(node=st.integers(0, 1), file=st.sampled_from(FILES))
    def remove(self, node: int, file: int) -> None:
        self.tapes.files.pop(file, None)
        self.nodes[node].engine.was_removed(file)

    # Operators

    @rule(node=st.integers(0, 1), kind=st.sampled_from(HoldKind), until=st.sampled_from([None, None, 10.0]))
    def hold(self, node: int, kind: HoldKind, until: float | None) -> None:
        end = None if until is None else self.around.time.seconds() + until
        cartridge, drives = "V0" if kind is HoldKind.CARTRIDGE else "", 0 if kind is HoldKind.DRIVES else None
        self._ask(
            node,
            lambda engine: engine.operations.hold(kind, "operator", cartridge=cartridge, drives=drives, until=end),
        )

    @rule(node=st.integers(0, 1), kind=st.sampled_from(HoldKind))
    def resume(self, node: int, kind: HoldKind) -> None:
        cartridge = "V0" if kind is HoldKind.CARTRIDGE else ""
        with suppress(errors.NotFound):
            self._ask(node, lambda engine: engine.operations.resume(kind, cartridge))

    @rule(
        node=st.integers(0, 1),
        owner=st.sampled_from([None, "a"]),
        cartridge=st.sampled_from([None, "V1"]),
    )
    def retry(self, node: int, owner: str | None, cartridge: str | None) -> None:
        wanted = RetryFilter(owner=owner, cartridge=cartridge)
        self._ask(node, lambda engine: engine.operations.retry(wanted))

    @rule(node=st.integers(0, 1), job=jobs, priority=st.sampled_from(Priority))
    def change_priority(self, node: int, job: str, priority: Priority) -> None:
        with suppress(errors.NotFound):
            self._ask(node, lambda engine: engine.operations.change_priority(job, priority))

    # The storage system

    @rule(file=st.sampled_from(FILES))
    def write_again(self, file: int) -> None:
        if file not in self.tapes.files:
            self.tapes.add(file, medium="V0", position=file % 100)

    @rule(file=st.sampled_from(FILES))
    def come(self, file: int) -> None:
        if file in self.tapes.under_way():
            self.tapes.come(file)

    @rule()
    def all_come(self) -> None:
        self.tapes.come()

    @rule(file=st.sampled_from(FILES))
    def come_by_another_way(self, file: int) -> None:
        if file in self.tapes.files:
            self.tapes.come(file)

    @rule(file=st.sampled_from(FILES))
    def leave_disk(self, file: int) -> None:
        if file in self.tapes.files:
            self.tapes.files[file].on_disk = False

    @rule()
    def all_leave_disk(self) -> None:
        for each in self.tapes.files.values():
            each.on_disk = False

    @rule(file=st.sampled_from(FILES))
    def lose(self, file: int) -> None:
        if file in self.tapes.files:
            self.tapes.forget(file)

    @rule()
    def restart_storage(self) -> None:
        self.tapes.forget()

    @rule(file=st.sampled_from(FILES), sentence=st.sampled_from([Said.FAILED, Said.UNKNOWN]))
    def refuse(self, file: int, sentence: Said) -> None:
        if file in self.tapes.files:
            self.tapes.forget(file)
            self.tapes.files[file].sentence = RecallProgress(sentence, "the tape is torn")

    @rule()
    def relent(self) -> None:
        for each in self.tapes.files.values():
            each.sentence = None

    @rule()
    def go_down(self) -> None:
        self.tapes.down = "It does not answer."

    @rule()
    def go_deaf(self) -> None:
        self.tapes.deaf = "Its answers do not arrive."

    @rule()
    def come_back(self) -> None:
        self.tapes.down = self.tapes.deaf = ""

    @rule(agrees=st.booleans())
    def change_its_mind(self, agrees: bool) -> None:
        self.tapes.agrees = agrees

    @rule(delay=st.sampled_from([0.0, 0.0, 0.8, 4.0]))
    def hesitate(self, delay: float) -> None:
        self.tapes.delay = delay

    # The processes

    @rule(seconds=st.sampled_from([0.2, 1.0, 1.0, 5.0, 5.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.around.spend(seconds)

    @rule(node=st.integers(0, 1))
    def crash(self, node: int) -> None:
        self.nodes[node].crash()
        self.around.forget(self.nodes[node].engine)
        self.nodes[node] = self._node()

    @rule(node=st.integers(0, 1))
    def restart(self, node: int) -> None:
        self.around.stop(self.nodes[node].engine)
        self.nodes[node] = self._node()

    @rule(node=st.integers(0, 1), latency=st.sampled_from([0.0, 0.05, 0.4]))
    def slow_down(self, node: int, latency: float) -> None:
        self.nodes[node].reactor.latency = latency

    @rule(node=st.integers(0, 1), trouble=st.lists(st.sampled_from(["", "", BEFORE, AFTER]), max_size=6))
    def have_trouble(self, node: int, trouble: list[str]) -> None:
        self.nodes[node].reactor.trouble = trouble

    # What holds

    @invariant()
    def is_in_order(self) -> None:
        self.records.require_order()
        assert not self.tapes.twice, "asked for by two names at the same time"
        for job, each in list(self.followers.items()):
            try:
                each.look(self.records.cursor)
            except errors.NotFound:
                del self.followers[job]

    def teardown(self) -> None:
        try:
            self._end()
        finally:
            self.records.close()
            shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self) -> None:
        """When there are no troubles any more, everything ends."""
        self.come_back()
        self.relent()
        self.tapes.agrees = self.tapes.prompt = True
        self.tapes.delay = 0
        for node in self.nodes:
            node.reactor.latency, node.reactor.trouble = 0.0, []
        for kind in HoldKind:
            self.resume(0, kind)
        self.tapes.come()
        for _ in range(60):
            self.around.spend(10)
            self.is_in_order()
            if not self.records.cursor.rows("SELECT 1 FROM recalls"):
                break
        assert not self.records.cursor.rows("SELECT * FROM recalls"), "it takes for ever"
        assert not self.records.cursor.rows("SELECT * FROM jobs WHERE ended IS NULL"), "it takes for ever"
        self.around.spend(30)
        for node in self.nodes:
            if (dispatcher := node.engine._dispatcher) is not None:
                assert not dispatcher._shared.active
                assert not dispatcher._shared.demands
                assert not dispatcher._shared.readings
        self.around.close()
        assert self.records.cursor.row("SELECT holder FROM turn") == ("",)


async def _awaited(work: Any) -> Any:
    return await work


def test_whatever_happens() -> None:
    """In any order, by several owners and nodes."""
    settings = hypothesis_settings(max_examples=examples(80), stateful_step_count=50, derandomize=True)
    run_state_machine_as_test(Recalls, settings=settings)


def test_each_arrow_is_followed(locally: Surroundings) -> None:
    """What is drawn does happen; with the test above, it is neither too much nor too little."""
    around, tapes = locally, locally.tapes
    tapes.add(*range(1, 10))
    engine = around.engine(drives=1)
    records = Records(around.settings().store)

    def submit(*file_ids: int, owner: str = "a", **more: Any) -> str:
        job = done(engine.submit(JobRequest(owner=owner, file_ids=file_ids, **more)))
        around.spend(2)
        return job

    def fail(file_id: int, state: Said) -> None:
        tapes.files[file_id].sentence = RecallProgress(state, "the tape is torn")
        around.spend(2)

    tapes.files[1].on_disk = True
    submit(1, MISSING)
    # One gives a file up that another wishes for; the other gives it up too; a third wishes for it in time.
    tapes.agrees = False
    jobs = [submit(2, owner=owner) for owner in "ab"]
    for each in jobs:
        done(engine.cancel(each))
    submit(2, owner="c")
    fail(2, Said.UNKNOWN)
    tapes.files[2].sentence = None
    around.spend(10)
    tapes.come()
    around.spend(2)
    # What rests is given up, and what is being recalled; and one cannot be recalled.
    job = submit(3)
    fail(3, Said.UNKNOWN)
    done(engine.cancel(job))
    tapes.agrees = True
    done(engine.cancel(submit(4)))
    failed = submit(5)
    fail(5, Said.FAILED)
    # While the only drive is busy with another cartridge, one that waits becomes urgent, and is given up.
    tapes.add(20, medium="V0")
    submit(20)
    jobs = [submit(6), submit(6, owner="b", priority=Priority.HIGH)]
    for each in jobs:
        done(engine.cancel(each))
    # An operator has tried again what failed: first while nobody else wishes for it, then while somebody does.
    tapes.come(20)
    tapes.forget(5)
    around.spend(2)
    tapes.files[5].sentence = None
    done(engine.operations.retry(RetryFilter(job=failed)))
    around.spend(10)
    assert 5 in tapes.under_way()
    fail(5, Said.FAILED)
    tapes.forget(5)
    tapes.files[5].sentence = None
    submit(5, owner="b")
    around.spend(10)
    assert 5 in tapes.under_way()
    done(engine.operations.retry(RetryFilter(job=failed)))
    records.require_order()
    records.close()
    assert frozenset(records.wishes) == WISHES
    assert frozenset(records.recalls) == RECALLS
