"""The clients: the load program for small requests, streams for large ones, and those that only keep a server busy."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import socket
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from server import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOAD_LIMIT = 120.0
_AT_ONCE = 50
"""How many of the connections that will wait are made at a time."""

_NOWHERE = mmap.mmap(-1, 64 << 20)
"""Where discarded bytes seem to go.  It is never touched, and so takes no memory."""


class ClientError(Exception):
    """The harness cannot do its own work."""


def nothing() -> None:
    """Do it."""


@attrs.frozen
class Tally:
    """
    What became of many small requests.

    @ivar problem: Words on the first that went wrong.
    """

    started: int
    ok: int
    failed: int
    wrong: int
    seconds: float
    p50_ms: float
    p99_ms: float
    problem: str


def compile_load(folder: Path, name: str = "load") -> Path:
    """
    Build the load program, or another one of this folder.

    @raise ClientError: There is no C compiler, or it fails.
    """
    if not shutil.which("cc"):
        raise ClientError("a C compiler called cc is needed (Debian: apt install gcc libc6-dev)")
    program = folder / name
    command = ["cc", "-O2", "-pthread", "-o", str(program), str(Path(__file__).with_name(f"{name}.c"))]
    if (done := subprocess.run(command, capture_output=True, text=True, check=False)).returncode:
        raise ClientError(f"{name}.c does not compile:\n{done.stderr}")
    return program


def finish_load(process: subprocess.Popen[bytes], meanwhile: Callable[[], None] = nothing) -> Tally:
    """
    Wait for the load program's end.

    @param meanwhile: Called twice a second.
    @raise ClientError: There is no result.
    """
    deadline = time.monotonic() + _LOAD_LIMIT
    try:
        while True:
            try:
                output, _ = process.communicate(timeout=0.5)
            except subprocess.TimeoutExpired:
                meanwhile()
                if time.monotonic() > deadline:
                    process.kill()
            else:
                break
    except BaseException:
        process.kill()
        process.communicate()
        raise
    if process.returncode:
        raise ClientError(f"the load program ended with {process.returncode}")
    return Tally(**json.loads(output))


@attrs.frozen
class Source:
    """A nameless file of random bytes, of which large objects are parts."""

    descriptor: int
    size: int

    @classmethod
    def create(cls, path: Path, size: int) -> Source:
        """Write it; the path is needed just for a moment."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        path.unlink()
        for offset in range(0, size, 1 << 20):
            os.pwrite(descriptor, os.urandom(1 << 20), offset)
        return cls(descriptor, size)

    def transfer(
        self, port: int, method: str, ids: range, meanwhile: Callable[[], None] = nothing, compare: bool = False
    ) -> tuple[float, list[str]]:
        """
        PUT equal parts with sendfile(2), or GET and discard them inside the kernel, all at once.

        @param meanwhile: Called ten times a second.
        @param compare: Compare what a GET brings instead, which is slower.
        @return: The seconds that all took, and what went wrong with those that failed.
        """
        begun = time.monotonic()
        deadline = begun + max(60, self.size / 10e6)
        with ThreadPoolExecutor(len(ids)) as pool:
            size = self.size // len(ids)
            parts = [range(start, start + size) for start in range(0, self.size, size)]
            transports: list[socket.socket] = []
            exchange = partial(self._exchange, port, method, deadline, compare, transports)
            streams = [pool.submit(exchange, file_id, part) for file_id, part in zip(ids, parts, strict=True)]
            try:
                while wait(streams, 0.1).not_done:
                    meanwhile()
            except BaseException:
                for transport in transports:
                    with suppress(OSError):  # done already
                        transport.shutdown(socket.SHUT_RDWR)
                raise
            return time.monotonic() - begun, list(filter(None, (stream.result() for stream in streams)))

    def _exchange(
        self,
        port: int,
        method: str,
        deadline: float,
        compare: bool,
        transports: list[socket.socket],
        file_id: int,
        part: range,
    ) -> str:
        """
        One transfer.

        @param transports: Gets the connection, for who wants to end it early.
        @return: What went wrong, or nothing.
        """
        try:
            with closing(HTTPConnection(HOST, port, timeout=10)) as connection:
                connection.connect()
                transport = connection.sock
                transports.append(transport)
                # Blocking calls with a limit in the kernel: Python's own timeouts would cost a poll(2) each.
                transport.settimeout(None)
                patience = struct.pack("ll", max(1, int(deadline - time.monotonic())), 0)
                transport.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
                transport.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
                connection.putrequest(method, f"/{file_id}", skip_accept_encoding=True)
                if method == "PUT":
                    connection.putheader("Content-Length", str(len(part)))
                connection.endheaders()
                if method == "PUT":
                    with suppress(ConnectionError):  # a server that refuses may close early; its answer tells why
                        self._send(transport, part, deadline)
                answer = connection.getresponse()
                if answer.status not in range(200, 300):
                    return f"status {answer.status}"
                return "" if method == "PUT" else self._receive(transport, answer, deadline, compare, part)
        except (OSError, HTTPException) as error:
            return f"{type(error).__name__}: {error}"

    def _send(self, transport: socket.socket, part: range, deadline: float) -> None:
        while part and time.monotonic() < deadline:
            sent = os.sendfile(transport.fileno(), self.descriptor, part.start, min(len(part), 16 << 20))
            part = part[sent:]

    def _receive(
        self, transport: socket.socket, answer: HTTPResponse, deadline: float, compare: bool, part: range
    ) -> str:
        if answer.length != len(part):
            return "a wrong Content-Length, or none"
        data = answer.read1(1 << 20)  # what came with the head, at least
        count = len(data)
        while count and time.monotonic() < deadline:
            if compare and data != os.pread(self.descriptor, count, part.start):
                return "wrong bytes"
            if not (part := part[count:]):
                return ""
            if compare:
                data = answer.read1(1 << 20)
                count = len(data)
            else:
                count = transport.recv_into(_NOWHERE, min(len(part), len(_NOWHERE)), socket.MSG_TRUNC)
        return f"ended {len(part)} bytes early"


@contextmanager
def idle_connections(port: int, count: int) -> Iterator[Callable[[], int]]:
    """
    Hold connections that have been used once and are silent since.

    The context is a function that tells how many of them are still open.
    """
    with ExitStack() as stack:
        held = []
        for start in range(0, count, _AT_ONCE):
            asked = []
            for _ in range(start, min(count, start + _AT_ONCE)):
                with suppress(OSError):
                    connection = stack.enter_context(socket.create_connection((HOST, port), timeout=5))
                    connection.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                    asked.append(connection)
            for connection in asked:
                with suppress(OSError):
                    if connection.recv(1 << 16):
                        held.append(connection)
        yield lambda: sum(map(_is_open, held))


def _is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(1 << 16):
            pass
    except BlockingIOError:
        return True
    except ConnectionError:
        pass
    return False


@contextmanager
def slow_clients(port: int, ids: range) -> Iterator[Callable[[], None]]:
    """
    Hold clients that take for ever: one half over the head of a request, the other over the body of a PUT.

    The context is a function that has each send its first words, or one byte more.

    @param ids: Of the objects that never come to be, one for each client.
    """
    with ExitStack() as stack:
        todo: dict[socket.socket, bytes] = {}
        for file_id in ids:
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex((HOST, port))  # the kernel goes on trying where the backlog is full
            first = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Slow: "
            if file_id % 2:
                first = f"PUT /{file_id} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000\r\n\r\n"
            todo[connection] = first.encode()

        def dribble() -> None:
            for connection, data in todo.items():
                with suppress(OSError):  # not connected yet, or closed by the server
                    connection.send(data)
                    todo[connection] = b"a"

        yield dribble
