"""
A gate before an object store: it counts requests for restores, and can make them take longer, or their copies go.

It stands where ministack falls short: that restores in two seconds whatever it is asked for, and has no copy go before
midnight.
"""

from __future__ import annotations

import http.client
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from ports import HOST

_HOP = frozenset({"connection", "content-length", "transfer-encoding", "keep-alive", "server", "date"})
_EXPIRED = 'ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"'


class Gate:
    """
    A gate that is open.

    @param store: The URL of the store.
    @ivar store: The host and the port of the store.
    @ivar restores: The paths of all requests for restores.
    @ivar says: What is told of every restore that there is, instead of what the store says; empty for that.
    """

    def __init__(self, store: str) -> None:
        self.restores: list[str] = []
        self.says = ""
        self.store = urlsplit(store).netloc
        self._server = ThreadingHTTPServer((HOST, 0), partial(_Passing, self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.endpoint = f"http://{HOST}:{self._server.server_address[1]}"

    def hold(self) -> None:
        """No restore ends."""
        self.says = 'ongoing-request="true"'

    def expire(self) -> None:
        """The time of all copies is over."""
        self.says = _EXPIRED

    def open(self) -> None:
        """The store is heard again."""
        self.says = ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Passing(BaseHTTPRequestHandler):
    """Passes requests on."""

    protocol_version = "HTTP/1.1"

    def __init__(self, gate: Gate, *args: Any) -> None:
        self._gate = gate
        super().__init__(*args)

    def handle_one_request(self) -> None:
        """Pass one on."""
        try:
            super().handle_one_request()
        except OSError:  # the server is gone
            self.close_connection = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._pass
        raise AttributeError(name)

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.command == "POST" and self.path.endswith("?restore="):
            self._gate.restores.append(self.path)
        connection = http.client.HTTPConnection(self._gate.store, timeout=60)
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            self._answer(answer, answer.read())
        finally:
            connection.close()

    def _answer(self, answer: http.client.HTTPResponse, data: bytes) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                is_told = name.lower() == "x-amz-restore" and self._gate.says
                self.send_header(name, self._gate.says if is_told else value)
        size = answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(data))
        if answer.status not in (204, 304):
            self.send_header("Content-Length", size)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
