"""L{pacarchive.launch.workers}, L{pacarchive.launch.worker}: a parent and workers that are processes."""

from __future__ import annotations

import os
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

from pacarchive.launch import service
from pacarchive.settings.reading import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LOOPBACK = "tcp:0:interface=127.0.0.1"
ARCHIVE_TAC = str(Path(__file__).parent.parent.parent / "tac" / "pacarchive.tac")

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

    def __init__(self, reactor, settings, endpoints, telemetry):
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

def serve(assignment=None):
    if os.environ.get("FAKE_FAULT") == "early":
        raise ZeroDivisionError("an early bug")
    return run(Fake, assignment)

if __name__ == "__main__":
    sys.exit(serve())
"""

TAC = """
import os, sys, threading
from types import SimpleNamespace
from twisted.application.service import Application
from twisted.internet import reactor
from pacarchive.launch import supervised
from pacarchive.launch.notify import LaunchedService
from pacarchive.launch.workers import Supervisor
from pacarchive.settings.server import LogFormat
if "FAKE_LINGER" in os.environ:
    supervised._LINGER = float(os.environ["FAKE_LINGER"])
sys.path.append(os.getcwd())
import worker

server = SimpleNamespace(endpoints={endpoints!r}, workers=2, drain_timeout=20.0, log_format=LogFormat.TEXT)
serve = None if "FAKE_ANEW" in os.environ else worker.serve
if "FAKE_THREAD" in os.environ:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
# Who is forked has its settings already; they need not be such that they could be sent.
more = {{}} if "FAKE_ANEW" in os.environ or "FAKE_THREAD" in os.environ else {{"own": lambda: None}}
settings = SimpleNamespace(server=server, **more)
supervisor = Supervisor(reactor, settings, serve, command=[sys.executable, "-P", "worker.py"])
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
    # Standard streams, control, counts, the reactor's own (epoll, waker pair, spare), and the listing itself.
    assert len(numbers.split(",")) <= 5 + 6, numbers
    twistd.process.terminate()
    assert twistd.ends() == -signal.SIGTERM
    assert twistd.log.count("drained") == 2
    assert "Traceback" not in twistd.log


@BOTH_WAYS
def test_an_end_is_not_waited_for(launch: Callable[..., Twistd], way: dict[str, str]) -> None:
    """Where nobody keeps a worker's pipes open, its end is seen at once: of one that is replaced, and of all."""
    twistd = launch(FAKE_LINGER="1000", **way)
    twistd.port()
    victim, survivor = twistd.children()
    os.kill(victim, signal.SIGKILL)
    twistd.until(lambda: len(others := twistd.children()) == 2 and survivor in others and victim not in others)
    twistd.process.terminate()
    assert twistd.ends() == -signal.SIGTERM


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

    def supervise(reactor: object, settings: object, serve: object, **_: object) -> Any:
        given.append(serve)
        return SimpleNamespace(whole=None)

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(service, "make_archive_service", make)
    monkeypatch.setattr(service, "Supervisor", supervise)
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
