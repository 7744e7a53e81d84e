"""The archive's part of the HPSS name space: which file has which id, and what is known of it.

Everything here blocks and is called in pool threads.  L{pacarchive.backends.hpss.publish} adds, moves and removes.
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
from pacarchive.backends.hpss.words import translating
from pacarchive.digests import PRIMARY, Digests
from pacarchive.ids import id_to_path, path_to_id
from pacarchive.model import FileStatus, WriteConditions
from pacarchive.texts import printable
from pacarchive.times import SECOND

HIDDEN = ".pacarchive"
"""The archive's own directory below the prefix; no id maps into it."""

_PRIVATE_MODE = 0o700
_TRIAL = "writable"
_KNOWN_DIGESTS = 16384

_NO_DIGESTS = frozenset(
    {errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ERANGE, errno.EMSGSIZE}
)
"""The site has no attributes, or has them and we cannot make anything of these; anything else is passing trouble."""

_log = Logger()


@attrs.frozen
class _LeftOver:
    """A name that could not be removed when it should have been; the fields are L{HpssTree.drop}'s parameters."""

    identity: int | None
    linked: bool


class HpssTree:
    """
    The files of one archive.

    @param session: The login that everything is done with.
    @param prefix: The archive's root, an absolute path in HPSS.
    @param move_roots: Directories in HPSS that files may be moved from.
    @ivar session: The same.
    @ivar locks: Guard what must be seen and done as one step.
    @ivar temporaries: The directory of the files that are not complete.
    @ivar move_roots: The same, symbolic links resolved, once L{prepare} has been called.
    """

    def __init__(self, session: Session, prefix: str, move_roots: Sequence[str]) -> None:
        self.session = session
        self.prefix = prefix.rstrip("/")
        self.locks = IdLocks(self.prefix)
        self.temporaries = f"{self.prefix}/{HIDDEN}"
        self.move_roots = tuple(move_roots)
        # Digests by what identifies a version; each look-up is a transaction in the core server's database.
        self._known: dict[tuple[str, int, int, int], Digests] = {}
        self._left_over: dict[str, _LeftOver] = {}
        self._left_over_lock = threading.Lock()

    def prepare(self) -> None:
        """
        See that the archive is there, make its hidden directory, and sweep that.

        @raise errors.BackendUnavailable: It is not, with words for the operator.
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
        """The place of an id."""
        return self.prefix + id_to_path(file_id)

    def id_of(self, path: str) -> int | None:
        """The id that has a place, if one has."""
        if not path.startswith(f"{self.prefix}/"):
            return None
        try:
            return path_to_id(path.removeprefix(self.prefix))
        except ValueError:
            return None

    # describing

    def status(self, file_id: int) -> FileStatus:
        """
        The published version.

        @raise errors.NotFound: There is none.
        """
        return self.described(file_id)[0]

    def published(self, file_id: int) -> FileStatus | None:
        """
        The published version, if there is one.

        @raise errors.NotAFile: There can be none.
        """
        try:
            return self.status(file_id)
        except errors.NotAFile:
            raise
        except errors.NotFound:
            return None

    def described(self, file_id: int) -> tuple[FileStatus, Attributes]:
        """
        The published version in our words and in those of HPSS, both of one moment.

        @raise errors.NotFound: There is none.
        """
        path = self.path_of(file_id)
        found = self.attributes(path)
        while (digests := self._known.get((path, *version_of(found)))) is None:
            before = found
            self.refuse_links(path)
            with translating("Can't open hpss file"):
                digests = self.stored_digests(path, found.size)
            # Digests are read by name: were they those of the version that was there before?
            found = self.attributes(path)
            if version_of(found) == version_of(before):
                self.know(path, found, digests)
                break
        return self.status_of(file_id, found, digests), found

    def attributes(self, path: str) -> Attributes:
        """
        What HPSS knows of a regular file.

        @raise errors.NotFound: There is none; L{errors.NotAFile} where something else has the name.
        """
        with translating("Can't open hpss file"):
            found = self.session.call(client.attributes, path)
            if found.kind is not Kind.FILE:
                raise self._no_file(self.session.call(client.lstat, path).kind)
        return found

    def _no_file(self, kind: Kind) -> errors.NotFound:
        """What it means that something else is in the place of a file.  A symbolic link is nothing."""
        if kind is Kind.SYMLINK:
            return errors.NotFound("No file has this id.")
        return errors.NotAFile("What is in the place of this id is not a file.")

    def status_of(self, file_id: int, found: Attributes, digests: Digests) -> FileStatus:
        """Describe a version."""
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
        """Refuse early what publishing would refuse."""
        if not conditions.unconditional:
            conditions.require(self.published(file_id))

    def refuse_links(self, path: str) -> None:
        """
        See that a place is a regular file's, and the way there too: HPSS follows symbolic links, and they lead
        anywhere.  Versions whose digests are known have been looked at.

        @raise errors.NotFound: It is not; L{errors.NotAFile} where something else has the name.
        """
        with translating("Can't open hpss file"):
            for place in self.directories_of(path):
                if self.session.call(client.lstat, place).kind is not Kind.DIRECTORY:
                    raise errors.NotFound("No file has this id.")
            if (kind := self.session.call(client.lstat, path).kind) is not Kind.FILE:
                raise self._no_file(kind)

    def directories_of(self, path: str) -> list[str]:
        """The directories between the prefix and a place, from the top."""
        names = path[len(self.prefix) + 1 :].split("/")
        return [posixpath.join(self.prefix or "/", *names[:depth]) for depth in range(1, len(names))]

    # digests

    def stored_digests(self, path: str, size: int) -> Digests:
        """
        The digests in the attributes of a file of a given size, whoever wrote them; none where there are none.

        @raise HpssError: Whether there are any is not known at present: without them, the file would have another
            entity tag.
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
        Put digests into the attributes of a new file.

        @raise HpssError: They are not stored.
        """
        self.session.call(client.set_user_attributes, path, to_attributes(digests, size, int(time.time())))

    def add_digests(self, path: str, digests: Digests, size: int) -> None:
        """
        Put further digests into the attributes of a file.

        @raise HpssError: They are not stored.
        """
        values = added(self._stored_attributes(path), digests, size, int(time.time()))
        self.session.call(client.set_user_attributes, path, values)

    def _stored_attributes(self, path: str) -> dict[str, str]:
        for keys in ((*STANDARD_KEYS, OTHERS_KEY), STANDARD_KEYS):
            try:
                return self.session.call(client.get_user_attributes, path, keys)
            except HpssError as error:
                # One is missing; or the file is, which the caller looks at again.
                if error.errno != errno.ENOENT:
                    raise
        return {}

    def know(self, path: str, found: Attributes, digests: Digests) -> None:
        """Keep the digests of a version at hand; one without the primary one may get it at any time."""
        if PRIMARY in digests:
            if len(self._known) >= _KNOWN_DIGESTS:
                with suppress(KeyError, RuntimeError, StopIteration):
                    del self._known[next(iter(self._known))]
            self._known[path, *version_of(found)] = digests

    def require_writable(self) -> None:
        """
        See that the archive is in its place, and that names can be made and removed in it: no rights were lost, no
        fileset is read-only.  It is done with a directory, because a file would wait for a mover, and where a trash can
        is kept it would gather one each time.

        @raise errors.BackendUnavailable: They cannot.
        """
        with translating("Can't write hpss file", absent=errors.BackendUnavailable):
            with unless_there():  # another process tries as well
                self.session.call(client.mkdir, f"{self.temporaries}/{_TRIAL}", _PRIVATE_MODE)
            try:
                self.session.call(client.rmdir, f"{self.temporaries}/{_TRIAL}")
            except HpssError as error:
                if error.errno != errno.ENOENT:
                    raise
                self.session.call(client.stat, self.temporaries)  # the other has removed it; or all is gone

    # temporaries

    def new_temporary(self) -> str:
        """A name for a file that is not complete."""
        return f"{self.temporaries}/{self._writer.new_name()}"

    def drop(self, path: str, identity: int | None = None, *, linked: bool = False) -> None:
        """
        Remove a name; raises nothing.  What cannot be removed now is tried again by L{drop_left_over}.

        @param identity: What HPSS calls the file (C{FileId}), where others can put another under the same name.
        @param linked: Whether the file has another name, and is to keep it.
        """
        self._drop(path, _LeftOver(identity, linked))

    def _drop(self, path: str, what: _LeftOver) -> None:
        try:
            self.session.call(client.unlink, path)
        except HpssError as error:
            self._keep_in_mind(path, what, error)

    @property
    def has_left_over(self) -> bool:
        """Whether there is something for L{drop_left_over}."""
        return bool(self._left_over)

    def drop_left_over(self) -> None:
        """Remove what could not be removed when it should have been."""
        for path in list(self._left_over):
            file_id = self.id_of(path)
            try:
                with nullcontext() if file_id is None else self.locks.held(file_id):
                    self._drop_left_over(path)
            except errors.BackendUnavailable as error:  # another change of the id takes long: next time
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
            self._keep_in_mind(path, what, error)

    def _is_still(self, path: str, what: _LeftOver) -> bool:
        """
        Whether a name is what was to be removed.  Where the file has no other one any more, another process has given
        it this one anew, of which L{is_wanted_again} hears nothing here.
        """
        found = self.session.call(client.attributes, path)
        return found.file_id == what.identity and (found.links > 1 or not what.linked)

    def is_wanted_again(self, path: str) -> None:
        """
        Do not remove a name any more that could not be removed when it should have been: it is given anew, perhaps to
        the same file.
        """
        with self._left_over_lock:
            self._left_over.pop(path, None)

    def _keep_in_mind(self, path: str, what: _LeftOver, error: HpssError) -> None:
        if error.errno != errno.ENOENT:
            with self._left_over_lock:
                self._left_over[path] = what
            _log.warn("HPSS: {path} cannot be removed yet: {error}", path=printable(path), error=error)

    def abandoned(self, me: Writer) -> Iterator[tuple[str, Stat]]:
        """
        The temporaries of writers that are no more: their paths, and what HPSS knows of them.

        @param me: The process that asks.
        """
        for name in self.session.call(client.listdir, self.temporaries):
            path = posixpath.join(self.temporaries, name)
            try:
                found = self.session.call(client.lstat, path)
            except HpssError as error:
                if error.errno != errno.ENOENT:
                    raise
                continue  # another process sweeps as well
            if is_left_over(name, time.time() - found.ctime, me, starting_time):
                yield path, found

    def _sweep(self) -> None:
        """Remove what writers left that are no more."""
        for path, _ in self.abandoned(self._writer):
            _log.info("HPSS: removing {path}, whose writer is gone", path=printable(path))
            self.drop(path)


@contextmanager
def unless_there() -> Iterator[None]:
    """Nothing has to be made where there is something."""
    try:
        yield
    except HpssError as error:
        if error.errno != errno.EEXIST:
            raise


def version_of(found: Attributes) -> tuple[int, int, int]:
    """What tells a version of a file from all others."""
    return found.file_id, found.ctime, found.size
