"""Servers under test: started, watched from outside, and stopped."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

HOST = "127.0.0.1"
START_LIMIT = STOP_LIMIT = 30.0

_SERVING = re.compile(r" archive .* on (https?://[^/]+:(\d+)/.*)")
_CLOCK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class ServerError(Exception):
    """The server did not start."""


class Program:
    """
    A server, in a process group of its own.

    @param folder: Its working directory, where its log goes too.
    @ivar port: Where it listens.
    @ivar start_seconds: What it took from nothing to the first answer.
    @ivar syncs: Whether what it has acknowledged is on stable storage.
    @ivar closes: Whether it closes a connection after each answer, without a word.
    """

    port: int
    start_seconds: float
    syncs = True
    closes = False

    def __init__(self, folder: Path, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        self._log = folder / "log"
        self._begun = time.monotonic()
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """
        Wait for its start; it is stopped where that fails.

        @param ready: Whether it answers.
        @raise ServerError: It ended, or did not answer in time.
        """
        try:
            while not ready():
                if self.process.poll() is not None or time.monotonic() > self._begun + START_LIMIT:
                    raise ServerError(f"the server did not start: {self.log}")
                time.sleep(0.005)
        except BaseException:
            self.stop()
            raise
        self.start_seconds = time.monotonic() - self._begun

    @property
    def log(self) -> str:
        """What it said last."""
        return self._log.read_text(errors="replace")[-2000:].strip()

    def stop(self) -> None:
        """End it in order, or after a while anyhow, with all its workers."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_LIMIT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def cpu_seconds(self) -> float:
        """What all its processes have used so far, ended ones included."""
        # Fields count from the state, which follows the name in parentheses: four times, own and of ended children.
        fields = (stat.rpartition(")")[2].split() for stat in self._read("stat"))
        return sum(sum(map(int, each[11:15])) for each in fields) / _CLOCK

    def resident(self) -> float:
        """The resident memory of all its processes, in MiB; a page that they share counts for each."""
        return sum(int(statm.split()[1]) for statm in self._read("statm")) * _PAGE / 2**20

    def proportional(self) -> float:
        """The same, but a shared page counts once (PSS)."""
        found = (re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE) for rollup in self._read("smaps_rollup"))
        return sum(int(each[1]) for each in found if each) / 1024

    def foreign_cpu_seconds(self) -> float:
        """CPU that neither the server nor this harness has used, and that was not idle, since the machine started."""
        user, nice, system, _, _, irq, soft, steal = map(int, _proc("stat").split(None, 9)[1:9])
        ours = sum(os.times()[:4]) + self.cpu_seconds()
        return (user + nice + system + irq + soft + steal) / _CLOCK - ours

    def _read(self, name: str) -> Iterator[str]:
        """One file of C{/proc} for each living process."""
        todo = [self.process.pid]
        while todo:
            pid = todo.pop()
            with contextlib.suppress(OSError):  # it has just ended
                yield _proc(f"{pid}/{name}")
                for thread in os.listdir(f"/proc/{pid}/task"):
                    todo += map(int, _proc(f"{pid}/task/{thread}/children").split())


class Server(Program):
    """
    C{twistd pacarchive}, with an archive and settings of its own.

    @param folder: An empty one, for its archive, settings and log.
    @param settings: Section, key and value of each.
    @param twistd: The program; by default the one installed beside this Python.
    @param listening: Options that say where it listens; at the first, without TLS.
    @ivar ports: Where it listens.
    @raise ServerError: It ended, or did not answer in time.
    """

    def __init__(
        self,
        folder: Path,
        workers: int,
        settings: Sequence[tuple[str, str, str]],
        twistd: Path | None = None,
        listening: Sequence[str] = ("-p", "0"),
    ) -> None:
        (folder / "archive").mkdir()
        sections = {section: [f"[{section}]"] for section, _, _ in settings}
        for section, key, value in settings:
            sections[section].append(f"{key} = {value}")
        (folder / "settings.ini").write_text("\n".join(line for lines in sections.values() for line in lines))
        options = ("-c", "settings.ini", "--prefix", "archive", "--workers", str(workers), *listening)
        program = twistd or Path(sys.executable).parent / "twistd"
        # The predecessor's variables would be settings too.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PAI_")}
        super().__init__(folder, [program, "-n", "--pidfile=", "pacarchive", *options], environment)
        self.wait_until(self._serves)

    def _serves(self) -> bool:
        if not (found := _SERVING.search(self.log)):
            return False
        self.ports = [int(each) for each in re.findall(r"://[^/]+:(\d+)/", found[1])]
        self.port = self.ports[0]
        greet(self.port)
        return True


def _proc(name: str) -> str:
    with open(f"/proc/{name}", errors="replace") as file:
        return file.read()


def greet(port: int) -> None:
    """
    Ask a server for its first answer.

    @raise ServerError: It has none.
    """
    try:
        with contextlib.closing(HTTPConnection(HOST, port, timeout=10)) as connection:
            connection.request("GET", "/")
            connection.getresponse().read()
    except OSError as error:
        raise ServerError(f"no answer from http://{HOST}:{port}/: {error}") from error
