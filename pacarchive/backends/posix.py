"""The C{posix} backend: a directory of files on a mounted file system."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

from pacarchive.backends.local.archive import LocalArchive
from pacarchive.backends.local.settings import PosixSettings
from pacarchive.backends.local.standing import have_own_directory
from pacarchive.backends.local.tree import FileTree
from pacarchive.ids import id_to_path
from pacarchive.interfaces import BackendSettings, IArchiveBackend
from pacarchive.runtime.threads import BlockingPool


def make(reactor: IReactorFromThreads, settings: BackendSettings) -> IArchiveBackend:
    """Build the backend (L{pacarchive.interfaces.IBackendProvider.make})."""
    return LocalArchive(
        tree_of(settings),
        BlockingPool(reactor, "io", settings.io_threads),
        IReactorTime(reactor),
        settings.digests,
        BlockingPool(reactor, "inventory", 1, begin=have_own_directory),
    )


def tree_of(settings: BackendSettings) -> FileTree:
    """Return the tree of files, for administration without a server."""
    own: PosixSettings = settings.own
    return FileTree(
        settings.prefix,
        (lambda file_id: id_to_path(file_id)[1:]) if own.use_id2filename else str,
        settings.move_roots,
        settings.durability,
    )
