"""Every call of the HPSS library fails once: the old state or the new one stays, whole, and nothing beside it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from scenarios import (
    HARMLESS,
    LARGE,
    MIB,
    NEW,
    OLD,
    REMEMBERING,
    SCENARIOS,
    hpss_threads,
    positions,
    read_all,
    stage_for,
)
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
    content,
    cut,
    in_reactor,
    running,
    store,
)
from pacarchive.backends.hpss import client, locks, tree
from pacarchive.backends.hpss.pool import StuckCall
from pacarchive.digests import PRIMARY
from pacarchive.ids import id_to_path
from pacarchive.interfaces import IArchiveBackend

__all__ = ["log"]  # the fixture

pytestmark = pytest.mark.usefixtures("log")

FAILURES: dict[str, tuple[str, int]] = {
    "EIO": ("error", -5),
    "ECONN": ("error", -50),
    "lost answer": ("disconnect", 0),
}
"""An answer that is lost belongs to a call that was carried out."""


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
        for name in (*REMEMBERING, "hpss_ClientAPIReset", "hpss_PurgeLoginCred", "hpss_ThreadCleanUp"):
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
