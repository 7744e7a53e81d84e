"""The server in memory of C{tests/web}, for a browser: how pages look of what takes long, or is rare."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from system.harness import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support import Server


@contextmanager
def at_a_port(server: Server) -> Iterator[int]:
    """Have a server in memory answer GET at a port of this machine, but for what would go on."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.startswith("/console/live"):
                self.send_response(204)
                self.end_headers()
                return
            with lock:
                answer = server.ask("GET", self.path)
            self.send_response(answer.status)
            for name, value in answer.fields:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((HOST, 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield listening.server_port
        finally:
            listening.shutdown()
            thread.join()
