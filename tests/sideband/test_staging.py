"""Recalls, from the request to the bytes: in each of the three ways, and without holding anybody up."""

from __future__ import annotations

import errno
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import gatherResults

from pacarchive import errors
from pacarchive.backends.contract.handling import ALLOW, content, in_reactor, running, store
from pacarchive.backends.sideband import archive
from pacarchive.backends.sideband.archive import SidebandArchive
from pacarchive.ids import id_to_path
from pacarchive.model import Locality, RecallProgress, RecallState
from sideband.archives import Daemon, SlowMount, serving
from sideband.server import Sideband
from sideband.watching import SLACK, Watch, until
from sideband.ways import Command, asked_of_library, fake_library, hang, set_state

DATA = b"words on tape"

REQUEST = uuid.UUID(int=1)

OFFLINE, STAGE_NEVER, DAMAGED, STAGING = 0x8000, 0x8, 0x10, 0x1

UNDER_WAY = {RecallState.QUEUED, RecallState.ACTIVE}

READ_LIMIT = 0.3

WAYS = pytest.mark.parametrize("way", ["command", "library", "reading"])


class Site:
    """
    A file system with its daemon, and one of the ways to stage files.

    @param way: It.
    """

    def __init__(self, directory: Path, database: Sideband, way: str, patch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.database = database
        self.way = way
        self.mount = SlowMount()
        self.daemon = Daemon(directory, database)
        self.command = Command(directory)
        if way == "library":
            patch.setattr(archive, "LibSam", fake_library)

    def serving(self, *, stuck: bool = False, **own: Any) -> AbstractAsyncContextManager[SidebandArchive]:
        """
        A backend on it.

        @param stuck: Whoever is asked to stage a file does not return; else it goes well.
        """
        if self.way == "command":
            own["stage_command"] = f"{self.command.path} {'/hang' if stuck else '--'}"
        values: dict[str, Any] = {"stage_threads": 2, "read_timeout": READ_LIMIT, **own}
        return serving(self.directory, self.database, mount=self.mount, **values)

    def file(self, file_id: int) -> Path:
        return Path(f"{self.directory}/archive{id_to_path(file_id)}")

    async def release(self, backend: SidebandArchive, file_id: int, *, stuck: bool = False) -> bytes:
        """A new file that is on tape only.  @return: Its path, for the daemon."""
        await store(backend, file_id, DATA)
        if self.way == "library":
            set_state(self.file(file_id), OFFLINE)
            if stuck:
                hang(self.file(file_id))
        elif self.way == "reading":
            self.mount.take_away(self.file(file_id))
        return self.daemon.to_tape(file_id)

    def finish(self) -> None:
        """Whatever hangs goes on."""
        for marker in (self.directory / "archive").rglob("*.hang"):
            marker.unlink()

    def requests(self, *file_ids: int) -> int:
        """How often somebody was asked for one of these files."""
        if self.way == "command":
            return sum(f"<{self.file(each)}>" in run for run in self.command.asked for each in file_ids)
        if self.way == "library":
            return sum(asked_of_library(self.file(each)).count("i") for each in file_ids)
        return self.mount.reads


@pytest.fixture
def site(tmp_path: Path, database: Sideband, way: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site(tmp_path, database, way, monkeypatch)
    with site.daemon, site.mount.open_in_the_end():
        yield site
        site.finish()


async def states(backend: SidebandArchive, *file_ids: int) -> set[RecallState]:
    return {each.state for each in (await backend.poll(REQUEST, file_ids)).values()}


async def until_asked(site: Site, *file_ids: int, times: int = 1) -> None:
    async def asked() -> bool:
        return site.requests(*file_ids) >= times

    await until(asked)


@WAYS
@in_reactor
async def test_stuck_requests_hold_nobody_up(site: Site) -> None:
    """Twelve files are asked for, and whoever is asked first hangs: all else goes on as ever."""
    async with site.serving(stuck=True) as backend:
        file_ids = range(1, 13)
        for file_id in file_ids:
            await site.release(backend, file_id, stuck=True)
        await store(backend, 100, DATA)
        watch = Watch()
        asked = await backend.recall(REQUEST, file_ids)
        assert watch.seconds < SLACK
        assert {each.state for each in asked.values()} <= UNDER_WAY
        await until_asked(site, *file_ids, times=2)
        watch = Watch()
        assert (await backend.status(1)).locality is Locality.TAPE
        await gatherResults([running(store(backend, number, DATA)) for number in range(200, 210)])
        assert await content(backend, 100) == DATA
        assert (await backend.health()).ready
        await backend.locate(file_ids)
        assert watch.seconds < SLACK
        watch = Watch()
        assert await backend.cancel(REQUEST, [11, 12]) == {11, 12}
        assert await states(backend, 5, 6) == {RecallState.QUEUED}
        assert watch.seconds < SLACK
        assert site.requests(*file_ids) == 2
        site.finish()
        with site.mount.open_in_the_end():
            pass


@WAYS
@in_reactor
async def test_many_requests_for_one_file(site: Site) -> None:
    """Are one."""
    async with site.serving(stuck=True) as backend:
        await site.release(backend, 1, stuck=True)
        for _ in range(3):
            await gatherResults([running(backend.recall(uuid.uuid4(), [1])) for _ in range(20)])
        await until_asked(site, 1)
        await backend.recall(REQUEST, [1])
        assert site.requests(1) == 1
        site.finish()
        with site.mount.open_in_the_end():
            pass


@WAYS
@in_reactor
async def test_nobody_is_asked_for_what_is_on_disk(site: Site) -> None:
    """Nor for what does not exist."""
    async with site.serving() as backend:
        await store(backend, 1, DATA)
        site.daemon.archive(site.daemon.hear_of(1))
        answers = await backend.recall(REQUEST, [1, 404])
        assert answers[1] == RecallProgress(RecallState.RESIDENT)
        assert answers[404].state is RecallState.FAILED
        assert "No file" in answers[404].words
        assert await backend.poll(REQUEST, [1, 404]) == answers
        assert site.requests(1, 404) == 0


@pytest.mark.parametrize("way", ["command"])
@in_reactor
async def test_the_database_hears_late_of_a_stage(site: Site) -> None:
    """Until then a poll says that it is under way, and readers that they must wait."""
    async with site.serving(remember=0) as backend:
        path = await site.release(backend, 1)
        await backend.recall(REQUEST, [1])
        await until_asked(site, 1)
        for _ in range(3):
            assert await states(backend, 1) == {RecallState.ACTIVE}
            with pytest.raises(errors.Offline):
                await backend.open(1)
        site.daemon.online(path)
        assert await states(backend, 1) == {RecallState.RESIDENT}
        assert await content(backend, 1) == DATA
        site.daemon.offline(path)
        await backend.recall(REQUEST, [1])
        await until_asked(site, 1, times=2)


@pytest.mark.parametrize("way", ["library"])
@in_reactor
async def test_the_library_knows_before_the_database(site: Site) -> None:
    """So readers need not wait for that."""
    async with site.serving(remember=0) as backend:
        await site.release(backend, 1)
        await backend.recall(REQUEST, [1])
        await until_asked(site, 1)
        set_state(site.file(1), OFFLINE, STAGING)
        assert await states(backend, 1) == {RecallState.ACTIVE}
        with pytest.raises(errors.Offline):
            await backend.open(1)
        set_state(site.file(1), 0)
        assert await states(backend, 1) == {RecallState.RESIDENT}
        assert await content(backend, 1) == DATA


@pytest.mark.parametrize("way", ["library"])
@pytest.mark.parametrize(
    ("attributes", "error", "words"),
    [
        (OFFLINE | DAMAGED, 0, "damaged"),
        (OFFLINE | STAGE_NEVER, 0, "never to be staged"),
        (OFFLINE, errno.ENXIO, "no copy of the file"),
    ],
)
@in_reactor
async def test_what_can_never_be_staged(site: Site, attributes: int, error: int, words: str) -> None:
    """It is told in words, and is not asked for over and over."""
    async with site.serving() as backend:
        await site.release(backend, 1)
        set_state(site.file(1), attributes, 0, error)
        await backend.recall(REQUEST, [1])
        await until_asked(site, 1)  # what is wrong with the file can be seen before

        async def has_failed() -> bool:
            return await states(backend, 1) == {RecallState.FAILED}

        await until(has_failed)
        assert words in (await backend.poll(REQUEST, [1]))[1].words
        await backend.recall(REQUEST, [1])
        assert site.requests(1) == 1
        with pytest.raises(errors.Offline):
            await backend.open(1)


@pytest.mark.parametrize("way", ["reading"])
@in_reactor
async def test_a_file_that_is_read_back(site: Site) -> None:
    """Readers get it as soon as it was read whole, although the database has it on tape still."""
    async with site.serving(remember=0) as backend:
        path = await site.release(backend, 1)
        await backend.recall(REQUEST, [1])
        await until_asked(site, 1)
        with pytest.raises(errors.Offline):
            await backend.open(1)
        site.mount.bring_back(site.file(1))

        async def was_read() -> bool:
            return "was read back" in (await backend.poll(REQUEST, [1]))[1].words

        await until(was_read)
        assert (await backend.status(1)).locality is Locality.TAPE
        assert await content(backend, 1) == DATA
        assert await states(backend, 1) == {RecallState.ACTIVE}
        site.daemon.online(path)
        assert await states(backend, 1) == {RecallState.RESIDENT}


@pytest.mark.parametrize("way", ["reading"])
@in_reactor
async def test_a_file_that_is_read_back_without_the_database(site: Site) -> None:
    """It is on disk then, since nobody knows better."""
    async with site.serving(remember=0, unix_socket=str(site.directory / "nobody")) as backend:
        await site.release(backend, 1)
        assert (await backend.status(1)).locality is Locality.UNAVAILABLE
        await backend.recall(REQUEST, [1])
        await until_asked(site, 1)
        assert await states(backend, 1) == {RecallState.ACTIVE}
        site.mount.bring_back(site.file(1))

        async def was_read() -> bool:
            return await states(backend, 1) == {RecallState.RESIDENT}

        await until(was_read)
        assert await content(backend, 1) == DATA
        assert await states(backend, 1) == {RecallState.RESIDENT}


@WAYS
@in_reactor
async def test_a_removed_file_is_not_waited_for(site: Site) -> None:
    """Its recall has failed; a new file of that id is on disk."""
    async with site.serving(remember=0) as backend:
        path = await site.release(backend, 1)
        await backend.recall(REQUEST, [1])
        await backend.remove(1, ALLOW)
        assert await states(backend, 1) == {RecallState.FAILED}
        site.daemon.remove(path)
        await store(backend, 1, DATA)
        assert await states(backend, 1) == {RecallState.RESIDENT}


# Against the database: it has the file on disk, and it was released since.


async def all_are_offline(backend: SidebandArchive, file_ids: Sequence[int]) -> bool:
    """Whether all readers, who come at once, are told so."""

    async def is_offline(file_id: int) -> bool:
        try:
            (await backend.open(file_id)).close()
        except errors.Offline:
            return True
        return False

    return all(await gatherResults([running(is_offline(file_id)) for file_id in file_ids]))


@pytest.mark.parametrize("way", ["reading"])
@in_reactor
async def test_a_file_that_was_released_since(site: Site) -> None:
    """Its readers hear in time that it is on tape; one thread waits for it, however many they are."""
    async with site.serving() as backend:
        await store(backend, 1, DATA)
        site.daemon.archive(site.daemon.hear_of(1))
        site.mount.take_away(site.file(1))
        assert (await backend.status(1)).locality is Locality.DISK_AND_TAPE
        for _ in range(2):
            watch = Watch()
            assert await all_are_offline(backend, [1] * 20)
            assert watch.seconds < READ_LIMIT + SLACK
        assert site.mount.reads == 1
        site.mount.bring_back(site.file(1))
        assert await content(backend, 1) == DATA


@pytest.mark.parametrize("way", ["reading"])
@in_reactor
async def test_many_files_that_were_released_since(site: Site) -> None:
    """More than there are threads to find out: all else goes on."""
    async with site.serving() as backend:
        file_ids = range(1, 41)
        for file_id in file_ids:
            await store(backend, file_id, DATA)
            site.daemon.archive(site.daemon.hear_of(file_id))
            site.mount.take_away(site.file(file_id))
        watch = Watch()
        assert await all_are_offline(backend, file_ids)
        assert watch.seconds < READ_LIMIT + SLACK
        watch = Watch()
        await gatherResults([running(store(backend, number, DATA)) for number in range(200, 210)])
        assert (await backend.status(1)).size == len(DATA)
        await backend.health()
        asked = await backend.recall(REQUEST, file_ids)
        assert set(asked) == set(file_ids)
        assert watch.seconds < SLACK
        with site.mount.open_in_the_end():
            pass
        assert await content(backend, 40) == DATA
