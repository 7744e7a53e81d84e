"""Every call of the HPSS library fails once: the old state or the new one stays, whole, and nothing beside it."""

from __future__ import annotations

import hashlib
import posixpath
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest
from hpss_simulator import Archive
from simulated import INCOMING, PREFIX, serving, settings_for, simulated
from surroundings import neighbour, paths, settled, temporaries
from threaded import log, until
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred

from pacarchive import errors
from pacarchive.backends import hpss
from pacarchive.backends.contract.handling import (
    ALLOW,
    DENY,
    IDENTICAL,
    content,
    cut,
    in_reactor,
    load,
    matching,
    pattern,
    running,
    store,
)
from pacarchive.backends.hpss import client, locks, tree
from pacarchive.backends.hpss.archive import HpssArchive
from pacarchive.backends.hpss.pool import StuckCall
from pacarchive.digests import PRIMARY
from pacarchive.ids import id_to_path
from pacarchive.interfaces import IArchiveBackend
from pacarchive.model import FileStatus, Locality, RecallState, WriteConditions

__all__ = ["log"]  # the fixture

pytestmark = pytest.mark.usefixtures("log")

MIB = 1 << 20
OLD, NEW, LARGE = b"old words", b"new words", pattern(6 * MIB)
ETAG = f'"{hashlib.sha256(OLD).hexdigest()}"'
REQUEST = UUID("00000000-0000-4000-8000-000000000006")

FAILURES: dict[str, tuple[str, int]] = {
    "EIO": ("error", -5),
    "ECONN": ("error", -50),
    "lost answer": ("disconnect", 0),
}
"""An answer that is lost belongs to a call that was carried out."""


@attrs.frozen
class Scenario:
    """
    Something that is done to an id.

    @ivar act: Does it, given a source for a move.
    @ivar calls: The functions that it calls at least.
    @ivar before: What the id holds before.
    @ivar after: What it holds when all goes well.
    @ivar again: What a repetition meets with, after an act that took effect without an answer.
    @ivar moves: It has a source.
    @ivar archived: What is there before is on tape only.
    """

    act: Callable[[HpssArchive, int, str], Awaitable[Any]]
    calls: str
    before: bytes | None = None
    after: bytes | None = NEW
    again: type[errors.ArchiveError] | None = None
    moves: bool = False
    archived: bool = False


def storing(data: bytes, conditions: WriteConditions = ALLOW) -> Callable[[HpssArchive, int, str], Awaitable[Any]]:
    """Store what is larger in pieces, as they come off the network."""
    return lambda backend, file_id, _: store(
        backend, file_id, data, conditions, pieces=[[piece] for piece in cut(data, MIB)], mtime=1000
    )


def moving(conditions: WriteConditions = ALLOW) -> Callable[[HpssArchive, int, str], Awaitable[Any]]:
    """Move the source."""
    return lambda backend, file_id, source: backend.move(file_id, source, conditions)


async def read_all(backend: HpssArchive, file_id: int, _: str) -> None:
    """Open and read on from the beginning, so that blocks are read ahead, and somewhere in between."""
    stored = await backend.open(file_id)
    try:
        size = stored.status.size
        data = OLD if size == len(OLD) else LARGE
        parts = [await stored.read(offset, min(MIB, size - offset)) for offset in range(0, size, MIB)]
        assert b"".join(parts) == data
        assert await stored.read(5, 3) == data[5:8]
    finally:
        stored.close()


async def see_status(backend: HpssArchive, file_id: int, _: str) -> None:
    """Everything that is known of it."""
    status: FileStatus = await backend.status(file_id)
    assert (status.size, status.locality) == (len(OLD), Locality.DISK)
    assert dict(status.digests) in ({}, {PRIMARY: hashlib.sha256(OLD).digest()})


async def stage(backend: HpssArchive, file_id: int, _: str) -> None:
    """Ask for it, and how that stands."""
    for ask in (backend.recall, backend.poll):
        progress = await ask(REQUEST, [file_id])
        assert progress[file_id].state in (RecallState.QUEUED, RecallState.ACTIVE)


_COMPLETING = "Open Write Fsync Close FileGetXAttributes UserAttrSetAttrs Utime Chmod"

SCENARIOS = {
    "new": Scenario(storing(NEW), f"{_COMPLETING} Rename Mkdir"),
    "new large": Scenario(storing(LARGE), f"{_COMPLETING} Rename Mkdir", after=LARGE),
    "new empty": Scenario(storing(b""), "Open Fsync Close FileGetXAttributes UserAttrSetAttrs Utime", after=b""),
    "write-once": Scenario(storing(NEW, DENY), f"{_COMPLETING} Link Unlink Mkdir", again=errors.AlreadyExists),
    "replacing": Scenario(storing(NEW), f"{_COMPLETING} Rename", OLD),
    "replacing large": Scenario(storing(LARGE), f"{_COMPLETING} Rename", OLD, LARGE),
    "conditional": Scenario(
        storing(NEW, matching(ETAG)),
        f"{_COMPLETING} Rename Lstat UserAttrGetAttrs",
        OLD,
        again=errors.PreconditionFailed,
    ),
    "identical, new": Scenario(storing(NEW, IDENTICAL), f"{_COMPLETING} Link Unlink Mkdir"),
    "identical, there": Scenario(storing(NEW, IDENTICAL), f"{_COMPLETING} Lstat UserAttrGetAttrs Unlink", NEW),
    "move": Scenario(moving(), "Lstat FileGetXAttributes Rename Mkdir Chmod", moves=True),
    "replacing move": Scenario(moving(), "Lstat FileGetXAttributes Rename Chmod", OLD, moves=True),
    "write-once move": Scenario(
        moving(DENY), "Lstat FileGetXAttributes Link Unlink Mkdir Chmod", moves=True, again=errors.AlreadyExists
    ),
    "identical move": Scenario(moving(IDENTICAL), "Lstat FileGetXAttributes Open Read Close Unlink", NEW, moves=True),
    "removal": Scenario(
        lambda backend, file_id, _: backend.remove(file_id, ALLOW),
        "Lstat Unlink",
        OLD,
        None,
        again=errors.NotFound,
    ),
    "conditional removal": Scenario(
        lambda backend, file_id, _: backend.remove(file_id, matching(ETAG)),
        "FileGetXAttributes Lstat UserAttrGetAttrs Unlink",
        OLD,
        None,
        again=errors.NotFound,
    ),
    "reading": Scenario(read_all, "FileGetXAttributes Lstat UserAttrGetAttrs Open Read Close", OLD, OLD),
    "reading large": Scenario(
        read_all, "FileGetXAttributes Lstat UserAttrGetAttrs Open Read Lseek Close", LARGE, LARGE
    ),
    "status": Scenario(see_status, "FileGetXAttributes Lstat UserAttrGetAttrs", OLD, OLD),
    "recall": Scenario(stage, "FileGetXAttributes StageCallBack", OLD, OLD, archived=True),
}

_REMEMBERING = {"hpss_GetLastHPSSErrno", "hpss_ClearLastHPSSErrno"}
"""Detail for the log."""

HARMLESS = {
    "write-once": {"hpss_Unlink"},
    "identical, new": {"hpss_Unlink"},
    "identical, there": {"hpss_Unlink"},
    "move": {"hpss_Chmod"},
    "replacing move": {"hpss_Chmod"},
    "write-once move": {"hpss_Chmod", "hpss_Unlink"},
    "identical move": {"hpss_Chmod", "hpss_Unlink", "hpss_Close"},
    "reading": {"hpss_Close"},
    "reading large": {"hpss_Close"},
}
"""Calls that may fail without making the whole fail: what only tidies up, is tried again later, or is a courtesy."""


class Stage:
    """
    An archive on which one scenario is played many times, each time with another id.

    @ivar backend: Plays it.  It pings all the time, so that it clears up soon.
    @ivar writer: Another one on the same archive, which prepares and looks: so the first knows no version beforehand.
    """

    def __init__(self, archive: Archive, backend: HpssArchive, writer: HpssArchive, scenario: Scenario) -> None:
        self.archive = archive
        self.backend = backend
        self.writer = writer
        self._scenario = scenario
        self._last_id = 0x012300
        self._source = f"{INCOMING}/source"
        self._file_id = 0
        self._names: set[str] = set()

    async def prepare(self) -> None:
        """Have what the scenario begins with, below an id that has no directories yet."""
        self._file_id = self._last_id = self._last_id + 1
        if self._scenario.before is not None:
            await store(self.writer, self._file_id, self._scenario.before)
        if self._scenario.archived:
            self.archive.migrate(self._path)
            self.archive.purge(self._path)
        self._give_source()
        await settled(self.archive)
        self._names = paths(self.archive)

    @property
    def _path(self) -> str:
        return PREFIX + id_to_path(self._file_id)

    def _give_source(self) -> None:
        if self._scenario.moves:
            self.archive.write(self._source, NEW)

    def stuck_calls(self) -> int:
        """How many calls of the backend were given up and have not ended."""
        return sum(pool.stuck for pool in self.backend._pools)

    async def play(self) -> errors.ArchiveError | None:
        """
        Play it.

        @return: What it raised.
        """
        try:
            await self._scenario.act(self.backend, self._file_id, self._source)
        except errors.ArchiveError as error:
            return error
        return None

    async def calls_made(self) -> Counter[str]:
        """Play it with nothing failing, and count the calls; pings are nobody's."""
        await self.prepare()
        before = Counter(self.archive.all_calls())
        assert await self.play() is None
        await settled(self.archive)
        made = Counter(self.archive.all_calls()) - before
        for name in ("hpss_PingCore", "hpss_LookupRootCS", *_REMEMBERING):
            del made[name]
        assert {f"hpss_{name}" for name in self._scenario.calls.split()} <= made.keys()
        await self.is_whole(None)
        return made

    async def is_whole(self, error: errors.ArchiveError | None) -> None:
        """See that the answer was true, that nothing is left over, and that the same succeeds now."""
        scenario = self._scenario
        await settled(self.archive)
        await until(lambda: not temporaries(self.archive))
        if error is not None:
            assert isinstance(error, errors.BackendUnavailable)
            for text in (str(error), error.reason):
                assert text
                assert PREFIX not in text
        found = await self._content()
        assert found in ({scenario.after} if error is None else {scenario.before, scenario.after})
        await self._source_follows(found, error)
        self._nothing_else_is_there()
        await self._succeeds_now(found)
        await settled(self.archive)
        assert not temporaries(self.archive)
        assert (await self.backend.health()).ready

    async def _content(self) -> bytes | None:
        if self._scenario.archived:
            assert (await self.writer.status(self._file_id)).locality is Locality.TAPE
            return self.archive.read(self._path)
        try:
            status, data = await load(self.writer, self._file_id)
        except errors.NotFound:
            return None
        assert status.size == len(data)
        if not self._scenario.moves or data != NEW:
            assert status.digests == {PRIMARY: hashlib.sha256(data).digest()}
        if not self._scenario.moves:
            assert self.archive.entry(self._path).mode & 0o777 == 0o444
            assert self.archive.entry(self._path).links == 1
        return data

    async def _source_follows(self, found: bytes | None, error: errors.ArchiveError | None) -> None:
        if not self._scenario.moves:
            return
        if error is None:  # a write-once move removes it in a second step, which may have to be tried again
            await until(lambda: self._source not in paths(self.archive, INCOMING))
        elif found != NEW:
            assert self.archive.read(self._source) == NEW

    def _nothing_else_is_there(self) -> None:
        allowed = {self._path, self._source}
        directory = posixpath.dirname(self._path)
        while directory != PREFIX:
            allowed.add(directory)
            directory = posixpath.dirname(directory)
        now = paths(self.archive)
        assert now - self._names <= allowed
        assert self._names - now <= {self._path, self._source}

    async def _succeeds_now(self, found: bytes | None) -> None:
        scenario = self._scenario
        half_done = self._source in (names := paths(self.archive)) and self._path in names
        half_done = half_done and self.archive.entry(self._source).number == self.archive.entry(self._path).number
        self._give_source()
        again = await self.play()
        if half_done:  # a move that has given the new name and not yet taken the old one
            assert again is None
        elif scenario.again is not None and found == scenario.after != scenario.before:
            assert type(again) is scenario.again
        else:
            assert again is None
        if not scenario.archived:
            assert await content(self.writer, self._file_id) == scenario.after


@asynccontextmanager
async def stage_for(directory: Path, name: str) -> AsyncIterator[Stage]:
    """An archive for many trials; in the end it has the threads that it had."""
    with simulated(directory) as archive:
        archive.clock.freeze()  # else what is asked for comes
        async with serving(archive) as writer, serving(archive, ping_interval=0.01) as backend:
            before = hpss_threads()
            yield Stage(archive, backend, writer, SCENARIOS[name])
            await until(lambda: hpss_threads() == before)


def hpss_threads() -> int:
    """How many threads there are for calls of the library."""
    return sum("hpss" in thread.name for thread in threading.enumerate())


def positions(made: Counter[str]) -> list[tuple[str, int]]:
    """Every call: the function, and the how manieth of it."""
    return [(function, index) for function, count in made.items() for index in range(1, count + 1)]


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name", SCENARIOS)
@in_reactor
async def test_every_call_fails_once(tmp_path: Path, name: str, failure: str) -> None:
    """There is an error in words, or a success that is one."""
    action, code = FAILURES[failure]
    async with stage_for(tmp_path, name) as stage:
        made = await stage.calls_made()
        for function, index in positions(made):
            await stage.prepare()
            fault = stage.archive.fault(function, first=index, action=action, value=code)
            try:
                error = await stage.play()
                await settled(stage.archive)
                assert stage.archive.fault_hits(fault) == 1
                stage.archive.clear_faults()
                if error is None and action == "error":
                    assert function in HARMLESS.get(name, ())
                await stage.is_whole(error)
            except Exception as wrong:
                wrong.add_note(f"when call {index} of {function} failed")
                raise


@pytest.mark.parametrize("most", [1, 4097, 0])
@pytest.mark.parametrize("name", ["new", "new large", "replacing", "identical move", "reading", "reading large"])
@in_reactor
async def test_reads_and_writes_may_be_short(tmp_path: Path, name: str, most: int) -> None:
    """The library moves what it likes; the rest follows.  Where it moves nothing at all, it has failed."""
    async with stage_for(tmp_path, name) as stage:
        made = await stage.calls_made()
        moving_data = [(function, index) for function, index in positions(made) if function in _MOVING_DATA]
        assert moving_data
        for function, index in moving_data:
            await stage.prepare()
            fault = stage.archive.fault(function, first=index, action="short", value=most)
            error = await stage.play()
            assert stage.archive.fault_hits(fault) == 1
            stage.archive.clear_faults()
            assert (error is None) == (most > 0)
            await stage.is_whole(error)


_MOVING_DATA = ("hpss_Read", "hpss_Write")


@in_reactor
async def test_all_reads_and_writes_may_be_short(tmp_path: Path) -> None:
    """As on a busy mover: the blocks come in many pieces each."""
    with simulated(tmp_path) as archive:
        async with serving(archive) as backend:
            for function in _MOVING_DATA:
                archive.fault(function, count=0, action="short", value=100_003)
            status = await store(backend, 1, LARGE, pieces=[[piece] for piece in cut(LARGE, MIB)])
            assert status.digests == {PRIMARY: hashlib.sha256(LARGE).digest()}
            await read_all(backend, 1, "")
            assert archive.calls("hpss_Write") > len(LARGE) // 100_003
            await settled(archive)


def give_up_calls() -> None:
    """Let the time run out that calls of the library may take."""
    for call in reactor.getDelayedCalls():
        if call.getTime() - reactor.seconds() > 60:
            call.reset(0)


@pytest.mark.parametrize(
    "name",
    [
        *("new", "new large", "write-once", "replacing", "conditional", "identical, there"),
        *("move", "write-once move", "removal", "reading", "reading large", "status", "recall"),
    ],
)
@in_reactor
async def test_every_call_is_stuck_once(tmp_path: Path, name: str) -> None:
    """
    It is given up, and its client told so; when it comes back after all, what it began is brought to an end or undone,
    and its thread and descriptors are given back.
    """
    async with stage_for(tmp_path, name) as stage:
        made = await stage.calls_made()
        for function, index in positions(made):
            await stage.prepare()
            fault = stage.archive.fault(function, first=index, action="hang")
            try:
                playing = running(stage.play())
                await until(lambda: stage.archive.fault_hits(fault) == 1)  # noqa: B023
                give_up_calls()
                error = await playing
                if error is None:  # nobody waits until a file that was read is closed
                    assert (name, function) == ("reading large", "hpss_Close")
                else:
                    assert isinstance(error, StuckCall)
                    await until(lambda: stage.stuck_calls() == 1)
                stage.archive.clear_faults()
                await until(lambda: not stage.stuck_calls())
                await stage.is_whole(error)
            except Exception as wrong:
                wrong.add_note(f"when call {index} of {function} was stuck")
                raise


@pytest.mark.parametrize("action", ["error", "disconnect", "hang"])
@in_reactor
async def test_what_cannot_be_removed_yet(tmp_path: Path, action: str) -> None:
    """When a PUT fails and the removal of its temporary as well, that is tried again: the client hears of the PUT."""
    async with stage_for(tmp_path, "replacing") as stage:
        made = await stage.calls_made()
        for function, index in positions(made):
            await stage.prepare()
            fault = stage.archive.fault(function, first=index)
            second = stage.archive.fault("hpss_Unlink", action=action)
            try:
                playing = running(stage.play())
                if action == "hang":
                    await until(lambda: stage.archive.fault_hits(second) or playing.called)  # noqa: B023
                    give_up_calls()
                error = await playing
                assert error is not None
                assert stage.archive.fault_hits(fault) == 1
                stage.archive.clear_faults()
                await until(lambda: not stage.stuck_calls())
                await stage.is_whole(error)
            except Exception as wrong:
                wrong.add_note(f"when call {index} of {function} failed")
                raise


@pytest.mark.parametrize("function", ["hpss_Lstat", "hpss_FileGetXAttributes", "hpss_UserAttrGetAttrs"])
@in_reactor
async def test_a_move_that_was_given_up(tmp_path: Path, function: str) -> None:
    """When it goes on after all, it does not take the place of what was stored meanwhile."""
    with simulated(tmp_path) as archive:
        async with serving(archive) as backend:
            archive.write(f"{INCOMING}/file", OLD)
            fault = archive.fault(function, path=f"{INCOMING}/file", action="hang", count=1)
            moving = running(backend.move(1, f"{INCOMING}/file", ALLOW))
            await until(lambda: archive.fault_hits(fault))
            give_up_calls()
            with pytest.raises(StuckCall):
                await moving
            await store(backend, 1, NEW)
            archive.clear_faults()
            await until(lambda: not backend._data.stuck)
            assert await content(backend, 1) == NEW
            assert archive.read(f"{INCOMING}/file") == OLD
            await settled(archive)


@pytest.mark.parametrize("verb", ["store", "move", "remove"])
@in_reactor
async def test_what_was_given_up_while_it_waited_for_others(
    tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its turn comes too late: it changes nothing any more."""
    tries, take = list[bool](), locks._try_lock

    def noted(descriptor: int, byte: int) -> bool:
        tries.append(take(descriptor, byte))
        return tries[-1]

    with simulated(tmp_path) as archive:
        async with serving(archive) as backend:
            await store(backend, 1, OLD)
            archive.write(f"{INCOMING}/file", NEW)
            with locks.IdLocks(PREFIX).held(1):
                monkeypatch.setattr(locks, "_try_lock", noted)
                change: dict[str, Callable[[], Awaitable[Any]]] = {
                    "store": lambda: store(backend, 1, NEW),
                    "move": lambda: backend.move(1, f"{INCOMING}/file", ALLOW),
                    "remove": lambda: backend.remove(1, ALLOW),
                }
                changing = running(change[verb]())
                pool = backend._names if verb == "remove" else backend._data
                await until(lambda: False in tries)
                give_up_calls()
                with pytest.raises(StuckCall):
                    await changing
            await until(lambda: not pool.stuck)
            assert await content(backend, 1) == OLD
            await until(lambda: not temporaries(archive))
            await settled(archive)


@pytest.mark.parametrize("function", ["hpss_Unlink", "hpss_Close"])
@pytest.mark.parametrize("action", ["error", "disconnect", "hang"])
@in_reactor
async def test_an_abort_raises_nothing(tmp_path: Path, function: str, action: str) -> None:
    """What it could not do is done later."""
    with simulated(tmp_path) as archive:
        async with serving(archive, ping_interval=0.01) as backend:
            incoming = await backend.receive(1, len(LARGE), ALLOW, ())
            await incoming.write([LARGE])
            await until(lambda: not backend._data._jobs)
            fault = archive.fault(function, action=action)
            aborting = running(incoming.abort())
            await until(lambda: archive.fault_hits(fault))
            if action == "hang":
                give_up_calls()
            await aborting
            await incoming.abort()
            archive.clear_faults()
            await until(lambda: not temporaries(archive))
            await settled(archive)
            assert await content(backend, 1) is None


@in_reactor
async def test_an_abort_when_all_threads_are_busy(tmp_path: Path) -> None:
    """It is done when one is free."""
    with simulated(tmp_path) as archive:
        async with serving(archive, data_threads=1) as backend:
            incoming = await backend.receive(1, len(LARGE), ALLOW, ())
            await incoming.write([LARGE])
            await until(lambda: not backend._data._jobs)
            fault = archive.fault("hpss_Open", action="hang")
            storing_another = running(store(backend, 2, NEW))
            await until(lambda: archive.fault_hits(fault))
            aborting = running(incoming.abort())
            give_up_calls()
            await aborting
            with pytest.raises(StuckCall):
                await storing_another
            await until(lambda: not temporaries(archive))
            archive.clear_faults()
            await until(lambda: not backend._data.stuck)
            await settled(archive)
            assert temporaries(archive) == []


@in_reactor
async def test_bytes_that_hpss_did_not_keep(tmp_path: Path) -> None:
    """They were taken without an error, and are not there in the end: then the file is not published."""
    with simulated(tmp_path) as archive:
        async with serving(archive) as backend:
            await store(backend, 1, OLD)
            fault = archive.fault("hpss_Fsync", action="hang")
            storing_it = running(store(backend, 1, NEW))
            await until(lambda: archive.fault_hits(fault))
            (temporary,) = temporaries(archive)
            with neighbour() as other:
                other.truncate(temporary, 3)
            archive.clear_faults()
            with pytest.raises(errors.BackendUnavailable, match="HPSS kept 3 of 9 bytes"):
                await storing_it
            assert await content(backend, 1) == OLD
            assert temporaries(archive) == []
            await settled(archive)


@in_reactor
async def test_a_failed_read_moves_no_other(tmp_path: Path) -> None:
    """Where the library stands after a failure nobody knows: the next read says where it reads."""
    with simulated(tmp_path) as archive:
        async with serving(archive) as backend:
            await store(backend, 1, LARGE)
            stored = await backend.open(1)
            for place, next_place in ((5 * MIB, 0), (0, 5), (4 * MIB, 10)):
                archive.fault("hpss_Read")
                with pytest.raises(errors.BackendUnavailable):
                    await stored.read(place, 10)
                assert await stored.read(next_place, 10) == LARGE[next_place : next_place + 10]
            stored.close()
            await settled(archive)


@in_reactor
async def test_a_new_file_under_the_name_of_a_source(tmp_path: Path) -> None:
    """A source that could not be removed is removed later; what somebody put there meanwhile is not."""
    source = f"{INCOMING}/source"
    with simulated(tmp_path) as archive:
        async with serving(archive, ping_interval=0.01) as backend:
            for file_id, replaced in ((1, False), (2, True)):
                archive.write(source, NEW)
                fault = archive.fault("hpss_Unlink", path=source, count=0)
                await backend.move(file_id, source, DENY)
                assert archive.fault_hits(fault)
                assert archive.entry(source).number == archive.entry(PREFIX + id_to_path(file_id)).number
                if replaced:
                    descriptor = client.create(f"{INCOMING}/other")
                    client.write(descriptor, OLD)
                    client.close(descriptor)
                    client.rename(f"{INCOMING}/other", source)
                archive.clear_faults()
                pings = archive.calls("hpss_PingCore")
                await until(lambda: archive.calls("hpss_PingCore") > pings + 3)  # noqa: B023
                await settled(archive)
                assert (source in paths(archive)) == replaced
                assert await content(backend, file_id) == NEW
        client.thread_end()


@in_reactor
async def test_what_a_dead_writer_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start sweeps it; not as long as the writer lives."""
    with simulated(tmp_path) as archive:
        async with serving(archive, ping_interval=0.01) as backend:
            archive.fault("hpss_Fsync")
            archive.fault("hpss_Unlink", count=0)
            with pytest.raises(errors.BackendUnavailable):
                await store(backend, 1, NEW)
            await settled(archive)
        archive.clear_faults()
        (left,) = temporaries(archive)
        async with serving(archive):
            assert temporaries(archive) == [left]
        monkeypatch.setattr(tree, "starting_time", lambda pid: None)
        async with serving(archive) as backend:
            assert temporaries(archive) == []
            assert await content(backend, 1) is None


async def words_of_start(backend: IArchiveBackend) -> str:
    """What it says when it cannot start; nothing when it can."""
    try:
        await maybeDeferred(backend.startService)
    except errors.BackendUnavailable as error:
        return str(error)
    return ""


_OF_NO_CONSEQUENCE = {
    *("hpss_PingCore", "hpss_LookupRootCS"),  # there will be another ping
    *("hpss_LoadDefaultThreadState", "hpss_Umask"),  # a thread's first call tries again
}


@pytest.mark.parametrize("failure", FAILURES)
@in_reactor
async def test_every_call_of_a_start_fails_once(tmp_path: Path, failure: str) -> None:
    """It says so, or starts all the same; and the next start succeeds."""
    action, code = FAILURES[failure]
    with simulated(tmp_path) as archive:
        threads = hpss_threads()
        archive.write(f"{INCOMING}/.anything", b"")
        async with serving(archive) as backend:
            await store(backend, 1, OLD)
        before = Counter(archive.all_calls())
        async with serving(archive):
            pass
        made = Counter(archive.all_calls()) - before
        for name in (*_REMEMBERING, "hpss_ClientAPIReset", "hpss_PurgeLoginCred", "hpss_ThreadCleanUp"):
            del made[name]
        assert {"hpss_SetLoginCred", "hpss_Stat", "hpss_Mkdir", "hpss_Opendir", "hpss_Readdir"} <= made.keys()
        for function, index in positions(made):
            fault = archive.fault(function, first=index, action=action, value=code)
            failing = hpss.make(reactor, settings_for(archive))
            try:
                words = await words_of_start(failing)
                assert "HPSS" in words or (not words and (function in _OF_NO_CONSEQUENCE or action == "disconnect"))
                await maybeDeferred(failing.stopService)
                assert archive.fault_hits(fault) == 1
                archive.clear_faults()
                await settled(archive)
                async with serving(archive) as backend:
                    assert await content(backend, 1) == OLD
                    assert temporaries(archive) == []
            except Exception as wrong:
                wrong.add_note(f"when call {index} of {function} failed")
                raise
        await until(lambda: hpss_threads() == threads)
