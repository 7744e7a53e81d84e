"""What must not be stored or served: bodies that end early, and what is no id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacarchive.cli.check.checks import Group
from pacarchive.cli.check.contents import Content
from pacarchive.cli.check.raw import ANEW, Malformed
from pacarchive.cli.check.words import fail, require

if TYPE_CHECKING:
    from pacarchive.cli.check.raw import RawAnswer
    from pacarchive.cli.check.session import Session

GROUP = Group()

_SIZE = 100_003
_HALF = "a file that is not whole looks as if it were"
_NO_ID = "other spellings of an id make two names for one file, or files that nobody finds"


async def _cut(session: Session, content: Content, body: bytes, field: tuple[str, str], *, listens: bool) -> None:
    """Send a body that ends early."""
    session.ledger.attempt(content.file_id, empty=True)
    answer: RawAnswer | None = None
    try:
        async with session.wire.talk() as talk:
            talk.send("PUT", f"/{content.file_id}", ANEW, field, body=body)
            if listens:
                talk.end()
                answer = await talk.answer("PUT")
            else:
                talk.hang_up()
                await talk.closed()
    except Malformed as error:
        fail("an answer of HTTP", error, "clients cannot read it")
    if answer is not None:
        session.ledger.settle(content.file_id, None if answer is None else answer.status)
        expected = session.status(400)
        require(answer.status == expected, f"{expected} for a body that ends early", answer.status, _HALF)


async def _see_cut(session: Session, what: str) -> None:
    content = Content(await session.take(), _SIZE)
    half = content.whole[: _SIZE // 2]
    field, body = ("Content-Length", str(_SIZE)), half
    if what == "chunks":
        field, body = ("Transfer-Encoding", "chunked"), b"%x\r\n%s\r\n" % (len(half), half)
    for listens in (True, False):
        await _cut(session, content, body, field, listens=listens)
        for _ in range(3):
            await session.see_absent(content.file_id, _HALF)
    answer = await session.put(content, {"If-None-Match": "*"})
    require(answer.status == 201, "201 for the same file, whole", answer, "the sender cannot try again")
    await session.get(content)


@GROUP.check("cut", "a body that ends before its length leaves nothing, and can be sent again at once")
async def cut(session: Session) -> None:
    await _see_cut(session, "length")


@GROUP.check("cut-chunks", "a body in chunks that ends before its last one leaves nothing")
async def cut_chunks(session: Session) -> None:
    await _see_cut(session, "chunks")


@GROUP.check("chunks", "a body whose length nobody said is stored as it was sent")
async def chunks(session: Session) -> None:
    content = Content(await session.take(), _SIZE)
    data = content.whole
    pieces = [data[start : start + 30_011] for start in range(0, _SIZE, 30_011)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    session.ledger.attempt(content.file_id, empty=True)
    try:
        async with session.wire.talk() as talk:
            talk.send("PUT", f"/{content.file_id}", ANEW, ("Transfer-Encoding", "chunked"), body=body)
            answer = await talk.answer("PUT")
    except Malformed as error:
        fail("an answer of HTTP", error, "clients cannot read it")
    session.ledger.settle(content.file_id, None if answer is None else answer.status)
    came = "no answer" if answer is None else answer.status
    require(came == 201, "201", came, "what is made while it is sent cannot be stored")
    await session.get(content)


@GROUP.check("no-length", "a PUT that says nothing of a length is refused with 411")
async def no_length(session: Session) -> None:
    file_id = await session.take()
    session.ledger.attempt(file_id, empty=True)
    try:
        async with session.wire.talk() as talk:
            talk.send("PUT", f"/{file_id}", ANEW)
            answer = await talk.answer("PUT")
    except Malformed as error:
        fail("an answer of HTTP", error, "clients cannot read it")
    session.ledger.settle(file_id, None if answer is None else answer.status)
    came = "no answer" if answer is None else answer.status
    require(came == 411, "411", came, "an empty file would be stored for one that was lost")
    await session.see_absent(file_id, "what was refused was stored all the same")


async def _see_refused(session: Session, path: str, why: str) -> None:
    """A path that is none is 404, whatever lies there.  It is only read: what it names need not be a test file."""
    for method in ("HEAD", "GET"):
        try:
            async with session.wire.talk() as talk:
                talk.send(method, path)
                answer = await talk.answer(method)
        except Malformed as error:
            fail("an answer of HTTP", error, "clients cannot read it")
        came = "no answer" if answer is None else answer.status
        require(came in (400, 404), f"404 for {method} {path}", came, why)


@GROUP.check("id-forms", "anything but an integer below 2^64 in plain digits is not an id")
async def id_forms(session: Session) -> None:
    for path in ("/abc", "/-5", "/+5", "/1.0", "/0x10", "/1e3", f"/{2**64}", "/" + "9" * 300, "/1%00", "/%D9%A1%D9%A2"):
        await _see_refused(session, path, _NO_ID)


@GROUP.check("id-alias", "a file has one path only: no leading zeros, signs, separators, or further segments")
async def id_alias(session: Session) -> None:
    file_id = (await session.stored()).file_id
    text = str(file_id)
    for path in (f"/0{text}", f"/+{text}", f"/{text[:3]}_{text[3:]}", f"/%20{text}", f"/{text}%20", f"/{text}/extra",
                 f"/{text}%2fextra"):  # fmt: skip
        await _see_refused(session, path, _NO_ID)


@GROUP.check("id-traversal", "no path leads out of the archive")
async def id_traversal(session: Session) -> None:
    for path in ("/..%2f..%2f..%2f..%2fetc%2fhostname", "/%2fetc%2fhostname", "/%2f%2fetc%2fhostname",
                 "/%2e%2e/%2e%2e/%2e%2e/etc/hostname", "/.pacarchive", "/.pacarchive%2ftmp"):  # fmt: skip
        await _see_refused(
            session, path, "strangers could read, and where PUT does the same, write, the server's files"
        )


@GROUP.check("slashes", "a base URL that ends in a slash makes no difference: //ID is /ID")
async def slashes(session: Session) -> None:
    content = await session.stored()
    try:
        async with session.wire.talk() as talk:
            talk.send("GET", f"//{content.file_id}")
            answer = await talk.answer()
    except Malformed as error:
        fail("an answer of HTTP", error, "clients cannot read it")
    came = "no answer" if answer is None else answer.status
    require(came == 200, "200", came, "clients of the family join a base and an id so")
    require(
        answer is not None and answer.body == content.whole, "the file", "other bytes", "the path is another file's"
    )
