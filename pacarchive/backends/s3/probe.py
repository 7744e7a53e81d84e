"""Finding out what a store heeds: many take conditions and sums, and ignore them without a word."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping
from uuid import uuid4

from twisted.logger import Logger

from pacarchive import errors
from pacarchive.backends.s3 import versions
from pacarchive.backends.s3.bucket import Bucket, Promises
from pacarchive.backends.s3.request import Answer, Request
from pacarchive.backends.s3.restore import Restorer
from pacarchive.backends.s3.sums import Check

_log = Logger()

_BODY = b"pacarchive"
_SUM = hashlib.sha256(_BODY).hexdigest()
_WRONG = b"another body"
_REFUSALS = (400, 403, 404, 405, 409, 412, 416, 501)


async def probe(bucket: Bucket, prefix: str) -> Promises:
    """
    Ask for what must fail, and see whether it does.

    @param prefix: What the key of the object begins with that is made for this, and removed in the end.
    @raise errors.BackendUnavailable: The store does not answer, or does not store an object at all.
    """
    key = f"{prefix}{uuid4().hex}"
    first = await _put(bucket, key, {"If-None-Match": "*"})
    if not _is_good(first):
        # Whatever it has against the condition, it may have nothing against the object.
        first = await _put(bucket, key, {})
        if not _is_good(first):
            raise errors.BackendUnavailable(
                f"the object store does not store an object: {first.status} {first.body[:300].decode(errors='replace')}"
            )
    try:
        return await _probe(bucket, key, first)
    finally:
        await _remove(bucket, key, keeps_versions=bool(_version(first)))


async def _probe(bucket: Bucket, key: str, first: Answer) -> Promises:
    tag = first.header("ETag").removeprefix("W/").strip('"')
    creates_once = (await _put(bucket, key, {"If-None-Match": "*"})).status == 412
    spares = (await _put(bucket, key, {"If-Match": f'"{"0" * 32}"'})).status == 412
    quoted = _is_good(await _put(bucket, key, {"If-Match": f'"{tag}"'}))
    bare = not quoted and _is_good(await _put(bucket, key, {"If-Match": tag}))
    absent = f"{key}-absent"
    spares_absent = (await _put(bucket, absent, {"If-Match": f'"{tag}"' if quoted else tag})).status in (404, 412)
    if not spares_absent:
        await bucket.delete(absent)
    checks = set()
    for check, headers, sha256 in (
        (Check.CRC32, {"x-amz-checksum-crc32": _encoded(zlib.crc32(_WRONG).to_bytes(4, "big"))}, _SUM),
        (Check.MD5, {"Content-MD5": _encoded(hashlib.md5(_WRONG, usedforsecurity=False).digest())}, _SUM),
        (Check.SHA256, {}, hashlib.sha256(_WRONG).hexdigest()),
    ):
        if not _is_good(await _put(bucket, key, headers, sha256)):
            checks.add(check)
    # What has just been stored, if a wrong sum was ignored, has the same bytes.
    part = await _ask(bucket, Request(method="GET", key=key, headers={"Range": "bytes=3-5"}))
    read_other = await _ask(bucket, Request(method="GET", key=key, headers={"If-Match": f'"{"0" * 32}"'}))
    read_this = await _ask(bucket, Request(method="GET", key=key, headers={"If-Match": f'"{tag}"'}))
    restores = await Restorer(bucket, 1, "").is_known(key)
    wrong = f'"{"0" * 32}"' if quoted else "0" * 32
    kept = (await _ask(bucket, Request(method="DELETE", key=key, headers={"If-Match": wrong}))).status == 412
    none = await _ask(bucket, Request(method="DELETE", key=absent, headers={"If-Match": f'"{tag}"' if quoted else tag}))
    lock = await _ask(bucket, Request(method="GET", query={"object-lock": ""}))
    return Promises(
        conditional_put=creates_once and spares and spares_absent and (quoted or bare),
        quoted_tags=not bare,
        conditional_delete=kept and none.status in (404, 412),
        conditional_get=read_other.status == 412 and _is_good(read_this),
        ranges=part.status == 206 and part.body == _BODY[3:6],
        checks=frozenset(checks),
        versions=bool(_version(first)),
        locks=_is_good(lock) and b"<ObjectLockEnabled>Enabled<" in lock.body,
        restores=restores,
    )


async def _remove(bucket: Bucket, key: str, *, keeps_versions: bool) -> None:
    """Remove what was made, as far as that is possible; the rest is swept later."""
    if keeps_versions:
        try:
            await versions.remove(bucket, key)
        except errors.Locked:
            return  # by what the bucket does to all that is stored
        except errors.ArchiveError as error:
            _log.warn("versions in the bucket cannot be listed or removed: {error}", error=error)
        else:
            return
    await bucket.delete(key)


def words_of(promises: Promises) -> str:
    """What was found out, in one line."""
    heeded = [
        ("conditional PUT", promises.conditional_put),
        ("conditional DELETE", promises.conditional_delete),
        ("conditional GET", promises.conditional_get),
        ("ranges", promises.ranges),
        *((each.value, each in promises.checks) for each in Check),
    ]
    does = ", ".join(name for name, is_heeded in heeded if is_heeded)
    ignores = ", ".join(name for name, is_heeded in heeded if not is_heeded)
    tags = "" if promises.quoted_tags else "; takes entity tags without quotes"
    keeps = "; the bucket keeps versions" if promises.versions else ""
    locks = "; the bucket has object lock" if promises.locks else ""
    restores = "; knows restores" if promises.restores else "; knows no restores"
    ignored = f"ignores {ignores}" if ignores else "ignores nothing"
    return f"heeds {does or 'nothing'}; {ignored}{tags}{restores}{keeps}{locks}"


def _version(answer: Answer) -> str:
    """The version that was stored, in a bucket that keeps them."""
    version = answer.header("x-amz-version-id")
    return "" if version == "null" else version


def _is_good(answer: Answer) -> bool:
    return 200 <= answer.status < 300


async def _put(bucket: Bucket, key: str, headers: Mapping[str, str], sha256: str = _SUM) -> Answer:
    return await _ask(bucket, Request(method="PUT", key=key, headers=headers, body=[_BODY], sha256=sha256))


async def _ask(bucket: Bucket, request: Request) -> Answer:
    return await bucket.store.ask(request, *_REFUSALS)


def _encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
