"""Every system call of the C{posix} backend's commit path fails once: the old state or the new one stays, whole."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
from twisted.internet.defer import DeferredList

from backends.calls import Calls
from backends.posix import (
    archive,
    failing,
    on_a_system,
    on_another_file_system,
    without_attributes,
    without_unnamed_files,
)
from pacarchive import errors
from pacarchive.backends.contract.handling import (
    ALLOW,
    DENY,
    content,
    cut,
    in_reactor,
    matching,
    open_descriptors,
    pattern,
    running,
    store,
)
from pacarchive.digests import PRIMARY
from pacarchive.interfaces import IArchiveBackend

if TYPE_CHECKING:
    from twisted.python.failure import Failure

MIB = 1 << 20
DEEP = 0x012345
OLD, NEW, LARGE = b"old words", b"new words", pattern(MIB)


@attrs.frozen
class Scenario:
    """
    Something that is done to id L{DEEP}.

    @ivar act: Does it, given a source for a move.
    @ivar before: What the id holds before.
    @ivar after: What it holds when all goes well.
    @ivar lacking: What the system lacks.
    """

    act: Callable[[IArchiveBackend, str], Awaitable[Any]]
    before: bytes | None
    after: bytes | None
    lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...] = ()
    moves: bool = False
    elsewhere: bool = False


SCENARIOS = {
    "new": Scenario(lambda backend, _: store(backend, DEEP, NEW, mtime=1000), None, NEW),
    "new large": Scenario(
        lambda backend, _: store(backend, DEEP, LARGE, pieces=[[LARGE[: MIB // 2]], [LARGE[MIB // 2 :]]]), None, LARGE
    ),
    "write-once": Scenario(lambda backend, _: store(backend, DEEP, NEW, DENY), None, NEW),
    "replacing": Scenario(lambda backend, _: store(backend, DEEP, NEW), OLD, NEW),
    "replacing large": Scenario(lambda backend, _: store(backend, DEEP, LARGE), OLD, LARGE),
    "conditional": Scenario(lambda backend, _: store(backend, DEEP, NEW, matching("*")), OLD, NEW),
    "new, named": Scenario(lambda backend, _: store(backend, DEEP, NEW), None, NEW, (without_unnamed_files,)),
    "replacing, named": Scenario(lambda backend, _: store(backend, DEEP, NEW), OLD, NEW, (without_unnamed_files,)),
    "new, sidecar": Scenario(lambda backend, _: store(backend, DEEP, NEW), None, NEW, (without_attributes,)),
    "replacing, sidecar": Scenario(lambda backend, _: store(backend, DEEP, NEW), OLD, NEW, (without_attributes,)),
    "move": Scenario(lambda backend, source: backend.move(DEEP, source, ALLOW), None, NEW, moves=True),
    "replacing move": Scenario(lambda backend, source: backend.move(DEEP, source, ALLOW), OLD, NEW, moves=True),
    "copying move": Scenario(
        lambda backend, source: backend.move(DEEP, source, ALLOW), None, NEW, moves=True, elsewhere=True
    ),
    "removal": Scenario(lambda backend, _: backend.remove(DEEP, ALLOW), OLD, None),
    "removal, sidecar": Scenario(lambda backend, _: backend.remove(DEEP, ALLOW), OLD, None, (without_attributes,)),
}


HARMLESS = {"close", "fstat", "openat2", "unlink"}
"""
Calls that may fail without making the whole fail: a descriptor that is released, a look at what might be in the way,
a temporary that the next start sweeps.
"""


NUMBERS = [
    pytest.param(errno.EIO, id="EIO"),
    # Where a number makes a difference is seen in test_what_the_system_said_is_kept_as_the_reason, too.
    pytest.param(errno.ENOSPC, id="ENOSPC", marks=pytest.mark.thorough),
    pytest.param(errno.EINTR, id="EINTR", marks=pytest.mark.thorough),
]


class Trial:
    """
    One archive, in which a scenario is played with one failing call.

    @ivar calls: The system calls that it made.
    @ivar error: What it raised.
    @ivar moves: Whether it is a move.
    """

    def __init__(self, directory: Path, scenario: Scenario) -> None:
        self._directory = directory
        self._scenario = scenario
        place = on_another_file_system(directory) if scenario.elsewhere else directory
        self._incoming = Path(tempfile.mkdtemp(dir=place)).resolve()
        self._source = self._incoming / "source"
        self._factory = on_a_system(*scenario.lacking, use_id2filename=True, io_threads=1, move_roots=(self._incoming,))
        self.calls = Calls(directory / "archive")
        self.error: Exception | None = None
        self.moves = scenario.moves
        self._source_inode = 0

    async def run(self, failing: tuple[int, int] | None) -> None:
        """Play it, and see that the answer is right and nothing stays open."""
        if self._scenario.moves:
            self._source.write_bytes(NEW)
            self._source_inode = self._source.stat().st_ino
        if self._scenario.before is not None:
            async with self._factory(self._directory) as backend:
                await store(backend, DEEP, self._scenario.before)
        self.calls.failing = failing
        async with self._factory(self._directory) as backend:
            descriptors = open_descriptors()
            with self.calls.watched():
                try:
                    await self._scenario.act(backend, str(self._source))
                except errors.ArchiveError as error:
                    self.error = error
            assert open_descriptors() == descriptors

    def failed_sync_is_final(self, index: int) -> None:
        """It is an error, or a copy was made; and nothing tries the same again."""
        failed = self.calls.made[index]
        archived = self._directory / "archive/45/23/12345"
        if failed.target.endswith("/source") and self.error is None:
            assert archived.stat().st_ino != self._source_inode
            assert "fsync <unnamed>" in self.calls.text("fsync")
        else:
            assert self.error is not None
        assert failed not in self.calls.made[index + 1 :]

    async def state_is_whole(self) -> None:
        """What a process finds that starts afterwards."""
        scenario = self._scenario
        async with self._factory(self._directory) as backend:
            found = await content(backend, DEEP)
            assert found in ({scenario.after} if self.error is None else {scenario.before, scenario.after})
            if found is not None:
                status = await backend.status(DEEP)
                assert status.digests.get(PRIMARY, hashlib.sha256(found).digest()) == hashlib.sha256(found).digest()
            if scenario.moves:
                assert found == NEW or self._source.read_bytes() == NEW
                assert self.error is not None or not self._source.exists()
            assert os.listdir(self._directory / "archive/.pacarchive/tmp") == []
            if scenario.after is not None and not scenario.moves:
                await store(backend, DEEP, scenario.after)
                assert await content(backend, DEEP) == scenario.after
        shutil.rmtree(self._incoming)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", SCENARIOS)
@in_reactor
async def test_every_call_fails_once(tmp_path: Path, name: str, number: int) -> None:
    """There is an error, or a success that is one; and the old or the new state, with nothing beside it."""
    clean = Trial(_made(tmp_path / "clean"), SCENARIOS[name])
    await clean.run(None)
    assert clean.error is None
    await clean.state_is_whole()
    for index, call in enumerate(clean.calls.made):
        trial = Trial(_made(tmp_path / str(index)), SCENARIOS[name])
        try:
            await trial.run((index, number))
            if not trial.moves:  # whose locks depend on the inode of the source
                assert trial.calls.made[index].name == call.name
            if trial.moves and index >= len(trial.calls.made):
                assert trial.error is None  # one lock served for both: there was no such call, and none has failed
                await trial.state_is_whole()
                continue
            call = trial.calls.made[index]
            if call.name == "fsync":
                trial.failed_sync_is_final(index)
            if trial.error is None and not (call.name == "fsync" and trial.moves):
                assert call.name in HARMLESS
            await trial.state_is_whole()
        except Exception as error:
            error.add_note(f"when call {index} failed: {call}")
            raise


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


@pytest.mark.parametrize("number", NUMBERS)
@in_reactor
async def test_every_call_of_a_batch_fails_once(tmp_path: Path, number: int) -> None:
    """
    Files that are stored together are acknowledged each for itself: none whose data or directory was not synced, and
    all that the failure did not concern.
    """
    bodies = {file_id: pattern(1000, file_id) for file_id in range(5)}

    async def store_all(directory: Path, failing: tuple[int, int] | None) -> tuple[Calls, set[int]]:
        calls = Calls(directory / "archive")
        calls.failing = failing
        async with archive(directory, io_threads=1) as backend:
            descriptors = open_descriptors()
            with calls.watched():
                outcomes = await DeferredList(
                    [running(store(backend, file_id, body)) for file_id, body in bodies.items()], consumeErrors=True
                )
            assert open_descriptors() == descriptors
        for success, result in outcomes:
            assert success or cast("Failure", result).check(errors.ArchiveError)
        return calls, {file_id for file_id, (success, _) in zip(bodies, outcomes, strict=True) if success}

    clean, acknowledged = await store_all(_made(tmp_path / "clean"), None)
    assert acknowledged == set(bodies)
    assert clean.text("fsync").count("fsync .") < len(bodies)
    for index in range(len(clean.made)):
        directory = _made(tmp_path / str(index))
        calls, acknowledged = await store_all(directory, (index, number))
        steps = [str(call) for at, call in enumerate(calls.made) if at != index]
        for file_id in acknowledged:
            assert "fsync ." in steps[steps.index(f"link {file_id}") :]
        assert acknowledged
        async with archive(directory) as backend:
            for file_id, body in bodies.items():
                assert await content(backend, file_id) in ({body} if file_id in acknowledged else {body, None})


@pytest.mark.parametrize("call", ["open", "pwritev"])
@pytest.mark.parametrize("begun", [False, True])
@in_reactor
async def test_a_file_with_a_gap_is_never_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, begun: bool
) -> None:
    """After a write that failed the commit fails too, even if the disk works again."""
    async with archive(tmp_path) as backend:
        for more in ([], [b"more"], [LARGE]):
            incoming = await backend.receive(1, None, ALLOW, ())
            if begun:
                await incoming.write([LARGE])
            with monkeypatch.context() as patch:
                patch.setattr(os, "pwritev" if begun else call, failing(errno.ENOSPC))
                with pytest.raises(errors.NoSpace):
                    await incoming.write([LARGE])
            await incoming.write(more)
            with pytest.raises(errors.BackendUnavailable):
                await incoming.commit(None, {})
            await incoming.abort()
            assert await content(backend, 1) is None
            assert os.listdir(tmp_path / "archive/.pacarchive/tmp") == []


@in_reactor
async def test_the_system_may_write_less_than_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal or a nearly full disk cuts a write short; the rest follows, or tells what is wrong."""
    really_write_one = os.pwrite

    def write_some(descriptor: int, pieces: Sequence[bytes], offset: int) -> int:
        return really_write_one(descriptor, b"".join(pieces)[:1000], offset)

    def write_one_some(descriptor: int, data: memoryview, offset: int) -> int:
        return really_write_one(descriptor, data[:70_000], offset)

    async with archive(tmp_path) as backend:
        monkeypatch.setattr(os, "pwritev", write_some)
        monkeypatch.setattr(os, "pwrite", write_one_some)
        for data in (b"", b"words", LARGE):
            await store(backend, 1, b"", pieces=[list(cut(data, 100_001))], announced=False)
            assert await content(backend, 1) == data
        monkeypatch.setattr(os, "pwrite", failing(errno.ENOSPC))
        with pytest.raises(errors.NoSpace):
            await store(backend, 2, LARGE)
        assert await content(backend, 2) is None


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, errors.NoSpace),
        (errno.EDQUOT, errors.NoSpace),
        (errno.EFBIG, errors.TooLarge),
        (errno.EIO, errors.BackendUnavailable),
    ],
)
@in_reactor
async def test_what_the_system_said_is_kept_as_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[errors.ArchiveError]
) -> None:
    """In the archive's words and the predecessor's, and without the path, which is nobody's business."""
    async with archive(tmp_path) as backend:
        monkeypatch.setattr(os, "pwritev", failing(number))
        with pytest.raises(error) as raised:
            await store(backend, 1, b"words")
        assert raised.value.reason == f"Can't write posix file with error: [Errno {number}] {os.strerror(number)}"
        assert str(tmp_path) not in str(raised.value) + raised.value.reason
