"""What is done with objects of the bucket, one request each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote

import attrs

from pacarchive import errors
from pacarchive.backends.s3.documents import (
    BadDocumentError,
    Listing,
    Upload,
    completion,
    field,
    http_time,
    listing,
    uploads,
)
from pacarchive.backends.s3.locks import explained
from pacarchive.backends.s3.request import Answer, Request
from pacarchive.backends.s3.sending import Stream
from pacarchive.backends.s3.store import ObjectStore, RefusedError
from pacarchive.backends.s3.sums import Check, Sum, Summing, small_sum, summing

T = TypeVar("T")

_LONG = 600.0
"""The timeout of what the store may take long for, in seconds."""

_SOON = 5.0
"""How long is repeated what need not succeed, as the removal of what can be swept later, in seconds."""

_LIST = 8 << 20


@attrs.frozen(kw_only=True)
class Promises:
    """
    What a store heeds of what it is asked.

    @ivar conditional_put: C{If-None-Match} and C{If-Match} of a PUT.
    @ivar quoted_tags: Whether entity tags have to be quoted in C{If-Match} of a PUT, as the standard says.
    @ivar conditional_delete: C{If-Match} of a DELETE.
    @ivar conditional_get: C{If-Match} of a GET.
    @ivar ranges: C{Range} of a GET.
    @ivar checks: What bodies are compared with.
    @ivar versions: Whether the bucket keeps versions: what is replaced or removed is there still.
    @ivar locks: Whether it has object lock: some versions may not be removed.
    @ivar restores: Whether the store knows restores from cold storage classes.
    """

    conditional_put: bool = True
    quoted_tags: bool = True
    conditional_delete: bool = True
    conditional_get: bool = True
    ranges: bool = True
    checks: frozenset[Check] = frozenset(Check)
    versions: bool = False
    locks: bool = False
    restores: bool = True


@attrs.frozen
class Absent:
    """The condition that a key is free."""


@attrs.frozen
class Tagged:
    """The condition that an object has an entity tag."""

    tag: str


Condition = Absent | Tagged | None


class UnfulfilledError(Exception):
    """
    A condition does not hold.

    @ivar may_be_own: Whether that may be the doing of an earlier attempt of the same request, whose answer was lost.
    """

    def __init__(self, *, may_be_own: bool) -> None:
        super().__init__()
        self.may_be_own = may_be_own


@attrs.frozen
class Stored:
    """
    An object that has been stored, or looked at.

    @ivar tag: Its entity tag, without quotes; empty where the store does not say.
    @ivar version: The version, in a bucket that keeps them; else empty.
    @ivar size: Its size in bytes.
    @ivar modified: When it was stored, in seconds since the epoch, where that is known.
    """

    tag: str
    version: str
    size: int
    modified: float | None = attrs.field(default=None, eq=False)


@attrs.frozen
class Source:
    """
    An object that is copied.

    @ivar bucket: Its bucket.
    @ivar key: Its key.
    @ivar stored: What it has to be still.
    """

    bucket: str
    key: str
    stored: Stored

    def headers(self) -> dict[str, str]:
        """What a request for a copy names it with."""
        place = f"/{self.bucket}/{quote(self.key, safe='/-_.~')}"
        if self.stored.version:
            place += f"?versionId={quote(self.stored.version, safe='-_.~')}"
        return {"x-amz-copy-source": place, "x-amz-copy-source-if-match": f'"{self.stored.tag}"'}


class Bucket:
    """
    The bucket.

    @param store: The store.
    @param unsigned: Whether bodies need not be signed: the connection is secure, or does not leave this machine.
    @ivar promises: What the store heeds.
    @ivar storage_class: Headers that choose the class of data; records are always of the usual one.
    """

    def __init__(self, store: ObjectStore, *, unsigned: bool, storage_class: str = "") -> None:
        self.store = store
        self.storage_class = {"x-amz-storage-class": storage_class} if storage_class else {}
        self.promises = Promises()
        self._unsigned = unsigned

    async def get(
        self, key: str, *, most: int, first: int | None = None, bucket: str | None = None, hurried: bool = False
    ) -> tuple[bytes, Stored] | None:
        """
        Return the bytes of an object, from the start.

        @param most: The most that it has; with more, that is an error.
        @param first: How many are enough.
        @param hurried: Whether it is tried for a short time only.
        @return: The bytes and what they are of; C{None} where there is no object.
        """
        headers = {} if first is None else {"Range": f"bytes=0-{first - 1}"}
        soon = _SOON if hurried else None
        request = Request(method="GET", key=key, bucket=bucket, headers=headers, most=most, retry_for=soon)
        answer = await self._ask(request, 404)
        return None if answer.status == 404 else (answer.body, _stored(answer, len(answer.body)))

    async def stream(self, key: str, of: Stored, offset: int, length: int, *, bucket: str | None = None) -> Stream:
        """
        Begin to read an object.

        @param of: What it has to be still.
        @raise errors.BackendUnavailable: It is not there any more, or another.
        """
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        if self.promises.conditional_get and of.tag:
            headers["If-Match"] = f'"{of.tag}"'
        query = {"versionId": of.version} if of.version else {}
        try:
            answer = await self.store.begin(Request(method="GET", key=key, bucket=bucket, headers=headers, query=query))
        except RefusedError as error:
            if error.code == "InvalidObjectState":
                raise errors.BackendUnavailable("The file is in a cold storage class now.", retry_after=60) from error
            if error.status in (404, 412, 416):
                raise errors.BackendUnavailable("The file is no longer in the object store.") from error
            raise error.translated() from error
        if not isinstance(answer, Stream) or answer.left != length:
            if isinstance(answer, Stream):
                answer.close()
            raise errors.BackendUnavailable("The object store sends other bytes than it was asked for.")
        return answer

    async def copy(self, source: Source, key: str) -> None:
        """
        Copy an object into this bucket.

        @raise UnfulfilledError: It is not there any more, or another.
        """
        headers = source.headers() | self.storage_class
        await self._copy(Request(method="PUT", key=key, headers=headers, is_long=True, patience=_LONG))

    async def copy_part(
        self, source: Source, first: int, size: int, key: str, upload: str, number: int
    ) -> Mapping[str, str]:
        """As L{copy}, a range as a part.  @return: What describes the part."""
        headers = source.headers() | {"x-amz-copy-source-range": f"bytes={first}-{first + size - 1}"}
        query = {"partNumber": str(number), "uploadId": upload}
        request = Request(method="PUT", key=key, headers=headers, query=query, is_long=True, patience=_LONG)
        answer = await self._copy(request)
        try:
            return {"ETag": field(answer.body, "CopyPartResult", "ETag"), "PartNumber": str(number)}
        except BadDocumentError as error:
            raise _nonsense() from error

    async def _copy(self, request: Request) -> Answer:
        answer = await self._ask(request, 404, 412)
        if answer.status in (404, 412):
            raise UnfulfilledError(may_be_own=False)
        return answer

    async def head(self, key: str, bucket: str | None = None) -> Stored | None:
        """Look at an object; C{None} where there is none."""
        answer = await self._ask(Request(method="HEAD", key=key, bucket=bucket), 404)
        if answer.status == 404:
            return None
        size = answer.header("Content-Length")
        if not size.isdigit():
            raise errors.BackendUnavailable("The object store does not say how large an object is.")
        return _stored(answer, int(size))

    async def put(
        self, key: str, body: Sequence[bytes], condition: Condition = None, *, total: Sum | None = None
    ) -> Stored:
        """
        Store an object.

        @param condition: What has to hold for the key.
        @param total: The sum of the body, where there is much of it.
        @raise UnfulfilledError: It does not.
        """
        large = total is not None
        total = total or small_sum(body)
        headers = {**total.headers, **(self.storage_class if large else {}), "Content-Type": "application/octet-stream"}
        if isinstance(condition, Absent):
            headers["If-None-Match"] = "*"
        elif condition is not None:
            headers["If-Match"] = self.match(condition.tag)
        request = Request(method="PUT", key=key, headers=headers, body=body, sha256=total.sha256)
        answer = await self._ask(request, 404, 412, large=large)
        if answer.status == 412 or (answer.status == 404 and isinstance(condition, Tagged)):
            raise UnfulfilledError(may_be_own=answer.repeated)
        if answer.status == 404:
            raise errors.BackendUnavailable("The object store does not have the bucket.")
        return _stored(answer, request.size)

    async def delete(
        self, key: str, condition: Tagged | None = None, *, version: str = "", bucket: str | None = None
    ) -> None:
        """
        Remove an object; that there is none is no error.

        @raise UnfulfilledError: The condition does not hold.
        """
        headers = {} if condition is None else {"If-Match": self.match(condition.tag)}
        query = {"versionId": version} if version else {}
        # Where others write, a repetition might meet another object.
        retry_for = None if condition is not None else _SOON if bucket is None else 0.0
        request = Request(method="DELETE", key=key, headers=headers, query=query, bucket=bucket, retry_for=retry_for)
        answer = await self._ask(request, 404, 412)
        if answer.status == 412 or (answer.status == 404 and condition is not None):
            raise UnfulfilledError(may_be_own=answer.repeated)

    async def page(
        self,
        prefix: str,
        most: int,
        *,
        after: str = "",
        token: str | None = None,
        in_seconds: float | None = None,
        bucket: str | None = None,
    ) -> Listing:
        """
        List objects in the order of their keys.

        @param after: The key to begin after.
        @param token: Where an earlier page ended.
        @param in_seconds: How long it may take, where that is not the common time.
        """
        query = {"list-type": "2", "prefix": prefix, "max-keys": str(most)}
        if token is not None:
            query["continuation-token"] = token
        elif after:
            query["start-after"] = after
        once = None if in_seconds is None else 0.0
        request = Request(method="GET", bucket=bucket, query=query, most=_LIST, patience=in_seconds, retry_for=once)
        return _read(listing, (await self._ask(request)).body)

    # Uploads in parts

    async def create(self, key: str, *, copies: bool = False) -> str:
        """Begin an upload in parts, which are sent or copied.  @return: Its id."""
        headers = {"Content-Type": "application/octet-stream", **self.storage_class}
        if self.check is Check.CRC32 and not copies:
            headers["x-amz-checksum-algorithm"] = "CRC32"
        answer = await self._ask(Request(method="POST", key=key, query={"uploads": ""}, headers=headers))
        try:
            return field(answer.body, "InitiateMultipartUploadResult", "UploadId")
        except BadDocumentError as error:
            raise _nonsense() from error

    async def put_part(
        self, key: str, upload: str, number: int, body: Sequence[bytes], total: Sum
    ) -> Mapping[str, str]:
        """Send a part.  @return: What describes it when the upload is completed."""
        request = Request(
            method="PUT",
            key=key,
            query={"partNumber": str(number), "uploadId": upload},
            headers=total.headers,
            body=body,
            sha256=total.sha256,
        )
        answer = await self._ask(request, large=True)
        return {"ETag": answer.header("ETag"), **total.part, "PartNumber": str(number)}

    async def complete(self, key: str, upload: str, parts: Iterable[Mapping[str, str]], size: int) -> Stored:
        """
        Make an object of parts.  What becomes of it is looked at in the end: an answer may have been lost, and some
        stores do not say.
        """
        body = [completion(parts)]
        total = small_sum(body)
        request = Request(
            method="POST",
            key=key,
            query={"uploadId": upload},
            headers=total.headers,
            body=body,
            sha256=total.sha256,
            is_long=True,
            patience=_LONG,
        )
        refused = await self._ask(request, 404)
        found = await self.head(key)
        if found is None or found.size != size:
            words = "an upload" if refused.status == 404 else "data"
            raise errors.BackendUnavailable(f"The object store has lost {words}.")
        return found

    async def abort(self, key: str, upload: str) -> None:
        """Discard an upload."""
        await self._ask(Request(method="DELETE", key=key, query={"uploadId": upload}, retry_for=_SOON), 404)

    async def uploads(
        self, prefix: str, after: tuple[str, str] | None
    ) -> tuple[Sequence[Upload], tuple[str, str] | None]:
        """List uploads that are not complete.  @return: Some, and where the next page begins, if there is one."""
        query = {"uploads": "", "prefix": prefix}
        if after is not None:
            query |= {"key-marker": after[0], "upload-id-marker": after[1]}
        answer = await self._ask(Request(method="GET", query=query, most=_LIST))
        return _read(uploads, answer.body)

    def match(self, tag: str) -> str:
        """The value of C{If-Match} of a PUT or DELETE."""
        return f'"{tag}"' if self.promises.quoted_tags else tag

    @property
    def check(self) -> Check:
        """What bodies are compared with."""
        if Check.CRC32 in self.promises.checks and self._unsigned:
            return Check.CRC32
        if self.promises.locks and Check.MD5 in self.promises.checks:
            return Check.MD5  # which such buckets demand
        return Check.SHA256 if Check.SHA256 in self.promises.checks else Check.MD5

    def summing(self) -> Summing:
        """What computes the sum of much data, as it comes."""
        return summing(self.check, signed=not self._unsigned)

    async def _ask(self, request: Request, *accepted: int, large: bool = False) -> Answer:
        try:
            return await self.store.ask(request, *accepted, large=large)
        except RefusedError as error:
            raise await explained(self.store, request, error) from error


def _stored(answer: Answer, size: int) -> Stored:
    tag = answer.header("ETag").removeprefix("W/").strip('"')
    version = answer.header("x-amz-version-id")
    return Stored(tag, "" if version == "null" else version, size, http_time(answer.header("Last-Modified")))


def _read(parse: Callable[[bytes], T], body: bytes) -> T:
    try:
        return parse(body)
    except BadDocumentError as error:
        raise _nonsense() from error


def _nonsense() -> errors.BackendUnavailable:
    return errors.BackendUnavailable("The object store sends an answer that is none.")
