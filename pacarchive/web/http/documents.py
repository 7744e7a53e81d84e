"""JSON in and out, in pieces small enough that nobody else has to wait for them.

A list of a job's files has thousands of entries.  They are written in slices, with a turn of the reactor between two,
and sent as the client takes them.
"""

from __future__ import annotations

import gc
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from pacarchive import errors
from pacarchive.web.http.checks import read_checks
from pacarchive.web.http.errors import HTTPRefusal
from pacarchive.web.http.flow import Aborted, Flow, ProgressWatch

if TYPE_CHECKING:
    from pacarchive.web.http.admission import Place
    from pacarchive.web.http.request import ArchiveRequest

SLICE = 200
"""How many entries of a list are written at once: about a millisecond's work."""

LARGE = 64 << 10
"""What is longer is sent as the client takes it, in pieces of about this size."""

_TAKES_A_TURN = 32 << 10
_PARSED = 32  # bytes in a microsecond, where there is much in them
_SEARCHED = 1000  # bytes in a microsecond
_TREE = 16  # bytes of memory for a byte of text, where there is much in it

FLOATS = 1000
"""The most numbers of a document that are no integers."""

ELEMENTS = 100_000
"""The most commas and opening brackets of a document, in strings and elsewhere: to read more takes over a turn."""

DOCUMENT_LIMIT = 512 << 10
"""The largest JSON document that is read, in bytes."""


# in


async def read_document(request: ArchiveRequest, limit: int = DOCUMENT_LIMIT) -> Any:
    """
    Read a body that is one JSON document.

    @raise HTTPRefusal: It is none: 400.
    @raise errors.TooLarge: It has more than C{limit} bytes, or too many elements.
    @raise errors.IncompleteBody: The sender stopped.
    """
    return await parse_in_turn(request, await read_text(request, limit))


async def read_text(request: ArchiveRequest, limit: int = DOCUMENT_LIMIT) -> bytes:
    """
    Read a body; fails as L{read_document}, but for what is in it.

    @raise errors.InvalidRequest: It could not be checked as the sender asked.
    @raise errors.DigestMismatch: It is not what was sent.
    """
    body = request.body
    checks = read_checks(request.field, body.length)
    # All at once: a body in a million chunks would wake this as often.
    if body.length is None or body.length <= limit:
        text = b"".join(await body.read(limit + 1))
        if len(text) <= limit:
            checks.compare(text, body.trailers)
            return text
    raise errors.TooLarge(f"The body may have {limit} bytes at the most here.")


async def parse_in_turn(request: ArchiveRequest, text: bytes) -> Any:
    """
    Parse a JSON document; a large one waits until it is its turn, as it takes all of one, unless it is refused.

    @raise HTTPRefusal: It is none: 400.
    @raise errors.TooLarge: It has too many elements.
    """
    if len(text) >= _TAKES_A_TURN:
        request.site.turns.spend(len(text) // _SEARCHED)
        if sum(map(text.count, (b",", b"[", b"{"))) > ELEMENTS:
            raise errors.TooLarge(f"A document may have {ELEMENTS} commas and opening brackets at the most.")
        request.hold("document", len(text) * _TREE)
        await request.give_way(0)
        request.site.turns.spend(len(text) // _PARSED)
    collects = gc.isenabled()
    gc.disable()  # what has a hundred thousand arrays would set it off over and over, and take ten times as long
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_FewFloats())
    except (ValueError, RecursionError):
        raise HTTPRefusal(HTTPStatus.BAD_REQUEST, "Invalid JSON document") from None
    finally:
        if collects:
            gc.enable()


class _FewFloats:
    """Reads numbers with a fraction or an exponent: where there are few, as it takes long, and lists have none."""

    def __init__(self) -> None:
        self._left = FLOATS

    def __call__(self, text: str) -> float:
        self._left -= 1
        if self._left < 0:
            raise ValueError("too many numbers with a fraction")
        return float(text)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


async def no_body(request: ArchiveRequest, *ignored: str) -> None:
    """
    See that nothing is asked for by a body where none has a meaning: who sends one means something else.

    An empty one of any kind is none, but for gfal2's first request over TLS, which asks for a token.

    @param ignored: Kinds of bodies that never meant anything, and that are sent all the same.
    @raise HTTPRefusal: There is another: 415.
    """
    kinds = media_types(request)
    if kinds == ["application/macaroon-request"]:
        raise HTTPRefusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "This server gives no tokens.")
    body = request.body
    if body.length == 0 or kinds in ([each] for each in ignored) or (body.length is None and not await body.read(1)):
        return
    raise HTTPRefusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The request must have no body.")


def require_json(request: ArchiveRequest, *others: str) -> None:
    """
    See that a body is declared to be JSON.

    @param others: What it may be called as well.
    @raise HTTPRefusal: It is not: 415.
    """
    if media_types(request) not in (["application/json"], *([each] for each in others)):
        words = ", ".join(("application/json", *others))
        raise HTTPRefusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Expected an entity of content type {words}")


def media_types(request: ArchiveRequest) -> list[str]:
    """What a request says that its body is, without parameters; normally one."""
    return [kind.partition(";")[0].strip().lower() for kind in request.field("content-type")]


# out


def short_document(request: ArchiveRequest, document: Mapping[str, Any]) -> bytes:
    """
    Answer with a small JSON object.

    @return: The body, for the route to return.
    """
    body = json.dumps(document).encode("ascii")
    request.set(b"Content-Type", b"application/json")
    request.set(b"Content-Length", b"%d" % len(body))
    return body


async def write_document(
    request: ArchiveRequest,
    document: Mapping[str, Any],
    lists: Mapping[str, Iterable[Any]] | None = None,
) -> bytes:
    """
    Answer with a JSON object; status and further header fields may be set before.

    @param document: Its members; small.
    @param lists: Further members, arrays whose entries are made and written a few at a time.
    @return: The body, for the route to return; empty where it has been sent already.
    @raise Aborted: The client took nothing for too long, and the connection was cut.
    """
    pieces = await encode(request, document, lists)
    length = sum(map(len, pieces))
    request.hold("answer", length)
    request.set(b"Content-Type", b"application/json")
    request.set(b"Content-Length", b"%d" % length)
    if length <= LARGE:
        return b"".join(pieces)
    async with streaming(request) as stream:
        await stream.send(pieces)
    return b""


async def encode(
    request: ArchiveRequest, document: Mapping[str, Any], lists: Mapping[str, Iterable[Any]] | None = None
) -> list[bytes]:
    """
    Write a JSON object, on one line, as L{write_document} does.

    @return: Its bytes, in pieces.
    """
    text = json.dumps(document)[1:-1]
    pieces, comma = ["{", text], ", " if text else ""
    for name, entries in (lists or {}).items():
        pieces += (comma, json.dumps(name), ": [")
        comma, between, source = ", ", "", iter(entries)
        while some := list(islice(source, SLICE)):
            pieces += (between, json.dumps(some)[1:-1])
            between = ", "
            if len(some) == SLICE:
                await request.give_way()
        pieces.append("]")
    pieces.append("}")
    return list(_gathered(pieces))


def _gathered(pieces: Iterable[str]) -> Iterator[bytes]:
    """The same text in fewer pieces, none much larger than what is sent at once."""
    some: list[str] = []
    length = 0
    for piece in pieces:
        some.append(piece)
        length += len(piece)
        if length >= LARGE:
            yield "".join(some).encode("ascii")
            some, length = [], 0
    if some:
        yield "".join(some).encode("ascii")


class Stream:
    """The body of an answer, written as the client takes it."""

    def __init__(self, request: ArchiveRequest, flow: Flow) -> None:
        self._request = request
        self._flow = flow

    async def room(self) -> None:
        """
        Wait until the transport has room.

        @raise TimeoutError: The client took nothing for too long.
        """
        await self._flow.room()

    async def send(self, pieces: Iterable[bytes]) -> None:
        """Write pieces, each when there is L{room} for it."""
        for piece in pieces:
            await self.room()
            self._request.write(piece)


@asynccontextmanager
async def streaming(request: ArchiveRequest, place: Place | None = None) -> AsyncIterator[Stream]:
    """
    Write an answer whose headers are set.  A client that takes nothing for C{progress_timeout} is cut off.

    @param place: What is counted of it while bytes flow, if anything is.
    @raise Aborted: It was.
    """
    flow = Flow(ProgressWatch(request.site.reactor, request.site.pace, request.connection.transport.fileno(), place))
    request.registerProducer(flow, True)
    try:
        yield Stream(request, flow)
    except TimeoutError as error:
        request.site.refused("stalled", request.client, f"{request.line}: {error}", request)
        request.cut("timeout")
        raise Aborted from error
    except (CancelledError, Aborted, errors.ArchiveError):
        raise
    except Exception as error:
        # The answer has begun: there is no other way to tell that it is not complete.
        request.site.incident(f"{request.line}: the answer broke off", Failure())
        request.cut("server")
        raise Aborted from error
    finally:
        if not request.is_over:
            request.unregisterProducer()
