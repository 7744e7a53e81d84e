"""Checks of reading parts of files, and of conditional reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacarchive.cli.check.checks import Group
from pacarchive.cli.check.contents import http_date
from pacarchive.cli.check.session import SMALL
from pacarchive.cli.check.words import NotApplicable, require
from pacarchive.texts import counted

if TYPE_CHECKING:
    from pacarchive.cli.check.contents import Content
    from pacarchive.cli.check.session import Session
    from pacarchive.cli.check.wire import Answer

GROUP = Group()

_RESUME = "downloads that were cut are resumed with it; a wrong part corrupts the file"


async def _require_part(session: Session, content: Content, asked: str, start: int, end: int) -> None:
    answer = await session.get(content, {"Range": f"bytes={asked}"}, part=(start, end), status=206)
    expected = f"bytes {start}-{end - 1}/{content.size}"
    require(
        answer.field("Content-Range") == expected, f"Content-Range: {expected}", answer.field("Content-Range"), _RESUME
    )


@GROUP.check("range", "the first bytes, some in the middle and the last are sent as requested, with 206")
async def ranges(session: Session) -> None:
    content = await session.file("sample")
    for asked, start, end in (
        ("0-0", 0, 1),
        ("0-4095", 0, 4096),
        ("65535-131072", 65535, 131073),
        (f"{SMALL - 1}-", SMALL - 1, SMALL),
        (f"1000-{SMALL + 5000}", 1000, SMALL),
        ("-777", SMALL - 777, SMALL),
        (f"-{SMALL + 1}", 0, SMALL),
    ):
        await _require_part(session, content, asked, start, end)


@GROUP.check("range-large", "a part far inside of the large file is sent as requested")
async def range_large(session: Session) -> str:
    content = await session.file("large")
    start = content.size * 7 // 8
    end = min(start + 300_000, content.size)
    if start >= end:
        raise NotApplicable("The large file is empty.")
    await _require_part(session, content, f"{start}-{end - 1}", start, end)
    return f"from byte {start} on"


@GROUP.check("range-beyond", "a range beyond the end is 416, with the size")
async def range_beyond(session: Session) -> None:
    content = await session.file("sample")
    answer = await session.wire.ask("GET", content.file_id, {"Range": f"bytes={SMALL}-"})
    require(answer.status == 416, "416", answer, "a complete download looks like one that is not")
    found = answer.field("Content-Range")
    require(found == f"bytes */{SMALL}", f"Content-Range: bytes */{SMALL}", found, _RESUME)


@GROUP.check("range-odd", "an invalid range, and several ranges at once, never return more than twice the file")
async def range_odd(session: Session) -> None:
    content = await session.file("sample")
    for asked in ("bytes=9-3", "bytes=a-b", "lines=0-9", "bytes"):
        await session.get(content, {"Range": asked})
    several = "bytes=" + ",".join(f"0-{SMALL - 1}" for _ in range(50))
    answer = await session.wire.ask("GET", content.file_id, {"Range": several})
    require(
        answer.status in (200, 206, 416) and len(answer.body) <= 2 * SMALL, f"{2 * SMALL} bytes at the most",
        f"{answer.status} with {counted(len(answer.body), 'byte')}",
        "one small request would make the server send without end",
    )  # fmt: skip


@GROUP.check("range-if", "If-Range gives a part of the version it names, and else all of the file")
async def range_if(session: Session) -> None:
    content = await session.file("sample")
    first = await session.wire.ask("GET", content.file_id)
    etag = first.field("ETag") or '"none"'
    await session.get(content, {"Range": "bytes=100-299", "If-Range": etag}, part=(100, 300), status=206)
    # A date never matches: two versions may have the same.
    for other in ('"another"', first.field("Last-Modified") or http_date(0)):
        await session.get(content, {"Range": "bytes=100-299", "If-Range": other})


@GROUP.check("byte-range", "?byte_range=a-b, the predecessor's way, gives the bytes from a to before b")
async def byte_range(session: Session) -> None:
    content = await session.file("sample")
    for start, end in ((5, 10), (0, SMALL), (SMALL - 7, SMALL + 100)):
        await session.get(content, query=f"?byte_range={start}-{end}", part=(start, min(end, SMALL)))
    for asked in (f"{SMALL + 9}-{SMALL + 20}", "10-5", "5-5"):
        answer = await session.wire.ask("GET", f"/{content.file_id}?byte_range={asked}")
        require(
            (answer.status, answer.body) == (200, b""), f"200 and no bytes for {asked}",
            f"{answer.status} with {counted(len(answer.body), 'byte')}", "the predecessor's clients send such requests",
        )  # fmt: skip
    answer = await session.wire.ask("GET", f"/{content.file_id}?byte_range=5-")
    expected = 400 if session.strict else 500
    require(answer.status == expected, f"{expected} for a range without an end", answer, "the answer would be a guess")


@GROUP.check("get-if-changed", "a file that has not changed is not sent again: 304")
async def get_if_changed(session: Session) -> None:
    content = await session.file("sample")
    first = await session.get(content)
    etag, date = first.field("ETag"), first.field("Last-Modified")
    require(etag is not None and date is not None, "ETag and Last-Modified with GET", first, "caches cannot revalidate")
    answer = await session.wire.ask("GET", content.file_id, {"If-None-Match": etag or ""})
    require(answer.status == 304, "304 for If-None-Match", answer, "all of the file is sent again")
    for name, value in (("If-None-Match", '"another"'), ("If-Modified-Since", http_date(0))):
        await session.get(content, {name: value})


@GROUP.check("get-if-match", "a request for one version gets that or 412, never another")
async def get_if_match(session: Session) -> None:
    content = await session.file("sample")
    etag = (await session.get(content)).field("ETag") or '"none"'
    await session.get(content, {"If-Match": etag})

    def see(answer: Answer, name: str) -> None:
        require(answer.status == 412, f"412 for {name}", answer, "the reader gets another version than it requested")

    see(await session.wire.ask("GET", content.file_id, {"If-Match": '"another"'}), "If-Match")
    long_ago = {"If-Unmodified-Since": http_date(0)}
    see(await session.wire.ask("GET", content.file_id, long_ago), "If-Unmodified-Since")
