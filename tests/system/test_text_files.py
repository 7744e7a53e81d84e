"""Files that users write with an editor of whatever system, given to the command."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import forks
import pytest

from system.harness import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARK = "\ufeff"


def types(directory: Path, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """A command, to its end."""
    code = "import sys; from pacarchive.cli import main; sys.exit(main())"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PACARCHIVE", "ARCHIVE"))}
    return forks.run(
        [sys.executable, "-c", code, *words],
        cwd=directory,
        env=environment,
        input=stdin,
        capture_output=True,
        check=False,
    )


@contextmanager
def listener() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A server that has nothing: its URL, and each path that it was asked for, with the credentials."""
    asked = []

    class Nothing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization", "")))
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Not to the tests' own output."""

    with http.server.ThreadingHTTPServer((HOST, 0), Nothing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{HOST}:{server.server_port}", asked
        server.shutdown()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ids_and_tokens_of_any_editor(tmp_path: Path, end: str) -> None:
    """A byte order mark, other ends of lines and blanks at the ends change nothing."""
    (tmp_path / "ids").write_bytes(f"{MARK}12 {end}13\t{end}".encode())
    (tmp_path / "token").write_bytes(f"{MARK}tops3cret {end}".encode())
    with listener() as (url, asked):
        types(tmp_path, "stat", "@ids", "--token-file", "token", "--url", url)
        types(tmp_path, "stat", "-", "--url", url, stdin=f"{MARK}14{end}".encode())
    # Whether an archive is there at all is asked as well.
    files = sorted(each for each in asked if each[0] != "/")
    assert files == [("/12", "Bearer tops3cret"), ("/13", "Bearer tops3cret"), ("/14", "")]


def test_a_map_of_any_editor(tmp_path: Path) -> None:
    """The first line of C{--id-file}, too; and no name of a file ends with it."""
    (tmp_path / "map").write_bytes(f"{MARK}12 Köln \r\n13 other\r\n".encode())
    with listener() as (url, _):
        done = types(tmp_path, "put", "--id-file", "map", "--url", url, "--retry", "0")
    for words in ("Köln (id 12): ", "other (id 13): "):
        assert words.encode() in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("stat", "@list"),
        ("put", "--id-file", "list"),
        ("stat", "1", "--token-file", "list"),
        ("check", "--token-file", "list"),
        ("config", "-c", "list"),
        ("admin", "sweep", "-c", "list"),
    ],
)
def test_what_is_no_text_is_said(tmp_path: Path, words: tuple[str, ...]) -> None:
    """In one line that names the file, before anything is done."""
    (tmp_path / "list").write_text("12 a\n", encoding="utf-16")
    url = () if words[0] in ("config", "admin") else ("--url", f"http://{HOST}:1")
    if words[0] == "check":
        words, url = ("check", f"http://{HOST}:1", *words[1:]), ()
    done = types(tmp_path, *words, *url)
    assert done.returncode == 2
    assert done.stderr.startswith(b"pacarchive: list: is UTF-16; save it as UTF-8")
    assert done.stderr.count(b"\n") == 1
