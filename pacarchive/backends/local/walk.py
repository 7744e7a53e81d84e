"""Visits every name below the prefix, and resumes at any: directories of any size need no memory, links lead nowhere.

A place in a tree is a position in each directory on the way to a name, as the file system itself tells them
(C{d_off}), so that to resume costs the opening of those directories and no more.  A file system that NFS can export
keeps such positions valid while names come and go, and has to: ext4, XFS, btrfs, ZFS, Lustre, and tmpfs since Linux
6.6.  Elsewhere a name may be missed, or met twice, when others near it change between two pages.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs

from pacarchive.backends.local.hidden import HIDDEN
from pacarchive.backends.local.syscalls import DIRECTORY_FLAGS, directory_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pacarchive.backends.local.layout import Layout

_DEEPEST = 64
_UNKNOWN: Final = 0
_DIRECTORY: Final = stat.S_IFDIR >> 12
_REGULAR: Final = stat.S_IFREG >> 12


@attrs.define(eq=False)
class Name:
    """
    A name in a directory.

    @ivar path: The path, relative to the prefix.
    @ivar directory: A descriptor of its directory; valid until the next name is taken.
    @ivar name: The last part of the path.
    @ivar kind: What the directory says that it is (C{d_type}); 0 where it does not say.
    """

    path: str
    directory: int
    name: str
    kind: int

    def stat(self) -> os.stat_result:
        """Return its status; that of the link itself if it is one."""
        return os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory, and not a link to one."""
        return self._is(_DIRECTORY)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.kind == _REGULAR or self._is(_REGULAR)

    def _is(self, kind: int) -> bool:
        if self.kind == _UNKNOWN:
            with suppress(FileNotFoundError):
                self.kind = self.stat().st_mode >> 12
        return self.kind == kind


@attrs.define(eq=False)
class _Level:
    """
    A directory that is being read.

    @ivar name: Its name in the one above.
    @ivar place: The position behind the last name that was taken.
    """

    name: str
    path: str
    descriptor: int
    place: int
    entries: Iterator[tuple[str, int, int]]


class Walk:
    """
    Goes through a tree, once, except for the archive's own directory: all its names, each directory before its
    contents.

    @param root: A descriptor of the top.
    @param enters: Returns whether to enter a directory.
    @param failed: Called with directories that cannot be read.
    @param place: Where to resume: what L{place} was; empty for the start.
    @param stands: Called with a descriptor of the directory whose names come next, whenever that is another.
    @raise OSError: There is no such place.
    """

    def __init__(
        self,
        root: int,
        enters: Callable[[Name], bool],
        failed: Callable[[str, OSError], None],
        place: str = "",
        stands: Callable[[int], None] = lambda directory: None,
    ) -> None:
        self._enters = enters
        self._failed = failed
        self._stands = stands
        self._levels: list[_Level] = []
        self._entering = ""
        try:
            self._resume(root, place.split("."))
        except BaseException:
            self.close()
            raise
        self._names = self._go_through()

    @property
    def place(self) -> str:
        """
        Where to resume with what follows the last name: positions, with the names of directories between them.  Only
        for trees without dots in the names of directories.
        """
        parts = [part for level in self._levels for part in (level.name, str(level.place))][1:]
        return ".".join([*parts, self._entering, "0"] if self._entering else parts)

    def close(self) -> None:
        """Release the directories that are open; to be called where not all names are taken."""
        while self._levels:
            os.close(self._levels.pop().descriptor)

    def __iter__(self) -> Iterator[Name]:
        return self._names

    def _resume(self, root: int, place: list[str]) -> None:
        self._open("", "", os.open(".", DIRECTORY_FLAGS, dir_fd=root), int(place[0] or 0))
        for name, position in zip(place[1::2], place[2::2], strict=True):
            if not self._enter(name, int(position)):
                break  # it has gone meanwhile, and all that was in it: go on behind it

    def _open(self, name: str, path: str, descriptor: int, place: int) -> None:
        try:
            if place:
                os.lseek(descriptor, place, os.SEEK_SET)
        except BaseException:
            os.close(descriptor)
            raise
        self._levels.append(_Level(name, path, descriptor, place, directory_entries(descriptor)))
        self._stands(descriptor)

    def _enter(self, name: str, place: int = 0) -> bool:
        level = self._levels[-1]
        path = f"{level.path}/{name}" if level.path else name
        try:
            if len(self._levels) > _DEEPEST:
                raise OSError(0, f"more than {_DEEPEST} directories deep")
            flags = DIRECTORY_FLAGS | os.O_NOFOLLOW
            self._open(name, path, os.open(name, flags, dir_fd=level.descriptor), place)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._failed(path, error)
            return False
        return True

    def _go_through(self) -> Iterator[Name]:
        try:
            while self._levels:
                level = self._levels[-1]
                try:
                    entry = next(level.entries, None)
                except OSError as error:
                    self._failed(level.path, error)
                    entry = None
                if entry is None:
                    os.close(self._levels.pop().descriptor)
                    if self._levels:
                        self._stands(self._levels[-1].descriptor)
                    continue
                text, kind, level.place = entry
                path = f"{level.path}/{text}" if level.path else text
                if path == HIDDEN:
                    continue
                name = Name(path, level.descriptor, text, kind)
                if kind != _REGULAR and name.is_directory and self._enters(name):
                    self._entering = text
                    yield name
                    self._entering = ""
                    self._enter(text)
                else:
                    yield name
        finally:
            self.close()


def files_of(
    root: int, layout: Layout, failed: Callable[[str, OSError], None], place: str = ""
) -> Iterator[tuple[int, Name]]:
    """Return the ids and names of files that have ids, in no particular order; other names are left out."""
    for name in Walk(root, lambda name: layout.leads_to_files(name.path), failed, place):
        if name.is_file and (file_id := layout.id_of(name.path)) is not None:
            yield file_id, name
