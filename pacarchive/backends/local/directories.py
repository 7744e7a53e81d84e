"""The directories that the files of ids are in: found from the id, made when they are needed, and durable.

Everything here blocks and is called in pool threads.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pacarchive import errors
from pacarchive.backends.local.place import require_in_place
from pacarchive.backends.local.syscalls import DIRECTORY_FLAGS, open_beneath, release
from pacarchive.model import Durability
from pacarchive.runtime.measuring import measured

_LAST_PART = re.compile(r"(?:file\.)?([0-9a-f]{1,20})\Z", re.ASCII)
"""Of the path of an id, in hexadecimal or decimal digits."""

_NO_WAY = frozenset({errno.ENOTDIR, errno.ELOOP, errno.EXDEV})


class IdDirectories:
    """
    The directories below a prefix.

    @ivar prefix: The directory that the archive lives in.
    @ivar name_of: The path of an id below it.
    @ivar root: A descriptor of the prefix, once it has been opened.
    """

    root: int

    def __init__(self, prefix: Path, name_of: Callable[[int], str], durability: Durability) -> None:
        self.prefix = prefix
        self.name_of = name_of
        self._durability = durability
        # Directories whose own entry in their parent is known to be on stable storage.  One that merely exists may have
        # been made by another request, or process, which has not synced it yet.
        self._durable_directories: set[str] = set()

    def enter(self) -> None:
        """
        Open the prefix.

        @raise OSError: It cannot be opened.
        """
        self.root = os.open(self.prefix, DIRECTORY_FLAGS)
        self._place = os.path.abspath(self.prefix)

    def sync(self, descriptor: int) -> None:
        """
        Put a file or directory on stable storage.

        A failure is final: after one, a second fsync may succeed although the data never got to the disk.
        """
        if self._durability is Durability.FULL:
            with measured("sync_duration_seconds"):
                os.fsync(descriptor)

    def id_at(self, directory: int, name: str) -> int | None:
        """
        The id whose file has this name in this directory, however the directory was found.

        @param directory: A descriptor.
        """
        if (part := _LAST_PART.match(name)) is None:
            return None
        for base in (16, 10):
            with suppress(ValueError, OSError):
                file_id = int(part[1], base)
                if self.name_of(file_id).rpartition("/")[2] == name:
                    with self.directory_of(file_id) as (own, _):
                        if os.path.samestat(os.fstat(own), os.fstat(directory)):
                            return file_id
        return None

    def require_in_place(self) -> None:
        """
        See that the prefix leads to this tree.

        @raise errors.BackendUnavailable: It does not any more.
        """
        require_in_place(self._place, self.root)

    @contextmanager
    def directory_of(self, file_id: int, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """
        Open the directory of an id.

        @param make: Make what is missing, and see that each directory on the way is durable.
        @return: Its descriptor, and the file's name in it.
        @raise errors.NotAFile: With C{make}: something that is no directory is on the way.
        @raise errors.BackendUnavailable: With C{make}: the prefix does not lead there any more.
        """
        if make:
            self.require_in_place()
        path, _, name = self.name_of(file_id).rpartition("/")
        if not path:
            yield self.root, name
            return
        try:
            if make:
                self._make_directories(path)
            directory = open_beneath(self.root, path, DIRECTORY_FLAGS)
        except OSError as error:
            if not make or error.errno not in _NO_WAY:
                raise
            raise errors.NotAFile("Something that is not a directory is on the way to this id.") from error
        try:
            yield directory, name
        finally:
            release(directory)

    def _make_directories(self, path: str) -> None:
        if path in self._durable_directories:
            try:
                release(open_beneath(self.root, path, os.O_PATH | os.O_DIRECTORY))
            except FileNotFoundError:
                self._durable_directories.clear()  # somebody has removed what we made
            else:
                return
        components = path.split("/")
        parent = os.dup(self.root)
        try:
            for depth, component in enumerate(components, 1):
                below_path = "/".join(components[:depth])
                if below_path not in self._durable_directories:
                    with suppress(FileExistsError):
                        os.mkdir(component, 0o755, dir_fd=parent)
                    self.sync(parent)
                    self._durable_directories.add(below_path)
                below = open_beneath(parent, component, DIRECTORY_FLAGS)
                release(parent)
                parent = below
        finally:
            release(parent)
