"""Names as the sideband database has them: bytes, relative to the mount point, with a hash of the last part."""

from __future__ import annotations

import os

import attrs

_WORD = 0xFFFFFFFF


@attrs.frozen
class Place:
    """
    A file's path, as the database stores it.

    @ivar directory: The path of its directory (C{sam_path.path}), without the slash at the end; empty for the root.
    @ivar name: The last part of its path (C{sam_file.name}).
    """

    directory: bytes
    name: bytes

    @property
    def directory_spellings(self) -> tuple[bytes, bytes]:
        """
        The two spellings of the directory in C{sam_path}: the daemon ends it with a slash, C{samdb check} does not.
        """
        return self.directory + b"/", self.directory


def place_of(prefix: str, path: str) -> Place:
    """
    Return the place of an archived file.

    @param prefix: The archive's directory below the mount point, C{/} for the mount point itself.
    @param path: The file's path below the archive's directory, with a slash before it.
    """
    directory, _, name = os.fsencode(prefix.rstrip("/") + path).rpartition(b"/")
    return Place(directory, name)


def name_hash(name: bytes) -> int:
    """
    Compute C{sam_file.name_hash}: the 16 bits that SAM keeps with each directory entry, part of that table's primary
    key.  Bytes from 0x80 on count as negative numbers, as C{char} does on the platforms that SAM runs on.
    """
    if len(name) <= 2:
        return 0
    halves = [0, 0]
    for start in range(0, len(name), 4):
        word = 0
        for index, byte in enumerate(name[start : start + 4].ljust(4, b"\0")):
            signed = byte - 256 if byte >= 0x80 else byte
            word |= signed << (24 - 8 * index)
        halves[start // 4 % 2] ^= word & _WORD
    first, second = halves
    total = 7 * (first - 1) + (first >> 8) - 1
    for part in (first >> 16, first >> 24, second, second >> 8, second >> 16, second >> 24):
        total = 7 * total + part - 1
    total &= _WORD
    return (total & 0xFFFF) | (total >> 16)
