"""C{pacarchive admin digest}: compute missing digests of an adopted tree, and verify stored ones."""

from __future__ import annotations

import os
import queue
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

import attrs

from pacarchive import errors
from pacarchive.backends.local.layout import layout_of
from pacarchive.backends.local.walk import files_of
from pacarchive.cli import exits
from pacarchive.cli.admin.archive import opened, settings_of, tree_of, user_name
from pacarchive.cli.printing import print_json
from pacarchive.cli.progress import Display
from pacarchive.digests import PRIMARY, Hasher
from pacarchive.settings.reading import ConfigError
from pacarchive.texts import counted, printable

if TYPE_CHECKING:
    import argparse

    from pacarchive.backends.local.tree import FileTree
    from pacarchive.model import FileStatus

_BLOCK = 1 << 20
_MOST_JOBS = 4
_WAITING = 256
_POLL_INTERVAL = 0.1

_Bad: TypeAlias = tuple[int | None, str, errors.ArchiveError]
"""A file's id and path, and the error."""

_REFUSALS = {
    "hpss": "reading a file of an HPSS archive may recall it from tape",
    "hsmsideband": "reading a file of an Oracle HSM archive may recall it, even one whose beginning is on disk",
}


def run(arguments: argparse.Namespace) -> int:
    """Run the command.  @return: The exit code."""
    settings = settings_of(arguments)
    if settings.server.type != "posix":
        reason = _REFUSALS.get(settings.server.type)
        message = f"this works on archives of type posix, not {settings.server.type}"
        if reason:
            message += f": {reason}; there, the service stores the digest of a file when somebody reads it whole"
        raise ConfigError("admin digest", message)
    tree = tree_of(settings)
    assert tree is not None, "a posix archive has one"
    jobs = arguments.jobs or min(_MOST_JOBS, len(os.sched_getaffinity(0)))
    with opened(tree):
        if not arguments.verify and os.fstatvfs(tree.root).f_flag & os.ST_RDONLY:
            raise ConfigError(str(tree.prefix), "is on a file system that is mounted read-only: nothing can be stored")
        return _Pass(tree, verify=arguments.verify, as_json=arguments.json).run(jobs)


@attrs.define
class _Counts:
    files: int = 0
    bytes: int = 0
    stored: int = 0
    verified: int = 0
    bad: int = 0

    def __str__(self) -> str:
        return (
            f"{counted(self.files, 'file')}, {self.bytes >> 20} MiB read: {counted(self.stored, 'digest')} stored,"
            f" {self.verified} verified, {self.bad} bad"
        )


class _Pass:
    """
    One pass through the tree, with several threads that read files.

    @param tree: The tree.
    @param verify: Whether to read files that have a digest, too.
    @param as_json: Whether to print JSON.
    """

    def __init__(self, tree: FileTree, *, verify: bool, as_json: bool) -> None:
        self._tree = tree
        self._layout = layout_of(tree)
        self._verify = verify
        self._as_json = as_json
        self._display = Display("verifying" if verify else "digests")
        self._counts = _Counts()
        self._counting = threading.Lock()
        self._ids: queue.Queue[int | None] = queue.Queue(_WAITING)
        self._bad: queue.SimpleQueue[_Bad | BaseException] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopped = threading.Event()

    def run(self, jobs: int) -> int:
        """
        Read the files, and print the result.

        @param jobs: The count of threads.
        @return: The exit code.
        """
        threads = [threading.Thread(target=self._work, name=f"digest-{number}", daemon=True) for number in range(jobs)]
        message, code = "", exits.OK
        try:
            with self._display.shown():
                try:
                    self._count()
                    for thread in threads:
                        thread.start()
                    self._distribute(threads)
                finally:
                    self._stopped.set()
                    for thread in threads:
                        if thread.ident is not None:
                            thread.join()
                    self._report_bad()
        except KeyboardInterrupt:
            message, code = "interrupted; run it again to go on from here", exits.INTERRUPTED
        except errors.NoSpace as error:
            message, code = f"stopped, as the archive has no room for digests: {error.reason}", exits.FAILED
        if message:
            sys.stderr.write(f"pacarchive: {message}\n")
        if self._as_json:
            print_json({"summary": {**attrs.asdict(self._counts), "complete": not message}})
        else:
            sys.stdout.write(f"{self._counts}\n")
        return code or (exits.FAILED if self._counts.bad else exits.OK)

    def _count(self) -> None:
        """Count the files first, for the bar; files that are added or removed meanwhile make no difference to it."""
        if not self._display.draws:
            return
        total = 0
        for _, name in files_of(self._tree.root, self._layout, lambda path, error: None):
            with suppress(FileNotFoundError):
                total += name.stat().st_size
                self._display.add(files=1)
        self._display.begin_with(self._display.files, total)

    def _distribute(self, threads: list[threading.Thread]) -> None:
        for file_id, _ in files_of(self._tree.root, self._layout, self._cannot_list):
            self._put(file_id)
            self._report_bad()
            self._display.look(f"{self._counts}, at file {file_id}")
        for _ in threads:
            self._put(None)
        for _ in threads:
            self._wait_for_thread()
        self._report_bad()

    def _wait_for_thread(self) -> None:
        # Not by join(): Python 3.11 considers a thread ended when that is interrupted by Ctrl-C.
        while True:
            try:
                self._ended.get(timeout=_POLL_INTERVAL)
            except queue.Empty:
                self._report_bad()
                self._display.look(str(self._counts))
            else:
                return

    def _put(self, file_id: int | None) -> None:
        while True:
            try:
                self._ids.put(file_id, timeout=_POLL_INTERVAL)
            except queue.Full:
                self._report_bad()
                self._display.look(str(self._counts))
            else:
                return

    def _cannot_list(self, path: str, error: OSError) -> None:
        message = f"its directory cannot be read: {error.strerror}"
        self._bad.put((None, path or ".", errors.BackendUnavailable(message)))

    def _report_bad(self) -> None:
        while not self._bad.empty():
            bad = self._bad.get()
            if isinstance(bad, BaseException):
                raise bad
            file_id, path, error = bad
            self._counts.bad += 1
            if self._as_json:
                error_document = {"kind": type(error).__name__, "message": error.reason}
                named = {} if file_id is None else {"file": str(file_id)}
                print_json({**named, "path": path, "error": error_document})
            else:
                where = f"directory {printable(path)}" if file_id is None else f"file {file_id}"
                self._display.say(f"pacarchive: {where}: {error.reason}")

    # Called in the threads.

    def _work(self) -> None:
        try:
            self._visit_all()
        finally:
            self._ended.put(None)

    def _visit_all(self) -> None:
        buffer = memoryview(bytearray(_BLOCK))
        while not self._stopped.is_set():
            try:
                file_id = self._ids.get(timeout=_POLL_INTERVAL)
            except queue.Empty:
                continue
            if file_id is None:
                return
            try:
                self._visit(file_id, buffer)
            except errors.NotFound:
                pass  # removed meanwhile
            except errors.NoSpace as error:
                self._bad.put(error)
            except errors.ArchiveError as error:
                self._bad.put((file_id, self._layout.name_of(file_id), error))
            except Exception as error:  # noqa: BLE001  (raised again in the main thread)
                self._bad.put(error)
            self._display.add(files=1)

    def _visit(self, file_id: int, buffer: memoryview) -> None:
        descriptor, state, status = self._tree.open_stored(file_id)
        try:
            self._note(files=1)
            stored = status.digests.get(PRIMARY)
            if stored is not None and not self._verify:
                self._display.add(size=status.size, skipped=status.size)
                return
            if stored is None and state.st_uid != (me := os.geteuid()) and me != 0:
                raise errors.NotPermitted(f"belongs to {user_name(state.st_uid)}: its digest cannot be stored")
            computed = self._computed(descriptor, buffer)
            if computed is None:
                return
            if stored is None:
                self._tree.remember(descriptor, status, {PRIMARY: computed})
                self._note(stored=1)
            elif stored == computed:
                self._note(verified=1)
            elif self._is_current(file_id, status):
                raise errors.DigestMismatch(f"is damaged: its sha256 is {computed.hex()}, stored {stored.hex()}")
        finally:
            os.close(descriptor)

    def _computed(self, descriptor: int, buffer: memoryview) -> bytes | None:
        """Compute the digest of a file; C{None} if the pass was stopped."""
        hasher, offset = Hasher([PRIMARY]), 0
        while True:
            try:
                count = os.preadv(descriptor, [buffer], offset)
            except OSError as error:
                raise errors.BackendUnavailable("", reason=f"cannot be read: {error.strerror}") from error
            if not count:
                return hasher.digests()[PRIMARY]
            hasher.update(buffer[:count])
            offset += count
            self._note(bytes=count)
            self._display.add(size=count)
            if self._stopped.is_set():
                return None

    def _is_current(self, file_id: int, status: FileStatus) -> bool:
        """Return whether the version that was read is still the current one: if not, its digest says nothing."""
        current = self._tree.published(file_id)
        return current is not None and current.generation == status.generation

    def _note(self, **counts: int) -> None:
        with self._counting:
            for name, count in counts.items():
                setattr(self._counts, name, getattr(self._counts, name) + count)
