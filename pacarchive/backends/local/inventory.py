"""Lists the files of a tree, a page at a time, in the order in which its directories have them.

To have them by id, all names would have to be read for each page: in the one layout because a directory is in no order,
and in the other because the directories are made of the last digits of ids, so that two ids in a row are never in the
same one.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Container
from contextlib import closing

import attrs

from pacarchive import errors
from pacarchive.backends.local.layout import layout_of
from pacarchive.backends.local.tree import FileTree, translating
from pacarchive.backends.local.walk import Name, Walk
from pacarchive.model import FileStatus, InventoryPage

_PLACE = re.compile(r"(?:[0-9]{1,19}(?:\.[0-9a-f]{2}\.[0-9]{1,19}){0,7})?\Z", re.ASCII)


@attrs.frozen
class Looks:
    """
    A page, with what the file system reports about each file.

    @ivar place: As in L{InventoryPage}.
    """

    files: dict[int, tuple[os.stat_result, FileStatus] | Exception]
    place: str | None

    def page(self) -> InventoryPage:
        """Return what all backends give."""
        return InventoryPage(
            {file_id: look if isinstance(look, Exception) else look[1] for file_id, look in self.files.items()},
            self.place,
        )


def look_through(
    tree: FileTree, place: str, most: int, ids: Container[int] | None = None, *, digests: bool = True
) -> Looks:
    """
    List files, as L{pacarchive.interfaces.IInventory.inventory} does.  Blocks.
    """
    layout = layout_of(tree)
    looks = Looks({}, None)
    with closing(_walk(tree, lambda name: layout.leads_to_files(name.path), place)) as walk:
        for number, name in enumerate(walk, 1):
            if name.is_file and (file_id := layout.id_of(name.path)) is not None and (ids is None or file_id in ids):
                try:
                    looks.files[file_id] = tree.look_in(name.directory, name.name, file_id, digests=digests)
                except errors.NotFound:
                    pass  # removed meanwhile, or something else has taken its name
                except errors.ArchiveError as error:
                    looks.files[file_id] = errors.light(error)
            if number >= most:
                return attrs.evolve(looks, place=walk.place)
    return looks


def _walk(tree: FileTree, enters: Callable[[Name], bool], place: str) -> Walk:
    if _PLACE.match(place) is None:
        raise _no_place()
    with translating("Can't list posix files"):
        try:
            return Walk(tree.root, enters, _unreadable, place)
        except OverflowError as error:
            raise _no_place() from error
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise _no_place() from error


def _unreadable(path: str, error: OSError) -> None:
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        return  # no directory any more
    with translating("Can't list posix files"):
        raise error


def _no_place() -> errors.InvalidRequest:
    return errors.InvalidRequest("There is no such place in the list of files; begin with the first page.")
