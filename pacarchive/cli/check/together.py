"""Checks of the archive as a whole: HEAD recalls nothing, many readers, jobs, the client library, the tape API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from pacarchive.cli.check.checks import Group
from pacarchive.cli.check.contents import Comparison, Content
from pacarchive.cli.check.words import NotApplicable, fail, require
from pacarchive.client import ArchiveClient, ClientError, FileState
from pacarchive.texts import counted

if TYPE_CHECKING:
    from pacarchive.cli.check.session import Session
    from pacarchive.client import Job, JobFile

GROUP = Group()

_READERS = 16
_PLACE = ("X-Pacifica-File-Storage-Media", "X-Pacifica-Bytes-Per-Level", "X-Pacarchive-Locality", "X-Content-Length",
          "Last-Modified", "X-Pacifica-Ctime", "ETag")  # fmt: skip


@GROUP.check("head-quiet", "HEAD recalls and changes nothing, however often it is sent")
async def head_quiet(session: Session) -> str:
    content = await session.file("sample")

    async def look(_: object = None) -> dict[str, str | None]:
        answer = await session.wire.ask("HEAD", content.file_id)
        require(answer.status in (200, 204), "204", answer, "a file that was stored must be known")
        return {name: answer.field(name) for name in _PLACE}

    first = await look()
    for later in await session.all_of(range(20), look, "asking", 20):
        for name, value in first.items():
            # A file may be purged from disk meanwhile; it must not be recalled.
            moved = name in _PLACE[:3] and first[_PLACE[0]] == "disk"
            require(
                moved or later[name] == value, f"{name}: {value} again", later[name],
                "listing files would mount tapes",
            )  # fmt: skip
    return f"on {first[_PLACE[0]]}"


@GROUP.check("propfind", "PROPFIND answers WebDAV clients with the size")
async def propfind(session: Session) -> None:
    content = await session.file("sample")
    answer = await session.wire.ask("PROPFIND", content.file_id, {"Depth": "0"}, b"")
    require(answer.status == 207, "207", answer, "gfal2, davix and rclone cannot see the file")
    require(
        f"getcontentlength>{content.size}<".encode() in answer.body, f"a getcontentlength of {content.size}",
        answer.body[:200], "gfal2, davix and rclone take the file for another size",
    )  # fmt: skip


@GROUP.check("read-together", "many readers of one file at a time all get it right")
async def read_together(session: Session) -> str:
    session.require_concurrency()
    content = await session.file("binary")

    async def read(number: int) -> None:
        if number % 2:
            start = number * 100_003
            await session.get(
                content, {"Range": f"bytes={start}-{start + 499_999}"}, part=(start, start + 500_000), status=206
            )
        else:
            await session.get(content)

    await session.all_of(range(_READERS), read, "reading", _READERS)
    return f"{_READERS} readers"


@GROUP.check("stage-job", "a job for all test files ends, with every file on disk")
async def stage_job(session: Session) -> str:
    ids = [(await session.file(name)).file_id for name in ("text", "sample")]
    ids += [content.file_id for content in session.many]
    limit = session.options.stage_timeout
    async with _client(session) as archive:
        try:
            job = await archive.stage(ids, deadline=limit + 60)
        except ClientError as error:
            fail("a job", error, "files cannot be recalled in the order of their tapes")

        def report(now: Job, _: object) -> None:
            session.progress("waiting for the job", now.files - now.left, now.files)

        waiting = Deferred.fromCoroutine(archive.wait_for(job, report))
        stop = session.reactor.callLater(limit, waiting.cancel)
        try:
            result = await waiting
        except CancelledError:
            if stop.active():
                raise
            fail(f"the end of the job within {limit:g} s (--stage-timeout)", "none", "recalls do not end")
        except ClientError as error:
            fail("the end of the job", error, "clients cannot know when the files are on disk")
        finally:
            if stop.active():
                stop.cancel()
    wrong = [each for each in result.files.values() if each.state is not FileState.COMPLETED]
    require(not wrong, f"{len(ids)} files completed", _description(wrong), "files that should be on disk are not")
    require(set(result.files) == set(ids), f"all {len(ids)} files in the job", len(result.files), "files are missing")
    # The job has ended, and would otherwise stay in the list of the archive's jobs.
    for each in job.id.split(","):
        await session.wire.ask("DELETE", f"/jobs/{each}")
    return f"{len(ids)} files"


def _description(wrong: list[JobFile]) -> str:
    if not wrong:
        return "none"
    first = wrong[0]
    return f"{len(wrong)} that are not, such as {first.file_id}: {first.state.value}, {first.reason}"


def _client(session: Session) -> ArchiveClient:
    server = session.wire.server
    return ArchiveClient(session.reactor, server.url, **server.options)


@GROUP.check("client", "the client library puts, verifies, reads and removes a file")
async def client(session: Session) -> str:
    content = Content(await session.new_id(), 2_500_003)
    comparison = Comparison(content)

    async def pieces() -> AsyncIterator[bytes]:
        for block in content.blocks():
            yield block
            await deferLater(session.reactor, 0)

    session.test_files.attempt(content.file_id)
    async with _client(session) as archive:
        try:
            stored = await archive.put(content.file_id, pieces(), if_absent=True)
            require(
                stored.digests["sha256"] == content.sha256, "the digest of it", stored.digests["sha256"].hex(),
                "the archive has something else",
            )  # fmt: skip
            status = await archive.status(content.file_id)
            require(status.size == content.size, f"{content.size} bytes", status.size, "the archive has something else")
            fetched = await archive.get(content.file_id, comparison.feed, wait=session.options.stage_timeout)
            require(comparison.trouble is None, "the file", comparison.trouble, "what comes back is not the file")
            require(fetched.verified, "a file whose digest was compared", "none", "it is not known whether it is right")
            await archive.delete(content.file_id, if_match=stored.etag)
        except ClientError as error:
            fail(
                "no error", f"{type(error).__name__}: {error}", "programs that use the library cannot use this archive"
            )
    session.test_files.gone(content.file_id)
    return f"{counted(content.size, 'byte')}, verified"


@GROUP.check("archiveinfo", "the WLCG Tape REST API reports where a file is")
async def archiveinfo(session: Session) -> str:
    content = await session.file("sample")
    found = await session.wire.ask("GET", "/.well-known/wlcg-tape-rest-api")
    document = found.document
    try:
        (endpoint, *_) = document["endpoints"]
        path = endpoint["uri"].split("//", 1)[1].partition("/")[2]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        fail("a document that names the API", found, "FTS, Rucio and gfal2 cannot stage files")
    base = session.wire.place.base.lstrip("/")
    if base and path.startswith(base):
        path = path[len(base) :].lstrip("/")
    answer = await session.wire.ask(
        "POST", f"/{path}/archiveinfo", {"Content-Type": "application/json"},
        json.dumps({"paths": [f"/{content.file_id}"]}).encode("ascii"),
    )  # fmt: skip
    files = answer.document
    locality = files[0].get("locality") if isinstance(files, list) and files and isinstance(files[0], dict) else None
    if locality is None and answer.status == 501:
        raise NotApplicable("The archive does not offer it.")
    require(
        locality in ("DISK", "DISK_AND_TAPE", "TAPE"),
        "a locality",
        answer.body[:100],
        "FTS would not know what to stage",
    )
    return str(locality)
