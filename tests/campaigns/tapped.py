"""A relay that notes what goes over each of its connections: what a proxy really sent, and what came back."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import attrs

_PIECE = 1 << 16


@attrs.define
class Talk:
    """
    One connection.

    @ivar sent: What the server was sent.
    @ivar answered: What it sent.
    @ivar server_ended: Whether it was the first to end its side.
    @ivar quiet: Seconds from the last byte to the end.
    """

    sent: bytearray = attrs.field(factory=bytearray)
    answered: bytearray = attrs.field(factory=bytearray)
    server_ended: bool | None = None
    quiet: float = 0.0
    moved: float = 0.0


@asynccontextmanager
async def tap(to: tuple[str, int], talks: list[Talk], context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """
    Relay connections to an address.

    @param talks: Takes those that have ended.
    @param context: What TLS is spoken with there; C{None} for none.
    @return: The port to connect to.
    """
    going: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        going.add(task)
        try:
            await _relay(reader, writer, to, talks, context)
        finally:
            going.discard(task)

    server = await asyncio.start_server(relay, "127.0.0.1", 0, limit=_PIECE)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if going:
            await asyncio.wait(going, timeout=15)
        await server.wait_closed()


async def _relay(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    to: tuple[str, int],
    talks: list[Talk],
    context: ssl.SSLContext | None,
) -> None:
    talk = Talk()
    try:
        name = None if context is None else "localhost"
        upstream, out = await asyncio.open_connection(*to, limit=_PIECE, ssl=context, server_hostname=name)
    except OSError:
        writer.transport.abort()
        raise
    talk.moved = _now()
    try:
        await asyncio.gather(
            _carry(reader, out, talk.sent, talk, by_server=False),
            _carry(upstream, writer, talk.answered, talk, by_server=True),
        )
    finally:
        talks.append(talk)
        for each in (writer, out):
            each.close()
            with suppress(OSError):
                await each.wait_closed()


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: bytearray, talk: Talk, *, by_server: bool
) -> None:
    """Carry bytes one way; a connection that is broken off is broken off on the other side too."""
    try:
        while piece := await reader.read(_PIECE):
            note += piece
            talk.moved = _now()
            writer.write(piece)
            await writer.drain()
    except OSError:
        _ended(talk, by_server)
        writer.transport.abort()
        return
    _ended(talk, by_server)
    with suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()
        else:  # TLS cannot end one side only, as asyncio has it
            writer.close()


def _ended(talk: Talk, by_server: bool) -> None:
    if talk.server_ended is None:
        talk.server_ended = by_server
        talk.quiet = _now() - talk.moved


def _now() -> float:
    return asyncio.get_running_loop().time()
