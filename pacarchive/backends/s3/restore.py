"""Restores of objects in cold storage classes, one request each."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs
from twisted.logger import Logger

from pacarchive import errors
from pacarchive.backends.s3.bucket import Bucket
from pacarchive.backends.s3.documents import BadDocumentError, http_time, listing, refusal
from pacarchive.backends.s3.request import Request
from pacarchive.backends.s3.residency import Seen, restore_in
from pacarchive.backends.s3.store import RefusedError
from pacarchive.backends.s3.sums import small_sum

_ONLINE_CODES = frozenset({"InvalidObjectState", "ObjectAlreadyInActiveTierError", "ObjectNotInArchive"})

PAGE = 1000
"""The most objects of a page of a list."""

_EXPEDITED = "GlacierExpeditedRetrievalNotAvailable"
_NO_CAPACITY = "The object store has no capacity for expedited restores at present."
_BUSY = "The object store is too busy to restore it at present."

_log = Logger()


class Outcome(enum.Enum):
    """What the store makes of a request to restore an object."""

    STARTED = "started"
    """It is under way, or was already."""
    EXTENDED = "extended"
    """There is a copy, which stays longer now."""
    ONLINE = "online"
    """There is nothing to restore: it can be read, or is not in the cold class yet."""
    ABSENT = "absent"
    """There is no such object."""
    BUSY = "busy"
    """It cannot be done now, and can be tried again."""
    REFUSED = "refused"
    """It cannot be done."""


@attrs.frozen
class Result:
    """
    What came of a request to restore an object.

    @ivar outcome: What.
    @ivar words: Why it is not under way, for people; never the store's own words.
    """

    outcome: Outcome
    words: str = ""


class Restorer:
    """
    Looks at objects, and asks for their restores.

    @param bucket: The bucket.
    @param days: For how many days a copy stays.
    @param tier: How fast, and how dear; empty to leave that to the store.
    """

    def __init__(self, bucket: Bucket, days: int, tier: str) -> None:
        self._bucket = bucket
        self._days = days
        self.tier = tier
        self._takes_tiers = True

    async def look(self, key: str, version: str) -> Seen | None:
        """
        Look at an object; C{None} where there is none.

        @param version: Its version, in a bucket that keeps them; else empty.
        @raise errors.BackendUnavailable: The store does not answer.
        """
        try:
            answer = await self._bucket.store.ask(Request(method="HEAD", key=key, query=_of(version)), 404)
        except RefusedError as error:
            raise error.translated() from error
        if answer.status == 404:
            return None
        return Seen(
            storage_class=answer.header("x-amz-storage-class").strip(),
            archive=answer.header("x-amz-archive-status").strip(),
            restore=restore_in(answer.header("x-amz-restore")),
            modified=http_time(answer.header("Last-Modified")) or 0.0,
        )

    async def listed(self, prefix: str, before: str) -> tuple[Mapping[str, Seen], str | None]:
        """
        List objects with what is told of their restores.

        @param before: Where to begin: after this key.
        @return: The objects by their keys; and the last key, if there are more.
        @raise errors.BackendUnavailable: The store does not answer.
        """
        query = {"list-type": "2", "prefix": prefix, "max-keys": str(PAGE), "start-after": before}
        headers = {"x-amz-optional-object-attributes": "RestoreStatus"}
        try:
            answer = await self._bucket.store.ask(Request(method="GET", query=query, headers=headers, most=8 << 20))
            page = listing(answer.body)
        except RefusedError as error:
            raise error.translated() from error
        except BadDocumentError as error:
            raise errors.BackendUnavailable("The object store sends an answer that is none.") from error
        last = page.objects[-1].key if page.token is not None and page.objects else None
        return {each.key: each.seen for each in page.objects}, last

    async def restore(self, key: str, version: str, *, has_days: bool) -> Result:
        """
        Ask for an object to be restored, or for its copy to stay longer.

        @param has_days: Whether a copy is made, which goes again.
        @raise errors.BackendUnavailable: The store does not answer.
        """
        result = await self._ask(key, version, has_days=has_days, tier=self.tier if self._takes_tiers else "")
        if result is None:  # it may have something against the tier alone
            result = await self._ask(key, version, has_days=has_days, tier="")
            if result is not None and result.outcome is Outcome.STARTED and self._takes_tiers:
                self._takes_tiers = False
                _log.warn("the object store does not take a tier of restores: [s3] restore_tier is ignored")
        return result or Result(Outcome.REFUSED, "The object store does not understand the request to restore it.")

    async def is_known(self, key: str) -> bool:
        """
        Find out whether the store knows restores.

        @param key: An object that can be read, so that nothing is restored.
        """
        try:
            result = await self._ask(key, "", has_days=True, tier="", quiet=True)
        except errors.Unavailable:  # some have an internal error for what they do not know
            return False
        return result is not None and result.outcome in (Outcome.ONLINE, Outcome.STARTED, Outcome.EXTENDED)

    async def _ask(self, key: str, version: str, *, has_days: bool, tier: str, quiet: bool = False) -> Result | None:
        """Ask once.  @return: C{None} where the store says that the request is wrong."""
        body = [_document(self._days if has_days else None, tier)]
        total = small_sum(body)
        request = Request(
            method="POST",
            key=key,
            query={"restore": "", **_of(version)},
            headers={**total.headers, "Content-Type": "application/xml"},
            body=body,
            sha256=total.sha256,
            retry_for=0.0 if quiet else None,
        )
        try:
            answer = await self._bucket.store.ask(request, 404, 409, 503)
        except RefusedError as error:
            return _refused(error, tier, quiet=quiet)
        if answer.status == 404:
            return Result(Outcome.ABSENT)
        if answer.status == 503:  # the engine comes back later, which is better than to ask again at once
            found = refusal(answer.body)
            return Result(Outcome.BUSY, _NO_CAPACITY if found is not None and found.code == _EXPEDITED else _BUSY)
        return Result(Outcome.EXTENDED if answer.status in (200, 204) else Outcome.STARTED)


def _refused(error: RefusedError, tier: str, *, quiet: bool) -> Result | None:
    if error.code in _ONLINE_CODES:
        return Result(Outcome.ONLINE)
    if not quiet:
        _log.warn("the object store does not restore: {status} {code}: {words}", **vars(error))
    if error.status == 400:
        return None if tier else Result(Outcome.REFUSED, "The object store does not understand the request.")
    if error.status == 403:
        return Result(Outcome.REFUSED, "The object store does not permit restores.")
    if error.status in (405, 501):
        return Result(Outcome.REFUSED, "The object store knows no restores.")
    return Result(Outcome.REFUSED, "The object store refuses to restore it.")


def _document(days: int | None, tier: str) -> bytes:
    """The document that asks for a restore; the tier is one of the words of the settings."""
    text = "" if days is None else f"<Days>{days}</Days>"
    if tier:
        text += f"<GlacierJobParameters><Tier>{tier}</Tier></GlacierJobParameters>"
    return f'<RestoreRequest xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{text}</RestoreRequest>'.encode()


def _of(version: str) -> dict[str, str]:
    return {"versionId": version} if version else {}
