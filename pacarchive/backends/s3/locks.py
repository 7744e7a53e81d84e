"""Object lock: what stores refuse because of a retention or a legal hold, in whatever words."""

from __future__ import annotations

import re

from pacarchive import errors
from pacarchive.backends.s3.request import Request
from pacarchive.backends.s3.store import ObjectStore, RefusedError

_CODES = frozenset({"ObjectLocked", "InvalidRetentionPeriod", "ObjectUnderRetention", "WormViolation"})
_WORDS = re.compile(r"object.?lock|\bworm\b|retention|legal.?hold", re.IGNORECASE)
_DENIED = frozenset({"", "AccessDenied", "Forbidden"})
_STATUSES = (400, 403, 405, 409)


async def explained(store: ObjectStore, request: Request, refused: RefusedError) -> errors.ArchiveError:
    """
    What a client is told of a refusal: that the object is locked, if it is so.

    Many say no more than that access is denied, so the object is looked at.
    """
    if request.method not in ("DELETE", "PUT") or not request.key or refused.status not in _STATUSES:
        return refused.translated()
    if refused.code in _CODES or (refused.code != "InvalidArgument" and _WORDS.search(refused.words)):
        return _locked()
    if refused.status == 403 and refused.code in _DENIED and not ({"uploadId", "partNumber"} & request.query.keys()):
        query = {"versionId": request.query["versionId"]} if "versionId" in request.query else {}
        look = Request(method="HEAD", key=request.key, bucket=request.bucket, query=query, retry_for=0.0)
        try:
            found = await store.ask(look, 404, 405)
        except (RefusedError, errors.Unavailable):
            return refused.translated()
        has_hold = found.header("x-amz-object-lock-legal-hold").upper() == "ON"
        if found.status < 300 and (has_hold or found.header("x-amz-object-lock-mode")):
            return _locked()
    return refused.translated()


def _locked() -> errors.Locked:
    return errors.Locked("The file is locked: the object store keeps it from being changed or removed.")
