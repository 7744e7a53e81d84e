"""
Processes of Python that need not start: forks of one that has imported everything already.

What tests of the command and of servers are about is what these do, not that Python starts, which takes longer than
all that they do.  L{Popen} and L{run} are as those of L{subprocess}, for C{python -c CODE ARGUMENTS}.  What is forked
is a process like any other: it has files, variables, a working directory, signals and an end of its own, and no reactor
yet.

The process that they are forks of has the variables that count where Python starts, such as those of the locale: there
is one for each set of them, for as long as the tests run.

With C{PACARCHIVE_TEST_REAL_STARTS} in the environment nothing is forked: each process starts as a user's does.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import CodeType

PIPE, DEVNULL = subprocess.PIPE, subprocess.DEVNULL

_BEGINNING = """
import sys
sys.path.insert(0, sys.argv[2])
import forks
del sys.path[0]
exec(forks.become())
"""
_AT_THE_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")
"""How variables begin that count when Python starts, and no more afterwards."""

_REACTOR = "twisted.internet.reactor"
_IMPORTED = (
    *("pacarchive.cli", "pacarchive.client", "pacarchive.launch", "pacarchive.recall", "pacarchive.settings"),
    *("pacarchive.runtime", "pacarchive.backends.local", "pacarchive.backends.posix", "pacarchive.backends.sideband"),
    *("pacarchive.backends.s3", "pacarchive.backends.fallback"),
    *("twisted.scripts.twistd", "twisted.internet.epollreactor", "twisted.web.server", "werkzeug.routing"),
    *("twisted.web.template", "importlib.resources.readers"),
)
"""Of which the forks have all that makes no reactor: one that is there already is no good to a fork."""
_WITH_KLEIN = ("pacarchive.web",)
"""Likewise, but needing klein, which wants to have a reactor at hand for a function that nothing here calls."""


class _Origin:
    """The process that others are forks of."""

    def __init__(self, environment: Mapping[bytes, bytes]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._requests = ours
        with theirs:
            command = [sys.executable, "-c", _BEGINNING, str(theirs.fileno()), str(Path(__file__).parent)]
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env=environment, stdin=DEVNULL, start_new_session=True
            )

    def fork(self, files: Sequence[int]) -> socket.socket:
        """@param files: The standard files.  @return: Where to say what is to be run, and what tells of it."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._requests, [b"fork"], [*files, theirs.fileno()])
        return ours

    def end(self) -> None:
        """There will be no more forks."""
        self._requests.close()
        self._process.wait()


_origins: dict[tuple[tuple[bytes, bytes], ...], _Origin] = {}
_lock = Lock()


def _origin(environment: Mapping[bytes, bytes]) -> _Origin:
    those = tuple(sorted(each for each in environment.items() if os.fsdecode(each[0]).startswith(_AT_THE_START)))
    with _lock:
        if those not in _origins:
            if not _origins:
                atexit.register(_end)
            _origins[those] = _Origin(environment)
        return _origins[those]


def _end() -> None:
    for each in _origins.values():
        each.end()


class Popen:
    """
    As L{subprocess.Popen}.

    @ivar returncode: As there.
    """

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        cwd: Path | str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        text: bool = False,
        start_new_session: bool = False,
    ) -> None:
        executable, option, *rest = map(os.fsencode, arguments)
        assert (executable, option) == (os.fsencode(sys.executable), b"-c")
        environment = os.environb if env is None else {os.fsencode(key): os.fsencode(env[key]) for key in env}
        self.args = arguments
        self.returncode: int | None = None
        ours: list[IO[Any] | None] = []
        theirs: list[int] = []
        passed: list[int] = []
        for number, given in enumerate((stdin, stdout, stderr)):
            mine = None
            if given == PIPE:
                reads, writes = os.pipe()
                other, end = (reads, writes) if number == 0 else (writes, reads)
                theirs.append(other)
                mode = "wb" if number == 0 else "rb"
                mine = open(end, mode, 0 if number == 0 else -1)  # noqa: SIM115  (closed by whoever waits)
                if text:
                    mine = io.TextIOWrapper(mine, write_through=number == 0)
            elif given == DEVNULL:
                theirs.append(other := os.open(os.devnull, os.O_RDWR))
            elif given == subprocess.STDOUT:
                other = passed[1]
            else:
                other = number if given is None else given if isinstance(given, int) else given.fileno()
            ours.append(mine)
            passed.append(other)
        self.stdin, self.stdout, self.stderr = ours
        request = {
            "arguments": [each.decode("latin-1") for each in rest],
            "directory": os.fsencode(cwd or os.getcwd()).decode("latin-1"),
            "environment": {key.decode("latin-1"): value.decode("latin-1") for key, value in environment.items()},
            "session": start_new_session,
        }
        self._told = _origin(environment).fork(passed)
        for each in theirs:
            os.close(each)
        self._told.sendall(json.dumps(request).encode() + b"\n")
        self._lines = self._told.makefile("rb")
        self._lock = Lock()
        self.pid = int(self._lines.readline())

    def poll(self) -> int | None:
        """As there."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """As there."""
        with self._lock:
            if self.returncode is None:
                if not select.select([self._told], [], [], timeout)[0]:
                    assert timeout is not None
                    raise subprocess.TimeoutExpired(self.args, timeout)
                self.returncode = int(self._lines.readline())
                self._lines.close()
                self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """As there."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """As there."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """As there."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:  # noqa: A002
        """As there."""
        said: dict[int, Any] = {}

        def read(number: int, file: IO[Any]) -> None:
            with file:
                said[number] = file.read()

        files = [(number, file) for number, file in enumerate((self.stdout, self.stderr)) if file is not None]
        threads = [Thread(target=read, args=each, daemon=True) for each in files]
        for thread in threads:
            thread.start()
        if self.stdin is not None:
            with suppress(BrokenPipeError), self.stdin:
                if input:
                    self.stdin.write(input)
        deadline = None if timeout is None else time.monotonic() + timeout
        for thread in threads:
            thread.join(None if deadline is None else max(0, deadline - time.monotonic()))
            if thread.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(None if deadline is None else max(0, deadline - time.monotonic()))
        return said.get(0), said.get(1)

    def __enter__(self) -> Popen:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self.stdout, self.stderr, self.stdin):
            if each is not None:
                with suppress(BrokenPipeError):
                    each.close()
        self.wait()


def run(
    arguments: Sequence[str | Path],
    *,
    input: Any = None,  # noqa: A002
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **more: Any,
) -> subprocess.CompletedProcess[Any]:
    """As L{subprocess.run}, which runs what is not C{python -c}."""
    if tuple(arguments[:2]) != (sys.executable, "-c"):
        return subprocess.run(
            arguments, input=input, capture_output=capture_output, timeout=timeout, check=check, **more
        )
    if input is not None:
        more["stdin"] = PIPE
    if capture_output:
        more |= {"stdout": PIPE, "stderr": PIPE}
    with Popen(arguments, **more) as process:
        try:
            stdout, stderr = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    assert process.returncode is not None
    done = subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)
    if check:
        done.check_returncode()
    return done


def become() -> CodeType:
    """
    In the process that others are forks of: fork as often as that is asked for.

    @return: In each fork: what it is to run.
    """
    requests = socket.socket(fileno=int(sys.argv[1]))
    _import_all()
    gc.collect()
    gc.freeze()
    while True:
        asked, files, _, _ = socket.recv_fds(requests, 16, 4)
        if not asked:
            os._exit(0)
        if not os.fork():
            break
        for each in files:
            os.close(each)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    requests.close()
    telling = socket.socket(fileno=files.pop())
    with telling.makefile("rb") as stream:
        request = json.loads(stream.readline())
    if pid := os.fork():
        for each in files:
            os.close(each)
        _, status = os.waitpid(pid, 0)
        with suppress(BrokenPipeError):
            telling.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    if request["session"]:
        os.setsid()
    _set_up(request, files)
    telling.sendall(b"%d\n" % os.getpid())
    telling.close()
    code, *sys.argv[1:] = (os.fsdecode(each.encode("latin-1")) for each in request["arguments"])
    return compile(code, "<string>", "exec")


def _import_all() -> None:
    # So that what imports it is not imported.
    sys.modules[_REACTOR] = None  # type: ignore[assignment]
    for package in _IMPORTED:
        _import(package)
    sys.modules[_REACTOR] = ModuleType("of klein alone")
    importlib.import_module("klein")
    sys.modules[_REACTOR] = None  # type: ignore[assignment]
    for package in _WITH_KLEIN:
        _import(package)
    del sys.modules[_REACTOR]


def _import(name: str) -> None:
    module = importlib.import_module(name)
    for each in pkgutil.iter_modules(getattr(module, "__path__", ()), f"{name}."):
        with suppress(ImportError):
            _import(each.name)


def _set_up(request: Any, files: Sequence[int]) -> None:
    """What else a process has at its start."""
    for number, each in enumerate(files):
        os.dup2(each, number)
    for each in files:
        os.close(each)
    os.chdir(request["directory"].encode("latin-1"))
    os.environb.clear()
    for name, value in request["environment"].items():
        os.environb[name.encode("latin-1")] = value.encode("latin-1")
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(("stdin", "stdout", "stderr")):
        before = getattr(sys, stream)
        unbuffered = bool(number and os.environ.get("PYTHONUNBUFFERED"))
        buffering = 0 if unbuffered else -1
        raw = open(number, "wb" if number else "rb", buffering, closefd=False)  # noqa: SIM115  (the standard file)
        at_once = not unbuffered and (number == 2 or os.isatty(number))
        now = io.TextIOWrapper(raw, before.encoding, before.errors, line_buffering=at_once, write_through=unbuffered)
        setattr(sys, stream, now)
        setattr(sys, f"__{stream}__", now)


if os.environ.get("PACARCHIVE_TEST_REAL_STARTS"):
    Popen = subprocess.Popen  # type: ignore[assignment, misc]
    run = subprocess.run  # type: ignore[assignment]
