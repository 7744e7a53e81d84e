"""Read and replace small files whole.  All of this blocks."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike


def read_file(path: str | PathLike[str], most: int = 64 << 20) -> bytes:
    """
    Read a file.  A pipe is refused instead of being waited for.

    @param path: The file.
    @param most: How many bytes it may have.
    @raise OSError: It cannot be read; it has more (C{EFBIG}), or is a pipe or a device (C{EINVAL}).
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", os.fspath(path))
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), os.fspath(path))
    return data


def replace_file(
    path: str | PathLike[str], data: bytes, mode: int = 0o600, owner: tuple[int, int] | None = None
) -> None:
    """
    Write a file, durably: at every moment the name has either what it had or all of this.

    @param path: The file; its directory exists.
    @param data: What it is to hold.
    @param mode: Its permissions.
    @param owner: The numbers of its user and group, where this process may set them.
    @raise OSError: It cannot be written; the file is as it was.
    """
    import tempfile  # only now: a server that replaces nothing does without

    directory, name = os.path.split(os.path.abspath(path))
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            if owner is not None:
                with suppress(PermissionError):  # of another owner, and we are not root
                    os.fchown(descriptor, *owner)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
