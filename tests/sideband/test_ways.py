"""The ways to have SAM stage files, each by itself: its command, and its library."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from pacarchive.backends.contract.handling import in_reactor, running
from pacarchive.backends.sideband import stage
from pacarchive.backends.sideband.libsam import LibSam
from pacarchive.backends.sideband.stage import CommandStager, LibraryStager, Stager
from pacarchive.model import RecallProgress, RecallState
from sideband.watching import PATIENCE, SLACK, Watch, all_words, logged, until
from sideband.ways import Command, asked_of_library, fake_library, hang, set_state, wanted

LIMIT = 0.3

BEGUN = RecallProgress(RecallState.ACTIVE)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


@asynccontextmanager
async def going(stager: Stager) -> AsyncIterator[Stager]:
    stager.start()
    try:
        yield stager
    finally:
        await stager.stop()


# The command.


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "<{0}/a b><{0}/c'$(id)>"),
        ("-x --", "<-x><--><{0}/a b><{0}/c'$(id)>"),
        ("--file={path} -w", "<--file={0}/a b><--file={0}/c'$(id)><-w>"),
        ("'two words' {sam_path}", "<two words></archive/a b></archive/c'$(id)>"),
        ("{sam_path}={path}", "</archive/a b={0}/a b></archive/c'$(id)={0}/c'$(id)>"),
    ],
)
@in_reactor
async def test_the_arguments_of_the_command(command: Command, tmp_path: Path, arguments: str, expected: str) -> None:
    """They are those of the setting, those with a path once for each file; no shell sees them."""
    async with going(CommandStager(reactor, f"{command.path} {arguments}")) as stager:
        files = [wanted(tmp_path, "a b", 1), wanted(tmp_path, "c'$(id)", 2)]
        assert await stager.stage(files) == {1: BEGUN, 2: BEGUN}
    assert command.asked == [expected.replace("{0}", str(tmp_path))]


@in_reactor
async def test_a_bad_file_does_not_harm_the_others(command: Command, tmp_path: Path) -> None:
    """When the command fails for many it is run for each of them; what it says is for the operator."""
    with logged() as log:
        async with going(CommandStager(reactor, str(command.path))) as stager:
            names = ["one", "bad", "three"]
            answers = await stager.stage([wanted(tmp_path, name, number) for number, name in enumerate(names)])
    assert (answers[0], answers[2]) == (BEGUN, BEGUN)
    assert answers[1].state is RecallState.UNKNOWN
    assert "ended with 3" in answers[1].words
    assert "samhost" not in answers[1].words
    assert "no such file on host samhost" in all_words(log)
    assert len(command.asked) == 4


@pytest.mark.parametrize(
    ("name", "words"), [("signal", "ended by a signal"), ("hang", "did not end within 0.3 s"), ("child", "0.3 s")]
)
@in_reactor
async def test_a_command_that_does_not_end_well(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    """It is killed after its limit, also where it is a child of its that hangs."""
    monkeypatch.setattr(stage, "_COMMAND_TIMEOUT", LIMIT)
    async with going(CommandStager(reactor, str(command.path))) as stager:
        watch = Watch()
        answers = await stager.stage([wanted(tmp_path, name)])
        assert watch.seconds < LIMIT + SLACK
        assert answers[1].state is RecallState.UNKNOWN
        assert words in answers[1].words


@pytest.mark.parametrize("name", ["hang", "child"])
@in_reactor
async def test_a_stop_ends_commands(command: Command, tmp_path: Path, name: str) -> None:
    """It does not wait for them."""
    stager = CommandStager(reactor, str(command.path))
    stager.start()
    work = running(stager.stage([wanted(tmp_path, name)]))

    async def runs() -> bool:
        return bool(command.asked)

    await until(runs)
    watch = Watch()
    await stager.stop()
    assert watch.seconds < SLACK
    assert (await work)[1].state is RecallState.UNKNOWN
    assert (await stager.stage([wanted(tmp_path, "late")]))[1].state is RecallState.UNKNOWN
    assert len(command.asked) == 1


@in_reactor
async def test_a_command_that_leaves_a_child_behind(command: Command, tmp_path: Path) -> None:
    """It has ended, whoever still holds its output."""
    async with going(CommandStager(reactor, str(command.path))) as stager:
        watch = Watch()
        assert await stager.stage([wanted(tmp_path, "background")]) == {1: BEGUN}
        assert watch.seconds < SLACK


@in_reactor
async def test_a_command_that_is_missing(tmp_path: Path) -> None:
    """It fails as others do: the exit status is not 0."""
    async with going(CommandStager(reactor, str(tmp_path / "nothing"))) as stager:
        answers = await stager.stage([wanted(tmp_path, "one")])
        assert answers[1].state is RecallState.UNKNOWN
        assert "stage command" in answers[1].words
        assert str(tmp_path) not in answers[1].words


# The library.

ONLINE, STAGE_NEVER, DAMAGED, PARTIAL, OFFLINE = 0x11000, 0x8, 0x10, 0x4000, 0x8000
STAGING, STAGE_FAILED = 0x1, 0x2


@pytest.mark.parametrize(
    ("attributes", "flags", "state", "words"),
    [
        (ONLINE, 0, RecallState.RESIDENT, ""),
        (ONLINE, STAGE_FAILED, RecallState.RESIDENT, ""),
        (0xFFFF_FFFF_FFFF_FFFF ^ OFFLINE ^ DAMAGED, 0xFF, RecallState.RESIDENT, ""),
        (OFFLINE | STAGE_NEVER, 0, RecallState.FAILED, "never to be staged"),
        (OFFLINE | DAMAGED, 0, RecallState.FAILED, "damaged"),
        (DAMAGED, 0, RecallState.FAILED, "damaged"),
        (OFFLINE, STAGING, RecallState.ACTIVE, ""),
        (OFFLINE | PARTIAL, STAGING, RecallState.ACTIVE, "never left the disk"),
        (OFFLINE, STAGE_FAILED, RecallState.UNKNOWN, "failed"),
        (OFFLINE, 0, None, ""),
    ],
)
@in_reactor
async def test_what_the_library_says(
    tmp_path: Path, attributes: int, flags: int, state: RecallState | None, words: str
) -> None:
    """In words where that is more than the state."""
    async with going(LibraryStager(reactor, fake_library(), 2)) as stager:
        file = wanted(tmp_path, "one")
        set_state(file.path, attributes, flags)
        said = await stager.inspect(file)
        assert (said and said.state) == state
        assert words in (said.words if said else "")
        if said and not words:
            assert said.words == ""


@in_reactor
async def test_requests_to_the_library(tmp_path: Path) -> None:
    """One is to stage now; and it can be given up."""
    async with going(LibraryStager(reactor, fake_library(), 2)) as stager:
        file = wanted(tmp_path, "Übung 1")
        set_state(file.path, OFFLINE)
        assert await stager.stage([file]) == {1: BEGUN}
        assert await stager.cancel(file)
        assert asked_of_library(file.path) == ["i", "cancel"]


@pytest.mark.parametrize(
    ("number", "state", "words"),
    [
        (errno.ENXIO, RecallState.FAILED, "no copy of the file"),
        (errno.EPERM, RecallState.UNKNOWN, "Operation not permitted"),
        (errno.ENOTSUP, RecallState.UNKNOWN, "not supported"),
    ],
)
@in_reactor
async def test_refusals_of_the_library(tmp_path: Path, number: int, state: RecallState, words: str) -> None:
    """Only where no copy is left is it of no use to ask again."""
    async with going(LibraryStager(reactor, fake_library(), 2)) as stager:
        file = wanted(tmp_path, "one")
        set_state(file.path, OFFLINE, 0, number)
        answers = await stager.stage([file])
        assert answers[1].state is state
        assert words in answers[1].words
        assert await stager.inspect(file) is None
        assert not await stager.cancel(file)


@in_reactor
async def test_a_library_that_hangs(tmp_path: Path) -> None:
    """What hangs in it are its own threads; what others ask about files is answered."""
    async with going(LibraryStager(reactor, fake_library(), 2)) as stager:
        files = [wanted(tmp_path, f"{number}", number) for number in range(3)]
        for file in files:
            set_state(file.path, OFFLINE, STAGING)
        markers = [hang(file.path) for file in files[:2]]
        stuck = [running(stager.stage([file])) for file in files[:2]]

        async def are_stuck() -> bool:
            return all(asked_of_library(file.path) for file in files[:2])

        await until(are_stuck)
        watch = Watch()
        try:
            said = running(stager.inspect(files[2])).addTimeout(PATIENCE, reactor)
            assert await said == BEGUN
            assert watch.seconds < SLACK
        finally:
            for marker in markers:
                marker.unlink()
            await gatherResults(stuck)


@pytest.mark.parametrize("name", ["libsam-that-is-not-there.so", "libc.so.6"])
def test_no_library(name: str) -> None:
    """Or another one."""
    with pytest.raises((OSError, AttributeError)):
        LibSam(name)
