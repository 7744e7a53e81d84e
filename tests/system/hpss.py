"""Services on a simulated HPSS, and what operators and other clients of HPSS do there meanwhile."""

from __future__ import annotations

import os
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import forks
import hpss_build

from pacarchive.ids import id_to_path
from system.harness import PATIENCE, until

VARIANT = hpss_build.use_extension()

from hpss_simulator import Archive, Entry, Kind  # noqa: E402  (found only now)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from system.harness import Service

PREFIX, INCOMING, SCRATCH = "/archive", "/incoming", "/scratch"
"""The archive; a directory beside it that files are moved from; and one that is a fileset of its own."""

_HIDDEN = f"{PREFIX}/.pacarchive/"

DUAL, TAPE_ONLY = 3, 4
"""Classes of service: two copies on tape, and no disk."""

_CLIENT = """
from ctypes import CDLL
from pacarchive.backends.hpss.loading import load
load(False)
from pacarchive.backends.hpss import client
client.login({principal!r}, {keytab!r})
client.thread_start()
library = CDLL({library!r})
"""


class Site:
    """
    A simulated HPSS, and the services that use it.

    @param directory: A scratch directory.
    @param serve: The fixture of that name.
    @ivar archive: The simulator, to look at and to break.
    """

    def __init__(self, directory: Path, serve: Callable[..., Service]) -> None:
        self.archive = Archive.create(directory / "hpss")
        for each in (PREFIX, INCOMING, SCRATCH):
            self.archive.mkdir(each)
        self._serve = serve
        self._services: list[Service] = []

    def start(
        self,
        *options: str,
        server: Mapping[str, object] | None = None,
        hpss: Mapping[str, object] | None = None,
        recall: Mapping[str, object] | None = None,
        beside: str = "",
        variables: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Service:
        """
        Start a service.

        @param server: Further settings of C{[server]}.
        @param hpss: Of C{[hpss]}; also other ones than those for the login.
        @param recall: Of C{[recall]}; what is quick in there is the default.
        @param beside: Further sections.
        @param variables: Variables of the service's processes.
        @param more: As for L{Service}.
        """
        archive = self.archive
        login = {"auth": archive.keytab, "user": archive.principal, "sitename": archive.site}
        sections: dict[str, dict[str, object]] = {
            "server": {"move_roots": f"{PREFIX}\n {INCOMING}\n {SCRATCH}", **(server or {})},
            "hpss": login | dict(hpss or {}),
            "recall": {"batch_delay": 0, "poll_interval": 0.2, **(recall or {})},
        }
        # What comes later on the command line counts, so the prefix is not that of the harness.
        service = self._serve(
            *("-t", "hpss", "--prefix", PREFIX, *options),
            settings="".join(
                f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
                for section, values in sections.items()
            )
            + beside,
            environment={**environment(), **(variables or {})},
            **more,
        )
        self._services.append(service)
        return service

    def close(self) -> None:
        """End the services in order; nothing is left open, and nothing half done."""
        self.archive.clear_faults()
        self.archive.set("server_state", "up")
        try:
            for each in self._services:
                if each.process.poll() is None:
                    each.stop()
            assert self.archive.descriptors() == 0
            assert self.archive.contexts() == 0
            assert self.temporaries() == []
        finally:
            self.archive.close()

    def temporaries(self) -> list[str]:
        """The names of unfinished files."""
        return [entry.path for entry in self.archive.entries(PREFIX) if entry.path.startswith(_HIDDEN)]

    def files(self) -> dict[str, Entry]:
        """All files below the prefix, without those of the archive itself, by their paths."""
        return {
            entry.path: entry
            for entry in self.archive.entries(PREFIX)
            if entry.kind is Kind.FILE and not entry.path.startswith(_HIDDEN)
        }

    def entry(self, file_id: int) -> Entry:
        """What is at the place of an id."""
        return self.archive.entry(path_of(file_id))

    def put(self, file_id: int, data: bytes, *, cos: int | None = None) -> None:
        """Put a file in as another client might: it is on disk, and has no digest."""
        self.archive.write(path_of(file_id), data, cos=cos)

    def send_to_tape(self, file_id: int) -> None:
        """Have HPSS copy a file to tape, and drop it from disk."""
        self.archive.migrate(path_of(file_id))
        self.archive.purge(path_of(file_id))

    def wait_until_staged(self, file_id: int) -> None:
        """Let simulated time pass until a file is on disk."""
        for _ in range(1000):
            if 0 in self.entry(file_id).levels:
                return
            self.archive.clock.advance(10)
        raise AssertionError("it is not staged")

    def as_client(self, code: str) -> str:
        """
        Run Python code as another client of HPSS, which is another process.

        @param code: It finds C{client}, logged in, and the C{library} for what that lacks.
        @return: What it prints.
        """
        library = hpss_build.simulator(VARIANT) / "lib" / "libhpss.so"
        beginning = _CLIENT.format(
            principal=self.archive.principal, keytab=str(self.archive.keytab), library=str(library)
        )
        done = forks.run(
            [sys.executable, "-c", beginning + textwrap.dedent(code)],
            env={**os.environ, **environment()},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    def until_struck(self, fault: int, times: int = 1) -> None:
        """Wait until a fault has struck."""
        until(lambda: self.archive.fault_hits(fault) >= times, "the fault strikes")


def path_of(file_id: int) -> str:
    """Where HPSS has a file."""
    return PREFIX + id_to_path(file_id)


def environment() -> dict[str, str]:
    """What a process needs to find the extension module."""
    extension = str(hpss_build.extension(VARIANT))
    return {"PYTHONPATH": os.pathsep.join(filter(None, [extension, os.environ.get("PYTHONPATH", "")]))}
