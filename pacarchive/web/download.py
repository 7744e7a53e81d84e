"""Sending a file: from memory in one piece, from the page cache by the kernel, or in blocks through ours.

=================  ===========================================================================================
a small file       one read, checked against its stored digest, one write
plain TCP          C{sendfile(2)} in bursts (L{Pump}); no copy passes through this process, so nothing is checked
TLS                blocks that a thread reads, hashes, encrypts and sends (L{SealedPump}); a whole file is checked, and
                   broken off before its last block when it is not what was stored
remote backends,   blocks that a thread hashes and sends (L{Pump}), and checked likewise
and what is hashed
the rest           blocks, pushed as the transport takes them, and checked likewise
=================  ===========================================================================================

In every way a client that takes too little for too long is dropped, and one that is only slow is not.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp
from twisted.internet.defer import CancelledError

from pacarchive import errors
from pacarchive.digests import PRIMARY, Hasher
from pacarchive.interfaces import ISendable, IStoredFile
from pacarchive.runtime.threads import BlockingPool
from pacarchive.settings.server import VerifyReads
from pacarchive.web.errors import Corrupted
from pacarchive.web.http.admission import Pace, Place
from pacarchive.web.http.flow import Aborted, Flow, ProgressWatch
from pacarchive.web.http.settings import LimitSettings
from pacarchive.web.pumps import Left, Pump, SealedPump

if TYPE_CHECKING:
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.http.sealing import SealedOutput

SMALL = 64 << 10
"""Up to this size a file is sent in one piece, and hashed where it is: that takes less time than a thread hop."""

_BLOCK = 1 << 20
_SLICE = 64 << 10  # what the TLS transport encrypts without copying it over and over


class Sender:
    """
    Sends files, with what that needs beside the request.

    @param reactor: Where sockets are waited for; also the clock.
    @param pool: Threads for C{sendfile} and hashing.
    @param verify: Which downloads are checked.
    @param limits: What must move, in what time.
    """

    def __init__(self, reactor: Any, pool: BlockingPool, verify: VerifyReads, limits: LimitSettings) -> None:
        self._reactor = reactor
        self._pool = pool
        self._verify = verify
        self._pace = Pace.of(limits)

    async def send(self, request: ArchiveRequest, stored: IStoredFile, offset: int, length: int) -> None:
        """
        Send bytes of a file as the body of an answer whose headers are set.

        @raise errors.Overloaded: It takes more than one piece, and there are too many transfers.
        @raise Corrupted: A whole small file is not what was stored; nothing has been sent.
        @raise errors.BackendUnavailable: It could not be read; nothing has been sent.
        @raise Aborted: It went wrong on the way, and the connection was cut.
        """
        status = stored.status
        whole = length == status.size
        known = PRIMARY in status.digests
        verify = whole and known and self._verify is not VerifyReads.NEVER
        if length <= SMALL:
            data = await stored.read(offset, length) if length else b""
            if whole and (verify or not known):
                await self._settle(request, stored, _hashed(data))
            request.site.turns.spend(length >> 9)
            request.write(data)
            return
        with request.site.transfers.enter(request.client) as place:
            try:
                await self._stream(request, stored, offset, length, place)
            except CancelledError:
                if request.is_over:
                    request.site.left(request)
                raise

    async def _stream(
        self, request: ArchiveRequest, stored: IStoredFile, offset: int, length: int, place: Place
    ) -> None:
        """Send what takes more than one piece."""
        whole = length == stored.status.size
        known = PRIMARY in stored.status.digests
        verify = whole and known and self._verify is not VerifyReads.NEVER
        zero_copy = ISendable.providedBy(stored) and _is_plain_tcp(request)
        # A file without digest gets one on its first whole read.
        if zero_copy and not (whole and not known) and not (verify and self._verify is VerifyReads.ALWAYS):
            request.write(b"")
            if request.flush():
                await self._pump(request, stored, offset, length, place)
                return
            request.count("block", min(_BLOCK, length))  # be it too much: the head is out, and nothing can be refused
        else:
            request.hold("block", min(_BLOCK, length))
        hasher = Hasher([PRIMARY]) if verify or (whole and not known) else None
        if request.isSecure():
            request.write(b"")
            if (sealed := request.lend()) is not None:
                await self._pump_sealed(request, sealed, stored, offset, length, hasher, place)
                return
        block = await stored.read(offset, min(_BLOCK, length))  # before the head is out: it may be refused still
        if _is_plain_tcp(request):
            request.write(b"")
            if request.flush():
                await self._pump_blocks(request, stored, block, offset, length, hasher, place)
                return
        await self._push(request, stored, block, offset, length, hasher, place)

    async def _settle(self, request: ArchiveRequest, stored: IStoredFile, hasher: Hasher) -> None:
        """
        Compare a whole read with the stored digest, or store it as the digest where there was none.
        """
        computed, expected = hasher.digests(), stored.status.digests.get(PRIMARY)
        if expected is None:
            await stored.remember(computed)
            return
        request.digest = "matched" if computed[PRIMARY] == expected else "mismatch"
        if computed[PRIMARY] != expected:
            raise Corrupted("The stored bytes no longer have the digest that was stored with them; they are not sent.")

    async def _pump(self, request: ArchiveRequest, stored: IStoredFile, offset: int, length: int, place: Place) -> None:
        """Let the kernel send: the reactor waits for room, a thread sends a burst."""
        pump = Pump(self._reactor, self._pool, self._pace, request, place)
        try:
            await pump.run(ISendable(stored).fileno(), offset, length)
        except (OSError, TimeoutError) as error:
            _break_off(request, error)
        finally:
            pump.close()

    async def _pump_sealed(
        self,
        request: ArchiveRequest,
        sealed: SealedOutput,
        stored: IStoredFile,
        offset: int,
        length: int,
        hasher: Hasher | None,
        place: Place,
    ) -> None:
        """Read, hash and encrypt where it is sent; what is no file of this machine is read before."""
        settle = None if hasher is None else partial(self._settle, request, stored, hasher)
        pump = SealedPump(self._reactor, self._pool, self._pace, request, place, sealed, hasher)
        try:
            if ISendable.providedBy(stored):
                await pump.run(ISendable(stored).fileno(), offset, length, settle)
            else:
                block = await stored.read(offset, min(_BLOCK, length))
                await self._send_blocks(pump, request, stored, block, offset, length, hasher)
        except (errors.ArchiveError, OSError, TimeoutError) as error:
            _break_off(request, error)
        finally:
            pump.close()

    async def _pump_blocks(
        self,
        request: ArchiveRequest,
        stored: IStoredFile,
        block: bytes,
        offset: int,
        length: int,
        hasher: Hasher | None,
        place: Place,
    ) -> None:
        """Hash and send in a thread what has been read elsewhere."""
        pump = Pump(self._reactor, self._pool, self._pace, request, place)
        try:
            await self._send_blocks(pump, request, stored, block, offset, length, hasher)
        except (errors.ArchiveError, OSError, TimeoutError) as error:
            _break_off(request, error)
        finally:
            pump.close()

    async def _send_blocks(
        self,
        pump: Pump,
        request: ArchiveRequest,
        stored: IStoredFile,
        block: bytes,
        offset: int,
        length: int,
        hasher: Hasher | None,
    ) -> None:
        """Send one block after the other; the last one waits for the verdict of the hash."""
        end = offset + length
        while (offset := offset + len(block)) < end:
            await pump.send(block, hasher)
            block = await stored.read(offset, min(_BLOCK, end - offset))
        if hasher is not None:
            await self._pool.run(hasher.update, block)
            await self._settle(request, stored, hasher)
        await pump.send(block)

    async def _push(
        self,
        request: ArchiveRequest,
        stored: IStoredFile,
        block: bytes,
        offset: int,
        length: int,
        hasher: Hasher | None,
        place: Place,
    ) -> None:
        """Send through the transport; the last block waits for the verdict of the hash."""
        end = offset + length
        flow = Flow(ProgressWatch(self._reactor, self._pace, request.connection.transport.fileno(), place))
        request.registerProducer(flow, True)
        try:
            while offset < end:
                if hasher is not None:
                    await self._pool.run(hasher.update, block)
                offset += len(block)
                if offset == end and hasher is not None:
                    await self._settle(request, stored, hasher)
                for start in range(0, len(block), _SLICE):
                    await flow.room()
                    request.write(block[start : start + _SLICE])
                request.note_sent()
                if offset < end:
                    block = await stored.read(offset, min(_BLOCK, end - offset))
        except (errors.ArchiveError, TimeoutError) as error:
            _break_off(request, error)
        finally:
            if not request.is_over:
                request.unregisterProducer()


def _hashed(data: bytes) -> Hasher:
    hasher = Hasher([PRIMARY])
    hasher.update(data)
    return hasher


def _is_plain_tcp(request: ArchiveRequest) -> bool:
    return not request.isSecure() and isinstance(request.transport, tcp.Connection)


def _break_off(request: ArchiveRequest, error: Exception) -> None:
    """
    End a download that has begun, so that nobody takes it for complete.

    @raise Aborted: Always.
    """
    if isinstance(error, Left):
        by = "client"
        request.site.left(request)
    elif isinstance(error, TimeoutError):
        by = "timeout"
        request.site.refused("stalled", request.client, f"{request.line}: {error}", request)
    else:
        by = "server"
        request.site.failed("download", request, error)
    request.cut(by)
    raise Aborted from error
