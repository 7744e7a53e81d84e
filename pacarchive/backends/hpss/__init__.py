"""The C{hpss} backend: an IBM HPSS archive, through its client library.

    archive     the L{IArchiveBackend}: the reactor's half
    transfer    bodies on their way in and out                      recall    L{IRecaller}
    pool        threads that survive stuck calls                    monitor   how the core server is
    publish     the order of steps behind an acknowledgement        tree      names, attributes, temporaries
    openfile    descriptors that outlive a login                    session   the login
    client      the library's calls, in Python's types (over C{_hpss}, which C{ext/hpss} builds)

C{residency}, C{checksums}, C{temporaries} and C{words} are pure.  From C{publish} on everything blocks: it runs in
threads.
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
