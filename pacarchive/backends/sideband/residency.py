"""Decide where a file's bytes are, from what the mount and the database report.  Pure functions and plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from pacarchive.model import Locality, TapeLocation

MEDIA = ("disk", "tape")
"""The medium of each level that L{levels_of} describes."""

_FILE = 0
_SEGMENT_INDEX = 3
"""C{sam_inode.type} of a segmented file as users see it; its data is in inodes of type 2, which have no name."""

_BLOCK = 512  # of st_blocks
_ON_DISK = {Locality.DISK, Locality.DISK_AND_TAPE}


class Mounted(Protocol):
    """The fields of C{os.stat_result} that are used here."""

    @property
    def st_ino(self) -> int: ...

    @property
    def st_size(self) -> int: ...

    @property
    def st_blocks(self) -> int: ...


@attrs.frozen(kw_only=True)
class Copy:
    """
    A copy of a file on tape, or the part of one that is on one volume: a row of C{sam_archive}.

    @ivar number: The copy's number, 0 to 3; SAM's commands count from 1 to 4.
    @ivar sequence: The number of the part, from 0, in a copy that spans volumes.
    @ivar media_type: SAM's two letters for the type of media.
    @ivar vsn: The volume.
    @ivar position: The position of the archive file on the volume.
    @ivar size: Its size in bytes.
    @ivar created: When it was written, in seconds since the epoch.
    """

    number: int
    sequence: int
    media_type: str
    vsn: str
    position: int
    size: int
    created: int

    @property
    def medium(self) -> str:
        """The volume as SAM's commands write it: the same VSN may exist once for each type of media."""
        return f"{self.media_type}.{self.vsn}"


@attrs.frozen(kw_only=True)
class Entry:
    """
    What the database has under a name.

    @ivar directory: The directory's path as C{sam_path} spells it.
    @ivar directory_gen: The generation of the directory's inode.
    @ivar ino: The file's inode number.
    @ivar gen: The generation of its inode.
    @ivar type: C{sam_inode.type}.
    @ivar size: Its size in bytes.
    @ivar modified: C{sam_inode.modify_time}: the last write that the daemon knows of, in seconds since the epoch.
    @ivar online: Whether its data is on disk.
    @ivar copies: Its copies, ordered by number and sequence.
    """

    directory: bytes
    directory_gen: int
    ino: int
    gen: int
    type: int
    size: int
    modified: int
    online: bool
    copies: Sequence[Copy]

    @property
    def fresh_copies(self) -> list[Copy]:
        """
        The copies of the present contents.

        C{sam_archive.stale} is not used: the statement by which SAM should set it sets that of other rows, or fails.
        """
        return [copy for copy in self.copies if copy.created >= self.modified]


def choose(entries: Sequence[Entry], state: Mounted, *, sees_inodes: bool) -> Entry | None:
    """
    Choose the current entry of several under the same name; the others are left over from lost events.

    @param state: The file's status on the mount.
    @param sees_inodes: Whether the mount shows SAM's own inode numbers.
    """
    if len(entries) <= 1:
        return entries[0] if entries else None
    return max(
        entries,
        key=lambda entry: (
            sees_inodes and entry.ino == state.st_ino,
            entry.directory.endswith(b"/"),
            entry.directory_gen,
            entry.gen,
        ),
    )


def describes(entry: Entry | None, state: Mounted, *, sees_inodes: bool) -> bool:
    """
    Return whether an entry describes the file that is mounted now.  The database is late, and may have an earlier one.
    """
    if entry is None or entry.type not in (_FILE, _SEGMENT_INDEX) or (sees_inodes and entry.ino != state.st_ino):
        return False
    return entry.type == _SEGMENT_INDEX or entry.size == state.st_size


def locality_of(state: Mounted, entry: Entry | None, *, sees_inodes: bool) -> Locality:
    """
    Return where a file's bytes are; C{UNAVAILABLE} means that it is not known.

    @param state: The file's status on the mount.
    @param entry: Its entry in the database; C{None} where that has none.
    @param sees_inodes: Whether the mount shows SAM's own inode numbers.
    """
    if state.st_size == 0:
        return Locality.DISK  # there is nothing to release
    if entry is None or not describes(entry, state, sees_inodes=sees_inodes):
        # The file is newer than its entry, so there was no time yet to archive and release it.  But the daemon may have
        # been down for long, and so a file without blocks is not taken to be on disk.
        return Locality.DISK if state.st_blocks else Locality.UNAVAILABLE
    if not entry.online:
        return Locality.TAPE
    if entry.type == _SEGMENT_INDEX and state.st_blocks * _BLOCK < state.st_size:
        return Locality.UNAVAILABLE  # online refers to the index only
    return Locality.DISK_AND_TAPE if entry.fresh_copies else Locality.DISK


def levels_of(locality: Locality, state: Mounted) -> tuple[int, int]:
    """Return the bytes on disk and on tape; where the locality is not known, as the mount's blocks suggest."""
    size = state.st_size
    on_disk = locality in _ON_DISK or (locality is Locality.UNAVAILABLE and state.st_blocks > 0)
    on_tape = locality in (Locality.TAPE, Locality.DISK_AND_TAPE) or not on_disk
    return size * on_disk, size * on_tape


def location_of(entry: Entry) -> TapeLocation | None:
    """
    Return where SAM begins to stage an offline file: the first volume of the first copy.

    Where no copy looks fresh, the others are used: an offline file has been released, which requires a good copy.

    @return: C{None} where the file is online, or has no copy.
    """
    copies = entry.fresh_copies or list(entry.copies)
    if entry.online or not copies:
        return None
    first = min(copies, key=lambda copy: (copy.number, copy.sequence))
    return TapeLocation(medium=first.medium, position=first.position, size=entry.size)
