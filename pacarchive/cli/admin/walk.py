"""Visits every name below the prefix: directories of any size need no memory, and links are not followed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from pacarchive.backends.local.hidden import HIDDEN
from pacarchive.backends.local.syscalls import DIRECTORY_FLAGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pacarchive.cli.admin.layout import Layout

_DEEPEST = 64


@attrs.frozen
class Name:
    """
    A name in a directory.

    @ivar path: The path, relative to the prefix.
    @ivar directory: A descriptor of its directory; valid until the next name is taken.
    @ivar entry: The directory's entry.
    """

    path: str
    directory: int
    entry: os.DirEntry[str]

    def stat(self) -> os.stat_result:
        """Return its status; that of the link itself if it is one."""
        return self.entry.stat(follow_symlinks=False)

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory, and not a link to one."""
        return self.entry.is_dir(follow_symlinks=False)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.entry.is_file(follow_symlinks=False)


def walk(root: int, enters: Callable[[Name], bool], failed: Callable[[str, OSError], None]) -> Iterator[Name]:
    """
    Go through a tree, except for the archive's own directory.

    @param root: A descriptor of the top.
    @param enters: Returns whether to enter a directory.
    @param failed: Called with directories that cannot be read.
    @return: The names; each directory comes before its contents.
    """
    stack: list[_Level] = [_Level.open("", os.dup(root))]
    try:
        while stack:
            level = stack[-1]
            try:
                entry = next(level.entries, None)
            except OSError as error:
                failed(level.path, error)
                entry = None
            if entry is None:
                stack.pop().close()
                continue
            path = f"{level.path}/{entry.name}" if level.path else entry.name
            if path == HIDDEN:
                continue
            name = Name(path, level.descriptor, entry)
            yield name
            if name.is_directory and enters(name):
                try:
                    stack.append(_below(level, path, entry.name, len(stack)))
                except OSError as error:
                    if not isinstance(error, FileNotFoundError):
                        failed(path, error)
    finally:
        for level in stack:
            level.close()


@attrs.frozen
class _Level:
    """A directory that is being read."""

    path: str
    descriptor: int
    entries: os._ScandirIterator[str]

    @classmethod
    def open(cls, path: str, descriptor: int) -> _Level:
        """Start to read a directory.  @param descriptor: Closed with it."""
        try:
            return cls(path, descriptor, os.scandir(descriptor))
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        self.entries.close()
        os.close(self.descriptor)


def _below(level: _Level, path: str, name: str, depth: int) -> _Level:
    if depth >= _DEEPEST:
        raise OSError(0, f"more than {_DEEPEST} directories deep")
    return _Level.open(path, os.open(name, DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=level.descriptor))


def files_of(root: int, layout: Layout, failed: Callable[[str, OSError], None]) -> Iterator[tuple[int, Name]]:
    """Return the ids and names of files that have ids, in no particular order; other names are left out."""
    for name in walk(root, lambda name: layout.leads_to_files(name.path), failed):
        if name.is_file and (file_id := layout.id_of(name.path)) is not None:
            yield file_id, name
