"""Real services for the system tests: started, asked, stopped and killed; and what their clients have in common."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import forks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

T = TypeVar("T")

TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=")
HOST = "127.0.0.1"
PATIENCE = 60.0
"""What any single step of another process may take, in seconds; far more than it ever does."""

_SERVING = re.compile(r"pacarchive \S+: \S+ archive .* on https?://[^/]+:(\d+)/")
_UNCLEAN = re.compile(r"Unhandled|Traceback|incident")


def until(condition: Callable[[], T | None], what: str, limit: float = PATIENCE) -> T:
    """
    Wait for something to become true in another process.

    @return: The first result that counts as true.
    """
    deadline = time.monotonic() + limit
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {limit:g} s: {what}"
        time.sleep(0.01)
    return result


def group_members(leader: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                # After the name in parentheses, which may hold anything: state, parent, group.
                state, _, group = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[:3]
                if int(group) == leader and state not in "ZX":
                    found.append(int(entry))
    return found


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Service:
    """
    C{twistd pacarchive} with all its workers, in a process group of its own.

    Several can be started one after the other over one C{directory}: the archive stays, and each has a log of its own.

    @param directory: Where the archive, the settings and the logs are.
    @param options: Options of C{pacarchive}, beside those for the prefix, the port and the settings.
    @param settings: The text of a settings file.
    @param workers: How many.
    @param wrapper: A command that runs the service.
    @param port: The port to listen at; 0 for a free one, C{None} where C{options} say where to listen.
    @param environment: Variables beside this process's own.
    @param log_file: A log file for twistd to write, instead of its standard output.
    @param twistd: Further options of twistd itself.
    @param python: The interpreter of the environment that has pacarchive.
    @param forked: Whether it is one of L{forks}, where it has no wrapper and no other interpreter.  What the system
        tells of that one's command line and variables is not its own.
    @ivar prefix: The archive's root.
    @ivar given: Header fields of every request of L{ask}, beside that one's own.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        settings: str = "",
        workers: int = 1,
        wrapper: Sequence[str] = (),
        port: int | None = 0,
        environment: Mapping[str, str] | None = None,
        log_file: Path | None = None,
        twistd: Sequence[str] = (),
        python: str | Path = sys.executable,
        forked: bool = True,
    ) -> None:
        self.directory = directory
        self.given: dict[str, str] = {}
        self.prefix = directory / "archive"
        self.prefix.mkdir(parents=True, exist_ok=True)
        (directory / "settings.ini").write_text(settings)
        self._log = directory / f"log.{len(list(directory.glob('log.*')))}"
        self._wrapper = os.path.basename(wrapper[0]) if wrapper else None
        settled = ("pacarchive", "-c", "settings.ini", "--prefix", "archive", "--workers", str(workers))
        listening = () if port is None else ("-p", str(port))
        own = twistd if log_file is None else (*twistd, f"--logfile={log_file}")
        with open(self._log, "wb") as log:
            may_fork = forked and not wrapper and python == sys.executable
            self.process = (forks.Popen if may_fork else subprocess.Popen)(
                [*wrapper, python, *TWISTD[1:], *own, *settled, *listening, *options],
                cwd=directory,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._log = log_file or self._log

    @property
    def log(self) -> str:
        """All that it has said so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def port(self) -> int:
        """The port, once it serves there."""
        if not hasattr(self, "_port"):
            self._port = int(until(self._serving, "the service starts")[1])
        return self._port

    def _serving(self) -> re.Match[str] | None:
        assert self.process.poll() is None, f"the service has ended: {self.log}"
        return _SERVING.search(self.log)

    def workers(self) -> list[int]:
        """The process ids of those that serve: the children, or the process itself."""
        return _children(self._leader()) or [self._leader()]

    def _leader(self) -> int:
        """The process of twistd itself, which a wrapper may be the parent of."""
        pid = self.process.pid
        wrapped = self._wrapper is not None and Path(f"/proc/{pid}/comm").read_text().strip() == self._wrapper
        return _children(pid)[0] if wrapped else pid

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        """A plain connection."""
        connection = socket.socket()
        try:
            if receive_buffer is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.settimeout(PATIENCE)
            connection.connect((HOST, self.port))
        except BaseException:
            connection.close()
            raise
        return connection

    def client(self) -> Client:
        """A connection that speaks HTTP."""
        return Client(self.port)

    def ask(self, method: str, path: str | int, body: Any = None, fields: Mapping[str, str] | None = None) -> Answer:
        """One request on a connection of its own."""
        with self.client() as client:
            return client.ask(method, path, body, {**self.given, **(fields or {})})

    def refuses(self) -> bool:
        """Whether nobody listens at the port any more."""
        try:
            socket.create_connection((HOST, self.port), timeout=PATIENCE).close()
        except (ConnectionRefusedError, ConnectionResetError):
            return True
        return False

    def ends(self, limit: float = PATIENCE) -> int:
        """Wait for its end, and that of all its workers.  @return: The exit status."""
        status = self.process.wait(limit)
        until(lambda: not group_members(self.process.pid), "no process is left", limit)
        return status

    def stop(self, limit: float = PATIENCE) -> int:
        """End it in order.  @return: The exit status."""
        os.kill(self._leader(), signal.SIGTERM)
        return self.ends(limit)

    def kill(self) -> None:
        """C{kill -9} of every process at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.ends()

    def assert_clean(self) -> None:
        """Nothing that happened was unforeseen."""
        assert not (found := _UNCLEAN.search(self.log)), self.log[max(0, found.start() - 2000) :][:6000]

    def jobs(self) -> list[Any]:
        """All jobs, of whoever made them: no file is staged that is in none."""
        found: list[Any] = json.loads(self.ask("GET", "/jobs").body)["jobs"]
        return found

    def visible(self) -> dict[str, Path]:
        """Every file of the archive by its path below the prefix, without those of the archive itself."""
        return {path: self.prefix / path for path in _files_below(self.prefix) if not path.startswith(".pacarchive/")}

    def temporaries(self) -> list[str]:
        """What lies among the temporaries."""
        return os.listdir(self.prefix / ".pacarchive/tmp")


def _files_below(root: Path) -> Iterator[str]:
    for directory, _, names in os.walk(root):
        for name in names:
            yield os.path.relpath(os.path.join(directory, name), root)


@attrs.frozen
class Answer:
    """
    What came back.

    @ivar fields: Header fields by their names in lower case.
    """

    status: int
    fields: dict[str, str]
    body: bytes


class Client:
    """A connection kept alive, as a context manager."""

    def __init__(self, port: int, host: str = HOST) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)

    def ask(self, method: str, path: str | int, body: Any = None, fields: Mapping[str, str] | None = None) -> Answer:
        """One request; C{path} may be just the id."""
        answer, body_of_it = self.begin(method, path, body, fields), b""
        with answer:
            body_of_it = answer.read()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body_of_it)

    def begin(
        self, method: str, path: str | int, body: Any = None, fields: Mapping[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """One request, of whose answer only the head has been read."""
        target = f"/{path}" if isinstance(path, int) else path
        self._connection.request(method, target, body, dict(fields or {}))
        return self._connection.getresponse()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def content(name: object, size: int) -> bytes:
    """Bytes that nothing else has, the same each time."""
    return random.Random(repr(name)).randbytes(size)


def repr_digest(data: bytes) -> str:
    """The C{Repr-Digest} that belongs to a whole file."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


WANT_DIGEST = {"Want-Repr-Digest": "sha-256=10"}


def read_to_the_end(connection: socket.socket) -> bytes:
    """All that comes before the server closes the connection, in order or with a reset."""
    pieces = []
    with suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
    return b"".join(pieces)


def status_of(answer: bytes) -> int:
    """The status of an answer; 0 where there is none."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


def reset(connection: socket.socket) -> None:
    """Close with a reset instead of an orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """
    Call all of them at the same time, each in a thread.

    @return: The results, in order.  A call that fails fails the test.
    """
    results: dict[int, T] = {}
    failures: list[BaseException] = []
    barrier = threading.Barrier(len(calls))

    def run(index: int, call: Callable[[], T]) -> None:
        try:
            barrier.wait(PATIENCE)
            results[index] = call()
        except BaseException as error:  # noqa: BLE001  (raised again in the test's own thread)
            failures.append(error)

    threads = [threading.Thread(target=run, args=each, daemon=True) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * PATIENCE)
        assert not thread.is_alive(), "a client hangs"
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(calls))]


@contextmanager
def in_background(call: Callable[[threading.Event], None], count: int) -> Iterator[None]:
    """Have C{count} threads run C{call} until its event is set, which is when the block ends."""
    ended = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            call(ended)
        except BaseException as error:  # noqa: BLE001  (raised again in the test's own thread)
            failures.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(4 * PATIENCE)
            assert not thread.is_alive(), "a client hangs"
    if failures:
        raise failures[0]
