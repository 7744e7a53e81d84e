"""The C{hsmsideband} backend: Oracle HSM (SAM-QFS), a mounted file system and its "sideband" database.

    archive     the L{IArchiveBackend} and L{IRecaller}, in the reactor's thread
    catalogue   look-ups in the database, in batches, each with a timeout
    database    connections: C{twisted.enterprise.adbapi} over PyMySQL
    queries     all SQL, and what is made of the rows
    recall      recalls that were requested, and their progress
    stage       the three ways to have SAM stage a file
    mount       reads of the mounted files outside of transfers
    libsam      SAM's own library, by ctypes
    residency   where a file's bytes are, from what both sources report
    names       names and their hashes, as the database has them

The data path is that of L{pacarchive.backends.local.archive}.

There are two sources, and each is believed only about its own matters.  The mount decides whether a file exists, its
size and its times.  The database tells whether its bytes are on disk or only on tape; it is late by seconds or hours,
and sometimes wrong, and it is never needed to store or read a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pacarchive.interfaces import BackendSettings, IArchiveBackend


def make(reactor: Any, settings: BackendSettings) -> IArchiveBackend:
    """Build the backend (L{pacarchive.interfaces.IBackendProvider.make})."""
    from pacarchive.backends.sideband.archive import SidebandArchive  # only now: settings are read without it

    return SidebandArchive(reactor, settings)
