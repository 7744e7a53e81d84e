"""To ask where files are neither opens nor reads what is on tape, as the kernel sees it, however often it is done."""

from __future__ import annotations

import json
import os
import re
import shutil
from functools import partial
from typing import TYPE_CHECKING

import pytest

from pacarchive.ids import id_to_path
from system.harness import at_once, content, until
from system.sideband import media
from system.trace import read_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from system.harness import Service
    from system.sideband import Site

OPENING = ("openat", "openat2", "open")
READING = ("read", "pread64", "preadv", "preadv2", "sendfile", "mmap", "copy_file_range")

MARKER = 987_654_321_001
"""An id whose look-up marks a place in the trace."""

_DESCRIPTOR = re.compile(r"(?:\d+|AT_FDCWD)<([^>]*)>")


@pytest.fixture
def traced(sam: Site, tmp_path: Path) -> Callable[[], Service]:
    """
    Starts a service under strace.

    It runs where reads of what is on tape do not wait: were there any, they would go through to the kernel.
    """
    if shutil.which("strace") is None:
        pytest.fail("strace is not installed; Debian's and Ubuntu's package is called strace")
    calls = ",".join((*OPENING, *READING))
    strace = ("strace", "-f", "-qq", "--seccomp-bpf", "-y", "-e", f"trace=?{calls.replace(',', ',?')}")
    return partial(sam.start, wrapper=(*strace, "-e", "signal=none", "-o", str(tmp_path / "trace")), waits=False)


def _touches(sam: Site, trace: Path) -> list[tuple[str, str]]:
    """
    The opening for more than the name, and the reading, of what is below the prefix and not the archive's own.

    A file without a name is none of the archive's: that one can be made is what the state of the server says.

    @return: For each the path below the prefix, and the line; in place of the path of a marker, C{""}.
    """
    prefix = os.path.realpath(sam.prefix) + "/"
    found = []
    for call in read_trace(trace):
        if "O_TMPFILE" in call.line:
            continue
        if call.name in OPENING:
            paths = [path for path in [*call.paths, call.result] if path is not None]
        elif call.name in READING:
            paths = _DESCRIPTOR.findall(call.line)
        else:
            continue
        for path in paths:
            below = os.path.normpath(path).removeprefix(prefix)
            if below == path or below.startswith(".pacarchive"):
                continue
            if below == id_to_path(MARKER)[1:]:
                found.append(("", call.line))
            elif call.name in READING or "O_PATH" not in call.line:
                found.append((below, call.line))
            break
    return found


def _before_marker(touches: list[tuple[str, str]]) -> list[str]:
    """The lines before the first marker."""
    assert any(path == "" for path, _ in touches), "the marker is not in the trace"
    return [line for _, line in touches[: [path for path, _ in touches].index("")]]


def _all_are_asked_for(sam: Site, file_ids: Iterable[int]) -> bool:
    return set(sam.asked_for) == {str(sam.path_of(file_id)) for file_id in file_ids}


def test_nothing_on_tape_is_opened(sam: Site, traced: Callable[[], Service], tmp_path: Path) -> None:
    """HEAD, PROPFIND and POST of such files, and health; a GET of another file shows in the same trace."""
    before = sam.start()
    ids = range(12345, 12350)
    for file_id in (*ids, 77):
        assert before.ask("PUT", file_id, content(file_id, 100_000)).status == 201
    before.stop()
    sam.to_tape(*ids)
    sam.set_stage(works=False)
    service = traced()
    with service.client() as client:
        for _ in range(3):
            for file_id in ids:
                assert media(client.ask("HEAD", file_id))[1] == "TAPE"
                assert client.ask("PROPFIND", file_id, fields={"Depth": "0"}).status == 207
                assert client.ask("POST", file_id).status == 202
            assert json.loads(client.ask("GET", "/health").body)["degraded"] is False
        until(lambda: _all_are_asked_for(sam, ids), "all are asked for")
        assert client.ask("GET", MARKER).status == 404
        assert client.ask("GET", 77).body == content(77, 100_000)
    service.stop()
    touches = _touches(sam, tmp_path / "trace")
    assert _before_marker(touches) == []
    calls = {line.partition("(")[0] for path, line in touches if path == id_to_path(77)[1:]}
    assert calls & set(OPENING)
    assert calls & set(READING)


def test_nothing_is_opened_without_the_database(sam: Site, traced: Callable[[], Service], tmp_path: Path) -> None:
    """Where nobody knows what is on tape, nothing is read to find out."""
    before = sam.start()
    ids = range(12345, 12350)
    for file_id in (*ids, 77):
        assert before.ask("PUT", file_id, content(file_id, 1000)).status == 201
    before.stop()
    sam.to_tape(*ids)
    sam.set_stage(works=False)
    sam.server.stop()
    service = traced()
    with service.client() as client:
        for file_id in ids:
            assert media(client.ask("HEAD", file_id))[1] == "UNAVAILABLE"
            assert client.ask("PROPFIND", file_id, fields={"Depth": "0"}).status == 207
            assert client.ask("POST", file_id).status == 202
        assert json.loads(client.ask("GET", "/health").body)["degraded"] is True
        until(lambda: _all_are_asked_for(sam, ids), "all are asked for")
        assert client.ask("GET", MARKER).status == 404
        assert client.ask("GET", 77).body == content(77, 1000)
    service.stop()
    sam.server.start()
    touches = _touches(sam, tmp_path / "trace")
    assert _before_marker(touches) == []
    assert {path for path, _ in touches} == {"", id_to_path(77)[1:]}


DIRECTORIES, EACH = 20, 100
CLIENTS = 4


def _fill(sam: Site) -> list[int]:
    """
    Very many files on tape, each with a copy.

    @return: Their ids.
    """
    ids = [high << 8 | low for low in range(DIRECTORIES) for high in range(1, EACH + 1)]
    with sam.writer.bulk():
        for file_id in ids:
            path, sam_path = sam.path_of(file_id), sam.sam_path_of(file_id)
            if not path.parent.exists():
                path.parent.mkdir()
                sam.writer.mkdir(os.path.dirname(sam_path), ino=os.stat(path.parent).st_ino)
            path.touch(0o444)
            os.truncate(path, 1000)
            sam.writer.create(sam_path, ino=os.stat(path).st_ino, size=1000)
            sam.writer.archive(sam_path, vsn=f"A{file_id % 97:05}", position=file_id)
    sam.writer.execute("UPDATE sam_inode i JOIN sam_archive a ON a.ino = i.ino AND a.gen = i.gen SET i.online = 0")
    return ids


def test_thousands_of_files_on_tape(sam: Site, traced: Callable[[], Service], tmp_path: Path) -> None:
    """Each is asked about once: all are on tape, nothing is staged, and no byte is read."""
    ids = _fill(sam)
    assert len(ids) == 2_000
    service = traced()

    def ask(some: list[int]) -> list[str]:
        found = []
        with service.client() as client:
            for file_id in some:
                answer = client.ask("HEAD", file_id)
                assert answer.fields["x-content-length"] == "1000"
                found.append(media(answer)[1])
        return found

    answers = at_once([partial(ask, ids[number::CLIENTS]) for number in range(CLIENTS)])
    assert [set(each) for each in answers] == [{"TAPE"}] * CLIENTS
    assert sum(map(len, answers)) == len(ids)
    with service.client() as client:
        assert client.ask("GET", MARKER).status == 404
        assert client.ask("PUT", 77, b"data").status == 201
        assert client.ask("GET", 77).body == b"data"
    assert service.jobs() == []
    service.stop()
    assert (sam.runs, sam.waits) == ([], [])
    touches = _touches(sam, tmp_path / "trace")
    assert _before_marker(touches) == []
    # Every file was looked at, or there would have been no trace of it; and the last one was read.
    looked_at = {path for call in read_trace(tmp_path / "trace") for path in call.paths}
    prefix = os.path.realpath(sam.prefix)
    assert looked_at >= {prefix + id_to_path(file_id) for file_id in ids}
    assert any(path == id_to_path(77)[1:] for path, _ in touches)
