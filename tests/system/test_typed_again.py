"""A C{get} that was cut short, and is typed again: it begins anew, as the page says, and the file is whole."""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import forks

from system.harness import PATIENCE, repr_digest, until
from system.terminal import COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = os.urandom(3 << 20)


class Slow(BaseHTTPRequestHandler):
    """An archive that sends half of a file, and no more for as long as it is told to wait."""

    asked: list[str | None]
    sent: threading.Event
    may_go_on: threading.Event

    def do_GET(self) -> None:
        """Note what is asked for."""
        self.asked.append(self.headers.get("Range"))
        self._send_head(200)
        try:
            self.wfile.write(DATA[: 2 << 20])
            self.sent.set()
            self.may_go_on.wait(PATIENCE)
            self.wfile.write(DATA[2 << 20 :])
        except OSError:
            pass  # who asked is gone

    def do_HEAD(self) -> None:
        """Tell of the file."""
        self._send_head(204)

    def _send_head(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(DATA)))
        self.send_header("ETag", '"a"')
        self.send_header("X-Content-Length", str(len(DATA)))
        self.send_header("X-Pacifica-Ctime", "784111777.0")
        self.send_header("X-Pacifica-File-Storage-Media", "disk")
        self.send_header("X-Pacifica-Bytes-Per-Level", f"({len(DATA)},)")
        self.send_header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
        self.send_header("Repr-Digest", repr_digest(DATA))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Not to the tests' own output."""


@contextmanager
def slow() -> Iterator[tuple[str, type[Slow]]]:
    """The URL of one, and what notes what it is asked for."""

    class Handler(Slow):
        asked: list[str | None] = []  # noqa: RUF012  (of this one server)
        sent, may_go_on = threading.Event(), threading.Event()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", Handler
        finally:
            Handler.may_go_on.set()
            server.shutdown()


def test_a_get_begins_anew(tmp_path: Path) -> None:
    """What the first has left is no part of the second, and is no file."""
    with slow() as (url, archive):
        words = [*COMMAND, "--url", url, "get", "5", "-o", "out"]
        with forks.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
            until(archive.sent.is_set, "a part is there")
            assert not (tmp_path / "out").exists()
            first.kill()
        archive.may_go_on.set()
        done = forks.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == DATA
    assert archive.asked == ["bytes=0-67108863"] * 2
