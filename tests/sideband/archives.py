"""Archives of the C{hsmsideband} backend, in this process: a directory for a mount, and a real MariaDB."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from backends.posix import put_for_move
from twisted.internet import reactor

from pacarchive.backends.contract import Capabilities, started
from pacarchive.backends.sideband.archive import SidebandArchive
from pacarchive.backends.sideband.mount import Mount
from pacarchive.backends.sideband.settings import SidebandSettings
from pacarchive.ids import id_to_path
from pacarchive.interfaces import BackendSettings
from pacarchive.model import Durability
from sideband.server import Sideband
from sideband.watching import UNHURRIED
from sideband.writer import SidebandWriter

PREFIX = "/archive"

CAPABILITIES = Capabilities(durable=True, moves=put_for_move)


def settings_for(directory: Path, database: Sideband | None, **own: Any) -> BackendSettings:
    """
    Settings of an archive below a scratch directory: it lives in C{archive}, and takes files from itself and from
    C{incoming}.

    @param database: C{None}: there is none at the port.
    """
    prefix, incoming = directory / "archive", directory / "incoming"
    for each in (prefix, incoming):
        each.mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "sam_qfs_prefix": PREFIX,
        "remember": 0,
        "database_timeout": UNHURRIED,
        "host": "127.0.0.1",
        "port": 1,
    }
    if database is not None:
        values |= {"schema": database.name, "user": database.user, "password": database.password}
        values["unix_socket"] = database.server.socket
    return BackendSettings(
        prefix=prefix,
        move_roots=(prefix, incoming),
        digests=(),
        durability=Durability.FULL,
        io_threads=4,
        own=SidebandSettings(**(values | own)),
    )


@asynccontextmanager
async def serving(
    directory: Path, database: Sideband | None, *, mount: Mount | None = None, **own: Any
) -> AsyncIterator[SidebandArchive]:
    """A backend that runs."""
    async with started(SidebandArchive(reactor, settings_for(directory, database, **own), mount)) as backend:
        assert isinstance(backend, SidebandArchive)
        yield backend


class Daemon(SidebandWriter):
    """
    The daemon of a file system whose mount is a scratch directory.

    @param directory: It.
    @param prefix: The archive's directory, for the database.
    @param sees_inodes: Whether the mount shows the numbers of the database.
    """

    def __init__(
        self,
        directory: Path,
        database: Sideband,
        *,
        prefix: str | bytes = PREFIX,
        sees_inodes: bool = True,
        **more: Any,
    ) -> None:
        super().__init__(database.server, database.name, **more)
        self._next_ino = 3_000_000_000  # above those of the mount
        self._archive = directory / "archive"
        self._archive.mkdir(exist_ok=True)
        self._prefix = os.fsencode(prefix).rstrip(b"/")
        self._sees_inodes = sees_inodes
        if self._prefix:
            above, _, _ = self._prefix.rpartition(b"/")
            if above:
                self.mkdirs(above)
            self.mkdir(self._prefix, ino=self._archive.stat().st_ino if sees_inodes else None)

    def path(self, file_id: int) -> bytes:
        """Where the file system has a file."""
        return self._prefix + os.fsencode(id_to_path(file_id))

    def hear_of(self, file_id: int, *, size: int | None = None) -> bytes:
        """
        A file that is mounted was created, written and closed.

        @param size: What it had then, where that is not what it has now.
        @return: Its path.
        """
        path = self.path(file_id)
        state = os.stat(f"{self._archive}{id_to_path(file_id)}")
        self.mkdirs(path.rpartition(b"/")[0] or b"/")
        self.create(path, ino=state.st_ino if self._sees_inodes else None)
        self.close(path, size=state.st_size if size is None else size)
        return path

    def to_tape(self, file_id: int, vsn: str = "A00017", position: int = 77) -> bytes:
        """The same; and it was copied to tape and released."""
        path = self.hear_of(file_id)
        self.archive(path, vsn=vsn, position=position)
        self.offline(path)
        return path


class SlowMount(Mount):
    """
    Reads that wait for a tape.

    @ivar reads: How many have begun.
    """

    def __init__(self) -> None:
        self._away: dict[int, threading.Event] = {}
        self.reads = 0

    def take_away(self, path: Path) -> None:
        """Let the bytes of a file be on tape only."""
        self._away[path.stat().st_ino] = threading.Event()

    def bring_back(self, path: Path) -> None:
        """Let them be on disk again."""
        self._away.pop(path.stat().st_ino).set()

    def read(self, descriptor: int, offset: int, length: int) -> bytes:
        if (waiting := self._away.get(os.fstat(descriptor).st_ino)) is not None:
            self.reads += 1
            assert waiting.wait(30)
        return super().read(descriptor, offset, length)

    def is_in_memory(self, descriptor: int, offset: int) -> bool:
        return False

    @contextmanager
    def open_in_the_end(self) -> Iterator[None]:
        """Let every read end with the block."""
        try:
            yield
        finally:
            for each in self._away.values():
                each.set()
            self._away.clear()
