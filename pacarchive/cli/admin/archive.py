"""Which archive, and its tree where it is one of this machine."""

from __future__ import annotations

import os
import pwd
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pacarchive.backends.local.hidden import HIDDEN
from pacarchive.backends.local.syscalls import DIRECTORY_FLAGS
from pacarchive.backends.local.tree import FileTree
from pacarchive.errors import BackendUnavailable
from pacarchive.ids import id_to_path
from pacarchive.settings.reading import ConfigError, load
from pacarchive.settings.sections import Settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from pacarchive.interfaces import BackendSettings


def settings_of(arguments: argparse.Namespace) -> Settings:
    """
    The settings in force.

    @raise ConfigError: They cannot be used.
    """
    overrides = {("server", "prefix"): arguments.prefix} if arguments.prefix else {}
    return load(arguments.config, os.environ, overrides, create_default=False)


def tree_of(settings: Settings) -> FileTree | None:
    """The archive's tree; C{None} where it is not one of this machine, or another's backend."""
    if settings.server.type == "posix":
        from pacarchive.backends import posix

        return posix.tree_of(settings.backend)
    return _sam_tree(settings.backend) if settings.server.type == "hsmsideband" else None


def _sam_tree(settings: BackendSettings) -> FileTree:
    from pacarchive.backends.sideband.mount import SamTree

    return SamTree(settings.prefix, lambda file_id: id_to_path(file_id)[1:], settings.move_roots, settings.durability)


@contextmanager
def opened(tree: FileTree) -> Iterator[FileTree]:
    """
    Open a tree for work that may write, and close it.

    @raise ConfigError: It cannot be opened, or is another user's.
    """
    with root_of(tree) as root:
        require_own(tree, root)
    try:
        tree.open_root()
    except OSError as error:
        raise ConfigError(str(error.filename or tree.prefix), error.strerror or str(error)) from error
    except BackendUnavailable as error:
        raise ConfigError(str(tree.prefix), str(error)) from error
    try:
        yield tree
    finally:
        tree.close_root()


@contextmanager
def root_of(tree: FileTree) -> Iterator[int]:
    """
    A descriptor of the prefix.

    @raise ConfigError: It cannot be opened.
    """
    try:
        root = os.open(tree.prefix, DIRECTORY_FLAGS)
    except OSError as error:
        raise ConfigError(str(tree.prefix), error.strerror or str(error)) from error
    try:
        yield root
    finally:
        os.close(root)


def require_own(tree: FileTree, root: int) -> None:
    """
    See that what is made here is not in the service's way: its locks and digests are private to its user.

    @raise ConfigError: This is another user.
    """
    me = os.geteuid()
    try:
        owner = os.stat(HIDDEN, dir_fd=root, follow_symlinks=False).st_uid
        place = tree.prefix / HIDDEN
    except FileNotFoundError:
        owner, place = os.fstat(root).st_uid, tree.prefix
        if me != 0:
            return  # whether this user may make it is found out at once
    if owner != me:
        name = user_name(owner)
        raise ConfigError(str(place), f"belongs to {name}: run this as the service's user, with sudo -u {name}")


def user_name(uid: int) -> str:
    """The user's name, or his number where he has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
