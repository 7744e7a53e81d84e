"""Clients as they are: curl, line by line as the manual has it and with its other options; and those of the family."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shlex
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from system.harness import HOST, content
from system.wlcg import PYTHON

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from system.harness import Service

DATE = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT
DATA = content("data", 3 << 20)


class Curl:
    """curl in a directory of its own, and a service to talk to."""

    def __init__(self, service: Service, directory: Path) -> None:
        assert shutil.which("curl"), "curl is needed: it is the client that the manual uses"
        self.service = service
        self.directory = directory
        directory.mkdir()

    def line(self, line: str) -> str:
        """
        Run a line of the manual, whose C{/tmp} and C{8080} are taken for this archive's directory and port.

        @return: What it prints.
        """
        line = line.replace("/tmp/", f"{self.service.prefix}/").replace("127.0.0.1:8080", f"{HOST}:{self.service.port}")
        program, *arguments = shlex.split(line)
        assert program == "curl"
        return self.run(*arguments)

    def __call__(self, *arguments: str | Path, file_id: int, feed: bytes | None = None) -> str:
        """Run with a URL behind the arguments."""
        return self.run(*map(str, arguments), f"http://{HOST}:{self.service.port}/{file_id}", feed=feed)

    def run(self, *arguments: str, feed: bytes | None = None) -> str:
        done = subprocess.run(
            ["curl", "-q", "-sS", "--fail", "--max-time", "30", *arguments],
            cwd=self.directory, input=feed, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode("latin-1")


@pytest.fixture
def curl(serve: Callable[..., Service], tmp_path: Path) -> Curl:
    """curl, and a service that has not been asked for anything."""
    return Curl(serve(), tmp_path / "curl")


@pytest.fixture
def stored(curl: Curl) -> Curl:
    """curl, and a service with C{DATA} under id 1."""
    fields = {"Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT"}
    assert curl.service.ask("PUT", 1, DATA, fields).status == 201
    return curl


def test_the_manual(curl: Curl) -> None:
    """Chapter 4 of the predecessor's manual."""
    follow_the_manual(curl)


def follow_the_manual(curl: Curl) -> None:
    """Each line of that chapter as printed there, in its order."""
    prefix = curl.service.prefix
    document = b"Document Contents\n" + b"extra\n"
    (prefix / "foo.txt").write_bytes(document)
    assert json.loads(curl.line("curl -X GET http://127.0.0.1:8080")) == {
        "message": "Pacifica Archive Interface Up and Running"
    }
    put = curl.line(
        "curl -X PUT -H 'Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT' --upload-file /tmp/foo.txt "
        "http://127.0.0.1:8080/12345"
    )
    assert json.loads(put) == {"message": "File added to archive", "total_bytes": 24}
    assert (prefix / "12345").read_bytes() == document
    assert os.stat(prefix / "12345").st_mtime == DATE
    (prefix / "foo.txt").unlink()
    assert curl.line("curl -o /tmp/foo.txt http://127.0.0.1:8080/12345") == ""
    assert (prefix / "foo.txt").read_bytes() == document
    head = curl.line("curl -I -X HEAD http://127.0.0.1:8080/12345")
    for line in (
        r"HTTP/1\.1 204 No Content",
        r"X-Pacifica-Messsage: File was found",
        rf"X-Pacifica-File: {prefix}/12345",
        r"X-Content-Length: 24",
        rf"Last-Modified: {DATE}\.0",
        r"X-Pacifica-Ctime: \d+\.\d+",
        r"X-Pacifica-Bytes-Per-Level: \(24,\)",
        r"X-Pacifica-File-Storage-Media: disk",
        r"Content-Type: application/json",
    ):
        assert re.search(rf"^{line}\r$", head, re.MULTILINE), (line, head)
    assert json.loads(curl.line("curl -X POST -d '' http://127.0.0.1:8080/12345")) == {
        "message": "File was staged",
        "file": "12345",
    }
    moved = curl.line(
        "curl -X PATCH -H 'Content-Type: application/json' http://127.0.0.1:8080/123456 -d'{\n"
        '  "path": "/tmp/12345"\n'
        "}'"
    )
    assert json.loads(moved) == {"message": "File Moved Successfully"}
    assert (prefix / "123456").read_bytes() == document
    assert not (prefix / "12345").exists()


def test_resume(stored: Curl) -> None:
    """C{-C -} fetches what is missing, and nothing else."""
    part = stored.directory / "part"
    part.write_bytes(DATA[:1_000_000])
    said = stored("-C", "-", "-o", part, "-w", "%{http_code} %{size_download}", file_id=1)
    assert said == f"206 {len(DATA) - 1_000_000}"
    assert part.read_bytes() == DATA


def test_range(stored: Curl) -> None:
    """C{-r}: from one byte to another, and the last ones."""
    for asked, expected in (("100-199", DATA[100:200]), ("-10", DATA[-10:]), ("3000000-", DATA[3_000_000:])):
        assert stored("-r", asked, "-o", "range", "-w", "%{http_code}", file_id=1) == "206"
        assert (stored.directory / "range").read_bytes() == expected


def test_remote_time(stored: Curl) -> None:
    """C{-R} gives the copy the time of the original."""
    stored("-R", "-o", "copy", file_id=1)
    assert os.stat(stored.directory / "copy").st_mtime == DATE


def test_time_condition(stored: Curl) -> None:
    """C{-z} does not fetch what has not changed since."""
    assert stored("-z", "1 Jan 2020", "-o", "new", "-w", "%{http_code} %{size_download}", file_id=1) == "304 0"
    assert stored("-z", "1 Jan 1990", "-o", "new", "-w", "%{http_code}", file_id=1) == "200"
    assert (stored.directory / "new").read_bytes() == DATA


def test_etag(stored: Curl) -> None:
    """C{--etag-save} and C{--etag-compare} do not fetch the same version twice, and do fetch the next."""
    first = stored("--etag-save", "etag", "-o", "one", "-w", "%{http_code}", file_id=1)
    again = stored("--etag-compare", "etag", "-o", "two", "-w", "%{http_code} %{size_download}", file_id=1)
    assert (first, again) == ("200", "304 0")
    stored.service.ask("PUT", 1, b"other")
    assert stored("--etag-compare", "etag", "-o", "two", "-w", "%{http_code}", file_id=1) == "200"
    assert (stored.directory / "two").read_bytes() == b"other"


@pytest.mark.parametrize("fields", [[], ["-H", "Expect:"], ["-H", "Expect: 100-continue"]])
def test_upload_from_a_pipe(curl: Curl, fields: list[str]) -> None:
    """C{-T -} sends chunks of a length that it does not know."""
    said = json.loads(curl("-T", "-", *fields, file_id=2, feed=DATA))
    assert said["total_bytes"] == len(DATA)
    assert (curl.service.prefix / "2").read_bytes() == DATA


def test_expect(curl: Curl) -> None:
    """curl waits for 100 before it sends much; it is not kept waiting."""
    (curl.directory / "data").write_bytes(DATA)
    began = time.monotonic()
    said = curl("-v", "--expect100-timeout", "20", "-H", "Expect: 100-continue", "-T", "data", file_id=3)
    assert json.loads(said)["total_bytes"] == len(DATA)
    assert time.monotonic() - began < 10


def test_refused_before_the_body(serve: Callable[..., Service], tmp_path: Path) -> None:
    """With C{Expect}, an upload that is refused costs no body."""
    curl = Curl(serve(settings="[server]\noverwrite = deny\n"), tmp_path / "curl")
    (curl.directory / "data").write_bytes(DATA)
    arguments = ["-H", "Expect: 100-continue", "--expect100-timeout", "20", "-o", "answer", "-w"]
    assert curl(*arguments, "%{http_code}", "-T", "data", file_id=1) == "201"
    said = curl(*arguments, "%{http_code} %{size_upload}", "--no-fail", "-T", "data", file_id=1)
    assert said == "409 0"
    assert json.loads((curl.directory / "answer").read_text())["status"] == "409 Conflict"


def test_upload_as_data(curl: Curl) -> None:
    """C{--data-binary} calls it a form; it is stored as it is."""
    (curl.directory / "data").write_bytes(DATA)
    curl("-X", "PUT", "--data-binary", "@data", file_id=4)
    assert (curl.service.prefix / "4").read_bytes() == DATA


def test_http_1_0(stored: Curl) -> None:
    """An old client gets the file, with a length and without chunks."""
    head = stored("-0", "-D", "-", "-o", "old", file_id=1)
    assert "transfer-encoding" not in head.lower()
    assert (stored.directory / "old").read_bytes() == DATA


class OnlyRead:
    """The body object of pacifica-ingest: it has no length, no position, no iterator."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int = -1) -> bytes:
        """Give no more than a part of what is asked for, as a pipe may."""
        size = min(size if size >= 0 else len(self._data), 50_000)
        data, self._data = self._data[:size], self._data[size:]
        return data


def test_ingest(serve: Callable[..., Service]) -> None:
    """pacifica-ingest in both modes."""
    for number, mode in enumerate(("none", "pacifica")):
        service = serve(settings=f"[server]\ncompatibility = {mode}\n")
        ingest(service, 10 * number)
        service.stop()


def ingest(service: Service, first: int) -> None:
    """
    What pacifica-ingest does: one connection, the size given with it, the time as C's C{asctime}; of the answer it
    compares C{total_bytes}.

    @param first: The id of the first file.
    """
    with service.client() as client:
        for file_id, size in enumerate([0, 24, 300_000, 3 << 20], first):
            data = content(file_id, size)
            fields = {
                "Last-Modified": time.asctime(time.gmtime(DATE)),
                "Content-Type": "application/octet-stream",
                "Content-Length": str(size),
            }
            answer = client.ask("PUT", file_id, OnlyRead(data), fields)
            assert answer.status == 201
            assert json.loads(answer.body)["total_bytes"] == size
            assert (service.prefix / str(file_id)).read_bytes() == data
            assert os.stat(service.prefix / str(file_id)).st_mtime == DATE


def test_cartd(serve: Callable[..., Service]) -> None:
    """pacifica-cartd."""
    fetch_as_cartd(serve(settings="[server]\ncompatibility = pacifica\n"))


def fetch_as_cartd(service: Service) -> None:
    """What pacifica-cartd does: stage, ask for the status until it is on disk, and read in pieces of 4 MiB."""
    data = content("cart", 9 << 20)
    assert service.ask("PUT", 7, data).status == 201
    connection = http.client.HTTPConnection(HOST, service.port, timeout=30)
    try:
        connection.request("POST", "/7", headers={"Content-Length": "0"})
        assert connection.getresponse().read() == b'{"message": "File was staged", "file": "7"}'
        connection.request("HEAD", "/7")
        status = connection.getresponse()
        assert status.read() == b""
        assert status.headers["x-pacifica-messsage"] == "File was found"
        assert int(status.headers["x-content-length"]) == len(data)
        assert float(status.headers["last-modified"]) == os.stat(service.prefix / "7").st_mtime
        assert float(status.headers["x-pacifica-ctime"]) == os.stat(service.prefix / "7").st_ctime
        assert status.headers["x-pacifica-bytes-per-level"] == f"({len(data)},)"
        assert status.headers["x-pacifica-file-storage-media"] == "disk"
        connection.request("GET", "/7")
        answer, hashed = connection.getresponse(), hashlib.sha256()
        while piece := answer.read(4 << 20):
            hashed.update(piece)
        assert hashed.digest() == hashlib.sha256(data).digest()
        # What it takes for a failure, to be tried again, is a 5xx.
        connection.request("GET", "/8")
        with connection.getresponse() as missing:
            assert missing.status == 500
    finally:
        connection.close()


LISTERS = {
    "rclone lsl": ["rclone", "lsl", ":webdav:"],
    "rclone lsf": ["rclone", "lsf", ":webdav:"],
    "davix-ls": ["davix-ls", "URL"],
    "gfal-ls": ["gfal-ls", "URL"],
}


@pytest.mark.parametrize("tool", LISTERS)
@pytest.mark.parametrize("layout", ["false", "true"])
def test_lists(serve: Callable[..., Service], tmp_path: Path, tool: str, layout: str) -> None:
    """Clients of WebDAV see all files, with their sizes where they show them, and read one by its name."""
    service = serve(settings=f"[posix]\nuse_id2filename = {layout}\n")
    url = f"http://{HOST}:{service.port}/"
    for file_id in (1, 255, 12345, 2**40):
        assert service.ask("PUT", file_id, str(file_id).encode()).status == 201

    def run(*command: str) -> str:
        done = subprocess.run(
            [url if each == "URL" else each for each in command],
            cwd=tmp_path, capture_output=True, check=False, text=True, timeout=60,
            env={**os.environ, "RCLONE_CONFIG": "/dev/null", "RCLONE_WEBDAV_URL": url, "GFAL_PYTHONBIN": PYTHON},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    lines = [line.split() for line in run(*LISTERS[tool]).splitlines()]
    assert {line[-1] for line in lines} == {"1", "255", "12345", "1099511627776"}
    if tool == "rclone lsl":
        assert {(line[-1], line[0]) for line in lines} == {
            ("1", "1"), ("255", "3"), ("12345", "5"), ("1099511627776", "13")
        }  # fmt: skip
        assert run("rclone", "cat", ":webdav:12345") == "12345"
        assert sorted(run("rclone", "cat", ":webdav:")) == sorted("1255123451099511627776")
