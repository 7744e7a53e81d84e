"""The C{hpss} backend: an IBM HPSS archive, through its client library.

In the reactor's thread:

    archive      the L{IArchiveBackend} and L{IRecaller}
    transfer     bodies on their way in and out
    pool         threads for calls that may get stuck
    monitor      whether the core server answers

In threads of the pools, as all of it blocks:

    publish      the steps behind an acknowledgement            move      files that lie in HPSS already
    tree         names, attributes, temporaries                 recall    staging
    inventory    lists of files
    openfile     descriptors that outlive a login               locks     one writer at a time for each id
    session      the login                                      abandoned calls that have timed out
    client       the library's calls, in Python's types (over C{_hpss}, which C{ext/hpss} builds)

Without any calls: C{residency}, C{checksums}, C{temporaries}, C{codes} and C{translation}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pacarchive.backends.hpss.loading import load

if TYPE_CHECKING:
    from pacarchive.interfaces import BackendSettings, IArchiveBackend


def make(reactor: Any, settings: BackendSettings) -> IArchiveBackend:
    """
    Build the backend (L{pacarchive.interfaces.IBackendProvider.make}).

    @raise ImportError: The extension or the client library is missing.
    """
    load(settings.own.deep_bind)
    from pacarchive.backends.hpss.archive import HpssArchive  # only now: it needs the library

    return HpssArchive(reactor, settings)
