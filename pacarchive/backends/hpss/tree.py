"""The archive's files in the HPSS name space: their names, status and digests, and the temporaries.

Everything here blocks and is called in pool threads.  L{pacarchive.backends.hpss.publish} adds and removes files.
"""

from __future__ import annotations

import errno
import posixpath
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress

import attrs
from twisted.logger import Logger

from pacarchive import errors
from pacarchive.backends.hpss import client
from pacarchive.backends.hpss.checksums import OTHERS_KEY, STANDARD_KEYS, added, from_attributes, to_attributes
from pacarchive.backends.hpss.client import Attributes, HpssError, Kind, Stat
from pacarchive.backends.hpss.locks import IdLocks
from pacarchive.backends.hpss.residency import locality_of
from pacarchive.backends.hpss.session import Session
from pacarchive.backends.hpss.temporaries import Writer, is_left_over, starting_time, this_writer
from pacarchive.backends.hpss.translation import translating
from pacarchive.digests import PRIMARY, Digests
from pacarchive.ids import id_to_path, path_to_id
from pacarchive.model import FileStatus, WriteConditions
from pacarchive.texts import printable
from pacarchive.times import SECOND

HIDDEN = ".pacarchive"
"""The name of the archive's own directory below the prefix; no id maps into it."""

_PRIVATE_MODE = 0o700
_PROBE_NAME = "writable"
_MOST_CACHED_DIGESTS = 16384

_NO_DIGESTS = frozenset(
    {errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ERANGE, errno.EMSGSIZE}
)
"""Errors that mean that a file has no digests that can be read; any other error is temporary."""

_log = Logger()


@attrs.frozen
class _LeftOver:
    """A name whose removal failed and is to be retried; the fields are parameters of L{HpssTree.drop}."""

    identity: int | None
    linked: bool


class HpssTree:
    """
    The files of one archive.

    @param session: The login.
    @param prefix: The archive's root, an absolute path in HPSS.
    @param move_roots: Directories in HPSS that files may be moved from.
    @ivar locks: The locks of ids, for steps that must be atomic.
    @ivar temporaries: The path of the directory for temporaries.
    @ivar move_roots: The move roots, whose symbolic links are resolved at the start.
    """

    def __init__(self, session: Session, prefix: str, move_roots: Sequence[str]) -> None:
        self.session = session
        self.prefix = prefix.rstrip("/")
        self.locks = IdLocks(self.prefix)
        self.temporaries = f"{self.prefix}/{HIDDEN}"
        self.move_roots = tuple(move_roots)
        # Digests by version, as each look-up is a transaction in the core server's database.
        self._cached_digests: dict[tuple[str, int, int, int], Digests] = {}
        self._left_over: dict[str, _LeftOver] = {}
        self._left_over_lock = threading.Lock()

    def prepare(self) -> None:
        """
        Check that the archive exists, create its hidden directory, and sweep that.

        @raise errors.BackendUnavailable: It cannot be used; the message is for the operator.
        """
        self._writer = this_writer()  # not before: twistd forks on the way here
        self.locks.check()
        try:
            if self.session.call(client.stat, self.prefix or "/").kind is not Kind.DIRECTORY:
                raise errors.BackendUnavailable(f"HPSS: {self.prefix} is not a directory")
            with unless_there():
                self.session.call(client.mkdir, self.temporaries, _PRIVATE_MODE)
            if self.session.call(client.lstat, self.temporaries).kind is not Kind.DIRECTORY:
                # A link: what it leads to would be swept.
                raise errors.BackendUnavailable(f"HPSS: {self.temporaries} is not a directory of the archive's own")
            self._sweep()
        except HpssError as error:
            raise errors.BackendUnavailable(f"HPSS: the prefix {self.prefix or '/'} cannot be used: {error}") from error

    def path_of(self, file_id: int) -> str:
        """Return the path of an id."""
        return self.prefix + id_to_path(file_id)

    def id_of(self, path: str) -> int | None:
        """Return the id that a path belongs to; C{None} where there is none."""
        if not path.startswith(f"{self.prefix}/"):
            return None
        try:
            return path_to_id(path.removeprefix(self.prefix))
        except ValueError:
            return None

    # status

    def status(self, file_id: int) -> FileStatus:
        """
        Return the status of the published version.

        @raise errors.NotFound: There is none.
        """
        return self.describe(file_id)[0]

    def published(self, file_id: int) -> FileStatus | None:
        """
        Return the status of the published version; C{None} where there is none.

        @raise errors.NotAFile: Something that is not a file is in its place.
        """
        try:
            return self.status(file_id)
        except errors.NotAFile:
            raise
        except errors.NotFound:
            return None

    def describe(self, file_id: int) -> tuple[FileStatus, Attributes]:
        """
        Return the status of the published version, and HPSS's attributes that it was made from.

        @raise errors.NotFound: There is none.
        """
        path = self.path_of(file_id)
        found = self.attributes(path)
        while (digests := self._cached_digests.get((path, *version_of(found)))) is None:
            before = found
            self.refuse_links(path)
            with translating("Can't open hpss file"):
                digests = self.stored_digests(path, found.size)
            # Digests are read by name, and so might be those of another version.
            found = self.attributes(path)
            if version_of(found) == version_of(before):
                self.cache_digests(path, found, digests)
                break
        return self.status_of(file_id, found, digests), found

    def attributes(self, path: str) -> Attributes:
        """
        Return HPSS's attributes of a regular file.

        @raise errors.NotFound: There is none; L{errors.NotAFile} where something else has the name.
        """
        with translating("Can't open hpss file"):
            found = self.session.call(client.attributes, path)
            if found.kind is not Kind.FILE:
                raise self._no_file(self.session.call(client.lstat, path).kind)
        return found

    def _no_file(self, kind: Kind) -> errors.NotFound:
        """Return the error for something else in the place of a file.  A symbolic link counts as nothing."""
        if kind is Kind.SYMLINK:
            return errors.NotFound("No file has this id.")
        return errors.NotAFile("What is in the place of this id is not a file.")

    def status_of(self, file_id: int, found: Attributes, digests: Digests) -> FileStatus:
        """Return the status of a version, from its attributes and digests."""
        levels = [level for level in found.levels if level.medium]
        return FileStatus(
            file_id=file_id,
            path=self.path_of(file_id),
            size=found.size,
            mtime_ns=found.mtime * SECOND,
            ctime_ns=found.ctime * SECOND,
            bytes_per_level=tuple(level.bytes for level in levels),
            media=tuple(level.medium for level in levels),
            locality=locality_of(found.size, levels),
            digests=digests,
            generation=f"{found.file_id:x}-{found.size:x}-{found.mtime:x}-{found.ctime:x}",
        )

    def check(self, file_id: int, conditions: WriteConditions) -> None:
        """Refuse early what publishing would refuse: check the conditions against the published version."""
        if not conditions.unconditional:
            conditions.require(self.published(file_id))

    def refuse_links(self, path: str) -> None:
        """
        Check that a path is that of a regular file, without a symbolic link in it: HPSS follows those, and they may
        lead anywhere.  Versions whose digests are cached have been checked.

        @raise errors.NotFound: It is not; L{errors.NotAFile} where something else has the name.
        """
        with translating("Can't open hpss file"):
            for place in self.directories_of(path):
                if self.session.call(client.lstat, place).kind is not Kind.DIRECTORY:
                    raise errors.NotFound("No file has this id.")
            if (kind := self.session.call(client.lstat, path).kind) is not Kind.FILE:
                raise self._no_file(kind)

    def directories_of(self, path: str) -> list[str]:
        """Return the paths of the directories between the prefix and a file, from the top."""
        names = path[len(self.prefix) + 1 :].split("/")
        return [posixpath.join(self.prefix or "/", *names[:depth]) for depth in range(1, len(names))]

    # digests

    def stored_digests(self, path: str, size: int) -> Digests:
        """
        Return the digests in the attributes of a file, which other programs may have written.

        @param size: The file's size in bytes.
        @raise HpssError: They cannot be read at present.  To return none would change the file's entity tag.
        """
        try:
            return from_attributes(self._stored_attributes(path), size)
        except HpssError as error:
            if error.errno not in _NO_DIGESTS:
                raise
            _log.warn("HPSS: the digests of {path} cannot be read: {error}", path=printable(path), error=error)
            return {}

    def store_digests(self, path: str, digests: Digests, size: int) -> None:
        """
        Store digests in the attributes of a new file.

        @param size: The file's size in bytes.
        @raise HpssError: They are not stored.
        """
        self.session.call(client.set_user_attributes, path, to_attributes(digests, size, int(time.time())))

    def add_digests(self, path: str, digests: Digests, size: int) -> None:
        """
        Store further digests in the attributes of a file.

        @param digests: Those to add, with the primary one.
        @param size: The file's size in bytes.
        @raise HpssError: They are not stored.
        """
        values = added(self._stored_attributes(path), digests, size, int(time.time()))
        self.session.call(client.set_user_attributes, path, values)

    def _stored_attributes(self, path: str) -> dict[str, str]:
        for keys in ((*STANDARD_KEYS, OTHERS_KEY), STANDARD_KEYS):
            try:
                return self.session.call(client.get_user_attributes, path, keys)
            except HpssError as error:
                # A key is missing; or the file is, which the caller checks.
                if error.errno != errno.ENOENT:
                    raise
        return {}

    def cache_digests(self, path: str, found: Attributes, digests: Digests) -> None:
        """Cache the digests of a version, unless the primary one is missing, as that may be added at any time."""
        if PRIMARY in digests:
            if len(self._cached_digests) >= _MOST_CACHED_DIGESTS:
                with suppress(KeyError, RuntimeError, StopIteration):
                    del self._cached_digests[next(iter(self._cached_digests))]
            self._cached_digests[path, *version_of(found)] = digests

    def require_writable(self) -> None:
        """
        Check that the archive exists, and that names can be created and removed in it.

        A directory is created, as a file would have to wait for a mover, and would be left in the site's trash can if
        it has one.

        @raise errors.BackendUnavailable: They cannot.
        """
        with translating("Can't write hpss file", absent=errors.BackendUnavailable):
            with unless_there():  # another process may do the same
                self.session.call(client.mkdir, f"{self.temporaries}/{_PROBE_NAME}", _PRIVATE_MODE)
            try:
                self.session.call(client.rmdir, f"{self.temporaries}/{_PROBE_NAME}")
            except HpssError as error:
                if error.errno != errno.ENOENT:
                    raise
                self.session.call(client.stat, self.temporaries)  # another process has removed it, or all is gone

    # temporaries

    def new_temporary(self) -> str:
        """Return the path of a new temporary."""
        return f"{self.temporaries}/{self._writer.new_name()}"

    def drop(self, path: str, identity: int | None = None, *, linked: bool = False) -> None:
        """
        Remove a name; raises nothing.  If that fails, L{drop_left_over} retries it.

        @param identity: HPSS's number of the file (C{FileId}), where the name may get another file meanwhile.
        @param linked: Whether the file has another name, which it keeps.
        """
        self._drop(path, _LeftOver(identity, linked))

    def _drop(self, path: str, what: _LeftOver) -> None:
        try:
            self.session.call(client.unlink, path)
        except HpssError as error:
            self._remember_left_over(path, what, error)

    @property
    def has_left_over(self) -> bool:
        """Whether there are names for L{drop_left_over}."""
        return bool(self._left_over)

    def drop_left_over(self) -> None:
        """Retry to remove the names whose removal has failed."""
        for path in list(self._left_over):
            file_id = self.id_of(path)
            try:
                with nullcontext() if file_id is None else self.locks.held(file_id):
                    self._drop_left_over(path)
            except errors.BackendUnavailable as error:  # another change of the id takes long: retry next time
                _log.warn("HPSS: {path} cannot be removed yet: {error}", path=printable(path), error=error)

    def _drop_left_over(self, path: str) -> None:
        with self._left_over_lock:
            if path not in self._left_over:
                return
            what = self._left_over.pop(path)
        try:
            if what.identity is None or self._is_still(path, what):
                self._drop(path, what)
        except HpssError as error:
            self._remember_left_over(path, what, error)

    def _is_still(self, path: str, what: _LeftOver) -> bool:
        """
        Return whether a name is still the one to remove.  If the file has no other name, it is not: another process has
        published the file under it again, which L{forget_left_over} of this process does not notice.
        """
        found = self.session.call(client.attributes, path)
        return found.file_id == what.identity and (found.links > 1 or not what.linked)

    def forget_left_over(self, path: str) -> None:
        """
        Do not retry to remove a name, because it is going to be published again, perhaps with the same file.
        """
        with self._left_over_lock:
            self._left_over.pop(path, None)

    def _remember_left_over(self, path: str, what: _LeftOver, error: HpssError) -> None:
        if error.errno != errno.ENOENT:
            with self._left_over_lock:
                self._left_over[path] = what
            _log.warn("HPSS: {path} cannot be removed yet: {error}", path=printable(path), error=error)

    def left_over_temporaries(self, me: Writer) -> Iterator[tuple[str, Stat]]:
        """
        Find the temporaries of writers that are gone.

        @param me: This process.
        @return: The path and status of each.
        """
        for name in self.session.call(client.listdir, self.temporaries):
            path = posixpath.join(self.temporaries, name)
            try:
                found = self.session.call(client.lstat, path)
            except HpssError as error:
                if error.errno != errno.ENOENT:
                    raise
                continue  # another process has swept it
            if is_left_over(name, time.time() - found.ctime, me, starting_time):
                yield path, found

    def _sweep(self) -> None:
        """Remove the temporaries of writers that are gone."""
        for path, _ in self.left_over_temporaries(self._writer):
            _log.info("HPSS: removing {path}, whose writer is gone", path=printable(path))
            self.drop(path)


@contextmanager
def unless_there() -> Iterator[None]:
    """Ignore that a name exists already (C{EEXIST})."""
    try:
        yield
    except HpssError as error:
        if error.errno != errno.EEXIST:
            raise


def version_of(found: Attributes) -> tuple[int, int, int]:
    """Return what identifies a version of a file."""
    return found.file_id, found.ctime, found.size
