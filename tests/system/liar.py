"""A proxy in front of an archive that does not tell, or do, what it should."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Callable
from typing import TypeAlias

import attrs

from system.harness import HOST, PATIENCE


@attrs.frozen
class Request:
    """
    What a client wants.

    @ivar fields: By names in lower case; of several of a name the last.
    @ivar whole: Whether all of the body has come.
    """

    method: str
    path: str
    fields: dict[str, str]
    body: bytes
    whole: bool = True

    def without(self, *names: str) -> Request:
        """The same, without some fields."""
        return attrs.evolve(self, fields={name: value for name, value in self.fields.items() if name not in names})


@attrs.frozen
class Reply:
    """What it is told.  @ivar fields: By names in lower case."""

    status: int
    fields: dict[str, str] = attrs.field(factory=dict)
    body: bytes = b""

    def having(self, **fields: str) -> Reply:
        """The same, with other fields; their names have underscores for hyphens."""
        return attrs.evolve(self, fields={**self.fields, **{name.replace("_", "-"): v for name, v in fields.items()}})


Forward: TypeAlias = Callable[[Request], Reply]
Lie: TypeAlias = Callable[[Request, Forward], Reply]
"""Makes the answer to a request; may have the archive's by calling what it is given."""


class Liar:
    """
    The proxy, as a context manager; its port is C{port}.

    @param target: The archive's port.
    """

    def __init__(self, target: int, lie: Lie) -> None:
        def forward(request: Request) -> Reply:
            connection = http.client.HTTPConnection(HOST, target, timeout=PATIENCE)
            try:
                fields = request.without("host", "content-length", "transfer-encoding", "trailer", "connection").fields
                if request.method in ("PUT", "POST", "PATCH"):
                    fields["content-length"] = str(len(request.body))
                connection.request(request.method, request.path, request.body, fields)
                answer = connection.getresponse()
                return Reply(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read())
            finally:
                connection.close()

        class Handler(_Handler):
            def answer(self, request: Request) -> Reply:
                return lie(request, forward)

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that has gone is none."""

        self._server = Server((HOST, 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Liar:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def answer(self, request: Request) -> Reply:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._do
        raise AttributeError(name)

    def _do(self) -> None:
        fields = {name.lower(): value for name, value in self.headers.items()}
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body, whole = self._chunks()
        else:
            length = int(self.headers.get("content-length", 0))
            body = self.rfile.read(length)
            whole = len(body) == length
        reply = self.answer(Request(self.command, self.path, fields, body, whole))
        self.send_response_only(reply.status)
        bodiless = self.command == "HEAD" or reply.status in (204, 304)
        for name, value in reply.fields.items():
            if name not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        if not bodiless:
            self.send_header("content-length", str(len(reply.body)))
        self.end_headers()
        if not bodiless:
            self.wfile.write(reply.body)
        self.wfile.flush()

    def _chunks(self) -> tuple[bytes, bool]:
        pieces: list[bytes] = []
        while line := self.rfile.readline():
            size = int(line, 16)
            if not size:
                while self.rfile.readline().strip():
                    pass
                return b"".join(pieces), True
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        return b"".join(pieces), False

    def log_message(self, *_: object) -> None:
        """It goes nowhere."""
