"""Find out on what type of file system a directory is (C{statfs(2)}: C{f_type})."""

from __future__ import annotations

import ctypes
import os
from typing import Final

OVERLAY: Final = 0x794C7630
LOCAL_DISKS: Final = frozenset({
    0xEF53,  # ext2, ext3, ext4
    0x58465342,  # XFS
    0x9123683E,  # btrfs
    0xF2F52010,  # f2fs
    0x01021994,  # tmpfs
    0x2FC12FC1,  # ZFS
})  # fmt: skip
"""The types of file systems on the disks of one machine."""

_UNKNOWN: Final = 0


def type_of(directory: int) -> int:
    """
    Return the kernel's number of a file system's type.

    @param directory: A descriptor of a directory on it.
    @return: The number; 0 where it cannot be found out.
    """
    buffer = ctypes.create_string_buffer(512)
    library = ctypes.CDLL(None, use_errno=True)
    if library.fstatfs(directory, buffer) != 0:
        return _UNKNOWN
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF


def is_one_machines(path: str | os.PathLike[str]) -> bool:
    """
    Return whether a directory is on a file system of this machine alone; a container's counts as its machine's.  A type
    that is not known counts as a network's.
    """
    try:
        descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return type_of(descriptor) in LOCAL_DISKS | {OVERLAY}
    finally:
        os.close(descriptor)
