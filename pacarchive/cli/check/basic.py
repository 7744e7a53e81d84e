"""Checks of the basics: that an archive answers, its health, errors, and HTTP itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacarchive.cli.check.checks import Group
from pacarchive.cli.check.contents import Content
from pacarchive.cli.check.raw import IF_ABSENT, Malformed
from pacarchive.cli.check.words import fail, require
from pacarchive.client.words import UP

if TYPE_CHECKING:
    from pacarchive.cli.check.session import Session

GROUP = Group()

_KEYS = ["status", "message", "traceback", "version"]
_JSON = "the predecessor's clients read the JSON and nothing else"
_CLOSING = 3.0
"""Seconds to wait for the end of a connection that should end at once."""

_DESYNC = "behind a proxy that reads it in another way, one client's request can become part of another's"


@GROUP.check("greeting", "GET / says that the archive is up, by the message that clients expect")
async def greeting(session: Session) -> str:
    answer = await session.wire.ask("GET", "/")
    require(answer.status == 200, "200", answer, "monitoring relies on it")
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
    ready = isinstance(document, dict) and document.get("ready") is True
    require(answer.status == 200 and ready, "200 and ready", answer, "the storage may be full, slow or gone")
    message = str(document.get("message"))
    return f"degraded: {message}" if document.get("degraded") else message


@GROUP.check("absent", "an id without a file is an error, for every method")
async def absent(session: Session) -> str:
    file_id = await session.new_id()
    for method in ("GET", "HEAD", "POST"):
        answer = await session.wire.ask(method, file_id, body=b"" if method == "POST" else None)
        require(
            answer.status == session.status(404), f"{session.status(404)} for {method}", answer,
            "clients would take an error for a file, or a file for lost",
        )  # fmt: skip
    if session.strict:
        return "404: errors have the statuses of HTTP"
    return "500: errors have the predecessor's statuses"


@GROUP.check("error-words", "errors are JSON with a message for people, and reveal nothing of the server's inside")
async def error_words(session: Session) -> None:
    answer = await session.wire.ask("GET", await session.new_id())
    document = answer.document
    require(
        isinstance(document, dict) and list(document) == _KEYS, f"the keys {', '.join(_KEYS)}", answer.body[:80], _JSON
    )
    text = str(document["traceback"])
    require(
        "Traceback" not in text and "File &quot;" not in text, "one line as the reason", "a traceback of the server",
        "it reveals paths and versions, and helps no user",
    )  # fmt: skip


@GROUP.check("methods", "OPTIONS is answered, and unknown methods are refused")
async def methods(session: Session) -> None:
    path = await session.new_id()
    answer = await session.wire.ask("BREW", path)
    require(answer.status == 405, "405 for an unknown method", answer, "a wrong request must not be taken for another")
    allowed = {each.strip() for each in (answer.field("Allow") or "").split(",")}
    require(
        {"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"} <= allowed, "an Allow field with all methods",
        answer.field("Allow"), "clients learn from it what they may do",
    )  # fmt: skip
    answer = await session.wire.ask("OPTIONS", path)
    require(answer.status // 100 == 2, "a success for OPTIONS", answer, "WebDAV clients begin with it")


@GROUP.check("keep-alive", "a connection can be reused after an answer, or the answer says that it closes")
async def keep_alive(session: Session) -> str:
    try:
        async with session.wire.connect() as connection:
            for number in range(3):
                connection.send("GET", "/")
                answer = await connection.answer()
                if answer is None:
                    fail(
                        "another answer", f"a connection that was closed after {number} without notice",
                        "a client that reuses the connection loses its request",
                    )  # fmt: skip
                if answer.closes:
                    return "the server closes after each answer, and says so"
    except Malformed as error:
        fail("an answer of HTTP", error, "clients cannot read it")
    return "kept open"


@GROUP.check("malformed", "requests that can be read in two ways are refused, and their connections closed")
async def malformed(session: Session) -> None:
    file_id = await session.new_id()
    path = f"/{file_id}"
    # If it is stored all the same, it can be recognised as a test file.
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
        session.test_files.attempt(file_id, empty=True)
        async with session.wire.connect() as connection:
            connection.send(method, target, IF_ABSENT, *fields, body=body, host=host)
            answer = await connection.answer(method)
            status = None if answer is None else answer.status
            session.test_files.settle(file_id, status)
            require(status in (400, 501, None), f"400 for {what}", status, _DESYNC)
            require(
                answer is None or answer.closes or await connection.closed(_CLOSING),
                f"a closed connection after {what}",
                "open",
                _DESYNC,
            )
    await session.require_absent(file_id, "a request that was refused has stored something")


@GROUP.check("compression", "files are sent as they are, whatever encodings the client accepts")
async def compression(session: Session) -> None:
    content = await session.file("text")
    try:
        async with session.wire.connect() as connection:
            connection.send("GET", f"/{content.file_id}", ("Accept-Encoding", "gzip, deflate, br, zstd"))
            answer = await connection.answer()
    except Malformed as error:
        fail("an answer of HTTP", error, "clients cannot read it")
    encoding = answer and answer.headers.getRawHeaders("Content-Encoding")
    require(
        answer is not None and answer.status == 200 and not encoding, "200 without Content-Encoding",
        encoding or (None if answer is None else answer.status), "digests, lengths and ranges are of the file itself",
    )  # fmt: skip
    require(answer and answer.body == content.whole, "the file", "other bytes", "what comes back is not the file")
