"""Checks of what must be refused: bodies that end early, and paths that are no id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacarchive.cli.check.checks import Group
from pacarchive.cli.check.contents import Content
from pacarchive.cli.check.raw import IF_ABSENT, Malformed
from pacarchive.cli.check.words import fail, require

if TYPE_CHECKING:
    from pacarchive.cli.check.raw import RawAnswer
    from pacarchive.cli.check.session import Session

GROUP = Group()

_SIZE = 100_003
_HALF = "an incomplete file looks like a complete one"
_NO_ID = "other spellings of an id make two names for one file, or files that cannot be found"


async def _cut(session: Session, content: Content, body: bytes, field: tuple[str, str], *, listens: bool) -> None:
    """Send a body that ends early."""
    session.test_files.attempt(content.file_id, empty=True)
    answer: RawAnswer | None = None
    try:
        async with session.wire.connect() as connection:
            connection.send("PUT", f"/{content.file_id}", IF_ABSENT, field, body=body)
            if listens:
                connection.end()
                answer = await connection.answer("PUT")
            else:
                connection.hang_up()
                await connection.closed()
    except Malformed as error:
        fail("an answer of HTTP", error, "clients cannot read it")
    if answer is not None:
        session.test_files.settle(content.file_id, None if answer is None else answer.status)
        expected = session.status(400)
        require(answer.status == expected, f"{expected} for a body that ends early", answer.status, _HALF)


async def _require_cut_refused(session: Session, what: str) -> None:
    content = Content(await session.new_id(), _SIZE)
    half = content.whole[: _SIZE // 2]
    field, body = ("Content-Length", str(_SIZE)), half
    if what == "chunks":
        field, body = ("Transfer-Encoding", "chunked"), b"%x\r\n%s\r\n" % (len(half), half)
    for listens in (True, False):
        await _cut(session, content, body, field, listens=listens)
        for _ in range(3):
            await session.require_absent(content.file_id, _HALF)
    answer = await session.put(content, {"If-None-Match": "*"})
    require(answer.status == 201, "201 for the same file, whole", answer, "the sender cannot retry")
    await session.get(content)


@GROUP.check("cut", "a body that ends before its length leaves nothing, and can be sent again at once")
async def cut(session: Session) -> None:
    await _require_cut_refused(session, "length")


@GROUP.check("cut-chunks", "a body in chunks that ends before its last one leaves nothing")
async def cut_chunks(session: Session) -> None:
    await _require_cut_refused(session, "chunks")


@GROUP.check("chunks", "a body without a length, in chunks, is stored as it was sent")
async def chunks(session: Session) -> None:
    content = Content(await session.new_id(), _SIZE)
    data = content.whole
    pieces = [data[start : start + 30_011] for start in range(0, _SIZE, 30_011)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    session.test_files.attempt(content.file_id, empty=True)
    try:
        async with session.wire.connect() as connection:
            connection.send("PUT", f"/{content.file_id}", IF_ABSENT, ("Transfer-Encoding", "chunked"), body=body)
            answer = await connection.answer("PUT")
    except Malformed as error:
        fail("an answer of HTTP", error, "clients cannot read it")
    session.test_files.settle(content.file_id, None if answer is None else answer.status)
    came = "no answer" if answer is None else answer.status
    require(came == 201, "201", came, "data that is produced while it is sent cannot be stored")
    await session.get(content)


@GROUP.check("no-length", "a PUT without a length is refused with 411")
async def no_length(session: Session) -> None:
    file_id = await session.new_id()
    session.test_files.attempt(file_id, empty=True)
    try:
        async with session.wire.connect() as connection:
            connection.send("PUT", f"/{file_id}", IF_ABSENT)
            answer = await connection.answer("PUT")
    except Malformed as error:
        fail("an answer of HTTP", error, "clients cannot read it")
    session.test_files.settle(file_id, None if answer is None else answer.status)
    came = "no answer" if answer is None else answer.status
    require(came == 411, "411", came, "an empty file would be stored in place of a lost body")
    await session.require_absent(file_id, "what was refused was stored all the same")


async def _require_refused(session: Session, path: str, why: str) -> None:
    """Require 404 for a path that is no id.  It is only read: what it names may be another's file."""
    for method in ("HEAD", "GET"):
        try:
            async with session.wire.connect() as connection:
                connection.send(method, path)
                answer = await connection.answer(method)
        except Malformed as error:
            fail("an answer of HTTP", error, "clients cannot read it")
        came = "no answer" if answer is None else answer.status
        require(came in (400, 404), f"404 for {method} {path}", came, why)


@GROUP.check("id-forms", "anything but an integer below 2^64 in plain digits is not an id")
async def id_forms(session: Session) -> None:
    for path in ("/abc", "/-5", "/+5", "/1.0", "/0x10", "/1e3", f"/{2**64}", "/" + "9" * 300, "/1%00", "/%D9%A1%D9%A2"):
        await _require_refused(session, path, _NO_ID)


@GROUP.check("id-alias", "a file has one path only: no leading zeros, signs, separators, or further segments")
async def id_alias(session: Session) -> None:
    file_id = (await session.stored()).file_id
    text = str(file_id)
    for path in (f"/0{text}", f"/+{text}", f"/{text[:3]}_{text[3:]}", f"/%20{text}", f"/{text}%20", f"/{text}/extra",
                 f"/{text}%2fextra"):  # fmt: skip
        await _require_refused(session, path, _NO_ID)


@GROUP.check("id-traversal", "no path leads out of the archive")
async def id_traversal(session: Session) -> None:
    for path in ("/..%2f..%2f..%2f..%2fetc%2fhostname", "/%2fetc%2fhostname", "/%2f%2fetc%2fhostname",
                 "/%2e%2e/%2e%2e/%2e%2e/etc/hostname", "/.pacarchive", "/.pacarchive%2ftmp"):  # fmt: skip
        await _require_refused(
            session, path, "anybody could read the server's files, and if PUT does the same, write them"
        )


@GROUP.check("slashes", "a base URL that ends in a slash makes no difference: //ID is /ID")
async def slashes(session: Session) -> None:
    content = await session.stored()
    try:
        async with session.wire.connect() as connection:
            connection.send("GET", f"//{content.file_id}")
            answer = await connection.answer()
    except Malformed as error:
        fail("an answer of HTTP", error, "clients cannot read it")
    came = "no answer" if answer is None else answer.status
    require(came == 200, "200", came, "the predecessor's clients join a base URL and an id like that")
    require(
        answer is not None and answer.body == content.whole, "the file", "other bytes", "the path is another file's"
    )
