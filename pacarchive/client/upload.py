"""Putting a file: sent with its digest, and believed to be stored only when the archive names the same one.

Where the digest is known before the first byte it goes before the body: so for bytes, for files that are read twice in
no time, and for all others on request.  What can be read once only is sent in chunks, with the digest behind
them as a trailer field; taking them apart costs the archive more than twice the work.  In both cases the archive
refuses what does not have the digest, before anybody sees that.

A large file is hashed while it is sent, with its length and without chunks, which is as fast as the archive can store
it; to hash it first takes a third longer.  Whether the archive has got the right bytes is seen in its answer.

The answer is compared in all cases: what lies between may have dropped the fields.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Collection
from typing import TYPE_CHECKING, Any

import attrs
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer

from pacarchive.client.bodies import Body
from pacarchive.client.errors import (
    AlreadyExists,
    ClientError,
    ConnectionFailed,
    DigestMismatch,
    NotFound,
    NotVerifiable,
    PreconditionFailed,
    ProtocolError,
    ServerError,
    ServerUnavailable,
    Unauthorised,
)
from pacarchive.client.fields import announced, digest_fields, parse_repr_digest
from pacarchive.client.refusals import refused
from pacarchive.client.retry import Tries
from pacarchive.client.sources import (
    WORTH_A_THREAD,
    LocalFile,
    OpenSource,
    of_file,
    of_iterator,
    of_producer,
    one,
)
from pacarchive.client.words import OnProgress, Progress, RetryPolicy, Status, Stored
from pacarchive.digests import ALGORITHMS, PRIMARY, Hasher
from pacarchive.times import format_iso

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pacarchive.client._threads import Threads
    from pacarchive.client.wire import Answer, Wire
    from pacarchive.digests import Digests

SMALL = 1 << 20
"""Up to how many bytes a file is kept in memory while it is sent."""

TWICE = 64 << 20
"""Up to how many bytes a file is read twice, for its digest first, unless the caller says something else."""


@attrs.frozen(kw_only=True)
class Way:
    """
    What an upload goes by.

    @ivar trailers: Whether a digest can follow the body.
    @ivar status: Asks for a file's status.
    @ivar delete: Removes a file if it has an entity tag.
    """

    wire: Wire
    threads: Threads
    policy: RetryPolicy
    trailers: bool
    status: Callable[[int], Awaitable[Status]]
    delete: Callable[[int, str], Awaitable[object]]


@attrs.frozen(kw_only=True)
class PutRequest:
    """What is asked of an upload; L{ArchiveClient.put<pacarchive.client.client.ArchiveClient.put>} explains it."""

    file_id: int
    source: Any
    mtime_ns: int | None
    size: int | None
    algorithms: Collection[str]
    hash_first: bool | None
    if_absent: bool
    if_match: str | None
    on_progress: OnProgress | None


@attrs.define
class _Load:
    """
    What one try sends.

    @ivar digests: As far as they are known before.
    """

    body: Body | bytes
    size: int | None
    mtime_ns: int | None
    digests: Digests | None

    @property
    def sent(self) -> int:
        return len(self.body) if isinstance(self.body, bytes) else self.body.sent

    @property
    def moved(self) -> bool:
        return isinstance(self.body, Body) and self.body.moved

    @property
    def known(self) -> Digests | None:
        """The digests, if all bytes have been seen."""
        if self.digests is not None:
            return self.digests
        assert isinstance(self.body, Body)
        return self.body.digests if self.body.complete else None


class Upload:
    """One file on its way into the archive."""

    def __init__(self, way: Way, request: PutRequest) -> None:
        self._way = way
        self._request = request
        self._once = not isinstance(request.source, bytes | str | os.PathLike)
        self._load: _Load | None = None

    async def run(self) -> Stored:
        """
        Put the file.

        @raise ClientError: It is not in the archive, or not surely.
        @raise OSError: The source cannot be read.
        """
        tries = Tries(self._way.wire.clock, self._way.policy)
        uncertain = renewed = False
        while True:
            self._load = None
            try:
                return await self._try()
            except (AlreadyExists, PreconditionFailed) as error:
                # It may be the try before this one, whose answer was lost, that took the id.
                if uncertain and (stored := await self._there_already(error)):
                    return stored
                raise error from None
            except Unauthorised as error:
                # Another token has been read since: the body is sent again, if that is possible.
                if not error.renewed or renewed or (self._once and self._has_moved):
                    raise
                renewed = True
            except (ConnectionFailed, ServerUnavailable) as error:
                load: _Load | None = self._load
                if isinstance(error, ConnectionFailed) and error.uncertain:
                    uncertain = True
                    if load is not None and load.known and (stored := await self._there_already(error)):
                        return stored
                if self._once and self._has_moved:
                    raise
                # What the archive refuses would be refused as often as it is sent.
                lost = isinstance(error, ConnectionFailed)
                await tries.after(error, begins_anew=lost and self._has_moved)

    @property
    def _has_moved(self) -> bool:
        """Whether bytes have gone out in the last try."""
        return self._load is not None and self._load.moved

    async def _try(self) -> Stored:
        self._load = load = await self._prepare()
        request = self._request
        fields = {"Content-Type": "application/octet-stream"}
        if load.mtime_ns is not None:
            fields["Last-Modified"] = format_iso(load.mtime_ns)
        if request.if_absent:
            fields["If-None-Match"] = "*"
        if request.if_match is not None:
            fields["If-Match"] = request.if_match
        if load.digests is not None:
            fields.update(digest_fields(load.digests))
        elif self._trailing():
            fields["Trailer"] = announced(request.algorithms)
        try:
            path = f"/{request.file_id}"
            async with self._way.wire.exchange("PUT", path, fields, load.body, fresh=self._once) as answer:
                if answer.status != 201:
                    raise await refused(answer)
                stored = await self._stored(answer, load)
        finally:
            if isinstance(load.body, Body):
                await load.body.finish()
        if stored is None:
            stored = await self._settle(load)
        self._tell(stored.size, stored.size)
        return stored

    async def _prepare(self) -> _Load:
        """
        Open the source.

        @raise OSError: It cannot be read.
        """
        request, source = self._request, self._request.source
        if isinstance(source, bytes):
            digests = await self._hashed(source)
            return _Load(self._of_bytes(source), len(source), request.mtime_ns, digests)
        if isinstance(source, str | os.PathLike):
            return await self._of_path(os.fspath(source))
        hasher = Hasher(request.algorithms)
        size = request.size
        if IBodyProducer.providedBy(source):
            if size is None and source.length is not UNKNOWN_LENGTH:
                size = source.length
            source = of_producer(source)
        blocks = of_iterator(self._way.threads, source, hasher)
        if not self._way.wire.streams:
            data = b"".join([block async for block in blocks])
            return _Load(data, len(data), request.mtime_ns, hasher.digests())
        return _Load(self._body(blocks, size, hasher), size, request.mtime_ns, None)

    async def _of_path(self, path: str) -> _Load:
        request, threads = self._request, self._way.threads
        twice = TWICE if request.hash_first is None else sys.maxsize if request.hash_first else 0
        limit = SMALL if self._way.wire.streams else sys.maxsize
        size, mtime_ns, data, digests = await threads.run(_look, path, request.algorithms, twice, limit)
        told = mtime_ns if request.mtime_ns is None else request.mtime_ns
        if data is not None:
            return _Load(self._of_bytes(data), size, told, digests)
        hasher = None if digests is not None else Hasher(request.algorithms)
        file = LocalFile(self._way.wire.clock, threads, path, mtime_ns)
        return _Load(self._body(of_file(file, hasher), size, hasher, file), size, told, digests)

    def _trailing(self) -> bool:
        return self._way.trailers and self._once

    def _of_bytes(self, data: bytes) -> Body | bytes:
        if not self._way.wire.streams or not data:
            return data
        return Body(one(data), len(data), hasher=None, trailing=False, sending=lambda sent: self._tell(sent, len(data)))

    def _body(
        self, blocks: AsyncIterator[bytes], size: int | None, hasher: Hasher | None, file: LocalFile | None = None
    ) -> Body:
        return Body(
            blocks,
            size,
            hasher=hasher,
            trailing=self._trailing(),
            sending=lambda sent: self._tell(sent, size),
            file=file,
        )

    async def _hashed(self, data: bytes) -> Digests:
        hasher = Hasher(self._request.algorithms)
        if len(data) >= WORTH_A_THREAD:
            await self._way.threads.run(hasher.update, data)
        else:
            hasher.update(data)
        return hasher.digests()

    def _tell(self, done: int, total: int | None) -> None:
        if self._request.on_progress is not None:
            self._request.on_progress(Progress(done, total))

    async def _stored(self, answer: Answer, load: _Load) -> Stored | None:
        """What the answer confirms; C{None} where that is not all of it, or not what was sent."""
        try:
            document = await answer.document()
        except ProtocolError:
            return None
        digests = load.known
        size = document.get("total_bytes") if isinstance(document, dict) else None
        if digests is None or size != load.sent:
            return None
        if answer.field("Location").rpartition("/")[2] != str(self._request.file_id):
            return None
        etag = answer.field("ETag")
        if parse_repr_digest(answer.field("Repr-Digest")).get(PRIMARY) != digests[PRIMARY]:
            return None
        if etag != f'"{digests[PRIMARY].hex()}"':
            return None
        durable = answer.field("X-Pacarchive-Durability") != "relaxed"
        return Stored(file_id=self._request.file_id, size=size, etag=etag, digests=digests, durable=durable)

    async def _there_already(self, trouble: ClientError) -> Stored | None:
        """
        Whether the archive has just these bytes under the id.

        @param trouble: What is the matter where the archive does not say.
        """
        load = self._load
        if load is None or load.known is None:
            return None
        try:
            status = await self._way.status(self._request.file_id)
        except (NotFound, ServerError):  # the predecessor answers 500 where there is none
            return None
        except (ConnectionFailed, ServerUnavailable):
            raise trouble from None
        return self._as_stored(status, load)

    def _as_stored(self, status: Status, load: _Load) -> Stored | None:
        digests = load.known
        assert digests is not None
        if status.digests.get(PRIMARY) != digests[PRIMARY] or status.size != load.sent:
            return None
        return Stored(file_id=self._request.file_id, size=status.size, etag=status.etag, digests=digests)

    async def _settle(self, load: _Load) -> Stored:
        """
        Find out what an archive has that said it stored something, and not the right thing.

        @raise ClientError: It is not what was sent.
        """
        file_id = self._request.file_id
        if load.known is None:
            raise ProtocolError(f"The archive says that file {file_id} is stored, and had not got all of it.")
        try:
            status = await self._way.status(file_id)
        except (NotFound, ServerError):
            raise DigestMismatch(
                f"The archive says that it stored file {file_id}, and has none of this id: the request was changed on "
                f"the way, and another id may have got the bytes."
            ) from None
        if (stored := self._as_stored(status, load)) is not None:
            return stored  # it was the answer that was changed on the way
        if PRIMARY not in status.digests:
            raise NotVerifiable(f"File {file_id} is stored, but the archive gives no digest to compare it by.")
        words = f"The archive has other bytes under {file_id} than were sent"
        if not self._request.if_absent:
            # What was there before is gone either way, and the archive's bytes may be somebody else's by now.
            raise DigestMismatch(f"{words}. They were left there.", stored=True)
        try:
            await self._way.delete(file_id, status.etag)
        except ClientError as error:
            raise DigestMismatch(f"{words}, and they could not be removed: {error}", stored=True) from error
        raise DigestMismatch(f"{words}. The id had been free, and they were removed again.")


def _look(
    path: str, algorithms: Collection[str], twice: int, limit: int
) -> tuple[int, int, bytes | None, dict[str, bytes] | None]:
    """
    Look at a file that is to be sent.

    @param twice: Up to what size its digests are computed now.
    @param limit: Up to what size it is small.
    @return: Size, time of modification, all of it if it is small, and the digests if they are known.
    """
    source = OpenSource(path)
    try:
        small = source.size <= limit
        if not small and source.size > twice:
            return source.size, source.mtime_ns, None, None
        data, digests = source.whole(algorithms, limit)
        return source.size, source.mtime_ns, data if small else None, digests
    finally:
        source.close()


def chosen(digests: Collection[str]) -> list[str]:
    """
    The algorithms to compute: those, and the archive's own.

    @raise ValueError: One is not known.
    """
    if unknown := set(digests) - set(ALGORITHMS):
        raise ValueError(f"no digest is called {min(unknown)!r}; there are {', '.join(ALGORITHMS)}")
    return [PRIMARY, *sorted(set(digests) - {PRIMARY})]
