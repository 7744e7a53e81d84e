"""L{pacarchive.launch.workers}, L{pacarchive.launch.worker}: the parent's decisions in a fake world, then processes."""

from __future__ import annotations

import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
from twisted.internet.error import CannotListenError, ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from pacarchive.launch import service
from pacarchive.launch.notify import StartError
from pacarchive.launch.workers import CONTROL, GRACE, LONGEST_PAUSE, SETTLED, SILENCE, Assignment, Supervisor
from pacarchive.settings.reading import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.protocol import ProcessProtocol

DRAIN = 20.0
ARCHIVE_TAC = str(Path(__file__).parent.parent / "tac" / "pacarchive.tac")
LOOPBACK = "tcp:0:interface=127.0.0.1"


def _settings(*endpoints: str, workers: int = 2, drain_timeout: float = DRAIN) -> Any:
    """The part of the settings that the parent reads."""
    return SimpleNamespace(
        server=SimpleNamespace(endpoints=endpoints or (LOOPBACK,), workers=workers, drain_timeout=drain_timeout)
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
        if event["log_namespace"] == "pacarchive.launch.workers":
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
    for _ in range(10):
        world.reactor.processes[0].protocol.childDataReceived(1, b"x" * 10_000)
    assert [len(line) for line in world.log] == [len("worker 0: ") + 70000]


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


# Real processes: twistd, the supervisor, and workers that answer each connection with their number and process id.

FAKE_WORKER = """
import os, signal, sys
from twisted.internet import reactor as known_early
from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from pacarchive.launch.reloading import IReloadable
from pacarchive.launch.worker import run
from zope.interface import implementer

class Tell(Protocol):
    def connectionMade(self):
        self.transport.write(b"%d" % os.getpid())
        self.transport.loseConnection()

@implementer(IReloadable)
class Fake(Service):
    def reload(self):
        if "FAKE_RELOAD" in os.environ:
            raise {"OSError": OSError("no certificate"), "KeyError": KeyError("a bug")}[os.environ["FAKE_RELOAD"]]
        return ["certificates", "users"]

    def __init__(self, reactor, settings, endpoints):
        self.reactor, self.endpoints = reactor, endpoints
        assert reactor is known_early

    def startService(self):
        Service.startService(self)
        print("environment", "NOTIFY_SOCKET" in os.environ)
        print("descriptors", sorted(map(int, os.listdir("/proc/self/fd"))))
        fault = os.environ.get("FAKE_FAULT")
        if fault == "prefix":
            raise OSError("no such prefix")
        if fault == "bug":
            raise ZeroDivisionError("a bug")
        return gatherResults([each.listen(Factory.forProtocol(Tell)) for each in self.endpoints])

    def stopService(self):
        print("draining", os.getpid())
        return deferLater(self.reactor, float(os.environ.get("FAKE_DRAIN", "0")), print, "drained", os.getpid())

def serve():
    if os.environ.get("FAKE_FAULT") == "early":
        raise ZeroDivisionError("an early bug")
    return run(Fake)

if __name__ == "__main__":
    sys.exit(serve())
"""

TAC = """
import os, sys, threading
from types import SimpleNamespace
from twisted.application.service import Application
from twisted.internet import reactor
from pacarchive.launch.notify import LaunchedService
from pacarchive.launch.workers import Supervisor
sys.path.append(os.getcwd())
import worker

server = SimpleNamespace(endpoints={endpoints!r}, workers=2, drain_timeout=20.0)
serve = None if "FAKE_ANEW" in os.environ else worker.serve
if "FAKE_THREAD" in os.environ:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
supervisor = Supervisor(reactor, SimpleNamespace(server=server), serve, command=[sys.executable, "-P", "worker.py"])
application = Application("fake")
LaunchedService(reactor, supervisor, lambda: "serving on " + " ".join(supervisor.urls)).setServiceParent(application)
"""


class Twistd:
    """A twistd with a supervisor and two workers, in a process group of its own, and its log so far."""

    def __init__(
        self,
        directory: Path,
        endpoints: tuple[str, ...],
        adopted: socket.socket | None,
        tac: str,
        options: Sequence[str],
        env: dict[str, str],
    ) -> None:
        directory.mkdir()
        (directory / "worker.py").write_text(FAKE_WORKER)
        (directory / "fake.tac").write_text(TAC.format(endpoints=endpoints))
        environment = {**os.environ, **env, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
        # A shell that runs the tests in the background has SIGINT ignored, which is inherited; a terminal has not.
        program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        program += "from twisted.scripts.twistd import run; run()"
        if adopted is not None:  # as systemd passes them: from 3 on, and for this process only
            program = (
                f"import os; os.dup2({adopted.fileno()}, 3); os.environ['LISTEN_PID'] = str(os.getpid()); {program}"
            )
            environment |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}
        self._log = directory / "log"
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"import os; {program}", *options, "-y", tac],
                cwd=directory,
                env=environment,
                stdout=log,
                stderr=log,
                pass_fds=() if adopted is None else (adopted.fileno(),),
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def until(self, condition: Callable[[], Any], limit: float = 30.0) -> Any:
        """Wait for something to become true in another process."""
        deadline = time.monotonic() + limit
        while not (result := condition()):
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)
        return result

    def port(self) -> int:
        """The port, once it serves."""
        return int(self.until(lambda: re.search(r"serving on \w+://[\d.]+:(\d+)/", self.log))[1])

    def children(self) -> list[int]:
        """The process ids of the workers."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            return [int(pid) for pid in file.read().split()]

    def ends(self, limit: float = 30.0) -> int:
        """The exit status."""
        return self.process.wait(limit)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Twistd]]:
    """Starts a L{Twistd}; whatever is left of it at the end is killed."""
    started: list[Twistd] = []

    def start(
        *endpoints: str,
        adopted: socket.socket | None = None,
        tac: str = "fake.tac",
        options: Sequence[str] = ("-n",),
        **env: str,
    ) -> Twistd:
        directory = tmp_path / f"server{len(started)}"
        started.append(Twistd(directory, endpoints or (LOOPBACK,), adopted, tac, options, env))
        return started[-1]

    yield start
    for each in started:
        if _group(each.process.pid):
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.wait()


def _group(leader: int) -> list[int]:
    """The living processes of a group."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(pid) for pid, group, state in rows if int(group) == leader and not state.startswith("Z")]


def _ask(port: int) -> int | None:
    """The process id of the worker that answers, if one does."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return int(connection.recv(100) or b"0")
    except (ConnectionResetError, ConnectionRefusedError):
        return None


BOTH_WAYS = pytest.mark.parametrize("way", [{}, {"FAKE_ANEW": "1"}], ids=["forked", "anew"])


def _is_forked(worker: int) -> bool:
    """Whether it goes on with the parent's program."""
    return b"worker.py" not in Path(f"/proc/{worker}/cmdline").read_bytes()


@BOTH_WAYS
def test_both_workers_answer(launch: Callable[..., Twistd], way: dict[str, str]) -> None:
    """Two processes answer at one port, with nothing open or set that is the parent's; SIGTERM drains them."""
    twistd = launch(NOTIFY_SOCKET="/nowhere", **way)
    port = twistd.port()
    assert {_is_forked(each) for each in twistd.children()} == {not way}
    assert sorted({_ask(port) for _ in range(64)}, key=str) == sorted(twistd.children(), key=str)
    assert re.search(r"\[worker 0\] .*environment False", twistd.log)
    (numbers,) = set(re.findall(r"descriptors (\[.*\])", twistd.log))
    # Standard streams, control, the reactor's own (epoll, waker pair, spare), and the listing itself.
    assert len(numbers.split(",")) <= 4 + 6, numbers
    twistd.process.terminate()
    assert twistd.ends() == -signal.SIGTERM
    assert twistd.log.count("drained") == 2
    assert "Traceback" not in twistd.log


@BOTH_WAYS
def test_a_killed_worker_comes_back(launch: Callable[..., Twistd], way: dict[str, str]) -> None:
    """kill -9 of a worker costs its own connections only; a successor answers soon at the same port."""
    twistd = launch(**way)
    port = twistd.port()
    victim, survivor = twistd.children()
    os.kill(victim, signal.SIGKILL)
    successor = twistd.until(lambda: {_ask(port) for _ in range(16)} - {victim, survivor, None})
    assert successor < set(twistd.children())
    assert re.search("worker [01]: killed by SIGKILL; replaced in 1 s", twistd.log)
    assert {_is_forked(each) for each in twistd.children()} == {not way}
    twistd.process.terminate()
    assert twistd.ends() == -signal.SIGTERM
    assert "Traceback" not in twistd.log


def _open_files(process: int) -> list[str]:
    """What it has open, beyond what every process may share."""
    names = [os.readlink(each) for each in Path(f"/proc/{process}/fd").iterdir()]
    return [name for name in names if name.startswith(("pipe:", "socket:"))]


def test_nothing_leaks_into_a_forked_worker(launch: Callable[..., Twistd]) -> None:
    """No worker has anything open that another has, nor a successor; of the parent's, the other ends of four pipes."""
    twistd = launch()
    port = twistd.port()
    victim, survivor = twistd.children()
    os.kill(victim, signal.SIGKILL)
    twistd.until(lambda: {_ask(port) for _ in range(16)} - {victim, survivor, None})
    first, second = twistd.children()
    # Four pipes; the waker and what tells of children; the listening socket.  Connections are closed soon.
    twistd.until(lambda: [len(set(_open_files(each))) for each in (first, second)] == 2 * [4 + 2 + 1])
    assert not set(_open_files(first)) & set(_open_files(second))
    for each in first, second:
        assert len(set(_open_files(each)) & set(_open_files(twistd.process.pid))) == 4


def test_a_forked_worker_has_the_signals_of_one_begun_anew(launch: Callable[..., Twistd]) -> None:
    """What is blocked, ignored and caught is the same; so SIGPIPE does not end it."""
    states = []
    for way in {}, {"FAKE_ANEW": "1"}:
        twistd = launch(**way)
        twistd.port()
        for each in twistd.children():
            masks = re.findall(r"^Sig(?:Blk|Ign|Cgt):\t(.*)$", Path(f"/proc/{each}/status").read_text(), re.MULTILINE)
            states.append([int(mask, 16) & (1 << 31) - 1 for mask in masks])  # beyond them are the C library's own
    assert len(states[0]) == 3
    assert states == 4 * [states[0]]


def _ids(process: int) -> list[str]:
    """Its users and groups, its umask and what it is a session of."""
    status = Path(f"/proc/{process}/status").read_text()
    return [*re.findall(r"^(?:Uid|Gid|Groups|Umask):.*$", status, re.MULTILINE), str(os.getsid(process))]


def test_in_the_background(launch: Callable[..., Twistd], tmp_path: Path) -> None:
    """Workers are forked by the process that goes on, when it has given up what it gives up: they are what it is."""
    options = ["--umask=027", f"--rundir={tmp_path}", f"--pidfile={tmp_path}/pid", f"--logfile={tmp_path}/log"]
    if os.geteuid() == 0:
        options += ["--uid=65534", "--gid=65534"]  # whom not even the modules need be readable to any more
    twistd = launch(options=options)
    assert twistd.ends() == 0
    parent = int((tmp_path / "pid").read_text())
    try:
        port = twistd.until(lambda: re.search(r"serving on http://[\d.]+:(\d+)/", (tmp_path / "log").read_text()))[1]
        workers = [int(each) for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
        assert _ask(int(port)) in workers
        assert all(_is_forked(each) for each in workers)
        assert [_ids(each) for each in workers] == 2 * [_ids(parent)]
        assert "Umask:\t0027" in _ids(parent)
        assert [os.readlink(f"/proc/{each}/cwd") for each in workers] == 2 * [str(tmp_path)]
    finally:
        os.kill(parent, signal.SIGTERM)
        twistd.until(lambda: not os.path.exists(f"/proc/{parent}"))
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_threads_forbid_a_fork(launch: Callable[..., Twistd]) -> None:
    """Workers are begun anew where the parent has another thread, whose locks would be held for ever."""
    twistd = launch(FAKE_THREAD="1")
    assert _ask(twistd.port()) in twistd.children()
    assert not any(_is_forked(each) for each in twistd.children())


@pytest.mark.parametrize("opens", [False, True])
def test_code_that_opens_files_forbids_a_fork(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, opens: bool) -> None:
    """Its descriptors would be closed in a forked worker, and their numbers be others'."""
    opened: list[int] = []
    given: list[object] = []

    def make(*_: object) -> None:
        if opens:
            opened.append(os.open(os.devnull, os.O_RDONLY))

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(service, "make_archive_service", make)
    monkeypatch.setattr(service, "Supervisor", lambda reactor, settings, serve: given.append(serve))
    try:
        service.make_service(load(None, {}, {("server", "prefix"): str(tmp_path), ("server", "workers"): "2"}))
    finally:
        for each in opened:
            os.close(each)
    assert [each is None for each in given] == [opens]


def test_a_forked_worker_fails_early(launch: Callable[..., Twistd]) -> None:
    """It ends, and does not go on as a second parent."""
    twistd = launch(FAKE_FAULT="early")
    assert twistd.ends() == 1
    assert re.search(r"worker [01].*ZeroDivisionError: an early bug", twistd.log)
    assert len(re.findall(r"cannot start: worker [01]: ended with exit status 1\n", twistd.log)) == 1
    assert twistd.log.count("Main loop terminated.") == 1
    assert not _group(twistd.process.pid)


@pytest.mark.parametrize("drain", ["0", "600"])
def test_workers_do_not_outlive_the_parent(launch: Callable[..., Twistd], drain: str) -> None:
    """kill -9 of the parent ends the workers at once, even those that are draining."""
    twistd = launch(FAKE_DRAIN=drain)
    twistd.port()
    workers = twistd.children()
    if drain != "0":
        twistd.process.terminate()
        twistd.until(lambda: twistd.log.count("draining") == 2)
    twistd.process.kill()
    twistd.ends()
    twistd.until(lambda: not set(workers) & set(_group(twistd.process.pid)), limit=5)


def test_a_second_sigterm(launch: Callable[..., Twistd]) -> None:
    """Impatience, even towards the whole group, breaks no drain."""
    twistd = launch(FAKE_DRAIN="1")
    twistd.port()
    for _ in range(2):
        os.killpg(twistd.process.pid, signal.SIGTERM)
        twistd.until(lambda: twistd.log.count("draining") == 2)
    assert twistd.ends() == -signal.SIGTERM
    assert twistd.log.count("drained") == 2
    assert "Traceback" not in twistd.log
    assert "SIGTERM: stopping already" in twistd.log


def test_ctrl_c(launch: Callable[..., Twistd]) -> None:
    """SIGINT to the whole group is the parent's to handle: a drain like any other."""
    twistd = launch(FAKE_DRAIN="0.5")
    twistd.port()
    os.killpg(twistd.process.pid, signal.SIGINT)
    assert twistd.ends() == -signal.SIGINT
    assert twistd.log.count("drained") == 2
    assert "Traceback" not in twistd.log


def test_workers_reload(launch: Callable[..., Twistd]) -> None:
    """On the parent's SIGHUP, and each says what; sent to a worker itself, it does nothing."""
    twistd = launch()
    twistd.port()
    children = twistd.children()
    for each in children:
        os.kill(each, signal.SIGHUP)
    assert "reloaded" not in twistd.log
    twistd.process.send_signal(signal.SIGHUP)
    words = "[pacarchive.launch.worker#info] reloaded certificates, users"
    twistd.until(lambda: all(f"[worker {index}] {words}" in twistd.log for index in (0, 1)))
    assert twistd.children() == children


@pytest.mark.parametrize("fault", ["OSError", "KeyError"])
def test_what_cannot_be_reloaded(launch: Callable[..., Twistd], fault: str) -> None:
    """Is told by the worker, which goes on."""
    twistd = launch(FAKE_RELOAD=fault)
    port = twistd.port()
    twistd.process.send_signal(signal.SIGHUP)
    words = "cannot reload: no certificate" if fault == "OSError" else "KeyError: 'a bug'"
    twistd.until(lambda: all(re.search(rf"\[worker {index}\].*{words}", twistd.log) for index in (0, 1)))
    assert _ask(port) in twistd.children()


@pytest.mark.parametrize(("fault", "words", "traceback"), [("prefix", "no such prefix", False), ("bug", "a bug", True)])
@BOTH_WAYS
def test_a_failed_start(
    launch: Callable[..., Twistd], fault: str, words: str, traceback: bool, way: dict[str, str]
) -> None:
    """It is one line and an exit status; what nobody foresaw comes with its traceback."""
    twistd = launch(FAKE_FAULT=fault, **way)
    assert twistd.ends() == 1
    assert len(re.findall(rf"cannot start: worker [01]: {words}\n", twistd.log)) == 1
    assert twistd.log.count("Main loop terminated.") == 1  # of three
    assert "serving" not in twistd.log
    assert ("Traceback" in twistd.log) is traceback
    assert not _group(twistd.process.pid)


def test_a_second_server_on_the_port(launch: Callable[..., Twistd]) -> None:
    """It does not start and says why, and the first is not disturbed."""
    first = launch()
    port = first.port()
    second = launch(f"tcp:{port}:interface=127.0.0.1")
    assert second.ends() == 1
    assert re.search(rf"cannot start: .*127\.0\.0\.1:{port}: .*in use", second.log)
    assert "Traceback" not in second.log
    assert {_ask(port) for _ in range(16)} <= set(first.children())


@BOTH_WAYS
def test_systemd_sockets_are_adopted_by_all(launch: Callable[..., Twistd], way: dict[str, str]) -> None:
    """A socket that systemd passed reaches every worker, and successors too."""
    with socket.create_server(("127.0.0.1", 0)) as passed:
        twistd = launch("systemd:domain=INET:name=http", adopted=passed, **way)
        port = passed.getsockname()[1]
    assert twistd.port() == port
    for victim in twistd.children():
        os.kill(victim, signal.SIGKILL)
    twistd.until(lambda: twistd.log.count("environment") == 4)
    assert _ask(port) in twistd.children()
    twistd.process.terminate()
    assert twistd.ends() == -signal.SIGTERM
    assert "Traceback" not in twistd.log


def test_the_interpreter_is_not_taken_apart() -> None:
    """Whoever stops the service would wait for it: all is released when the reactor has ended."""
    code = """
import atexit, sys
from pacarchive.launch import spawned
atexit.register(print, "taken apart")
spawned.run = lambda make_service: sys.stderr.write("last words") and 3
spawned.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "last words")


def test_a_socket_file(launch: Callable[..., Twistd], tmp_path: Path) -> None:
    """One of the workers listens on a path; the other has only the shared port."""
    twistd = launch(LOOPBACK, f"unix:{tmp_path}/socket")
    twistd.port()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/socket")
        assert int(client.recv(100)) in twistd.children()


def test_the_real_archive(launch: Callable[..., Twistd], tmp_path: Path) -> None:
    """
    C{tac/pacarchive.tac} serves with settings from the environment; what one worker stored, all have.  No worker
    imports anything: the parent has.
    """
    (tmp_path / "archive").mkdir()
    (tmp_path / "ini").write_text(f"[server]\nworkers = 2\nendpoint = {LOOPBACK}\n")
    twistd = launch(
        tac=ARCHIVE_TAC,
        ARCHIVEINTERFACE_CONFIG=str(tmp_path / "ini"),
        PAI_PREFIX=str(tmp_path / "archive"),
        PYTHONPROFILEIMPORTTIME="1",
    )
    port = twistd.until(lambda: re.search(r"posix archive \S+ on http://127.0.0.1:(\d+)/ \(2 workers\)", twistd.log))[1]
    with urlopen(Request(f"http://127.0.0.1:{port}/12", b"content", method="PUT")) as answer:
        assert answer.status == 201
    for _ in range(16):
        with urlopen(f"http://127.0.0.1:{port}/12") as answer:
            assert answer.read() == b"content"
    with urlopen(Request(f"http://127.0.0.1:{port}/12", method="POST")) as answer:
        assert answer.status == 200
    twistd.process.terminate()
    assert twistd.ends() == -signal.SIGTERM
    # The plugins are only tried as modules, before they are found in theirs.
    imports = re.findall(r"worker \d.* import time: .*\| +(?!twisted\.plugins\.)(\S+)$", twistd.log, re.MULTILINE)
    assert imports == []
    assert "import time:" in twistd.log


def test_the_tac_file_without_settings(launch: Callable[..., Twistd]) -> None:
    """Settings that cannot be used are one line and exit status 2."""
    twistd = launch(tac=ARCHIVE_TAC, ARCHIVEINTERFACE_CONFIG="/nowhere.ini")
    assert twistd.ends() == 2
    assert twistd.log.splitlines()[-1] == "/nowhere.ini: No such file or directory"
