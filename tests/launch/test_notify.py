"""L{pacarchive.launch.notify}: what systemd, the log and the exit status are told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from pacarchive.errors import BackendUnavailable
from pacarchive.launch.notify import LaunchedService, Notifier, StartError, failure_message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Systemd:
    """The other end of C{NOTIFY_SOCKET}."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.setblocking(False)

    def heard(self) -> list[list[str]]:
        """The messages since last time, each as its lines."""
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode().splitlines())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    """A systemd that this process is to notify, under either kind of address."""
    systemd = Systemd(str(tmp_path / "notify") if request.param == "path" else f"@pacarchive-{os.getpid()}")
    monkeypatch.setenv("NOTIFY_SOCKET", systemd.address)
    yield systemd
    systemd.close()


@pytest.fixture(autouse=True)
def _no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> dict[int, Any]:
    """The handlers of signals, instead of this process's own."""
    handlers: dict[int, Any] = {}
    monkeypatch.setattr("signal.signal", handlers.__setitem__)
    monkeypatch.setattr("signal.getsignal", lambda number: handlers.get(number, signal.SIG_DFL))
    return handlers


@pytest.fixture
def logged() -> Iterator[list[tuple[LogLevel, str]]]:
    """Level and text of what L{pacarchive.launch.notify} logs."""
    events: list[tuple[LogLevel, str]] = []

    @implementer(ILogObserver)
    def observe(event: Any) -> None:
        if event["log_namespace"] == "pacarchive.launch.notify":
            events.append((event["log_level"], event["log_format"].format(**event)))

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


class FakeReactor(Clock):
    """Time, and how often it was asked to stop."""

    stops = 0

    def callFromThread(self, call: Any) -> None:
        call()

    def callWhenRunning(self, call: Any) -> None:
        call()

    def stop(self) -> None:
        self.stops += 1


class Inner(Service):
    """A service that starts and stops when the test says."""

    def __init__(self) -> None:
        self.started: Deferred[None] = Deferred()
        self.stopped: Deferred[None] = Deferred()

    def startService(self) -> Deferred[None]:
        return self.started

    def stopService(self) -> Deferred[None]:
        return self.stopped


@pytest.fixture
def exit_handlers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would run at the end of the process, instead of running there."""
    handlers: list[Any] = []
    monkeypatch.setattr("atexit.register", handlers.append)
    return handlers


def test_messages_arrive_whole(systemd: Systemd) -> None:
    """Several assignments are one message, in UTF-8."""
    notifier = Notifier()
    notifier.notify("READY=1", "STATUS=Archiv für Ωμέγα")
    assert systemd.heard() == [["READY=1", "STATUS=Archiv für Ωμέγα"]]
    notifier.close()


def test_nobody_listens() -> None:
    """Without systemd nothing happens, and without its socket neither."""
    notifier = Notifier()
    notifier.notify("READY=1")
    notifier.close()


def test_a_vanished_systemd(systemd: Systemd) -> None:
    """Messages to a closed socket are lost without an error."""
    notifier = Notifier()
    systemd.close()
    notifier.notify("READY=1")
    notifier.close()


def test_a_deaf_systemd(systemd: Systemd) -> None:
    """A systemd that does not read blocks nobody."""
    notifier = Notifier()

    def tell_much() -> None:
        for _ in range(2000):
            notifier.notify("WATCHDOG=1")

    # Not here: sdnotify swallows every exception, the time limit's of this test too.
    telling = threading.Thread(target=tell_much, daemon=True)
    telling.start()
    telling.join(10)
    assert not telling.is_alive()
    assert 0 < len(systemd.heard()) < 2000
    notifier.close()


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("30000000", None, 30.0),
        pytest.param("30000000", str(os.getpid()), 30.0, id="own"),  # a test is known by one name in every process
        ("30000000", "1", None),
        ("0", None, None),
        ("often", None, None),
        (None, None, None),
    ],
)
def test_watchdog_interval(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, seconds: float | None
) -> None:
    """The interval is systemd's, and only for the process that it means."""
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        if value is not None:
            monkeypatch.setenv(name, value)
    assert Notifier().watchdog == seconds


def test_ready_when_it_serves(systemd: Systemd, logged: list[tuple[LogLevel, str]]) -> None:
    """systemd is told that the service is ready when it is, and not before; the log gets the same one line."""
    inner = Inner()
    launched = LaunchedService(FakeReactor(), inner, lambda: "serving {everything}")
    launched.startService()
    assert systemd.heard() == []
    inner.started.callback(None)
    assert systemd.heard() == [["READY=1", "STATUS=serving {everything}"]]
    assert logged == [(LogLevel.info, "serving {everything}")]
    launched.stopService()
    inner.stopped.callback(None)


def test_a_reload_is_told(systemd: Systemd, handlers: dict[int, Any], logged: list[tuple[LogLevel, str]]) -> None:
    """With the time, as Type=notify-reload wants it; before it is ready and when it stops, only the log is told."""
    inner = Inner()
    reactor = FakeReactor()
    launched = LaunchedService(reactor, inner, lambda: "serving")
    launched.startService()
    handlers[signal.SIGHUP]()
    assert systemd.heard() == []
    inner.started.callback(None)
    systemd.heard()
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    for _ in range(3):
        handlers[signal.SIGHUP]()
    told = systemd.heard()
    assert [lines[0] for lines in told] == ["RELOADING=1", "READY=1"] * 3
    name, _, microseconds = told[0][1].partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    launched.stopService()
    systemd.heard()
    handlers[signal.SIGUSR1]()
    assert systemd.heard() == []
    inner.stopped.callback(None)
    texts = [text for _, text in logged if "reload" in text]
    assert texts == ["SIGHUP: nothing to reload"] * 4 + ["SIGUSR1: nothing to reload"]


def test_many_signals_are_one(handlers: dict[int, Any], logged: list[tuple[LogLevel, str]]) -> None:
    """Those that come before the reactor gets to the first of them."""
    reactor = FakeReactor()
    waiting: list[Any] = []
    reactor.callFromThread = waiting.append  # type: ignore[assignment,method-assign]
    LaunchedService(reactor, Inner(), lambda: "").startService()
    for _ in range(3):
        handlers[signal.SIGHUP]()
    (run,) = waiting
    run()
    assert [text for _, text in logged] == ["SIGHUP: nothing to reload"]
    handlers[signal.SIGHUP]()
    assert len(waiting) == 2


def test_a_handler_of_twistds_stays(handlers: dict[int, Any]) -> None:
    """twistd's own rotates the log file that twistd has opened."""
    handlers[signal.SIGUSR1] = twistds = print
    LaunchedService(FakeReactor(), Inner(), lambda: "").startService()
    assert handlers[signal.SIGUSR1] is twistds


def test_the_watchdog_beats_through_the_drain(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is heard from the start to the end of the drain, while systemd is asked for patience, and not after."""
    monkeypatch.setenv("WATCHDOG_USEC", "8000000")
    reactor, inner = FakeReactor(), Inner()
    launched = LaunchedService(reactor, inner, lambda: "")
    launched.startService()
    assert systemd.heard() == [["WATCHDOG=1"]]
    inner.started.callback(None)
    reactor.advance(4)
    assert systemd.heard()[-1] == ["WATCHDOG=1"]
    ended: list[None] = []
    launched.stopService().addCallback(ended.append)
    assert [message[0] for message in systemd.heard()] == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=30000000"]
    reactor.pump([4, 4, 4])
    assert systemd.heard() == [["WATCHDOG=1"]] * 2 + [["EXTEND_TIMEOUT_USEC=30000000"], ["WATCHDOG=1"]]
    assert ended == []
    inner.stopped.callback(None)
    assert ended == [None]
    assert not reactor.getDelayedCalls()
    assert systemd.heard() == []


@pytest.mark.parametrize("at_once", [True, False])
def test_a_failed_start(
    systemd: Systemd, logged: list[tuple[LogLevel, str]], exit_handlers: list[Any], at_once: bool
) -> None:
    """It is one line in the log and as systemd's status, and the end of the process; never READY."""

    class Failing(Inner):
        def startService(self) -> Deferred[None]:
            if at_once:
                raise StartError("no such\nprefix")
            return self.started

    reactor, inner = FakeReactor(), Failing()
    launched = LaunchedService(reactor, inner, lambda: "")
    launched.startService()
    if not at_once:
        assert reactor.stops == 0
        inner.started.errback(StartError("no such\nprefix"))
    assert logged == [(LogLevel.critical, "cannot start: no such prefix")]
    assert systemd.heard() == [["STATUS=cannot start: no such prefix"]]
    assert reactor.stops == 1
    assert len(exit_handlers) == 1


def test_stopped_while_it_starts(systemd: Systemd, exit_handlers: list[Any]) -> None:
    """That is no failure, and it is not ready any more."""
    for outcome in (StartError("cut short"), None):
        reactor, inner = FakeReactor(), Inner()
        launched = LaunchedService(reactor, inner, lambda: "")
        launched.startService()
        launched.stopService()
        if outcome:
            inner.started.errback(outcome)
        else:
            inner.started.callback(None)
        inner.stopped.callback(None)
        assert reactor.stops == 0
    assert not exit_handlers
    assert not any("READY=1" in message for message in systemd.heard())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StartError("words"), "words"),
        (OSError("words"), "words"),
        (BackendUnavailable("words"), "words"),
        (FileNotFoundError(2, "No such file", "/run/a"), "/run/a: No such file"),
        (FileNotFoundError(2, "No such file", "123", None, b"/run/a.lock"), "/run/a.lock: No such file"),
        (OSError(9, "Bad file descriptor", 7), "[Errno 9] Bad file descriptor: 7"),
    ],
)
def test_foreseen_failures_are_words(error: Exception, words: str, logged: list[tuple[LogLevel, str]]) -> None:
    """A reason that an operator can act on comes without a traceback, and names the file that it is about."""
    assert failure_message(Failure(error)) == words
    assert logged == []


def test_other_failures_are_logged(logged: list[tuple[LogLevel, str]]) -> None:
    """A bug comes with its traceback."""
    assert failure_message(Failure(ZeroDivisionError())) == "ZeroDivisionError"
    assert [level for level, _ in logged] == [LogLevel.critical]


@pytest.mark.parametrize(("failing", "status"), [(True, 1), (False, 0)])
@pytest.mark.server
def test_the_exit_status_of_twistd(tmp_path: Path, failing: bool, status: int) -> None:
    """twistd itself ends with status 1 after a failed start, its pid file removed; as ever where all went well."""
    outcome = "fail(OSError('no such prefix'))" if failing else "succeed(None)"
    (tmp_path / "launch.tac").write_text(f"""
from twisted.application.service import Application, Service
from twisted.internet import reactor
from twisted.internet.defer import fail, succeed
from twisted.internet.task import deferLater
from pacarchive.launch.notify import LaunchedService

class Inner(Service):
    def startService(self):
        reactor.callLater(0.1, lambda: reactor.running and {not failing} and reactor.stop())
        return deferLater(reactor, 0, lambda: {outcome})

    def stopService(self):
        print("stopped", "in order")

application = Application("launch")
LaunchedService(reactor, Inner(), lambda: "serving").setServiceParent(application)
""")
    twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "-y", "launch.tac"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    done = subprocess.run(
        twistd, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert ("cannot start: no such prefix" in done.stdout) is failing
    assert "stopped in order" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["launch.tac"]


def test_inner_privileges() -> None:
    """What needs privileges gets its chance."""

    class Privileged(Inner):
        called = False

        def privilegedStartService(self) -> None:
            self.called = True

    inner = Privileged()
    LaunchedService(FakeReactor(), inner, lambda: "").privilegedStartService()
    assert inner.called
