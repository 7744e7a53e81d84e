"""The C{s3} backend: objects in a bucket of a store that speaks the protocol of S3.

It imports the words, L{pacarchive.runtime} and L{pacarchive.settings}.  L{pacarchive.backends.s3.signing} alone needs
botocore, which C{pip install pacarchive[s3]} installs; it is imported when the backend is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pacarchive.interfaces import BackendSettings, IArchiveBackend


def make(reactor: Any, settings: BackendSettings) -> IArchiveBackend:
    """Build the backend (L{pacarchive.interfaces.IBackendProvider.make})."""
    try:
        from pacarchive.backends.s3.making import make as build
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("botocore"):
            raise
        raise ImportError("the s3 backend needs botocore; pip install 'pacarchive[s3]' installs it") from error
    return build(reactor, settings)
