"""Checks of digests: those that the archive answers with are right, and a body with a wrong one is not stored."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import TYPE_CHECKING

from pacarchive.cli.check.checks import Group
from pacarchive.cli.check.contents import Content
from pacarchive.cli.check.raw import IF_ABSENT, Malformed
from pacarchive.cli.check.words import fail, require

if TYPE_CHECKING:
    from pacarchive.cli.check.session import Session

GROUP = Group()

_SIZE = 5003

_UNSEEN = "a byte that changes on the way, or on disk, is not noticed"
_FIRST = "by Repr-Digest in the answer to a PUT a sender knows that the file arrived unchanged"


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def _repr_digest(content: Content) -> str:
    return f"sha-256=:{_base64(content.sha256)}:"


def _given(content: Content) -> dict[str, str]:
    """Return all digests that a client may send with a file, by their fields."""
    data = content.whole
    return {
        "Repr-Digest": _repr_digest(content),
        "Content-Digest": f"sha-512=:{_base64(hashlib.sha512(data).digest())}:",
        "Content-MD5": _base64(hashlib.md5(data).digest()),  # noqa: S324
        "Digest": f"adler32={zlib.adler32(data):08x},sha={_base64(hashlib.sha1(data).digest())}",  # noqa: S324
    }


@GROUP.check("digest-put", "the answer to a PUT has the digest of what was stored")
async def digest_put(session: Session) -> None:
    content, answer = await session.put_new()
    require(answer.status == 201, "201", answer, "the file was not stored")
    require(
        _repr_digest(content) in (answer.field("Repr-Digest") or ""), _repr_digest(content),
        answer.field("Repr-Digest"), _FIRST,
    )  # fmt: skip


@GROUP.check("digest-right", "a file that comes with its digests, of all kinds, is stored")
async def digest_right(session: Session) -> None:
    content = Content(await session.new_id(), _SIZE)
    answer = await session.put(content, {"If-None-Match": "*", **_given(content)})
    require(answer.status == 201, "201", answer, "files cannot be sent with their digests")
    await session.get(content)


@GROUP.check(
    "digest-wrong", "a file that does not have the digest that it comes with is refused, and nothing is stored"
)
async def digest_wrong(session: Session) -> None:
    other = await session.stored()
    for name, value in _given(other).items():
        content, answer = await session.put_new(fields={name: value})
        require(answer.status == session.status(400), f"{session.status(400)} for a wrong {name}", answer, _UNSEEN)
        await session.require_absent(content.file_id, "what was refused was stored all the same")


@GROUP.check("digest-wrong-behind", "the same for a digest that is sent after the body, as a trailer")
async def digest_wrong_behind(session: Session) -> None:
    other = await session.stored()
    content = Content(await session.new_id(), _SIZE)
    for wrong in (True, False):
        digest = _repr_digest(other if wrong else content)
        session.test_files.attempt(content.file_id, empty=True)
        try:
            async with session.wire.connect() as connection:
                data = content.whole
                connection.send(
                    "PUT", f"/{content.file_id}", IF_ABSENT,
                    ("Transfer-Encoding", "chunked"), ("Trailer", "Repr-Digest"),
                    body=b"%x\r\n%s\r\n0\r\nRepr-Digest: %s\r\n\r\n" % (len(data), data, digest.encode("ascii")),
                )  # fmt: skip
                answer = await connection.answer("PUT")
        except Malformed as error:
            fail("an answer of HTTP", error, "clients cannot read it")
        session.test_files.settle(content.file_id, None if answer is None else answer.status)
        came = "no answer" if answer is None else answer.status
        if wrong:
            require(came == session.status(400), f"{session.status(400)} for a wrong digest", came, _UNSEEN)
            await session.require_absent(content.file_id, "what was refused was stored all the same")
        else:
            require(came == 201, "201 for the right one", came, "a stream cannot be sent with a digest")
            await session.get(content)


@GROUP.check("digest-get", "GET and HEAD answer with a file's digest where it is requested, in both forms")
async def digest_get(session: Session) -> None:
    content = await session.file("sample")
    wanted = {
        "Repr-Digest": ({"Want-Repr-Digest": "sha-256=1"}, _repr_digest(content)),
        "Digest": ({"Want-Digest": "sha-256"}, f"sha-256={_base64(content.sha256)}"),
    }
    for name, (fields, expected) in wanted.items():
        answer = await session.get(content, fields)
        require(expected in (answer.field(name) or ""), f"{name}: {expected} with GET", answer.field(name), _UNSEEN)
        answer = await session.wire.ask("HEAD", content.file_id, fields)
        require(expected in (answer.field(name) or ""), f"{name}: {expected} with HEAD", answer.field(name), _UNSEEN)


@GROUP.check("etag", "PUT, GET and HEAD answer with the same entity tag, and a strong one")
async def etag(session: Session) -> None:
    content, answer = await session.put_new()
    first = answer.field("ETag") or ""
    require(
        len(first) > 2 and first.startswith('"') and first.endswith('"'), "a strong ETag with PUT", first or "none",
        "downloads cannot be resumed, and changes are not noticed",
    )  # fmt: skip
    for method in ("GET", "HEAD"):
        found = (await session.wire.ask(method, content.file_id)).field("ETag")
        require(found == first, f"{first} with {method}", found, "a file that has not changed looks as if it had")
