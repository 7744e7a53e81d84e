"""Lists the files of a tree, a page at a time, in the order in which its directories have them.

To have them by id, all names would have to be read for each page: in the one layout because a directory is in no order,
and in the other because the directories are made of the last digits of ids, so that two ids in a row are never in the
same one.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Collection, Container
from contextlib import closing
from typing import Final

import attrs

from pacarchive import errors
from pacarchive.backends.local.fixity import digests_by_name
from pacarchive.backends.local.layout import layout_of
from pacarchive.backends.local.standing import stand_in
from pacarchive.backends.local.syscalls import opens_without_network
from pacarchive.backends.local.tree import FileTree, translating
from pacarchive.backends.local.walk import Name, Walk
from pacarchive.model import (
    INVENTORY_FIELDS,
    FileStatus,
    InventoryLines,
    InventoryPage,
    Locality,
    inventory_line,
    whole_line,
)

SETTLED: Final = 50_000_000
"""Nanoseconds; the clock of inode times moves on every 1 to 10 ms."""

YIELDS: Final = 10
"""
Names after which the thread offers its processor to others.  The reactor that becomes ready on the same one, as when
this thread releases the interpreter's lock, may else wait for the end of its time slice: 3 to 4 ms.
"""

_ON_DISK: Final = Locality.DISK.value
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
    files: dict[int, tuple[os.stat_result, FileStatus] | Exception] = {}

    def look(file_id: int, name: Name) -> None:
        if (seen := _look(tree, file_id, name, digests=digests)) is not None:
            files[file_id] = seen

    return Looks(files, _visit(tree, place, most, ids, look))


def write_lines(
    tree: FileTree, place: str, most: int, ids: Container[int] | None = None, *, fields: Collection[str]
) -> InventoryLines:
    """
    List files, as L{pacarchive.interfaces.IInventoryLines.inventory_lines} does.  Blocks.
    """
    lines: list[str] = []
    before = ""
    settled = time.time_ns() - SETTLED
    glances = fields is INVENTORY_FIELDS and opens_without_network(tree.root)

    def stand(directory: int) -> None:
        nonlocal before
        before = stand_in(directory)

    def write(file_id: int, name: Name) -> None:
        line = _line(before + name.name, file_id, settled) if glances else None
        if line is None and (look := _look(tree, file_id, name, digests="digests" in fields)) is not None:
            line = inventory_line(file_id, look if isinstance(look, Exception) else look[1], fields)
        if line is not None:
            lines.append(line)

    place_behind = _visit(tree, place, most, ids, write, stand)
    return InventoryLines("".join(lines), place_behind)


def _line(path: str, file_id: int, settled: int) -> str | None:
    """
    The line of a file that is as nearly all are, without a descriptor of it and a status, which cost twice as much.

    Its digests come first.  What takes its name after that gets a new ctime by doing so, and by the clock of this
    machine, as the file system is a local one: it is too new for this.

    @param settled: A time before this page.
    @return: C{None}: look closer.
    """
    try:
        digests = digests_by_name(path)
        state = os.lstat(path)
    except OSError:
        return None
    ctime_ns = state.st_ctime_ns
    if not digests or ctime_ns > settled or not stat.S_ISREG(state.st_mode):
        return None
    return whole_line(file_id, state.st_size, state.st_mtime_ns, ctime_ns, _ON_DISK, digests)


def _look(
    tree: FileTree, file_id: int, name: Name, *, digests: bool
) -> tuple[os.stat_result, FileStatus] | Exception | None:
    try:
        return tree.look_in(name.directory, name.name, file_id, digests=digests)
    except errors.NotFound:
        return None  # removed meanwhile, or something else has taken its name
    except errors.ArchiveError as error:
        return errors.light(error)


def _visit(
    tree: FileTree,
    place: str,
    most: int,
    ids: Container[int] | None,
    take: Callable[[int, Name], None],
    stands: Callable[[int], None] = lambda directory: None,
) -> str | None:
    """
    Take the files among some names.

    @return: Where it goes on.
    """
    layout = layout_of(tree)
    with closing(_walk(tree, lambda name: layout.leads_to_files(name.path), place, stands)) as walk:
        for number, name in enumerate(walk, 1):
            if name.is_file and (file_id := layout.id_of(name.path)) is not None and (ids is None or file_id in ids):
                take(file_id, name)
            if number >= most:
                return walk.place
            if number % YIELDS == 0:
                os.sched_yield()
    return None


def _walk(tree: FileTree, enters: Callable[[Name], bool], place: str, stands: Callable[[int], None]) -> Walk:
    if _PLACE.match(place) is None:
        raise _no_place()
    with translating("Can't list posix files"):
        try:
            return Walk(tree.root, enters, _unreadable, place, stands)
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
