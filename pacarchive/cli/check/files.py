"""Checks of what is done with each kind of file: put, status, stage, get, delete."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING

from pacarchive.cli.check.checks import Group
from pacarchive.cli.check.contents import Content
from pacarchive.cli.check.session import SIZES, Session
from pacarchive.cli.check.words import Failed, NotApplicable, Speed, require
from pacarchive.texts import counted

if TYPE_CHECKING:
    from pacarchive.cli.check.wire import Answer

GROUP = Group()
MANY = Group()
MOVE = Group()

_SMALL = 2003
_ADDED = "ingest compares it with what it has sent, and retries or fails"
_KNOWN_BY = "the predecessor's clients read it by this name, and crash without it"
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
_LEVELS = re.compile(r"\((?P<numbers>[0-9]+(, ?[0-9]+)*,?)\)", re.ASCII)


def require_stored(answer: Answer, content: Content) -> None:
    """
    Require that a PUT was answered as it should be.

    @raise Failed: It was not.
    """
    require(answer.status == 201, "201", answer, "the file was not stored")
    document = answer.document
    require(
        isinstance(document, dict) and document.get("message") == "File added to archive", "File added to archive",
        answer.body[:80], _ADDED,
    )  # fmt: skip
    size = content.size
    require(document.get("total_bytes") == size, f"total_bytes {size}", document.get("total_bytes"), _ADDED)
    digests = answer.field("Repr-Digest") or ""
    if "sha-256=" in digests:
        sent = answer.sent or content.sha256
        digest = f"sha-256=:{base64.b64encode(sent).decode('ascii')}:"
        require(digest in digests, f"Repr-Digest: {digest}", digests, "other bytes were stored than were sent")


async def require_status(session: Session, content: Content) -> Answer:
    """
    Require that HEAD answers with all that it should for a file.

    @raise Failed: It does not.
    """
    answer = await session.wire.ask("HEAD", content.file_id)
    require(answer.status in (200, 204), "204", answer, "a file that was stored must be known")

    def field(name: str) -> str:
        value = answer.field(name)
        require(value is not None, f"the field {name}", "none", _KNOWN_BY)
        return value or ""

    require(field("X-Pacifica-Messsage") == "File was found", "File was found", field("X-Pacifica-Messsage"), _KNOWN_BY)
    require(
        field("X-Content-Length") == str(content.size), f"X-Content-Length {content.size}", field("X-Content-Length"),
        "cart reserves space by it",
    )  # fmt: skip
    field("X-Pacifica-File")
    for name in ("Last-Modified", "X-Pacifica-Ctime"):
        require(_NUMBER.fullmatch(field(name)), f"{name} in seconds", field(name), _KNOWN_BY)
    medium = field("X-Pacifica-File-Storage-Media")
    require(medium in ("disk", "tape"), "disk or tape", medium, "cart waits until it is disk")
    levels = _LEVELS.fullmatch(field("X-Pacifica-Bytes-Per-Level"))
    require(levels, "bytes by level, such as (36,)", field("X-Pacifica-Bytes-Per-Level"), _KNOWN_BY)
    numbers = [int(each) for each in levels["numbers"].split(",") if each.strip()] if levels else []
    require(
        not content.size or max(numbers) == content.size, f"all {content.size} bytes on some level", numbers,
        "the file looks incomplete",
    )  # fmt: skip
    return answer


async def require_staged(session: Session, content: Content) -> None:
    """
    Stage a file, and require that it is on disk in time.

    @raise Failed: It is not.
    """
    answer = await session.wire.ask("POST", content.file_id, body=b"")
    if answer.status == 202 and session.strict:
        require(answer.field("Location") is not None, "the job's Location", "none", "clients cannot wait for it")
        await session.wait_for_disk(content.file_id)
        return
    require(answer.status == 200, "200", answer, "cart requests each file in this way")
    document = answer.document
    require(
        document == {"message": "File was staged", "file": str(content.file_id)}, "File was staged", answer.body[:80],
        "clients look for this message",
    )  # fmt: skip
    await session.wait_for_disk(content.file_id)


async def require_removed(session: Session, content: Content) -> None:
    """
    Delete a file, and require that it is gone.

    @raise Failed: It is not.
    """
    answer = await session.remove(content)
    require(answer.status == 200, "200 for DELETE", answer, "files cannot be removed")
    await session.require_absent(content.file_id, "a file that was deleted is still there")


def _add(name: str, what: str) -> None:
    large = name == "large"

    @GROUP.check(f"{name}-put", f"{what} is stored: 201, and all of its bytes")
    async def put(session: Session) -> str:
        size = session.options.large if large else SIZES[name]
        began = session.reactor.seconds()
        content, answer = await session.put_new(
            size, kind="text" if name == "text" else "binary",
            moved=lambda done: session.progress("sending", done, size),
        )  # fmt: skip
        seconds = session.reactor.seconds() - began
        if answer.status == 201:
            session.shared[name] = content
        require_stored(answer, content)
        if large:
            session.speeds.append(Speed("put, one large file", size, "bytes", seconds))
            return str(session.speeds[-1])
        return counted(size, "byte")

    @GROUP.check(f"{name}-status", f"HEAD answers with {what}'s size, times and medium")
    async def status(session: Session) -> str:
        answer = await require_status(session, await session.file(name))
        return f"on {answer.field('X-Pacifica-File-Storage-Media')}"

    @GROUP.check(f"{name}-stage", f"POST stages {what}")
    async def stage(session: Session) -> None:
        await require_staged(session, await session.file(name))

    @GROUP.check(f"{name}-get", f"{what} comes back, each byte as it was sent")
    async def get(session: Session) -> str:
        content = await session.file(name)
        began = session.reactor.seconds()
        answer = await session.get(content, moved=lambda done: session.progress("reading", done, content.size))
        require(
            answer.field("Content-Type") == "application/octet-stream", "application/octet-stream",
            answer.field("Content-Type"), "a proxy may change what it takes for text",
        )  # fmt: skip
        if large:
            session.speeds.append(
                Speed("get, one large file", content.size, "bytes", session.reactor.seconds() - began)
            )
            return str(session.speeds[-1])
        return counted(content.size, "byte")

    @GROUP.check(f"{name}-delete", f"DELETE removes {what}, and its id is free again")
    async def delete(session: Session) -> None:
        await require_removed(session, await session.file(name))


for _name, _what in {
    "text": "a text file", "binary": "a binary file", "empty": "an empty file", "large": "a large file",
}.items():  # fmt: skip
    _add(_name, _what)


async def _put_many(session: Session) -> None:
    contents = [Content(await session.new_id(), _SMALL) for _ in range(session.options.many)]
    for content in contents:
        content.sha256  # noqa: B018  (computed now, so that it is not measured)

    async def put(content: Content) -> None:
        require_stored(await session.put(content, {"If-None-Match": "*"}), content)

    began = session.reactor.seconds()
    await session.all_of(contents, put, "sending", len(contents))
    session.many = contents
    seconds = session.reactor.seconds() - began
    session.speeds.append(Speed("put, many small files", len(contents), "files", seconds))


async def _many(session: Session) -> list[Content]:
    if not session.many:
        try:
            await _put_many(session)
        except Failed as error:
            raise NotApplicable(f"The files could not be put: {error.came}") from error
    return session.many


@MANY.check("many-put", "many small files are stored, over several connections at once")
async def many_put(session: Session) -> str:
    await _put_many(session)
    return f"{len(session.many)} files, {session.speeds[-1]}"


@MANY.check("many-status", "HEAD answers correctly for each of the many files")
async def many_status(session: Session) -> None:
    async def status(content: Content) -> None:
        await require_status(session, content)

    await session.all_of(await _many(session), status, "asking", len(session.many))


@MANY.check("many-stage", "POST stages each of the many files")
async def many_stage(session: Session) -> None:
    async def stage(content: Content) -> None:
        await require_staged(session, content)

    await session.all_of(await _many(session), stage, "staging", len(session.many))


@MANY.check("many-get", "each of the many files comes back as it was sent")
async def many_get(session: Session) -> str:
    async def get(content: Content) -> None:
        await session.get(content)

    contents = await _many(session)
    began = session.reactor.seconds()
    await session.all_of(contents, get, "reading", len(contents))
    seconds = session.reactor.seconds() - began
    session.speeds.append(Speed("get, many small files", len(session.many), "files", seconds))
    return f"{len(session.many)} files, {session.speeds[-1]}"


@MANY.check("many-delete", "DELETE removes each of the many files")
async def many_delete(session: Session) -> str:
    async def delete(content: Content) -> None:
        answer = await session.remove(content)
        require(answer.status == 200, "200 for DELETE", answer, "files cannot be removed")

    contents = await _many(session)
    began = session.reactor.seconds()
    await session.all_of(contents, delete, "removing", len(contents))
    seconds = session.reactor.seconds() - began
    session.many = []

    async def absent(content: Content) -> None:
        await session.require_absent(content.file_id, "a file that was deleted is still there")

    await session.all_of(contents, absent, "looking", len(contents))
    session.speeds.append(Speed("delete, many small files", len(contents), "files", seconds))
    return f"{len(contents)} files, {session.speeds[-1]}"


async def _patch(session: Session, file_id: int, source: str) -> Answer:
    session.test_files.attempt(file_id)
    answer = await session.wire.ask(
        "PATCH", file_id, {"Content-Type": "application/json", "If-None-Match": "*"}, json_of({"path": source})
    )
    session.test_files.settle(file_id, answer.status)
    if answer.status == 200:
        session.test_files.moved(file_id)
    return answer


@MOVE.check("move", "PATCH takes a file that lies in the storage, and gives it an id")
async def move(session: Session) -> str:
    source = session.options.move_from
    if source is None:
        raise NotApplicable("No file was named with --move-from.")
    file_id = await session.new_id()
    answer = await _patch(session, file_id, source)
    require(answer.status == 200, "200", answer, "the file was not moved; see [server] move_roots")
    require(
        answer.document == {"message": "File Moved Successfully"}, "File Moved Successfully", answer.body[:80],
        "ingest looks for this message",
    )  # fmt: skip
    found = await session.wire.ask("HEAD", file_id)
    require(found.status in (200, 204), "204 for HEAD", found, "a file that was moved must be known")
    received = 0

    def take(piece: bytes) -> None:
        nonlocal received
        received += len(piece)

    got = await session.wire.ask("GET", file_id, sink=take)
    require(got.status == 200, "200 for GET", got, "a file that was moved must come back")
    size = found.field("X-Content-Length")
    require(size == str(received), f"{size} bytes", received, "a file that was moved must come back whole")
    again = await _patch(session, await session.new_id(), source)
    require(again.status == session.status(404), f"{session.status(404)} for the same move again", again,
            "it was copied, not moved")  # fmt: skip
    return counted(received, "byte")


def json_of(document: object) -> bytes:
    """Encode a document as JSON, for a request."""
    return json.dumps(document).encode("ascii")
