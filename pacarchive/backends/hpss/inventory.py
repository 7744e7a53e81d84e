"""Lists the archive's files in HPSS, a page at a time: directory by directory, each in the order of its names.

HPSS tells no positions in directories that outlive their descriptor.  But no directory of an archive has more than 256
files and as many directories, as each level stands for a byte of the id: so they are read whole, and a place is the
last name that was looked at.  Everything here blocks and is called in pool threads.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Container, Iterator, Sequence
from typing import Final

from pacarchive import errors
from pacarchive.backends.hpss import client
from pacarchive.backends.hpss.client import HpssError, Kind
from pacarchive.backends.hpss.translation import translating
from pacarchive.backends.hpss.tree import HpssTree
from pacarchive.ids import MAX_FILE_ID, path_to_id
from pacarchive.model import FileStatus, InventoryPage, Locality
from pacarchive.times import SECOND

LONGEST: Final = 1.0
"""Seconds after which a page ends with what it has: a slow server must not make it look stuck."""

_PLACE = re.compile(r"(?P<directories>(?:[0-9a-f]{2}(?:\.[0-9a-f]{2}){0,6})?):(?P<last>[0-9]{0,20})\Z", re.ASCII)
_DIRECTORY = re.compile(r"[0-9a-f]{2}\Z", re.ASCII)
_DEEPEST: Final = 7
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})

_Step = tuple[tuple[str, ...], int]
"""The directories on the way, and the id of a file in the last one; L{_ENTERED} before the first."""

_ENTERED: Final = -1
_NOT_YET: Final = -2


def list_files(
    tree: HpssTree,
    place: str,
    most: int,
    ids: Container[int] | None = None,
    *,
    digests: bool = True,
    locality: bool = True,
) -> InventoryPage:
    """List files, as L{pacarchive.interfaces.IInventory.inventory} does."""
    way, last = _parse(place)
    deadline = time.monotonic() + LONGEST
    files: dict[int, FileStatus | Exception] = {}
    for number, step in enumerate(_steps(tree, (), way, last), 1):
        directories, file_id = step
        if file_id >= 0 and (ids is None or file_id in ids):
            try:
                files[file_id] = _look(tree, file_id, digests=digests, locality=locality)
            except errors.NotFound:
                pass  # removed meanwhile, or something else has its name
            except errors.Unavailable:  # the others would fail too
                raise
            except errors.ArchiveError as error:
                files[file_id] = errors.light(error)
        if number >= most or time.monotonic() > deadline:
            return InventoryPage(files, f"{'.'.join(directories)}:{file_id if file_id >= 0 else ''}")
    return InventoryPage(files, None)


def _parse(place: str) -> tuple[Sequence[str], int]:
    """The directories on the way to a place, and the last step that was made in the last of them."""
    if not place:
        return (), _NOT_YET
    if (match := _PLACE.match(place)) is None or int(match["last"] or 0) > MAX_FILE_ID:
        raise errors.InvalidRequest("There is no such place in the list of files; begin with the first page.")
    return match["directories"].split(".") if match["directories"] else (), int(match["last"] or _ENTERED)


def _steps(tree: HpssTree, directories: tuple[str, ...], way: Sequence[str], last: int) -> Iterator[_Step]:
    """
    Go through a directory and all that is below it.

    @param way: The directories below it that lead to where to begin; what comes before is left out.
    @param last: In the last of them, the last step to be left out.
    """
    names = _names(tree, directories)
    if not way:
        if last < _ENTERED:
            yield directories, _ENTERED
        for file_id in sorted(_ids(directories, names)):
            if file_id > last:
                yield directories, file_id
    if len(directories) >= _DEEPEST:
        return
    for name in sorted(name for name in names if _DIRECTORY.match(name)):
        if not way or name > way[0]:
            yield from _steps(tree, (*directories, name), (), _NOT_YET)
        elif name == way[0]:
            yield from _steps(tree, (*directories, name), way[1:], last)


def _names(tree: HpssTree, directories: Sequence[str]) -> Sequence[str]:
    """The names in a directory; none where there is none any more, or a link that leads anywhere."""
    path = "/".join([tree.prefix, *directories]) or "/"
    with translating("Can't list hpss files", absent=errors.BackendUnavailable):
        try:
            if directories and tree.session.call(client.lstat, path).kind is not Kind.DIRECTORY:
                return ()
            return tree.session.call(client.listdir, path)
        except HpssError as error:
            if not directories or error.errno not in _GONE:
                raise
            return ()


def _ids(directories: Sequence[str], names: Sequence[str]) -> Iterator[int]:
    for name in names:
        try:
            file_id = path_to_id("/".join(["", *directories, name]))
        except ValueError:
            continue
        if file_id <= MAX_FILE_ID:
            yield file_id


def _look(tree: HpssTree, file_id: int, *, digests: bool, locality: bool) -> FileStatus:
    if digests:
        return tree.status(file_id)
    path = tree.path_of(file_id)
    with translating("Can't open hpss file"):
        found = tree.session.call(client.lstat, path)
    if found.kind is not Kind.FILE:
        raise errors.NotFound("No file has this id.")
    if locality:
        return tree.status_of(file_id, tree.attributes(path), {})
    return FileStatus(
        file_id=file_id,
        path=path,
        size=found.size,
        mtime_ns=found.mtime * SECOND,
        ctime_ns=found.ctime * SECOND,
        bytes_per_level=(),
        media=(),
        locality=Locality.UNAVAILABLE,
        digests={},
        generation=f"{found.ino:x}-{found.size:x}-{found.mtime:x}-{found.ctime:x}",
    )
