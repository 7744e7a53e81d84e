"""The archive that a command works on, and its tree, if it is a tree of files on this machine."""

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
    Load the settings that a command line selects.

    @raise ConfigError: They cannot be used.
    """
    overrides = {("server", "prefix"): arguments.prefix} if arguments.prefix else {}
    return load(arguments.config, os.environ, overrides, create_default=False)


def tree_of(settings: Settings) -> FileTree | None:
    """Return the archive's tree; C{None} if its backend has no tree on this machine."""
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
    Open a tree for writing, and close it at the end of the block.

    @raise ConfigError: It cannot be opened, or belongs to another user.
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
    Open the prefix; the block gets its descriptor.

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
    Check that the user is the service's: its locks and digests are private to that user, and those of another would be
    in its way.

    @param tree: The tree.
    @param root: A descriptor of the prefix.
    @raise ConfigError: This is another user.
    """
    me = os.geteuid()
    try:
        owner = os.stat(HIDDEN, dir_fd=root, follow_symlinks=False).st_uid
        place = tree.prefix / HIDDEN
    except FileNotFoundError:
        owner, place = os.fstat(root).st_uid, tree.prefix
        if me != 0:
            return  # if this user may not create it, that fails at once
    if owner != me:
        name = user_name(owner)
        raise ConfigError(str(place), f"belongs to {name}: run this as the service's user, with sudo -u {name}")


def user_name(uid: int) -> str:
    """Return a user's name, or the number if there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
