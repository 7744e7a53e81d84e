"""Moving the job store from where an earlier version had it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import quote

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from pacarchive.recall.places import DefaultStore
from pacarchive.recall.store import MakePool, StoreRefused, StoreSettings, StoreUnavailable
from pacarchive.runtime.threads import finished

_log = Logger()


class InUse(Exception):
    """Another process has the store open; C{str()} names it."""


async def find_store(reactor: Any, settings: StoreSettings, make_pool: MakePool) -> bool:
    """
    Find out whether there is a store; one that an earlier version has elsewhere is moved first.

    @param reactor: The reactor.
    @param settings: How to reach the store.
    @param make_pool: Makes the thread for that.
    @return: Whether there is a store.
    @raise StoreUnavailable: There is one, but it cannot be moved.
    """
    default = settings.default
    if default is not None and _is_to_be_moved(default):
        pool = make_pool(reactor, "recall-move", 1)
        pool.start()
        try:
            await finished(
                deferToThreadPool(reactor, pool.threadpool, _move, default, settings.archive)  # type: ignore[arg-type]
            )
        except InUse as error:
            raise StoreRefused("The list of recalls is in use.") from error
        except (OSError, sqlite3.Error) as error:
            _log.error("job store: {former} cannot be taken over: {error}", former=default.former, error=error)
            raise StoreUnavailable("The list of recalls cannot be taken over.") from error
        finally:
            pool.stop()
    return _is_there(settings.address)


def make_store_directory(settings: StoreSettings) -> None:
    """
    Create the archive's own directory, if the store is to be in it, and check that it belongs to this user.

    @param settings: How to reach the store.
    @raise StoreUnavailable: It cannot be created, or belongs to another user.
    """
    if settings.default is not None and settings.default.is_inside:
        try:
            _make_directory(os.path.dirname(settings.default.path))
        except OSError as error:
            _log.error("job store: {error}", error=error)
            raise StoreUnavailable("The list of recalls does not answer.") from error


def _make_directory(path: str) -> None:
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    state = os.lstat(path)
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid():
        raise PermissionError(f"{path} is not a directory of this user")


def _is_to_be_moved(default: DefaultStore) -> bool:
    return os.path.lexists(default.former) and not os.path.lexists(default.path)


def _is_there(address: str) -> bool:
    return address.startswith("mariadb:") or os.path.exists(address)


def _move(default: DefaultStore, archive: str) -> None:
    if default.is_inside:
        _make_directory(os.path.dirname(default.path))
    take_over(default.former, default.path, archive)


def take_over(former: str, store: str, archive: str) -> None:
    """
    Move the store, if it is this archive's and there is none yet in the new place.  Blocks; may be called by several
    processes at the same time.

    The old file is removed when the new one is durable.  After an interruption between the two, it is left and ignored.

    @param former: The old file.
    @param store: The new file; its directory exists.
    @param archive: The archive's name in the store.
    @raise InUse: A server has it open.
    @raise OSError: The new file cannot be written.
    @raise sqlite3.Error: Likewise.
    """
    with _locked(os.path.dirname(store)):
        if os.path.lexists(store) or not _belongs_to_user(former):
            return
        # SQLite's locks protect the file, and closing any other descriptor of it in this process would drop them.
        with closing(_open(former)) as connection:
            if _archive_of(connection) != archive:
                return
            try:
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                connection.execute("PRAGMA journal_mode = DELETE")  # which takes the exclusive lock, and keeps it
            except sqlite3.OperationalError as error:
                raise InUse(f"{former} is in use; stop the server that has it open") from error
            _copy(connection, store)
            os.unlink(former)
            _sync(os.path.dirname(former))
    _log.info("the list of stage jobs was moved from {former} to {store}", former=former, store=store)


@contextmanager
def _locked(directory: str) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _belongs_to_user(path: str) -> bool:
    """Return whether a file belongs to this user: in a working directory, anybody may have put one of this name."""
    try:
        state = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(state.st_mode) and state.st_uid == os.geteuid()


def _open(path: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=1.0, isolation_level=None)


def _archive_of(connection: sqlite3.Connection) -> str | None:
    """Return the archive that a store belongs to; C{None} if the file is not a store."""
    try:
        row = connection.execute("SELECT archive FROM turn").fetchone()
    except sqlite3.DatabaseError:
        return None
    return None if row is None else str(row[0])


def _copy(connection: sqlite3.Connection, store: str) -> None:
    draft = f"{store}.new"
    with suppress(FileNotFoundError):
        os.unlink(draft)  # left by an interrupted process
    try:
        with closing(sqlite3.connect(draft)) as copy:
            connection.backup(copy)
        _sync(draft)
        os.rename(draft, store)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(draft)
        raise
    _sync(os.path.dirname(store))


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
