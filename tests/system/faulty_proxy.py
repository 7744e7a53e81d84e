"""A TCP proxy that does to a connection what networks do: cuts it, flips a byte, trickles, or stands still."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from system.harness import HOST, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

Way: TypeAlias = Literal["up", "down"]
"""Towards the archive, or from it."""

PIECE = 256 << 10


@attrs.define(kw_only=True)
class Faults:
    """
    What goes wrong; may be changed at any time.

    @ivar cuts: How many connections are still to be cut.
    @ivar cut_after: After how many bytes of one connection.
    @ivar cut_way: In which direction they are counted.
    @ivar flips: Which bytes are changed, by their number in each direction, counted over all connections.
    @ivar mask: How.
    @ivar stall_after: After how many bytes of a connection from the archive nothing moves any more; C{None} for never.
    @ivar trickle: Bytes a second in each direction and connection; C{None} for as fast as it goes.
    """

    cuts: int = 0
    cut_after: int = 0
    cut_way: Way = "down"
    flips: dict[Way, set[int]] = attrs.field(factory=dict)
    mask: int = 0x01
    stall_after: int | None = None
    trickle: int | None = None


class FaultyProxy:
    """
    The proxy, as a context manager; its port is C{port}.

    @param target: The port that it leads to.
    @ivar moved: Bytes that have been passed on, by direction.
    @ivar connections: How many were made.
    @ivar requests: The first line of each request that was passed on, as far as a connection's piece began with one.
    """

    def __init__(self, target: int, **faults: object) -> None:
        self._target = target
        self.faults = Faults(**faults)  # type: ignore[arg-type]
        self.moved: dict[Way, int] = {"up": 0, "down": 0}
        self.connections = 0
        self.requests: list[str] = []
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._ended = threading.Event()
        self._listener = socket.create_server((HOST, 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> FaultyProxy:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            sockets = list(self._sockets)
        for each in sockets:
            _cut(each)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "the proxy hangs"

    @property
    def url(self) -> str:
        """Where the archive is, by this way."""
        return f"http://{HOST}:{self.port}"

    def asked(self, method: str) -> int:
        """How many requests of a method were passed on."""
        return sum(each.startswith(f"{method} ") for each in self.requests)

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection((HOST, self._target), PATIENCE)
            except OSError:
                near.close()
                continue
            for each in (near, far):
                each.settimeout(None)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            with self._lock:
                self._sockets |= {near, far}
            pair = _Pair(near, far)
            for way in ("up", "down"):
                thread = threading.Thread(target=self._pass, args=(pair, way), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass(self, pair: _Pair, way: Way) -> None:
        source, target = (pair.near, pair.far) if way == "up" else (pair.far, pair.near)
        passed = 0
        try:
            for data in self._pieces(source):
                changed = self._change(data, way, passed)
                if changed is None:
                    pair.cut()
                    return
                target.sendall(changed)
                passed += len(changed)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pair.cut()
        finally:
            if pair.left():
                with self._lock:
                    self._sockets -= {pair.near, pair.far}
                pair.near.close()
                pair.far.close()

    def _pieces(self, source: socket.socket) -> Iterator[bytes]:
        while True:
            trickle = self.faults.trickle
            data = source.recv(PIECE if trickle is None else max(1, trickle // 20))
            if not data:
                return
            if trickle is not None:
                time.sleep(len(data) / trickle)
            yield data

    def _change(self, data: bytes, way: Way, passed: int) -> bytes | None:
        """What becomes of a piece; C{None} where the connection is to be cut before its end."""
        faults = self.faults
        if way == "down" and faults.stall_after is not None and passed + len(data) > faults.stall_after:
            while faults.stall_after is not None and not self._ended.wait(0.01):
                pass
        with self._lock:
            if faults.cuts and way == faults.cut_way and passed + len(data) > faults.cut_after:
                faults.cuts -= 1
                return None
            begun = self.moved[way]
            self.moved[way] += len(data)
            if way == "up":
                self._note(data)
            hit = [each - begun for each in faults.flips.get(way, ()) if begun <= each < begun + len(data)]
        if hit:
            changed = bytearray(data)
            for position in hit:
                changed[position] ^= faults.mask
            data = bytes(changed)
        return data

    def _note(self, data: bytes) -> None:
        line = data[:200].partition(b"\r\n")[0]
        if line.endswith(b"HTTP/1.1"):
            self.requests.append(line.decode("latin-1"))


class _Pair:
    """Two sockets, of which two threads see to one direction each."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near = near
        self.far = far
        self._threads = 2
        self._lock = threading.Lock()

    def cut(self) -> None:
        _cut(self.near)
        _cut(self.far)

    def left(self) -> bool:
        """A thread is done.  @return: Whether it was the last."""
        with self._lock:
            self._threads -= 1
            return not self._threads


def _cut(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
