"""Directories that outlive a power cut: what is stored in one is only as durable as its own entry in its parent."""

from __future__ import annotations

import os


def make_durable(path: str | os.PathLike[str]) -> None:
    """
    Make a directory, and those above it that are missing, and put the entry of each on stable storage.

    That of a directory that is there already is synced as well: whoever made it may have been killed before he did.

    @raise OSError: It cannot be made, or its entry cannot be synced.
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
