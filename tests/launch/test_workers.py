"""L{pacarchive.launch.workers}: the parent's decisions, in a fake world."""

from __future__ import annotations

import io
import os
import pickle
import re
import signal
import socket
from base64 import b64decode
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.error import CannotListenError, ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from pacarchive.launch.lines import LONGEST
from pacarchive.launch.messages import CONTROL, Assignment
from pacarchive.launch.notify import StartError
from pacarchive.launch.supervised import SILENCE
from pacarchive.launch.workers import GRACE, LONGEST_PAUSE, SETTLED, Supervisor
from pacarchive.settings.server import LogFormat

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from twisted.internet.defer import Deferred
    from twisted.internet.protocol import ProcessProtocol

DRAIN = 20.0
LOOPBACK = "tcp:0:interface=127.0.0.1"


def _settings(*endpoints: str, workers: int = 2, drain_timeout: float = DRAIN) -> Any:
    """The part of the settings that the parent reads."""
    return SimpleNamespace(
        server=SimpleNamespace(
            endpoints=endpoints or (LOOPBACK,),
            workers=workers,
            drain_timeout=drain_timeout,
            log_format=LogFormat.TEXT,
        )
    )


def _ending(status: int | None = 0, by: int | None = None) -> Failure:
    """As Twisted says how a process ended."""
    terminated: Any = ProcessTerminated
    done: Any = ProcessDone
    return Failure(terminated(status, by) if status or by else done(None))


class FakeProcess:
    """A child process that does what the test says."""

    def __init__(self, protocol: ProcessProtocol, env: Mapping[str, str], descriptors: Mapping[int, object]) -> None:
        self.protocol: Any = protocol
        self.env = env
        self.descriptors = descriptors
        self.written = b""
        self.signals: list[str] = []
        self.closed: list[int] = []
        self.alive = True
        protocol.makeConnection(self)

    def write(self, data: bytes) -> None:
        self.written += data

    def signalProcess(self, name: str) -> None:
        if not self.alive:
            raise ProcessExitedAlready
        self.signals.append(name)

    def closeChildFD(self, descriptor: int) -> None:
        self.closed.append(descriptor)

    def says(self, line: str, descriptor: int = CONTROL) -> None:
        self.protocol.childDataReceived(descriptor, f"{line}\n".encode())

    def exits(self, status: int | None = 0, by: int | None = None) -> None:
        """End, with all pipes closed."""
        self.alive = False
        reason = _ending(status, by)
        self.protocol.processExited(reason)
        self.protocol.processEnded(reason)


class FakeReactor(Clock):
    """Time, and the processes that were started."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.out_of_memory = False

    def spawnProcess(
        self, protocol: ProcessProtocol, executable: str, args: Any, env: Any, childFDs: dict[int, Any]
    ) -> FakeProcess:
        if self.out_of_memory:
            raise OSError(12, "Cannot allocate memory")
        self.processes.append(FakeProcess(protocol, env, childFDs))
        return self.processes[-1]


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """What has come of it: nothing yet, or one result or failure."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results


def failure_of(deferred: Deferred[Any], error: type[Exception]) -> str:
    """The words with which it has failed."""
    (failure,) = outcome(deferred)
    assert failure.check(error)
    return str(failure.value)


class World:
    """
    A parent, its processes and its log.
    """

    def __init__(self) -> None:
        self.reactor = FakeReactor()
        self.supervisor = Supervisor(self.reactor, _settings())
        self.log: list[str] = []

    def start(self) -> None:
        """Have both workers serve."""
        started = self.supervisor.startService()
        for process in self.reactor.processes:
            process.says("ready")
        assert outcome(started) == [None]

    def finish(self) -> None:
        """Stop everything; nothing must be left."""
        stopped = self.supervisor.stopService()
        for process in self.reactor.processes:
            if process.alive:
                process.exits()
        assert outcome(stopped) == [None]
        assert self.reactor.getDelayedCalls() == []

    def replaced_after(self) -> float:
        """The seconds until another process is started; nothing says anything meanwhile."""
        began, count = self.reactor.seconds(), len(self.reactor.processes)
        while len(self.reactor.processes) == count:
            assert self.reactor.seconds() - began < 1000
            self.reactor.advance(0.5)
        return self.reactor.seconds() - began


@pytest.fixture
def world() -> Iterator[World]:
    """A parent that has not started, and of which nothing is left at the end."""
    world = World()

    @implementer(ILogObserver)
    def observe(event: Any) -> None:
        if event["log_namespace"] in ("pacarchive.launch.workers", "pacarchive.launch.supervised"):
            world.log.append(f"{event.get('log_system', event['log_level'].name)}: {formatEvent(event)}")

    globalLogPublisher.addObserver(observe)
    yield world
    if world.supervisor.running:
        world.finish()
    globalLogPublisher.removeObserver(observe)


def test_started_when_all_serve(world: World) -> None:
    """The start is complete with the last worker, however it is cut into pieces."""
    started = world.supervisor.startService()
    first, second = world.reactor.processes
    second.says("alive")
    second.says("ready")
    first.protocol.childDataReceived(CONTROL, b"alive\nrea")
    assert outcome(started) == []
    first.protocol.childDataReceived(CONTROL, b"dy\n")
    assert outcome(started) == [None]
    assert re.search(r"^http://127\.0\.0\.1:\d+/$", world.supervisor.urls[0])
    world.finish()


def test_assignments(world: World) -> None:
    """Each worker is told, through its standard input, the settings, its number and the very port."""
    world.start()
    assignments = [pickle.loads(process.written) for process in world.reactor.processes]
    assert [each.index for each in assignments] == [0, 1]
    for each in assignments:
        assert isinstance(each, Assignment)
        assert each.settings == _settings()
        assert [listener.url for listener in each.listeners] == world.supervisor.urls


def test_environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd's variables are the parent's own; modules are found where the parent finds them."""
    own = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1", "LISTEN_FDNAMES": "http", "PAI_PREFIX": "/data"}
    monkeypatch.setattr(os, "environ", own)
    world.start()
    environment = world.reactor.processes[0].env
    assert set(environment) == {"PAI_PREFIX", "PYTHONPATH"}
    assert all(os.path.isabs(path) for path in environment["PYTHONPATH"].split(os.pathsep))


def test_a_worker_cannot_start(world: World) -> None:
    """The start fails with the worker's own words, and there is no second try."""
    started = world.supervisor.startService()
    first, second = world.reactor.processes
    first.says("ready")
    second.says("failed /data is no directory")
    second.exits(1)
    assert failure_of(started, StartError) == "worker 1: /data is no directory"
    world.reactor.advance(10)
    assert len(world.reactor.processes) == 2
    world.finish()
    assert first.signals == ["TERM"]
    assert world.log == []


def test_a_worker_ends_without_words(world: World) -> None:
    """The start fails with what is known."""
    started = world.supervisor.startService()
    world.reactor.processes[0].exits(None, signal.SIGSEGV)
    assert failure_of(started, StartError) == "worker 0: killed by SIGSEGV"
    world.finish()


def test_no_process_can_be_made(world: World) -> None:
    """The start fails with the system's words."""
    world.reactor.out_of_memory = True
    started = world.supervisor.startService()
    assert "Cannot allocate memory" in failure_of(started, StartError)
    world.finish()


def test_a_taken_port(world: World) -> None:
    """The start fails before any worker is started."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        endpoint = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
        world.supervisor = Supervisor(world.reactor, _settings(endpoint))
        failure_of(world.supervisor.startService(), CannotListenError)
    assert world.reactor.processes == []
    world.finish()


def test_a_dead_worker_is_replaced(world: World) -> None:
    """A successor with the same number and ports comes after a second; the others are left alone."""
    world.start()
    world.reactor.processes[1].exits(None, signal.SIGKILL)
    assert world.log == ["error: worker 1: killed by SIGKILL; replaced in 1 s"]
    assert world.replaced_after() == 1
    _, dead, successor = world.reactor.processes
    assert successor.written == dead.written
    assert world.reactor.processes[0].signals == []


def test_pauses_grow(world: World) -> None:
    """A worker that keeps dying is replaced more and more slowly, one that settled at once again."""
    world.start()
    world.reactor.processes[0].exits(3)
    pauses = [world.replaced_after()]
    for _ in range(7):
        world.reactor.processes[-1].exits(3)
        pauses.append(world.replaced_after())
    assert pauses == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE]
    for _ in range(int(SETTLED)):
        world.reactor.advance(1)
        for process in world.reactor.processes:
            process.says("alive")
    world.reactor.processes[-1].exits(3)
    assert world.replaced_after() == 1


def test_a_successor_may_fail_to_start(world: World) -> None:
    """That is one more death, and no end of the service."""
    world.start()
    world.reactor.processes[0].exits(3)
    world.replaced_after()
    world.reactor.processes[-1].says("failed the storage is away")
    world.reactor.processes[-1].exits(1)
    assert world.log[-1] == "error: worker 0: the storage is away; replaced in 2 s"
    world.reactor.out_of_memory = True
    world.reactor.advance(2)
    assert "Cannot allocate memory; replaced in 4 s" in world.log[-1]
    world.reactor.out_of_memory = False
    assert world.replaced_after() == 4


def test_death_between_two_starts(world: World) -> None:
    """A worker that served and died while another still starts is replaced as later."""
    started = world.supervisor.startService()
    first, second = world.reactor.processes
    first.says("ready")
    first.exits(3)
    assert world.replaced_after() == 1
    second.says("ready")
    assert outcome(started) == [None]
    world.finish()


def test_a_silent_worker_is_killed(world: World) -> None:
    """A worker that gives no sign of life hangs; one that does is left alone."""
    world.start()
    lively, silent = world.reactor.processes
    for _ in range(int(SILENCE) - 1):
        world.reactor.advance(1)
        lively.says("alive")
    assert silent.signals == []
    world.reactor.advance(1)
    assert (lively.signals, silent.signals) == ([], ["KILL"])
    silent.exits(None, signal.SIGKILL)
    assert world.log == ["error: worker 1: gave no sign of life for 60 s, killed; replaced in 1 s"]


def test_a_halted_parent_blames_nobody(world: World) -> None:
    """After the parent itself stood still for long, the workers are not taken for silent."""
    world.start()
    world.reactor.advance(10 * SILENCE)
    assert [process.signals for process in world.reactor.processes] == [[], []]


def test_output_is_logged(world: World) -> None:
    """Lines of both outputs appear under the worker's number, whole, and the last one without its end."""
    world.start()
    process = world.reactor.processes[1]
    process.protocol.childDataReceived(1, b"one {brace}\ntw")
    process.protocol.childDataReceived(2, b"other\n")
    process.protocol.childDataReceived(1, b"o\n\xff bytes\nrest")
    process.exits(3)
    expected = ["one {brace}", "other", "two", "\ufffd bytes", "rest"]
    assert world.log[:-1] == [f"worker 1: {line}" for line in expected]


def test_an_endless_line_is_cut(world: World) -> None:
    """Output without line ends does not pile up."""
    world.start()
    for _ in range(LONGEST // 10_000 + 2):
        world.reactor.processes[0].protocol.childDataReceived(1, b"x" * 10_000)
    assert [len(line) for line in world.log] == [len("worker 0: ") + LONGEST // 10_000 * 10_000 + 10_000]


def test_inherited_pipes(world: World) -> None:
    """A dead worker's own child that keeps its pipes open does not delay the successor for ever."""
    world.start()
    process = world.reactor.processes[0]
    process.alive = False
    process.protocol.processExited(_ending())
    world.reactor.advance(1)
    assert process.closed == []
    world.reactor.advance(1)
    assert process.closed == [0, 1, 2, CONTROL]
    process.protocol.processEnded(_ending())
    assert world.replaced_after() == 1


def test_stop_waits_for_all(world: World) -> None:
    """All workers are asked at once, and the stop ends with the last one."""
    world.start()
    first, second = world.reactor.processes
    stopped = world.supervisor.stopService()
    assert (first.signals, second.signals) == (["TERM"], ["TERM"])
    first.exits()
    world.reactor.advance(DRAIN)
    assert outcome(stopped) == []
    second.exits()
    assert outcome(stopped) == [None]
    assert world.log == []


def test_stop_has_a_limit(world: World) -> None:
    """Workers that exceed the drain limit are killed."""
    world.start()
    first, second = world.reactor.processes
    stopped = world.supervisor.stopService()
    first.exits()
    for _ in range(int(DRAIN + GRACE)):
        second.says("alive")
        assert second.signals == ["TERM"]
        world.reactor.advance(1)
    assert second.signals == ["TERM", "KILL"]
    second.exits(None, signal.SIGKILL)
    assert outcome(stopped) == [None]
    assert world.log == ["warn: worker 1 has not finished within the drain limit; killed"]


def test_stop_during_a_pause(world: World) -> None:
    """A worker that waits for its successor is not replaced any more."""
    world.start()
    world.reactor.processes[0].exits(3)
    stopped = world.supervisor.stopService()
    world.reactor.processes[1].exits()
    assert outcome(stopped) == [None]
    world.reactor.advance(100)
    assert len(world.reactor.processes) == 2


def test_stop_during_the_start(world: World) -> None:
    """The start fails then, and all workers go."""
    started = world.supervisor.startService()
    world.finish()
    failure_of(started, StartError)


def test_the_ports_are_given_back(world: World) -> None:
    """They are held to the end of the stop, and not longer."""
    world.start()
    port = int(world.supervisor.urls[0].rsplit(":")[-1].strip("/"))
    stopped = world.supervisor.stopService()
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", port))
    for process in world.reactor.processes:
        process.exits()
    assert outcome(stopped) == [None]
    socket.create_server(("127.0.0.1", port)).close()


def _commands(process: FakeProcess) -> list[bytes]:
    """What a process was sent behind its assignment."""
    stream = io.BytesIO(process.written)
    pickle.load(stream)
    return stream.read().splitlines()


def test_new_credentials(world: World) -> None:
    """Those who serve get them at once, those who start as soon as they serve, and only the last."""
    started = world.supervisor.startService()
    first, second = world.reactor.processes
    first.says("ready")
    given: list[Any] = ["old", "new"]
    for each in given:
        world.supervisor.renew(each)
        world.supervisor.reload()
    assert len(_commands(first)) == 4
    assert _commands(second) == []
    second.says("ready")
    assert outcome(started) == [None]
    renewals = [line for line in _commands(first) if line.startswith(b"renew ")]
    assert [pickle.loads(b64decode(line.removeprefix(b"renew "))) for line in renewals] == given
    assert _commands(second) == [renewals[1], b"reload"]
    first.exits(by=signal.SIGKILL)
    world.replaced_after()
    assert pickle.loads(world.reactor.processes[-1].written).credentials == "new"
    world.reactor.processes[-1].says("ready")
    assert _commands(world.reactor.processes[-1]) == []
