"""Where a file's bytes are, from what the mount and the database tell.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from pacarchive.model import Locality, TapeLocation

MEDIA = ("disk", "tape")
"""The medium of each level that L{levels_of} describes."""

_FILE = 0
_SEGMENT_INDEX = 3
"""What a user sees of a segmented file; its data lies in inodes of type 2, which no directory names."""

_BLOCK = 512  # of st_blocks
_ON_DISK = {Locality.DISK, Locality.DISK_AND_TAPE}


class Mounted(Protocol):
    """The part of C{os.stat_result} that counts here."""

    @property
    def st_ino(self) -> int: ...

    @property
    def st_size(self) -> int: ...

    @property
    def st_blocks(self) -> int: ...


@attrs.frozen(kw_only=True)
class Copy:
    """
    A copy of a file in the archive, or what one volume has of it: a row of C{sam_archive}.

    @ivar number: 0 to 3; commands and people say 1 to 4.
    @ivar sequence: 0, or which part it is of a copy that spans volumes.
    @ivar position: Of the archive file on the volume.
    @ivar size: Bytes.
    @ivar created: Seconds since the epoch.
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
        """As SAM's commands write a volume: the same VSN may exist once for each type of media."""
        return f"{self.media_type}.{self.vsn}"


@attrs.frozen(kw_only=True)
class Entry:
    """
    What the database has under a name.

    @ivar directory: The directory's path as C{sam_path} spells it.
    @ivar directory_gen: Its generation.
    @ivar type: C{sam_inode.type}.
    @ivar modified: C{sam_inode.modify_time}: the time of the last write, as far as the daemon has heard.
    @ivar copies: By number and sequence.
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
        Those of the present contents.

        C{sam_archive.stale} is not asked: the statement that should set it sets that of other rows, or fails.
        """
        return [copy for copy in self.copies if copy.created >= self.modified]


def choose(entries: Sequence[Entry], state: Mounted, *, sees_inodes: bool) -> Entry | None:
    """
    The one that is meant, of several that have the same name: left-overs of lost events.

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
    Whether the database speaks of the very file that is mounted: it lags behind, and may mean an earlier one.
    """
    if entry is None or entry.type not in (_FILE, _SEGMENT_INDEX) or (sees_inodes and entry.ino != state.st_ino):
        return False
    return entry.type == _SEGMENT_INDEX or entry.size == state.st_size


def locality_of(state: Mounted, entry: Entry | None, *, sees_inodes: bool) -> Locality:
    """
    Judge.  C{UNAVAILABLE} means that nobody knows.

    @param entry: What the database has; C{None} for nothing.
    """
    if state.st_size == 0:
        return Locality.DISK  # there is nothing to release
    if entry is None or not describes(entry, state, sees_inodes=sees_inodes):
        # It is newer than what the database knows, so there was no time yet to archive and release it.  But the daemon
        # may have been down for long, and where there are no blocks the mount itself speaks against it.
        return Locality.DISK if state.st_blocks else Locality.UNAVAILABLE
    if not entry.online:
        return Locality.TAPE
    if entry.type == _SEGMENT_INDEX and state.st_blocks * _BLOCK < state.st_size:
        return Locality.UNAVAILABLE  # what is online is the index
    return Locality.DISK_AND_TAPE if entry.fresh_copies else Locality.DISK


def levels_of(locality: Locality, state: Mounted) -> tuple[int, int]:
    """Bytes on disk and on tape; where nobody knows, whatever the mount has."""
    size = state.st_size
    on_disk = locality in _ON_DISK or (locality is Locality.UNAVAILABLE and state.st_blocks > 0)
    on_tape = locality in (Locality.TAPE, Locality.DISK_AND_TAPE) or not on_disk
    return size * on_disk, size * on_tape


def location_of(entry: Entry) -> TapeLocation | None:
    """
    What a stage reads of an offline file: the first copy, of which the first volume.  Copies that do not look fresh are
    better than none: an offline file has been released, which takes a good copy.
    """
    copies = entry.fresh_copies or list(entry.copies)
    if entry.online or not copies:
        return None
    first = min(copies, key=lambda copy: (copy.number, copy.sequence))
    return TapeLocation(medium=first.medium, position=first.position, size=entry.size)
