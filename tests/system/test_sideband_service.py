"""The whole service on a mount of SAM's and its sideband database: every verb, and where the bytes are."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from system.harness import PATIENCE, WANT_DIGEST, at_once, content, repr_digest, until
from system.sideband import localities, media

if TYPE_CHECKING:
    from collections.abc import Iterator

    from system.harness import Answer, Client, Service
    from system.sideband import Site

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
MTIME = 784111777

SIZES = [0, 1, 1000, 64 << 10, (64 << 10) + 1, (256 << 10) + 1, 3_000_000]
"""On both sides of what takes another way through the server or the backend."""


def _move(client: Client | Service, file_id: int, source: Path) -> Answer:
    return client.ask("PATCH", file_id, json.dumps({"path": str(source)}), {"Content-Type": "application/json"})


def _locality(service: Service, file_id: int) -> str:
    return localities(service, [file_id])[file_id]


def _is_told_to_wait(answer: Answer) -> bool:
    return answer.status == 503 and int(answer.fields["retry-after"]) > 0 and b"on tape" in answer.body


# The verbs


def test_life_of_a_file(sam: Site) -> None:
    """Stored, described, read, replaced, staged in vain and removed, by two workers; the mount has what it says."""
    service = sam.start(workers=2)
    ids = {12345 + number: size for number, size in enumerate(SIZES)}
    with service.client() as client:
        assert json.loads(client.ask("GET", "/").body)["message"] == "Pacifica Archive Interface Up and Running"
        health = client.ask("GET", "/health")
        assert (health.status, json.loads(health.body)["degraded"]) == (200, False)
        assert "the sideband database answers" in json.loads(health.body)["message"]
        for version in range(2):
            for file_id, size in ids.items():
                data = content((version, file_id), size)
                answer = client.ask("PUT", file_id, data, {"Last-Modified": DATE})
                assert (answer.status, json.loads(answer.body)["total_bytes"]) == (201, size)
                assert answer.fields["repr-digest"] == repr_digest(data)
                assert sam.path_of(file_id).read_bytes() == data
                sam.record(file_id)
        for file_id, size in ids.items():
            data = content((1, file_id), size)
            answer = service.ask("GET", file_id, fields=WANT_DIGEST)
            assert (answer.status, answer.body == data) == (200, True)
            assert answer.fields["repr-digest"] == repr_digest(data)
            assert answer.fields["last-modified"] == DATE
            answer = service.ask("HEAD", file_id)
            assert media(answer) == ("disk", "DISK", f"({size}, 0)")
            assert answer.fields["x-pacifica-file"] == str(sam.path_of(file_id))
            assert answer.fields["x-content-length"] == str(size)
            assert float(answer.fields["last-modified"]) == MTIME
            assert client.ask("POST", file_id).status == 200
            answer = client.ask("PROPFIND", file_id, fields={"Depth": "0"})
            assert (answer.status, b"getcontentlength>%d<" % size in answer.body) == (207, True)
            assert client.ask("OPTIONS", file_id).status == 204
        for file_id in ids:
            assert client.ask("DELETE", file_id).status == 200
            # Though the database has the file still.
            for method in ("GET", "HEAD", "POST", "DELETE", "PROPFIND"):
                assert client.ask(method, file_id).status == 404, method
    assert service.visible() == {}
    assert (service.jobs(), sam.runs) == ([], [])


def test_ranges_and_conditions(sam: Site) -> None:
    """Parts of a file that is on disk and tape are the right ones; conditions hold as on any file system."""
    service = sam.start(workers=2)
    size = 1_000_000
    data = content("ranges", size)
    with service.client() as client:
        etag = client.ask("PUT", 300, data, {"Last-Modified": DATE, "If-None-Match": "*"}).fields["etag"]
        sam.record(300)
        sam.archive(300)
        for first, last in [(0, 0), (5, 9), (65_535, 65_537), (1, size - 1), (size - 1, size - 1), (0, size - 1)]:
            for more in ({}, {"If-Range": etag}):
                answer = client.ask("GET", 300, fields={"Range": f"bytes={first}-{last}", **more})
                assert (answer.status, answer.fields["content-range"]) == (206, f"bytes {first}-{last}/{size}")
                assert answer.body == data[first : last + 1], (first, last)
        assert client.ask("GET", 300, fields={"Range": "bytes=-1000"}).body == data[-1000:]
        assert client.ask("GET", "/300?byte_range=10-12").body == data[10:12]
        assert client.ask("GET", 300, fields={"Range": f"bytes={size}-"}).status == 416
        assert client.ask("GET", 300, fields={"Range": "bytes=0-9", "If-Range": '"other"'}).body == data
        answer = client.ask("GET", 300, fields={"If-None-Match": etag})
        assert (answer.status, answer.body) == (304, b"")
        # It was stored long after the time that its sender gave it.
        assert client.ask("GET", 300, fields={"If-Modified-Since": DATE}).status == 200
        for method in ("GET", "PUT", "DELETE"):
            assert client.ask(method, 300, b"no" if method == "PUT" else b"", {"If-Match": '"other"'}).status == 412
        assert client.ask("PUT", 300, b"no", {"If-None-Match": "*"}).status == 412
        assert client.ask("PUT", 300, b"wrong", {"Repr-Digest": repr_digest(b"right")}).status == 400
        assert client.ask("PUT", 300, b"second", {"If-Match": etag}).status == 201
        assert client.ask("GET", 300).body == b"second"


def test_moves(sam: Site) -> None:
    """A file out of the move roots is renamed, also from tape, and is never read; out of other places none is."""
    service = sam.start()
    for name in ("disk", "tape"):
        (sam.incoming / name).write_bytes(name.encode())
    sam.drop(sam.incoming / "tape")
    inodes = [os.stat(sam.incoming / name).st_ino for name in ("disk", "tape")]
    for file_id, name in ((1, "disk"), (12346, "tape")):
        assert _move(service, file_id, sam.incoming / name).status == 200
    assert os.listdir(sam.incoming) == []
    assert [os.stat(sam.path_of(file_id)).st_ino for file_id in (1, 12346)] == inodes
    # Until the daemon hears of it, a file without blocks is anywhere.
    assert localities(service, [1, 12346]) == {1: "DISK", 12346: "UNAVAILABLE"}
    for file_id in (1, 12346):
        sam.record(file_id)
    sam.archive(12346)
    sam.writer.offline(sam.sam_path_of(12346))
    assert localities(service, [1, 12346]) == {1: "DISK", 12346: "TAPE"}
    assert service.ask("GET", 1).body == b"disk"
    outside = sam.incoming.parent / "outside"
    outside.write_bytes(b"outside")
    assert _move(service, 2, outside).status == 403
    assert _move(service, 2, sam.incoming / "nothing").status == 404
    assert outside.read_bytes() == b"outside"
    assert sam.waits == []


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system than C{tmp_path}."""
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("/dev/shm is no file system beside that of the scratch directory")
    directory = tempfile.mkdtemp(dir="/dev/shm")
    yield Path(directory)
    shutil.rmtree(directory)


def test_moves_from_another_file_system(sam: Site, elsewhere: Path) -> None:
    """To copy would be to stage the source and to archive it twice: refused in words, and the source stays."""
    service = sam.start(server={"move_roots": f"{sam.incoming}\n {elsewhere}"})
    source = elsewhere / "file"
    source.write_bytes(b"data")
    before = os.stat(source)
    answer = _move(service, 1, source)
    assert answer.status == 400
    assert "another file system" in json.loads(answer.body)["message"]
    assert source.read_bytes() == b"data"
    after = os.stat(source)
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)
    assert service.ask("HEAD", 1).status == 404
    assert service.visible() == {}


# Disk and tape


def test_where_files_are(sam: Site) -> None:
    """HEAD tells of each file where it is; nothing is staged and nothing read for it."""
    service = sam.start(workers=2)
    for file_id in range(256, 263):
        assert service.ask("PUT", file_id, b"" if file_id == 260 else b"data").status == 201
    for file_id in range(256, 261):
        sam.record(file_id)
    for file_id in (257, 258, 260):
        sam.archive(file_id)
    sam.archive(258, copy=1, vsn="A00002")
    sam.release(258)
    sam.archive(259, create_time=1)  # before it was written: of earlier contents
    sam.writer.offline(sam.sam_path_of(260))
    sam.record(262, closed=False)
    assert {file_id: media(service.ask("HEAD", file_id)) for file_id in range(256, 263)} == {
        256: ("disk", "DISK", "(4, 0)"),
        257: ("disk", "DISK_AND_TAPE", "(4, 4)"),
        258: ("tape", "TAPE", "(0, 4)"),
        259: ("disk", "DISK", "(4, 0)"),
        260: ("disk", "DISK", "(0, 0)"),
        261: ("disk", "DISK", "(4, 0)"),
        262: ("disk", "DISK", "(4, 0)"),
    }
    assert service.ask("HEAD", 263).status == 404
    for file_id in (256, 257, 259, 261, 262):
        assert service.ask("GET", file_id).body == b"data"
    assert service.ask("GET", 260).body == b""
    assert (service.jobs(), sam.runs, sam.waits) == ([], [], [])


def test_reading_from_tape(sam: Site) -> None:
    """A GET of a file on tape is answered at once, with when to come back; then it is there.  One stage for all."""
    service = sam.start()
    data = content("tape", 300_000)
    assert service.ask("PUT", 12345, data).status == 201
    sam.to_tape(12345)
    sam.hold()
    for answer in at_once([partial(service.ask, "GET", 12345, None, {"Range": "bytes=0-9"})] * 8):
        assert _is_told_to_wait(answer)
    for _ in range(3):
        assert _is_told_to_wait(service.ask("GET", 12345))
        assert media(service.ask("HEAD", 12345)) == ("tape", "TAPE", "(0, 300000)")
        assert service.ask("POST", 12345).status == 202
    until(lambda: sam.runs, "the command is run")
    sam.let_go()
    seen: list[str] = []
    with service.client() as client:
        while not seen or seen[-1] == "TAPE":
            seen.append(media(client.ask("HEAD", 12345))[1])
    assert set(seen[:-1]) == {"TAPE"}
    assert seen[-1] == "DISK_AND_TAPE"
    answer = service.ask("GET", 12345, fields=WANT_DIGEST)
    assert (answer.status, answer.body == data) == (200, True)
    assert answer.fields["repr-digest"] == repr_digest(data)
    assert service.ask("POST", 12345).status == 200
    assert sam.runs == [[str(sam.path_of(12345))]]
    assert sam.waits == []


def test_two_workers(sam: Site) -> None:
    """A file is asked for once, by one of them, however many clients come to either."""
    service = sam.start(workers=2)
    files = {file_id: content(file_id, 1000) for file_id in range(1000, 1005)}
    for file_id, data in files.items():
        assert service.ask("PUT", file_id, data).status == 201
    sam.to_tape(*files)
    sam.hold()
    for _ in range(4):
        asking = [partial(service.ask, method, file_id) for file_id in files for method in ("GET", "POST")]
        assert {answer.status for answer in at_once(asking)} == {503, 202}
    until(lambda: set(sam.asked_for) == {str(sam.path_of(file_id)) for file_id in files}, "all are asked for")
    sam.let_go()
    for file_id, data in files.items():
        until(lambda: _locality(service, file_id) == "DISK_AND_TAPE", "it is staged")  # noqa: B023
        for _ in range(4):
            assert service.ask("GET", file_id).body == data
            assert service.ask("POST", file_id).status == 200
    assert len(sam.asked_for) == len(files)
    assert sam.waits == []


def test_answers_are_remembered_for_a_moment(sam: Site) -> None:
    """By default for two seconds: whoever polls sees a file come back that late at most."""
    service = sam.start(hsm={"remember": 2})
    assert service.ask("PUT", 300, b"data").status == 201
    sam.to_tape(300)
    assert _locality(service, 300) == "TAPE"
    sam.writer.online(sam.sam_path_of(300))
    began = time.monotonic()
    assert _locality(service, 300) == "TAPE"
    until(lambda: _locality(service, 300) == "DISK_AND_TAPE", "it is seen")
    assert time.monotonic() - began < PATIENCE / 2


def test_as_cartd_does(sam: Site) -> None:
    """The predecessor's client stages with POST, which must say 200, and asks HEAD until the medium is a disk."""
    service = sam.start(server={"compatibility": "pacifica"}, workers=2)
    assert service.ask("PUT", 12345, b"data").status == 201
    sam.to_tape(12345)
    sam.hold()
    answer = service.ask("POST", 12345)
    assert (answer.status, json.loads(answer.body)["message"]) == (200, "File was staged")
    seen = [media(service.ask("HEAD", 12345))[0] for _ in range(5)]
    sam.let_go()
    while seen[-1] == "tape":
        time.sleep(0.02)
        seen.append(media(service.ask("HEAD", 12345))[0])
    assert seen == ["tape"] * (len(seen) - 1) + ["disk"]
    assert service.ask("GET", 12345).body == b"data"
    assert len(sam.runs) == 1


def test_a_file_that_goes_to_tape_again(sam: Site) -> None:
    """It is asked for again, as often as it goes, whether it was read meanwhile or only looked at."""
    service = sam.start()
    assert service.ask("PUT", 300, b"data").status == 201
    sam.to_tape(300)
    for number, read in enumerate([True, False, True], 1):
        answer = service.ask("POST", 300)
        assert answer.status == 202
        job = json.loads(answer.body)["job"]
        until(lambda: len(sam.runs) == number, "the command is run")  # noqa: B023
        if read:
            until(lambda: service.ask("GET", 300).status == 200, "it is back")
        else:
            until(lambda: _locality(service, 300) != "TAPE", "it is back")
        # Whoever asks before that is part of the recall that there was.
        until(lambda: json.loads(service.ask("GET", job).body)["state"] == "ended", "its recall has ended")  # noqa: B023
        sam.release(300)


def test_a_stage_command_that_fails(sam: Site) -> None:
    """Whoever comes back hears how it went, and it is not run again at once; other requests go on."""
    service = sam.start()
    for file_id in (300, 301):
        assert service.ask("PUT", file_id, b"data").status == 201
    sam.to_tape(300)
    sam.set_stage(trouble=3)
    assert service.ask("POST", 300).status == 202
    until(lambda: "reason" in json.loads(service.ask("POST", 300).body), "it has failed")
    for method, status, member in (("POST", 202, "reason"), ("GET", 503, "message")):
        answer = service.ask(method, 300)
        assert (answer.status, "The stage command ended with 3." in json.loads(answer.body)[member]) == (status, True)
    assert len(sam.runs) == 1
    assert media(service.ask("HEAD", 300))[1] == "TAPE"
    assert service.ask("GET", 301).body == b"data"


def test_staging_by_reading(sam: Site) -> None:
    """Without a command and without libsam a file is read in the background; nobody else waits for that."""
    service = sam.start(hsm={"stage_command": "", "stage_threads": 2})
    ids = range(300, 304)
    for file_id in ids:
        assert service.ask("PUT", file_id, b"data").status == 201
    sam.to_tape(*ids)
    for file_id in ids:
        assert _is_told_to_wait(service.ask("GET", file_id))
    until(lambda: len(sam.waits) == 2, "two are read")
    began = time.monotonic()
    with service.client() as client:
        for file_id in range(400, 420):
            assert client.ask("PUT", file_id, b"new").status == 201
            assert client.ask("GET", file_id).body == b"new"
            assert client.ask("HEAD", 300).status == 204
            assert client.ask("GET", "/health").status == 200
    assert time.monotonic() - began < PATIENCE / 2
    assert len(sam.waits) == 2
    sam.bring_back(*ids)
    # The files are read to their ends before the database knows.
    until(lambda: [service.ask("GET", file_id).body for file_id in ids] == [b"data"] * 4, "they are served")
    assert localities(service, ids) == dict.fromkeys(ids, "TAPE")


def test_a_file_released_unknown_to_the_database(sam: Site) -> None:
    """What does not come from the disk in time is on tape, whatever the database says; other files are served."""
    service = sam.start(hsm={"read_timeout": 0.3})
    assert service.ask("PUT", 300, b"data").status == 201
    sam.record(300)
    sam.archive(300)
    sam.drop(sam.path_of(300))
    assert _locality(service, 300) == "DISK_AND_TAPE"
    began = time.monotonic()
    answer = service.ask("GET", 300)
    assert (answer.status, int(answer.fields["retry-after"]) > 0) == (503, True)
    assert time.monotonic() - began < PATIENCE / 2
    assert service.ask("PUT", 301, b"new").status == 201
    assert service.ask("GET", 301).body == b"new"
    sam.bring_back(300)
    until(lambda: service.ask("GET", 300).body == b"data", "it is back")
    assert sam.waits == [str(sam.path_of(300))]


# Changing what is on tape


def test_a_file_on_tape_is_removed(sam: Site) -> None:
    """Nothing is read for it; the database, which has it still, is not believed."""
    service = sam.start()
    for file_id in (300, 301):
        assert service.ask("PUT", file_id, b"data").status == 201
    sam.to_tape(300, 301)
    assert localities(service, (300, 301)) == {300: "TAPE", 301: "TAPE"}
    assert service.ask("DELETE", 300, fields={"If-Match": '"other"'}).status == 412
    assert service.ask("DELETE", 300).status == 200
    for method in ("GET", "HEAD", "POST", "DELETE"):
        assert service.ask(method, 300).status == 404
    assert _locality(service, 301) == "TAPE"
    assert (service.jobs(), sam.runs, sam.waits) == ([], [], [])


def test_a_file_on_tape_is_replaced(sam: Site) -> None:
    """The new version is on disk from the first moment, though the database has the old one, of the same size."""
    service = sam.start()
    for file_id in (300, 301):
        assert service.ask("PUT", file_id, b"older").status == 201
    os.removexattr(sam.path_of(301), "user.pacarchive.sha256")  # nothing is compared, and so it need not be known
    sam.to_tape(300, 301)
    for file_id in (300, 301):
        assert _locality(service, file_id) == "TAPE"
        assert service.ask("PUT", file_id, b"newer").status == 201
        assert _locality(service, file_id) == "DISK"
        assert service.ask("GET", file_id).body == b"newer"
        sam.record(file_id)
        assert _locality(service, file_id) == "DISK"
    assert (service.jobs(), sam.runs, sam.waits) == ([], [], [])


def test_a_file_on_tape_is_compared(sam: Site) -> None:
    """With the digest that is stored with it; one that has none would have to be staged, and is not."""
    service = sam.start(server={"overwrite": "identical"})
    for file_id in (300, 301):
        assert service.ask("PUT", file_id, b"data").status == 201
    os.removexattr(sam.path_of(301), "user.pacarchive.sha256")
    sam.to_tape(300, 301)
    assert service.ask("PUT", 300, b"data").status == 201
    assert service.ask("PUT", 300, b"DATA").status == 409
    for body in (b"data", b"DATA"):
        assert _is_told_to_wait(service.ask("PUT", 301, body))
    assert localities(service, (300, 301)) == {300: "TAPE", 301: "TAPE"}
    assert (service.jobs(), sam.waits) == ([], [])
