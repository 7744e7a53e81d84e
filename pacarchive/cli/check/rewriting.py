"""Checks of a PUT to an id that is taken: the file is the old one or the new one, and whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pacarchive.cli.check.checks import Group
from pacarchive.cli.check.contents import Comparison, Content
from pacarchive.cli.check.words import NotApplicable, require

if TYPE_CHECKING:
    from pacarchive.cli.check.session import Session

GROUP = Group()

_SIZE = 1_500_007
_READERS, _ROUNDS = 6, 4
_LOST = "a file that was acknowledged is damaged or lost"
_TAKEN = (409, 500)


def _next(content: Content) -> Content:
    return attrs.evolve(content, version=content.version + 1, size=content.size + 1013)


@GROUP.check("rewrite-same", "the same bytes again are accepted or refused, and the file stays the same")
async def rewrite_same(session: Session) -> str:
    content = await session.stored()
    answer = await session.put(content)
    allowed = answer.status == 201
    require(
        allowed or answer.status == session.status(409), f"201 or {session.status(409)}", answer,
        "a client that retries a PUT must know its outcome",
    )  # fmt: skip
    await session.get(content)
    return "allowed" if allowed else "refused"


@GROUP.check("rewrite-other", "other bytes replace the file as a whole, or are refused and change nothing")
async def rewrite_other(session: Session) -> str:
    content = await session.stored()
    same = (await session.put(content)).status == 201
    other = _next(content)
    answer = await session.put(other)
    allowed = answer.status == 201
    if allowed:
        session.overwrite = "a PUT to an id that is taken replaces the file"
        await session.get(other)
        return "allowed: the new file is there"
    require(
        answer.status == session.status(409), f"201 or {session.status(409)}", answer,
        "a client must know the outcome of its PUT",
    )  # fmt: skip
    await session.get(content)
    session.overwrite = f"a PUT to an id that is taken is refused{', unless it has the same bytes' if same else ''}"
    return f"refused: the old file is there{', and may be sent again' if same else ''}"


@GROUP.check("rewrite-whole", "a reader of a file that is being replaced gets the old one or the new one, never a mix")
async def rewrite_whole(session: Session) -> str:
    session.require_concurrency()
    content = await session.stored(_SIZE)
    versions = [content]
    ended = False
    reads = 0

    async def read(_: int) -> None:
        nonlocal reads
        while not ended or not reads:
            came = bytearray()
            answer = await session.wire.ask("GET", content.file_id, sink=came.extend)
            require(answer.status == 200, "200 while the file is replaced", answer, _LOST)
            require(
                any(_is(each, bytes(came)) for each in list(versions)), "one version, whole", "a mix of some", _LOST
            )
            reads += 1

    async def write(_: int) -> int:
        nonlocal ended
        written = 0
        try:
            for _ in range(_ROUNDS):
                coming = _next(versions[-1])
                versions.append(coming)
                written += (await session.put(coming)).status == 201
        finally:
            ended = True
        return written

    tasks = [write, *[read] * _READERS]
    written, *_ = await session.all_of(range(len(tasks)), lambda number: tasks[number](number), "reading", len(tasks))
    return f"{reads} reads, {written} of {_ROUNDS} rewritings allowed"


def _is(content: Content, data: bytes) -> bool:
    comparison = Comparison(content)
    comparison.feed(data)
    return comparison.trouble is None


@GROUP.check("put-if-none-match", "If-None-Match: * never replaces a file")
async def put_if_none_match(session: Session) -> None:
    content = await session.stored()
    answer = await session.put(_next(content), {"If-None-Match": "*"})
    require(answer.status == 412, "412", answer, "a client cannot make sure that it replaces nothing")
    await session.get(content)


@GROUP.check("put-if-match", "PUT with If-Match replaces only the version that it names")
async def put_if_match(session: Session) -> str:
    content, first = await session.put_new()
    etag = first.field("ETag")
    require(etag, "an ETag with the answer to a PUT", first, "versions cannot be distinguished")
    other = _next(content)
    answer = await session.put(other, {"If-Match": '"another"'})
    require(answer.status == 412, "412 for another version", answer, "another client's change is lost")
    await session.get(content)
    answer = await session.put(other, {"If-Match": etag or ""})
    if answer.status == session.status(409):
        await session.get(content)
        return "refused, as all rewriting is"
    require(answer.status == 201, "201 for the version that is stored", answer, "nothing can be replaced safely")
    require(answer.field("ETag") != etag, "another ETag", etag, "the versions cannot be distinguished")
    await session.get(other)
    return "replaced"


@GROUP.check("delete-if-match", "DELETE with If-Match removes only the version that it names")
async def delete_if_match(session: Session) -> None:
    content, first = await session.put_new()
    etag = first.field("ETag")
    if not etag:
        raise NotApplicable("The archive has no entity tags.")
    answer = await session.wire.ask("DELETE", content.file_id, {"If-Match": '"another"'})
    require(answer.status == 412, "412 for another version", answer, "a file that another client has replaced is lost")
    await session.get(content)
    answer = await session.wire.ask("DELETE", content.file_id, {"If-Match": etag})
    require(answer.status == 200, "200 for the version that is stored", answer, "nothing can be removed safely")
    await session.require_absent(content.file_id, "a file that was deleted is still there")
    session.test_files.gone(content.file_id)
