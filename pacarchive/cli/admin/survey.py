"""A survey of the names in an archive's tree, and of its file system; changes nothing, and reads no file's data."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import attrs

from pacarchive.backends.local.fixity import FixityStore
from pacarchive.backends.local.hidden import HIDDEN
from pacarchive.backends.local.layout import FLAT, SPREAD, Layout
from pacarchive.backends.local.syscalls import DIRECTORY_FLAGS, LOOK_FLAGS, open_beneath
from pacarchive.backends.local.walk import Name, Walk
from pacarchive.cli.admin.archive import user_name
from pacarchive.cli.admin.findings import Finding
from pacarchive.cli.admin.loose import loose_id
from pacarchive.cli.printing import age_words, size_words
from pacarchive.digests import PRIMARY
from pacarchive.texts import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
_RECENT = 3600.0
_PREDECESSORS_BLOCK = 64 << 10
"""The predecessor's server copies a body in pieces of so many bytes, so a body that was cut short may end after one."""

_MOST_ALIASES = 100_000
"""The most unusual spellings of ids that are remembered, to find two of the same id."""

_LEAST_SHARE = 0.01
_EMPTY_DIGEST = hashlib.sha256().digest()
_NO_UNNAMED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})


@attrs.define
class Totals:
    """
    Totals of an archive's tree.

    @ivar files: The count of regular files.
    @ivar bytes: Their bytes.
    @ivar flat: The count of those with a name of the flat layout.
    @ivar id2filename: The count of those with a name of the other layout.
    @ivar directories: The count of directories, without the archive's own.
    @ivar digested: The count of files of ids that have a stored digest.
    @ivar free_bytes: The space that is available to this user.
    @ivar free_inodes: The count of files that can be added; -1 if the file system has no limit.
    """

    files: int = 0
    bytes: int = 0
    flat: int = 0
    id2filename: int = 0
    directories: int = 0
    digested: int = 0
    free_bytes: int = 0
    free_inodes: int = -1


class Survey:
    """
    One pass through a tree.

    @param root: A descriptor of the prefix.
    @param layout: The layout that the settings select.
    @param found: Called with each finding.
    @ivar totals: The totals so far.
    """

    def __init__(self, root: int, layout: Layout, found: Callable[[Finding], None]) -> None:
        self._root = root
        self._layout = layout
        self._other = FLAT if layout is SPREAD else SPREAD
        self._found = found
        self._device = os.fstat(root).st_dev
        self._me = os.geteuid()
        self._aliases: set[int] = set()
        self._sidecars: FixityStore | None = None
        self._now = time.time()
        self._missing = 0
        self.totals = Totals()

    def run(self) -> Iterator[str]:
        """
        Survey the tree.

        @return: The paths, each after it was examined.
        """
        self._look_at_place()
        with _opened_sidecars(self._root) as self._sidecars:
            for name in Walk(self._root, self._is_here, self._unreadable):
                with suppress(FileNotFoundError):  # removed meanwhile
                    self._look_at(name)
                yield name.path
        self._look_at_room()

    # The place.

    def _look_at_place(self) -> None:
        if self._me == 0:
            self._find("root")
        if os.fstatvfs(self._root).f_flag & os.ST_RDONLY:
            self._find("read_only")
        elif not self._has_unnamed_files():
            self._find("no_unnamed_files")
        if not _has_attributes(self._root):
            self._find("no_attributes")
        try:
            state = os.stat(HIDDEN, dir_fd=self._root, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(state.st_mode):
            self._find("hidden", HIDDEN, "it is not a directory")
        elif state.st_uid != self._me:
            self._find("hidden", HIDDEN, f"it belongs to {user_name(state.st_uid)}")
        elif state.st_dev != self._device:
            self._find("other_file_system", HIDDEN)
        else:
            self._look_at_temporaries()

    def _look_at_temporaries(self) -> None:
        path = f"{HIDDEN}/tmp"  # noqa: S108  (below the prefix)
        with suppress(OSError):
            directory = open_beneath(self._root, path, DIRECTORY_FLAGS | os.O_NOFOLLOW)
            try:
                for name in os.listdir(directory):
                    self._find("left_over", f"{path}/{name}")
            finally:
                os.close(directory)

    def _has_unnamed_files(self) -> bool:
        """Try to create an unnamed file, which is gone when its descriptor is closed."""
        try:
            os.close(os.open(".", os.O_RDWR | os.O_CLOEXEC | os.O_TMPFILE, 0o600, dir_fd=self._root))
        except OSError as error:
            return error.errno not in _NO_UNNAMED
        return True

    def _look_at_room(self) -> None:
        space = os.fstatvfs(self._root)
        totals = self.totals
        totals.free_bytes = space.f_bavail * space.f_frsize
        totals.free_inodes = space.f_favail if space.f_files else -1
        if totals.free_bytes < space.f_blocks * space.f_frsize * _LEAST_SHARE:
            self._find("full", detail=f"{size_words(totals.free_bytes)} left")
        elif totals.free_bytes < (needed := self._missing * space.f_frsize):
            self._find("full", detail=f"{size_words(totals.free_bytes)} left; digests may take {size_words(needed)}")
        if space.f_files and space.f_favail < space.f_files * _LEAST_SHARE:
            self._find("full", detail=f"room for {counted(space.f_favail, 'more file')} (inodes) left")

    # Names.

    def _is_here(self, directory: Name) -> bool:
        with suppress(FileNotFoundError):
            return directory.stat().st_dev == self._device
        return False

    def _unreadable(self, path: str, error: OSError) -> None:
        self._find("unreadable_directory", path or ".", error.strerror or str(error))

    def _look_at(self, name: Name) -> None:
        state = name.stat()
        if stat.S_ISREG(state.st_mode):
            self._look_at_file(name, state)
        elif stat.S_ISDIR(state.st_mode):
            self.totals.directories += 1
            if state.st_dev != self._device:
                self._find("other_file_system", name.path)
            elif _is_empty(name):
                self._find("empty_directory", name.path)
        elif stat.S_ISLNK(state.st_mode):
            self._find("symlink", name.path, f"to {os.readlink(name.name, dir_fd=name.directory)}")
        else:
            self._find("special", name.path, stat.filemode(state.st_mode))

    def _look_at_file(self, name: Name, state: os.stat_result) -> None:
        totals = self.totals
        totals.files += 1
        totals.bytes += state.st_size
        file_id = self._layout.id_of(name.path)
        other_id = self._other.id_of(name.path) if file_id is None else None
        totals.flat += (file_id if self._layout is FLAT else other_id) is not None
        totals.id2filename += (file_id if self._layout is SPREAD else other_id) is not None
        if file_id is None:
            self._look_at_odd_name(name.path, other_id)
        else:
            self._look_at_digest(name, state, file_id)
        if file_id is not None or other_id is not None:
            self._look_at_mode(name, state)
        if state.st_nlink > 1:
            self._find("hard_link", name.path, f"{state.st_nlink} names")

    def _look_at_odd_name(self, path: str, other_id: int | None) -> None:
        file_id = loose_id(path, self._layout) if other_id is None else other_id
        if file_id is not None:
            with suppress(OSError):
                os.close(open_beneath(self._root, usual := self._layout.name_of(file_id), LOOK_FLAGS))
                self._find("same_id", path, f"{file_id}, as {usual}")
                return
            if file_id in self._aliases:
                self._find("same_id", path, f"{file_id}, as another name here")
                return
            if len(self._aliases) < _MOST_ALIASES:
                self._aliases.add(file_id)
        if other_id is not None:
            self._find("layout", path, f"{self._other.name} for {other_id}")
        else:
            self._find("no_id", path)

    # Files.

    def _look_at_mode(self, name: Name, state: os.stat_result) -> None:
        mode = stat.S_IMODE(state.st_mode)
        if mode & _WRITABLE:
            self._find("unfinished", name.path, self._unfinished_words(state, mode))
        elif not state.st_size:
            self._find("empty", name.path)
        if mode & _SPECIAL_BITS:
            self._find("special_bits", name.path, f"mode {mode:04o}")
        elif mode != 0o444 and not mode & _WRITABLE:
            self._find("mode", name.path, f"mode {mode:04o}")
        if self._me == 0:
            return
        if not os.access(name.name, os.R_OK, dir_fd=name.directory, effective_ids=True, follow_symlinks=False):
            self._find("unreadable", name.path, f"mode {mode:04o}, of {user_name(state.st_uid)}")
        elif state.st_uid != self._me:
            self._find("owner", name.path, user_name(state.st_uid))

    def _unfinished_words(self, state: os.stat_result, mode: int) -> str:
        words = [f"mode {mode:04o}", size_words(state.st_size)]
        if mode & stat.S_IWOTH:
            words.append("everybody may write")
        if state.st_size and not state.st_size % _PREDECESSORS_BLOCK:
            words.append("whole blocks, as if cut short")
        if (age := self._now - max(state.st_mtime, state.st_ctime)) < _RECENT:
            words.append(f"changed {age_words(age)} ago: perhaps it is being written")
        return ", ".join(words)

    def _look_at_digest(self, name: Name, state: os.stat_result, file_id: int) -> None:
        try:
            digest = self._digest_of(name)
        except PermissionError:
            return  # reported by the check of the mode
        if digest is None:
            self._missing += 1
            self._find("no_digest", name.path)
            return
        self.totals.digested += 1
        if len(digest) != len(_EMPTY_DIGEST):
            self._find("stale_digest", name.path, f"a digest of {len(digest)} bytes")
        elif (digest == _EMPTY_DIGEST) != (not state.st_size):
            self._find("stale_digest", name.path, f"a digest of other bytes than these {state.st_size}")

    def _digest_of(self, name: Name) -> bytes | None:
        # The file is not opened, as that could recall it from tape.
        place = f"/proc/self/fd/{name.directory}/{name.name}"
        try:
            return os.getxattr(place, f"user.pacarchive.{PRIMARY}", follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOTSUP, errno.ENOSYS, errno.EPERM):
                raise
        if self._sidecars is None:
            return None
        descriptor = os.open(name.name, LOOK_FLAGS, dir_fd=name.directory)
        try:
            return self._sidecars.load(descriptor, path_only=True).get(PRIMARY)
        finally:
            os.close(descriptor)

    def _find(self, kind: str, path: str = "", detail: str = "") -> None:
        self._found(Finding(kind, path, detail))


@contextmanager
def _opened_sidecars(root: int) -> Iterator[FixityStore | None]:
    """Open the digests that are in files of their own; C{None} if there are none, or none that this user may read."""
    try:
        descriptor = open_beneath(root, f"{HIDDEN}/digests", DIRECTORY_FLAGS | os.O_NOFOLLOW)
    except OSError:
        yield None
        return
    try:
        yield FixityStore(descriptor, -1, lambda descriptor: None)
    finally:
        os.close(descriptor)


def _has_attributes(descriptor: int) -> bool:
    try:
        os.getxattr(descriptor, f"user.pacarchive.{PRIMARY}")
    except OSError as error:
        return error.errno not in (errno.ENOTSUP, errno.ENOSYS)
    return True


def _is_empty(name: Name) -> bool:
    try:
        descriptor = os.open(name.name, DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=name.directory)
    except PermissionError:
        return False  # reported when it is entered
    try:
        with os.scandir(descriptor) as entries:
            return next(entries, None) is None
    finally:
        os.close(descriptor)
