"""The C{hsmsideband} backend: Oracle HSM (SAM-QFS), a mounted file system and its "sideband" database.

    archive     the L{IArchiveBackend} and L{IRecaller}: the reactor's half
    catalogue   look-ups in the database, in batches, each within a time limit
    database    connections: C{twisted.enterprise.adbapi} over PyMySQL      queries    all SQL, and the rows
    recall      which recalls were asked for, and how they stand            stage      the three ways to ask for one
    mount       what is read of the mounted files outside of transfers      libsam     SAM's own library, by ctypes

C{residency} and C{names} are pure.  The data path is that of L{pacarchive.backends.local.archive}.

What is where comes from two sources, neither of which is believed in the other's matters.  The mount decides whether a
file exists, its size and its times.  The database tells whether its bytes are on disk or only on tape; it is late by
seconds or hours, and sometimes wrong, and it is never needed to store or read a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pacarchive.interfaces import BackendSettings, IArchiveBackend


def make(reactor: Any, settings: BackendSettings) -> IArchiveBackend:
    """Build the backend (L{pacarchive.interfaces.IBackendProvider.make})."""
    from pacarchive.backends.sideband.archive import SidebandArchive  # only now: settings are read without it

    return SidebandArchive(reactor, settings)
