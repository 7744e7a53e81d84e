"""A client of the archive: asynchronous, resuming, and sure of every byte.

>>> async with ArchiveClient(reactor, "http://archive.example.org:8080") as archive:  # doctest: +SKIP
...     await archive.put(12345, "results.h5")
...     await archive.get(12345, "copy.h5")

C{docs/client.md} is the manual; L{pacarchive.client.testing} has doubles for tests, and L{pacarchive.client.aio} is for
programs on asyncio.
"""

from pacarchive.client.client import ArchiveClient, Destination, Priority, Source
from pacarchive.client.errors import (
    AlreadyExists,
    CertificateRefused,
    ClientError,
    ConnectionFailed,
    DigestMismatch,
    FileChanged,
    InvalidRequest,
    NoSpace,
    NotFound,
    NotPermitted,
    NotVerifiable,
    Offline,
    PreconditionFailed,
    ProtocolError,
    ServerError,
    ServerUnavailable,
    SourceChanged,
    Stalled,
    TooLarge,
    Unauthorised,
)
from pacarchive.client.words import (
    NEVER,
    Changes,
    Estimate,
    Fetched,
    Job,
    JobFile,
    JobResult,
    JobState,
    Located,
    OnJobProgress,
    OnProgress,
    Plan,
    Progress,
    RetryPolicy,
    Status,
    Stored,
    WishState,
)
from pacarchive.model import Health, Locality

__all__ = [
    "NEVER",
    "AlreadyExists",
    "ArchiveClient",
    "CertificateRefused",
    "Changes",
    "ClientError",
    "ConnectionFailed",
    "Destination",
    "DigestMismatch",
    "Estimate",
    "Fetched",
    "FileChanged",
    "Health",
    "InvalidRequest",
    "Job",
    "JobFile",
    "JobResult",
    "JobState",
    "Locality",
    "Located",
    "NoSpace",
    "NotFound",
    "NotPermitted",
    "NotVerifiable",
    "Offline",
    "OnJobProgress",
    "OnProgress",
    "Plan",
    "PreconditionFailed",
    "Priority",
    "Progress",
    "ProtocolError",
    "RetryPolicy",
    "ServerError",
    "ServerUnavailable",
    "Source",
    "SourceChanged",
    "Stalled",
    "Status",
    "Stored",
    "TooLarge",
    "Unauthorised",
    "WishState",
]
