"""Create directories durably: a file is only as durable as the entry of its directory in the parent."""

from __future__ import annotations

import os


def make_durable(path: str | os.PathLike[str]) -> None:
    """
    Create a directory and its missing parents, and put the entry of each on stable storage.

    If the directory exists already its entry is synced too: the process that created it may have been killed before it
    did that.

    @param path: The directory.
    @raise OSError: It cannot be created, or its entry cannot be synced.
    """
    parent = os.path.dirname(os.path.abspath(path))
    try:
        _make_one(path)
    except FileNotFoundError:
        if not os.path.lexists(parent):
            make_durable(parent)
        _make_one(path)
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_one(path: str | os.PathLike[str]) -> None:
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
