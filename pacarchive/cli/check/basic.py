"""Whether somebody listens who is an archive: greeting, health, what is not there, and HTTP itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacarchive.cli.check.checks import Group
from pacarchive.cli.check.contents import Content
from pacarchive.cli.check.raw import ANEW, Malformed
from pacarchive.cli.check.words import fail, require
from pacarchive.client.words import UP

if TYPE_CHECKING:
    from pacarchive.cli.check.session import Session

GROUP = Group()

_KEYS = ["status", "message", "traceback", "version"]
_JSON = "clients of the family read the JSON, and look at nothing else"
_CLOSING = 3.0
"""For how many seconds to wait for the end of a connection that should end at once."""

_DESYNC = "a proxy that reads it otherwise lets one client's request end up in another's"


@GROUP.check("greeting", "GET / says that the archive is up, in the words that its clients know")
async def greeting(session: Session) -> str:
    answer = await session.wire.ask("GET", "/")
    require(answer.status == 200, "200", answer, "monitoring goes by it")
    document = answer.document
    require(
        document == {"message": f"Pacifica {UP}"}, "the message of an archive",
        answer.body[:80], "another service may be answering at this address",
    )  # fmt: skip
    return session.server


@GROUP.check("health", "GET /health says that requests can be expected to succeed")
async def health(session: Session) -> str:
    answer = await session.wire.ask("GET", "/health")
    document = answer.document
    told = isinstance(document, dict) and document.get("ready") is True
    require(answer.status == 200 and told, "200 and ready", answer, "the storage may be full, slow or gone")
    words = str(document.get("message"))
    return f"degraded: {words}" if document.get("degraded") else words


@GROUP.check("absent", "an id without a file is told apart from a file, by every method")
async def absent(session: Session) -> str:
    file_id = await session.take()
    for method in ("GET", "HEAD", "POST"):
        answer = await session.wire.ask(method, file_id, body=b"" if method == "POST" else None)
        require(
            answer.status == session.status(404), f"{session.status(404)} for {method}", answer,
            "clients would take an error for the file, or a file for lost",
        )  # fmt: skip
    if session.strict:
        return "404: errors have the statuses of HTTP"
    return "500: errors have the predecessor's statuses"


@GROUP.check("error-words", "errors are JSON with words for people, and tell nothing of the server's inside")
async def error_words(session: Session) -> None:
    answer = await session.wire.ask("GET", await session.take())
    document = answer.document
    require(
        isinstance(document, dict) and list(document) == _KEYS, f"the keys {', '.join(_KEYS)}", answer.body[:80], _JSON
    )
    text = str(document["traceback"])
    require(
        "Traceback" not in text and "File &quot;" not in text, "one line as the reason", "a traceback of the server",
        "it tells strangers about paths and versions, and people nothing",
    )  # fmt: skip


@GROUP.check("methods", "OPTIONS tells what there is, and other methods are refused")
async def methods(session: Session) -> None:
    path = await session.take()
    answer = await session.wire.ask("BREW", path)
    require(answer.status == 405, "405 for an unknown method", answer, "a wrong request must not be taken for another")
    allowed = {each.strip() for each in (answer.field("Allow") or "").split(",")}
    require(
        {"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"} <= allowed, "an Allow field with all methods",
        answer.field("Allow"), "clients find out by it what they may do",
    )  # fmt: skip
    answer = await session.wire.ask("OPTIONS", path)
    require(answer.status // 100 == 2, "a success for OPTIONS", answer, "clients of WebDAV begin with it")


@GROUP.check("keep-alive", "a connection is of use again after an answer, or is said to be closed")
async def keep_alive(session: Session) -> str:
    try:
        async with session.wire.talk() as talk:
            for number in range(3):
                talk.send("GET", "/")
                answer = await talk.answer()
                if answer is None:
                    fail(
                        "another answer", f"a closed connection after {number} without a word",
                        "a client that uses the connection again loses its request",
                    )  # fmt: skip
                if answer.closes:
                    return "the server closes after each answer, and says so"
    except Malformed as error:
        fail("an answer of HTTP", error, "clients cannot read it")
    return "kept open"


@GROUP.check("malformed", "requests that can be read in two ways are refused, and their connections closed")
async def malformed(session: Session) -> None:
    file_id = await session.take()
    path = f"/{file_id}"
    # Where it is stored all the same, it is known whose it is.
    data = Content(file_id, 0).head
    length = len(data)
    cases: list[tuple[str, str, str, list[tuple[str, str]], bytes, bool]] = [
        ("no Host", "GET", "/", [], b"", False),
        ("two lengths", "PUT", path, [("Content-Length", f"{length}"), ("Content-Length", f"{length + 1}")],
         data + b".", True),
        ("a length that is not a number", "PUT", path, [("Content-Length", f"+{length}")], data, True),
        (
            "a length and chunks", "PUT", path, [("Content-Length", f"{length}"), ("Transfer-Encoding", "chunked")],
            b"%x\r\n%s\r\n0\r\n\r\n" % (length, data), True,
        ),
    ]  # fmt: skip
    for what, method, target, fields, body, host in cases:
        session.ledger.attempt(file_id, empty=True)
        async with session.wire.talk() as talk:
            talk.send(method, target, ANEW, *fields, body=body, host=host)
            answer = await talk.answer(method)
            status = None if answer is None else answer.status
            session.ledger.settle(file_id, status)
            require(status in (400, 501, None), f"400 for {what}", status, _DESYNC)
            require(
                answer is None or answer.closes or await talk.closed(_CLOSING),
                f"a closed connection after {what}",
                "open",
                _DESYNC,
            )
    await session.see_absent(file_id, "a request that was refused has stored something")


@GROUP.check("compression", "files come as they are, whatever encodings the client offers")
async def compression(session: Session) -> None:
    content = await session.file("text")
    try:
        async with session.wire.talk() as talk:
            talk.send("GET", f"/{content.file_id}", ("Accept-Encoding", "gzip, deflate, br, zstd"))
            answer = await talk.answer()
    except Malformed as error:
        fail("an answer of HTTP", error, "clients cannot read it")
    encoding = answer and answer.headers.getRawHeaders("Content-Encoding")
    require(
        answer is not None and answer.status == 200 and not encoding, "200 without Content-Encoding",
        encoding or (None if answer is None else answer.status), "digests, lengths and ranges are of the file itself",
    )  # fmt: skip
    require(answer and answer.body == content.whole, "the file", "other bytes", "what comes back is not the file")
