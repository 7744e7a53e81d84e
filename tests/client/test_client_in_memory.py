"""The client and the archive in memory: what each call does, and which failure each refusal is."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.task import Cooperator
from twisted.web.client import FileBodyProducer
from zope.interface import implementer

from pacarchive.client import (
    NEVER,
    AlreadyExists,
    ArchiveClient,
    ClientError,
    DigestMismatch,
    FileState,
    InvalidRequest,
    JobFile,
    JobState,
    Locality,
    NoSpace,
    NotFound,
    NotPermitted,
    Offline,
    PreconditionFailed,
    Progress,
    ProtocolError,
    RetryPolicy,
    ServerError,
    ServerUnavailable,
    TooLarge,
    Unauthorised,
)
from pacarchive.client.testing import FakeArchive, result_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DATA = bytes(range(256)) * 20


@pytest.fixture
def archive() -> FakeArchive:
    """An empty archive."""
    return FakeArchive()


@pytest.fixture
def client(archive: FakeArchive) -> ArchiveClient:
    """A client of it."""
    return archive.client()


# put


def test_bytes_are_stored_with_their_digests(archive: FakeArchive, client: ArchiveClient) -> None:
    """What comes back names the version and all digests that were asked for."""
    stored = result_of(client.put(1, DATA, digests=["md5", "sha512"]))
    assert archive.files[1].data == DATA
    assert stored.etag == archive.files[1].etag
    assert stored.digests == {name: hashlib.new(name, DATA).digest() for name in ("sha256", "md5", "sha512")}
    assert (stored.file_id, stored.size, stored.durable) == (1, len(DATA), True)


@pytest.mark.parametrize("size", [0, 1, 5000, 3 << 20])
def test_a_file_goes_in_and_comes_out(client: ArchiveClient, tmp_path: Path, size: int) -> None:
    """Of whatever size; and it is told how far it is."""
    source, target, told = tmp_path / "source", tmp_path / "target", list[Progress]()
    source.write_bytes(data := os.urandom(size))
    result_of(client.put(1, source, on_progress=told.append))
    assert told[-1] == Progress(size, size)
    fetched = result_of(client.get(1, target, on_progress=told.append))
    assert told[-1] == Progress(size, size)
    assert target.read_bytes() == data
    assert fetched.verified
    assert fetched.digests == {"sha256": hashlib.sha256(data).digest()}
    assert sorted(os.listdir(tmp_path)) == ["source", "target"]


def test_an_iterator_and_a_producer_are_sources(archive: FakeArchive, client: ArchiveClient, tmp_path: Path) -> None:
    """They are read once."""

    async def pieces() -> AsyncIterator[bytes]:
        yield DATA[:100]
        yield b""
        yield DATA[100:]

    result_of(client.put(1, pieces()))
    assert archive.files[1].data == DATA

    (tmp_path / "file").write_bytes(DATA)
    cooperator = Cooperator(scheduler=lambda call: archive.clock.callLater(0, call))
    with open(tmp_path / "file", "rb") as file:
        putting = Deferred.fromCoroutine(client.put(2, FileBodyProducer(file, cooperator, readSize=1000)))
        archive.clock.pump([0] * 50)
    assert putting.called
    assert archive.files[2].data == DATA


def test_a_source_that_fails_is_the_callers_own_trouble(client: ArchiveClient, tmp_path: Path) -> None:
    """Its exception comes out as it is."""

    async def pieces() -> AsyncIterator[bytes]:
        yield DATA
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        result_of(client.put(1, pieces()))
    with pytest.raises(FileNotFoundError):
        result_of(client.put(1, tmp_path / "none"))
    with pytest.raises(IsADirectoryError):
        result_of(client.put(1, tmp_path))


@pytest.mark.parametrize("hash_first", [True, False])
def test_a_pipe_or_device_is_no_source(
    archive: FakeArchive, client: ArchiveClient, tmp_path: Path, hash_first: bool
) -> None:
    """Nothing would tell its end, or that it is the same when it is read again."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            result_of(client.put(1, path, hash_first=hash_first))
    assert not archive.requests


def test_conditions_are_kept(archive: FakeArchive, client: ArchiveClient) -> None:
    """An id that is taken, a version that is gone."""
    first = result_of(client.put(1, b"first", if_absent=True))
    with pytest.raises(PreconditionFailed):
        result_of(client.put(1, b"second", if_absent=True))
    result_of(client.put(1, b"second", if_match=first.etag))
    with pytest.raises(PreconditionFailed):
        result_of(client.put(1, b"third", if_match=first.etag))
    with pytest.raises(PreconditionFailed):
        result_of(client.delete(1, if_match=first.etag))
    assert archive.files[1].data == b"second"


def test_an_answer_that_was_changed_on_the_way_is_held_against_the_archive(archive: FakeArchive) -> None:
    """A second question tells whether the bytes are there; wrong ones are removed where the id had been free."""

    class Deaf(FakeArchive):
        """Stores something else, and does not look at digests."""

        lies = False

        def _put(self, request: Any, file_id: int) -> bytes:
            request.requestHeaders.removeHeader("Repr-Digest")
            answer = super()._put(request, file_id)
            if self.lies:
                self._tell(request, self.add(file_id, b"something else"))
            else:
                request.setHeader("Repr-Digest", "sha-256=:AAAA:")
            return answer

    deaf = Deaf()
    client = deaf.client()
    assert result_of(client.put(1, DATA)).size == len(DATA)
    assert deaf.requests == [("PUT", "/1"), ("HEAD", "/1")]
    deaf.lies = True
    with pytest.raises(DigestMismatch) as caught:
        result_of(client.put(1, DATA))
    assert caught.value.stored
    assert 1 in deaf.files
    with pytest.raises(DigestMismatch, match="removed again") as caught:
        result_of(client.put(2, DATA, if_absent=True))
    assert not caught.value.stored
    assert 2 not in deaf.files


@pytest.mark.parametrize(
    "arguments", [{"file_id": -1}, {"file_id": 2**64}, {"file_id": True}, {"digests": ["crc32"]}, {"mtime_ns": 2**90}]
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    archive: FakeArchive, client: ArchiveClient, arguments: dict[str, Any]
) -> None:
    """With C{ValueError}."""
    with pytest.raises(ValueError):
        result_of(client.put(**{"file_id": 1, "source": DATA, **arguments}))
    assert not archive.requests


def test_the_time_of_a_file_is_sent(archive: FakeArchive, client: ArchiveClient, tmp_path: Path) -> None:
    """With all nine digits, which C{Last-Modified} in HTTP's own form would not have."""
    seen = []

    class Noting(FakeArchive):
        def _put(self, request: Any, file_id: int) -> bytes:
            seen.append(request.getHeader("Last-Modified"))
            return super()._put(request, file_id)

    (tmp_path / "file").write_bytes(DATA)
    os.utime(tmp_path / "file", ns=(0, 1711852200_999999999))
    client = Noting().client()
    for source, mtime_ns in ((tmp_path / "file", None), (tmp_path / "file", 0), (DATA, None), (DATA, -1)):
        result_of(client.put(1, source, mtime_ns=mtime_ns))
    assert seen == [
        "2024-03-31T02:30:00.999999999Z", "1970-01-01T00:00:00.000000000Z", None, "1969-12-31T23:59:59.999999999Z"
    ]  # fmt: skip


# get


def test_a_function_and_a_consumer_are_destinations(archive: FakeArchive, client: ArchiveClient) -> None:
    """They get the bytes in order."""
    archive.add(1, DATA)
    got: list[bytes] = []

    def take(piece: bytes) -> Deferred[None]:
        got.append(piece)
        return succeed(None)

    assert result_of(client.get(1, take)).verified
    assert b"".join(got) == DATA

    @implementer(IConsumer)
    class Consumer:
        producers: list[Any] = []  # noqa: RUF012
        data = b""

        def registerProducer(self, producer: Any, streaming: bool) -> None:
            assert streaming
            self.producers.append(producer)

        def unregisterProducer(self) -> None:
            self.producers.append(None)

        def write(self, data: bytes) -> None:
            self.producers[0].pauseProducing()
            self.data += data
            self.producers[0].resumeProducing()

    consumer = Consumer()
    result_of(client.get(1, consumer))
    assert consumer.data == DATA
    assert len(consumer.producers) == 2


def test_a_file_that_is_not_right_never_gets_its_name(
    archive: FakeArchive, client: ArchiveClient, tmp_path: Path
) -> None:
    """What was there before stays."""
    target = tmp_path / "target"
    target.write_bytes(b"before")
    archive.add(1, DATA)
    archive.spoil(1, DATA[::-1])
    with pytest.raises(DigestMismatch):
        result_of(client.get(1, target))
    assert target.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["target"]
    result_of(client.get(1, target, verify=False))
    assert target.read_bytes() == DATA[::-1]


def test_a_device_or_directory_is_not_replaced(archive: FakeArchive, client: ArchiveClient, tmp_path: Path) -> None:
    """A rename would do that."""
    archive.add(1, DATA)
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "none" / "file"):
        with pytest.raises(OSError):
            result_of(client.get(1, path))
    assert not archive.requests


def test_a_link_stays_a_link(archive: FakeArchive, client: ArchiveClient, tmp_path: Path) -> None:
    """What it names is replaced."""
    archive.add(1, DATA)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    result_of(client.get(1, tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == DATA


def test_a_file_on_tape_is_told_or_waited_for(archive: FakeArchive, client: ArchiveClient, tmp_path: Path) -> None:
    """Without a wait at once; with one it is asked for again, until it is there or the wait is over."""
    archive.add(1, DATA, on_tape=True)
    with pytest.raises(Offline) as caught:
        result_of(client.get(1, tmp_path / "target"))
    assert caught.value.job is not None
    assert caught.value.retry_after == 10
    waiting = Deferred.fromCoroutine(client.get(1, tmp_path / "target", wait=60))
    archive.clock.advance(15)
    assert not (tmp_path / "target").exists()
    archive.recall(1)
    archive.clock.advance(15)
    assert waiting.called
    assert (tmp_path / "target").read_bytes() == DATA
    archive.to_tape(1)
    failed = Deferred.fromCoroutine(client.get(1, tmp_path / "target", wait=12))
    archive.clock.advance(10)
    archive.clock.advance(2)
    errors: list[Any] = []
    failed.addErrback(lambda failure: errors.append(failure.value))
    assert isinstance(errors[0], Offline)


def test_a_file_on_tape_is_not_asked_for_all_the_time(archive: FakeArchive, client: ArchiveClient) -> None:
    """Even where the archive says that it might be."""
    archive.add(1, DATA)
    link = f'</jobs/{"0" * 32}>; rel="monitor"'
    for _ in range(3):
        archive.answer_with(503, Retry_After="0", Link=link)
    got: list[bytes] = []
    waiting = Deferred.fromCoroutine(client.get(1, got.append, wait=60))
    for asked in (1, 2, 3):
        assert len(archive.requests) == asked
        archive.clock.advance(0.9)
        assert len(archive.requests) == asked
        archive.clock.advance(0.1)
    assert waiting.called
    assert b"".join(got) == DATA


# refusals and tries


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, Unauthorised),
        (403, NotPermitted),
        (404, NotFound),
        (409, AlreadyExists),
        (412, PreconditionFailed),
        (413, TooLarge),
        (500, ServerError),
        (502, ServerUnavailable),
        (503, ServerUnavailable),
        (507, NoSpace),
        (302, ProtocolError),
        (204, ProtocolError),
    ],
)
def test_each_refusal_is_a_failure_of_its_own(archive: FakeArchive, status: int, kind: type[ClientError]) -> None:
    """With words, the status, and advice."""
    client = archive.client(retry=NEVER)
    archive.add(1, DATA)
    archive.answer_with(status, Location="http://elsewhere.example.org/1")
    with pytest.raises(ClientError) as caught:
        result_of(client.put(1, DATA))
    assert type(caught.value) is kind
    assert (str(caught.value), caught.value.status, bool(caught.value.advice)) == (str(caught.value), status, True)
    assert archive.requests == [("PUT", "/1")]


@pytest.mark.parametrize("after", [0, 3, 100])
def test_what_is_not_available_is_asked_for_again(archive: FakeArchive, after: int) -> None:
    """Not before C{Retry-After}."""
    client = archive.client(retry=RetryPolicy(attempts=3, first=1.0, longest=10.0, jitter=0.0))
    for _ in range(2):
        archive.answer_with(503, Retry_After=str(after))
    putting = Deferred.fromCoroutine(client.put(1, DATA))
    for tries, pause in ((1, max(2, after)), (2, max(4, after))):
        assert len(archive.requests) == tries
        archive.clock.advance(pause - 0.1)
        assert len(archive.requests) == tries
        archive.clock.advance(0.2)
    assert len(archive.requests) == 3
    assert putting.called
    assert archive.files[1].data == DATA


def test_tries_end(archive: FakeArchive) -> None:
    """With the last failure."""
    client = archive.client(retry=RetryPolicy(attempts=3, first=0.1))
    archive.add(1, DATA)
    for _ in range(9):
        archive.answer_with(503, Retry_After="1")
    failures: list[Any] = []
    asking = Deferred.fromCoroutine(client.status(1))
    asking.addErrback(lambda failure: failures.append(failure.value))
    for _ in range(60):
        archive.clock.advance(1)
    assert isinstance(failures[0], ServerUnavailable)
    assert [method for method, _ in archive.requests] == ["HEAD"] * 3 + ["PROPFIND"]


def test_what_is_not_safe_is_tried_once(archive: FakeArchive, client: ArchiveClient) -> None:
    """Although the archive says that it did not do it: it may have done a part."""
    archive.add(1, DATA)
    for call in (lambda: client.delete(1), lambda: client.move(2, "/srv/2"), lambda: client.stage([1])):
        archive.answer_with(503, Retry_After="1")
        with pytest.raises(ServerUnavailable):
            result_of(call())
    assert [method for method, _ in archive.requests] == ["DELETE", "PATCH", "POST"]


# all else


def test_what_is_known_of_a_file(archive: FakeArchive, client: ArchiveClient) -> None:
    """Without reading it."""
    stored = archive.add(1, DATA, on_tape=True)
    status = result_of(client.status(1))
    assert (status.size, status.mtime_ns, status.etag) == (len(DATA), stored.mtime_ns, stored.etag)
    assert (status.locality, status.media, status.bytes_per_level) == (Locality.TAPE, "tape", (0, len(DATA)))
    assert status.digests == {"sha256": stored.digests["sha256"]}
    with pytest.raises(NotFound, match="No file has this id"):
        result_of(client.status(2))
    assert archive.files[1].on_tape


def test_a_file_is_moved_and_removed(archive: FakeArchive, client: ArchiveClient) -> None:
    """And a source that is not there is told."""
    archive.sources["/srv/source"] = DATA
    result_of(client.move(1, "/srv/source"))
    assert archive.files[1].data == DATA
    with pytest.raises(NotFound):
        result_of(client.move(1, "/srv/source"))
    result_of(client.delete(1))
    with pytest.raises(NotFound):
        result_of(client.delete(1))


def test_many_files_are_one_job(archive: FakeArchive, client: ArchiveClient) -> None:
    """It is watched until the last has come; what cannot come is told."""
    for file_id in range(1, 6):
        archive.add(file_id, DATA, on_tape=True)
    assert result_of(client.plan(range(1, 7))).recalls == 5
    job = result_of(client.stage([*range(1, 7), 3]))
    assert (job.files, job.left, job.state) == (6, 5, JobState.RUNNING)
    told: list[tuple[int, int]] = []

    def tell(now: Any, files: list[JobFile]) -> None:
        told.append((now.left, len(files)))

    waiting = Deferred.fromCoroutine(client.wait_for(job, tell))  # type: ignore[arg-type]
    archive.clock.advance(2)
    archive.recall(1, 2)
    archive.clock.advance(3)
    assert not waiting.called
    archive.recall()
    archive.clock.advance(30)
    results: list[Any] = []
    waiting.addCallback(results.append)
    (result,) = results
    assert not result.complete
    assert [each.file_id for each in result.of(FileState.FAILED)] == [6]
    assert [each.file_id for each in result.of(FileState.COMPLETED)] == [1, 2, 3, 4, 5]
    reasons = {file_id: each.reason for file_id, each in result.files.items()}
    assert reasons == {**dict.fromkeys(range(1, 6), ""), 6: "No file has this id."}
    assert told[0][0] == 5
    assert told[-1][0] == 0
    assert result_of(client.job(job.id)).state is JobState.ENDED
    assert result_of(client.cancel(job)).id == job.id
    assert result_of(client.release(job, [1])).id == job.id


def test_more_files_than_a_job_takes_are_several_jobs(archive: FakeArchive) -> None:
    """That look like one."""

    class Small(FakeArchive):
        def _submit(self, request: Any) -> bytes:
            answer = super()._submit(request)
            if json.loads(answer)["files"] > 100:
                raise refusal(413)
            return answer

    def refusal(status: int) -> Exception:
        from pacarchive.client.testing import _Refusal

        return _Refusal(status, "A job has 100 files at the most.")

    small = Small()
    for file_id in range(450):
        small.add(file_id, b"", on_tape=True)
    client = small.client()
    job = result_of(client.stage(range(450)))
    assert job.files == 450
    assert len(job.id.split(",")) >= 5
    small.recall()
    result = result_of(client.wait_for(job.id))
    assert result.complete
    assert set(result.files) == set(range(450))
    changes = result_of(client.changes(job))
    assert len(changes.files) == 450
    assert len(result_of(client.changes(job, changes.cursor)).files) == 450  # the double tells all, each time


def test_where_files_are(archive: FakeArchive, client: ArchiveClient) -> None:
    """In the order in which they are asked about."""
    archive.add(1, DATA)
    archive.add(2, DATA, on_tape=True)
    found = result_of(client.archiveinfo([2, 1, 3]))
    assert [(each.file_id, each.locality) for each in found] == [(2, Locality.TAPE), (1, Locality.DISK), (3, None)]
    assert found[2].error


def test_how_the_archive_is(archive: FakeArchive, client: ArchiveClient) -> None:
    """Also when it is not well."""
    assert result_of(client.health()).ready
    archive.answer_with(503)
    with pytest.raises(ServerUnavailable):
        result_of(client.health())


@pytest.mark.parametrize(
    "url", ["ftp://host", "archive", "http://", "http://host/?q=1", "http://user:word@host/", "http://host/#part"]
)
def test_a_url_that_is_none_is_refused(archive: FakeArchive, url: str) -> None:
    """At once."""
    with pytest.raises(ValueError):
        ArchiveClient(archive.clock, url)


def test_a_token_is_in_no_text(archive: FakeArchive) -> None:
    """Neither that of the client nor that of a complaint."""
    assert "secret" not in repr(archive.client(token="secret"))
    with pytest.raises(ValueError) as caught:
        archive.client(token="secret\r\nX: y")
    assert "secret" not in str(caught.value)


def test_a_closed_client_says_so(client: ArchiveClient) -> None:
    """Instead of asking."""
    result_of(client.close())
    with pytest.raises(ClientError, match="closed"):
        result_of(client.status(1))
