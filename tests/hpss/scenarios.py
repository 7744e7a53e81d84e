"""What is done in HPSS while a call fails or is stuck, and what must be true afterwards."""

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
from hpss_simulator import Archive
from simulated import INCOMING, PREFIX, serving, simulated
from surroundings import paths, settled, temporaries
from threaded import until

from pacarchive import errors
from pacarchive.backends.contract.handling import (
    ALLOW,
    DENY,
    IDENTICAL,
    content,
    cut,
    load,
    matching,
    pattern,
    store,
)
from pacarchive.backends.hpss.archive import HpssArchive
from pacarchive.digests import PRIMARY
from pacarchive.ids import id_to_path
from pacarchive.model import FileStatus, Locality, RecallState, WriteConditions

MIB = 1 << 20
OLD, NEW, LARGE = b"old words", b"new words", pattern(6 * MIB)
ETAG = f'"{hashlib.sha256(OLD).hexdigest()}"'
REQUEST = UUID("00000000-0000-4000-8000-000000000006")


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

REMEMBERING = {"hpss_GetLastHPSSErrno", "hpss_ClearLastHPSSErrno"}
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
        for name in ("hpss_PingCore", "hpss_LookupRootCS", *REMEMBERING):
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
