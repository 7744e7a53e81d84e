"""Services on a directory that plays a mount of SAM's, with a sideband database of its own, and what SAM does there."""

from __future__ import annotations

import atexit
import fcntl
import functools
import json
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sideband.writer import SidebandWriter

from pacarchive.ids import id_to_path
from system.harness import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sideband.server import MariaDB

    from system.harness import Answer, Service

SAM_PREFIX = "/data/archive"
"""The archive's directory below SAM's mount point."""

SCHEMA = "sam1"

ON_TAPE = stat.S_ISVTX
"""A file with this bit of its mode is on tape only; no other file has it."""

_MOUNT = f"""
import errno, os, time

def waiting(name, place):
    call = getattr(os, name)

    def wait(*arguments):
        waits = False
        while os.fstat(arguments[place]).st_mode & {ON_TAPE}:
            if name == "preadv" and len(arguments) > 3 and arguments[3] & os.RWF_NOWAIT:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            if not waits:
                waits = True
                with open(os.environ["SAM_WAITS"], "a") as log:
                    log.write(os.readlink(f"/proc/self/fd/{{arguments[place]}}") + "\\n")
            time.sleep(0.01)
        return call(*arguments)

    setattr(os, name, wait)

for name, place in (("pread", 0), ("preadv", 0), ("sendfile", 1)):
    waiting(name, place)
"""
"""
For a process that uses the mount: who reads a file on tape waits until it is back, and is written down in the file that
the variable C{SAM_WAITS} names.
"""

_STAGE = f"""
import fcntl, json, os, sys, time

def on_tape(path):
    try:
        return os.stat(path).st_mode & {ON_TAPE}
    except FileNotFoundError:
        return False

def bring_back(path):
    with open(os.path.join(site["tapes"], os.path.relpath(path, site["prefix"]).replace("/", "_")), "rb") as tape:
        data = tape.read()
    state = os.stat(path)
    os.chmod(path, 0o1644)
    with open(path, "r+b") as file:
        file.write(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    os.chmod(path, 0o444)
    return state.st_ino

def tell(inodes):
    import pymysql

    for attempt in range(300):
        try:
            with pymysql.connect(
                unix_socket=site["socket"], user="root", database=site["schema"], autocommit=True, ssl_disabled=True
            ) as connection, connection.cursor() as cursor:
                for ino in inodes:
                    cursor.execute("UPDATE sam_inode SET online = 1 WHERE ino = %s", [ino])
            return
        except pymysql.Error:
            time.sleep(0.1)

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "site.json")) as file:
    site = json.load(file)
busy = open(site["busy"], "a")
fcntl.flock(busy, fcntl.LOCK_SH)
with open(site["runs"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if site["trouble"]:
    sys.exit(site["trouble"])
if site["works"] and any(map(on_tape, sys.argv[1:])) and not os.fork():
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    while os.path.exists(site["held"]):
        time.sleep(0.01)
    inodes = [bring_back(path) for path in sys.argv[1:] if on_tape(path)]
    time.sleep(site["lag"])
    tell(inodes)
"""
"""The command that has files staged: it returns once that has begun; the database hears of it late."""


@functools.cache
def _mounting() -> Path:
    """A directory in which Python finds L{_MOUNT} when it starts; one for all, for L{forks}."""
    directory = Path(tempfile.mkdtemp(prefix="pa-mount-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    (directory / "sitecustomize.py").write_text(_MOUNT)
    return directory


class Site:
    """
    A directory that plays a mount of SAM's, its sideband database, and the services that use both.

    @param directory: A scratch directory, with that of the services in it.
    @param serve: The fixture of that name.
    @param server: Where the database is to be.
    @ivar prefix: The archive's directory, as this host has it.
    @ivar incoming: One beside it, out of which files may be moved.
    @ivar writer: SAM's daemon.
    @ivar user: The account that may read the database, and nothing else; its password is C{password}.
    """

    def __init__(self, directory: Path, serve: Callable[..., Service], server: MariaDB) -> None:
        self.server = server
        self.prefix = directory / "service" / "archive"
        self.incoming = directory / "incoming"
        self._sam = directory / "sam"
        self._tapes = self._sam / "tapes"
        for each in (self.prefix, self.incoming, self._tapes):
            each.mkdir(parents=True)
        server.create_database(SCHEMA)
        self.user, self.password = server.create_reader(SCHEMA)
        self.writer = SidebandWriter(server, SCHEMA)
        self.writer.mkdirs(os.path.dirname(SAM_PREFIX))
        self.writer.mkdir(SAM_PREFIX, ino=os.stat(self.prefix).st_ino)
        self._serve = serve
        self._services: list[Service] = []
        (self._sam / "stage.py").write_text(_STAGE)
        self.set_stage()

    def start(
        self,
        *options: str,
        hsm: Mapping[str, object] | None = None,
        server: Mapping[str, object] | None = None,
        recall: Mapping[str, object] | None = None,
        tcp: bool = False,
        waits: bool = True,
        environment: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Service:
        """
        Start a service.  It remembers no answers of the database, unless C{hsm} says otherwise.

        @param hsm: Settings of C{[hsm_sideband]}, beside those for the database and the stage command.
        @param server: Of C{[server]}.
        @param recall: Of C{[recall]}; what is quick in there is the default.
        @param tcp: Whether it uses the database's port instead of its socket.
        @param waits: Whether it waits when it reads files on tape; else it reads what is no longer there.
        @param more: As for L{Service}.
        """
        sections: dict[str, dict[str, object]] = {
            "server": {"move_roots": f"{self.prefix}\n {self.incoming}", **(server or {})},
            "hsm_sideband": {**self.settings(tcp=tcp), "remember": 0, **(hsm or {})},
            "recall": {"batch_delay": 0, "poll_interval": 0.2, **(recall or {})},
        }
        path = os.pathsep.join(filter(None, [str(_mounting()), os.environ.get("PYTHONPATH", "")]))
        mount = {"PYTHONPATH": path, "SAM_WAITS": str(self._sam / "waits")} if waits else {}
        service = self._serve(
            *("-t", "hsmsideband", *options),
            settings="".join(
                f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
                for section, values in sections.items()
            ),
            environment={**mount, **(environment or {})},
            **more,
        )
        self._services.append(service)
        return service

    def settings(self, *, tcp: bool = False) -> dict[str, object]:
        """What says where the database is, and how files are staged."""
        place = {"host": "127.0.0.1", "port": self.server.port} if tcp else {"unix_socket": self.server.socket}
        return {
            "sam_qfs_prefix": SAM_PREFIX,
            "schema": SCHEMA,
            "user": self.user,
            "password": self.password,
            "stage_command": f"{sys.executable} -I {self._sam / 'stage.py'}",
            **place,
        }

    def close(self) -> None:
        """End the services in order; nothing is left half done, and the last stages come to their end."""
        try:
            for each in self._services:
                if each.process.poll() is None:
                    each.stop()
            assert self.temporaries() == []
            self.let_go()
            until(self._is_idle, "the stages end")
        finally:
            self.writer.close_connection()
            self.server.drop_reader(self.user)
            self.server.drop_database(SCHEMA)

    def _is_idle(self) -> bool:
        """Whether no stage is under way; each holds a lock, which its end releases, however it ends."""
        with open(self._sam / "busy", "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def temporaries(self) -> list[str]:
        """What lies among the temporaries."""
        place = self.prefix / ".pacarchive" / "tmp"
        return os.listdir(place) if place.exists() else []

    # Files.

    def path_of(self, file_id: int) -> Path:
        """Where this host has a file."""
        return self.prefix / id_to_path(file_id)[1:]

    def sam_path_of(self, file_id: int) -> str:
        """Where SAM has it."""
        return SAM_PREFIX + id_to_path(file_id)

    def record(self, file_id: int, *, closed: bool = True) -> None:
        """
        The daemon hears of a file, of its directories, and that what it replaces is gone.

        @param closed: Whether it has heard also that the writer has closed the file; until then it has no size.
        """
        path = self.sam_path_of(file_id)
        self._record_directory(os.path.dirname(path))
        if self.knows(path):
            self.writer.remove(path)
        state = os.stat(self.path_of(file_id))
        self.writer.create(path, ino=state.st_ino)
        if closed:
            self.writer.close(path, state.st_size, modify_time=int(state.st_mtime))

    def _record_directory(self, path: str) -> None:
        if not self.knows(path):
            self._record_directory(os.path.dirname(path))
            self.writer.mkdir(path, ino=os.stat(self.prefix / path.removeprefix(f"{SAM_PREFIX}/")).st_ino)

    def knows(self, path: str) -> bool:
        """Whether the daemon has heard of an object."""
        try:
            self.writer.inode(path)
        except KeyError:
            return False
        return True

    def archive(self, file_id: int, **copy: Any) -> None:
        """A file gets a copy on tape.  @param copy: As for L{SidebandWriter.archive}."""
        self.writer.archive(self.sam_path_of(file_id), **copy)

    def release(self, file_id: int) -> None:
        """A file that has a copy leaves the disk."""
        self.drop(self.path_of(file_id))
        self.writer.offline(self.sam_path_of(file_id))

    def drop(self, path: Path) -> None:
        """The bytes of a file leave the disk for a tape, of which the daemon hears nothing."""
        state = os.stat(path)
        if path.is_relative_to(self.prefix):
            self._tape_of(path).write_bytes(path.read_bytes())
        os.chmod(path, 0o644)
        os.truncate(path, 0)
        os.truncate(path, state.st_size)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        os.chmod(path, stat.S_IMODE(state.st_mode) | ON_TAPE)
        assert os.stat(path).st_blocks == 0

    def bring_back(self, *file_ids: int) -> None:
        """Files are on disk again, of which the daemon hears nothing."""
        for file_id in file_ids:
            path = self.path_of(file_id)
            state = os.stat(path)
            os.chmod(path, 0o644 | ON_TAPE)
            with open(path, "r+b") as file:
                file.write(self._tape_of(path).read_bytes())
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
            os.chmod(path, 0o444)

    def _tape_of(self, path: Path) -> Path:
        return self._tapes / str(path.relative_to(self.prefix)).replace("/", "_")

    def to_tape(self, *file_ids: int) -> None:
        """The daemon hears of files that were stored, and they are archived and released."""
        for file_id in file_ids:
            self.record(file_id)
            self.archive(file_id)
            self.release(file_id)

    # Stages.

    def set_stage(self, *, lag: float = 0.3, trouble: int = 0, works: bool = True) -> None:
        """
        How stages go from now on.

        @param lag: Seconds from when a file is back to when the database has it.
        @param trouble: An exit status with which the command ends, having done nothing.
        @param works: Whether anything comes of it if it ends well.
        """
        facts = {name: str(self._sam / name) for name in ("runs", "busy", "held", "tapes")}
        new = self._sam / "site.new"
        new.write_text(
            json.dumps(
                {
                    **facts,
                    "prefix": str(self.prefix),
                    "socket": self.server.socket,
                    "schema": SCHEMA,
                    "lag": lag,
                    "trouble": trouble,
                    "works": works,
                }
            )
        )
        new.replace(self._sam / "site.json")

    def hold(self) -> None:
        """No tape is mounted until L{let_go}."""
        (self._sam / "held").touch()

    def let_go(self) -> None:
        """Tapes are mounted again."""
        (self._sam / "held").unlink(missing_ok=True)

    @property
    def runs(self) -> list[list[str]]:
        """The arguments of each run of the stage command."""
        return [list(json.loads(line)) for line in self._lines("runs")]

    @property
    def asked_for(self) -> list[str]:
        """The paths that were to be staged, in order."""
        return [path for run in self.runs for path in run]

    @property
    def waits(self) -> list[str]:
        """The paths of files that somebody read while they were on tape."""
        return self._lines("waits")

    def _lines(self, name: str) -> list[str]:
        path = self._sam / name
        return path.read_text().splitlines() if path.exists() else []


def media(answer: Answer) -> tuple[str, str, str]:
    """What a HEAD says of where the bytes are."""
    assert answer.status == 204
    names = ("x-pacifica-file-storage-media", "x-pacarchive-locality", "x-pacifica-bytes-per-level")
    medium, locality, levels = (answer.fields[name] for name in names)
    return medium, locality, levels


def localities(service: Service, file_ids: Iterable[int]) -> dict[int, str]:
    """Where the service says that files are."""
    with service.client() as client:
        return {file_id: media(client.ask("HEAD", file_id))[1] for file_id in file_ids}
