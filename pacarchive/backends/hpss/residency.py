"""Decide where a file's bytes are, from what HPSS reports about its storage levels."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

from pacarchive.model import Locality, TapeLocation

DISK = "disk"
TAPE = "tape"


class Volume(Protocol):
    """A part of a level's bytes on one volume (HPSS: C{bf_vv_attrib_t})."""

    @property
    def name(self) -> str: ...

    @property
    def position(self) -> int: ...


class Level(Protocol):
    """One storage level of a file (HPSS: C{bf_sc_attrib_t}); the medium of an undefined one is empty."""

    @property
    def medium(self) -> str: ...

    @property
    def bytes(self) -> int: ...

    @property
    def volumes(self) -> Sequence[Volume]: ...


class Residency(enum.Enum):
    """Whether a reader has to wait for a tape."""

    RESIDENT = "resident"
    """The bytes are on disk, as far as there are any."""
    ARCHIVED = "archived"
    """They must be staged."""
    TAPE_ONLY = "tape only"
    """The class of service has no disk to stage to: the bytes are read from tape."""


def residency_of(size: int, levels: Sequence[Level]) -> Residency:
    """
    Decide the residency of a file by comparing the bytes on its levels with each other, never with its size: a file
    with holes has fewer bytes than that.

    This is the rule of Globus' interface to HPSS, which is in use at many sites.

    @param size: The file's size (HPSS: C{DataLength}).
    @param levels: All levels, the fastest first.
    """
    if levels and levels[0].medium == TAPE:
        return Residency.TAPE_ONLY
    if size == 0:
        return Residency.RESIDENT
    most_on_disk = 0
    for level in levels:
        if level.medium == DISK:
            most_on_disk = max(most_on_disk, level.bytes)
        elif level.medium == TAPE and level.bytes > most_on_disk:
            return Residency.ARCHIVED
    return Residency.RESIDENT


def locality_of(size: int, levels: Sequence[Level]) -> Locality:
    """Return the locality of a file; a copy on tape counts if it has at least as many bytes as the disk has."""
    if residency_of(size, levels) is not Residency.RESIDENT:
        return Locality.TAPE
    on_disk = max((level.bytes for level in levels if level.medium == DISK), default=0)
    if any(level.medium == TAPE and 0 < level.bytes >= on_disk for level in levels):
        return Locality.DISK_AND_TAPE
    return Locality.DISK


def location_of(size: int, levels: Sequence[Level]) -> TapeLocation | None:
    """Return the location of the copy that a stage reads, the first whole one on tape; C{None} if none is needed."""
    if residency_of(size, levels) is not Residency.ARCHIVED:
        return None
    copies = [level for level in levels if level.medium == TAPE and level.bytes and level.volumes]
    if not copies:
        return None
    copy = max(copies, key=lambda level: level.bytes)
    first = min(copy.volumes, key=lambda volume: volume.position)
    return TapeLocation(medium=first.name, position=first.position, size=copy.bytes)
