"""The two layouts of names for ids: C{12345} (flat), or C{39/3039} (id2filename)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from pacarchive.ids import MAX_FILE_ID, id_to_path, parse_file_id, path_to_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from pacarchive.backends.local.tree import FileTree

_DIRECTORY = re.compile(r"[0-9a-f]{2}(?:/[0-9a-f]{2}){0,6}\Z", re.ASCII)


@attrs.frozen
class Layout:
    """
    A layout of names for ids.

    @ivar name: Its name, for people.
    @ivar name_of: Returns the path of an id, relative to the prefix.
    @ivar has_directories: Whether files are in directories.
    """

    name: str
    name_of: Callable[[int], str]
    has_directories: bool

    def id_of(self, path: str) -> int | None:
        """Return the id that a relative path stands for, or C{None}; each id has exactly one path."""
        try:
            file_id = path_to_id(f"/{path}") if self.has_directories else parse_file_id(path)
        except ValueError:
            return None
        return file_id if file_id <= MAX_FILE_ID else None

    def leads_to_files(self, directory: str) -> bool:
        """
        Return whether files of ids can be below a directory.

        @param directory: Its path, relative to the prefix.
        """
        return self.has_directories and _DIRECTORY.match(directory) is not None


FLAT = Layout("flat", str, has_directories=False)
SPREAD = Layout("id2filename", lambda file_id: id_to_path(file_id)[1:], has_directories=True)


def layout_of(tree: FileTree) -> Layout:
    """Return the layout that a tree's settings select."""
    return FLAT if tree.name_of(256) == FLAT.name_of(256) else SPREAD
