"""The whole service on a simulated HPSS: every verb, and where the bytes are."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from system.harness import WANT_DIGEST, at_once, content, read_to_the_end, repr_digest, status_of, until
from system.hpss import DUAL, INCOMING, PREFIX, SCRATCH, TAPE_ONLY, path_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from system.harness import Answer, Client, Service
    from system.hpss import Site

MIB = 1 << 20

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
MTIME = 784111777

BLOCK = 4 * MIB
SMALL_BLOCKS = {"block_size": BLOCK}

SIZES = [0, 1, 1000, 64 << 10, (64 << 10) + 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 12345]
"""On both sides of what takes another way through the server or the backend."""


def _move(client: Client | Service, file_id: int, source: str) -> Answer:
    return client.ask("PATCH", file_id, json.dumps({"path": source}), {"Content-Type": "application/json"})


def _media(answer: Answer) -> tuple[str, str, str]:
    """What a HEAD says of where the bytes are."""
    assert answer.status == 204
    names = ("x-pacifica-file-storage-media", "x-pacarchive-locality", "x-pacifica-bytes-per-level")
    media, locality, levels = (answer.fields[name] for name in names)
    return media, locality, levels


# The verbs


def test_life_of_a_file(site: Site) -> None:
    """Stored, described, read, replaced, staged in vain and removed, by two workers; HPSS has what the answers say."""
    service = site.start(workers=2, hpss=SMALL_BLOCKS)
    with service.client() as client:
        assert json.loads(client.ask("GET", "/").body)["message"] == "Pacifica Archive Interface Up and Running"
        for version in range(2):
            for file_id, size in enumerate(SIZES, 12345):
                data = content((version, file_id), size)
                answer = client.ask("PUT", file_id, data, {"Last-Modified": DATE})
                assert (answer.status, json.loads(answer.body)["total_bytes"]) == (201, size)
                assert answer.fields["repr-digest"] == repr_digest(data)
                entry = site.entry(file_id)
                assert (entry.size, entry.mode, entry.mtime) == (size, 0o444, MTIME)
                assert entry.attributes["/hpss/user/cksum/checksum"] == hashlib.sha256(data).hexdigest()
                assert entry.attributes["/hpss/user/cksum/state"] == "Valid"
                assert site.archive.read(path_of(file_id)) == data
        for file_id, size in enumerate(SIZES, 12345):
            data = content((1, file_id), size)
            answer = service.ask("GET", file_id, fields=WANT_DIGEST)
            assert (answer.status, answer.body == data) == (200, True)
            assert answer.fields["repr-digest"] == repr_digest(data)
            assert answer.fields["last-modified"] == DATE
            answer = service.ask("HEAD", file_id)
            assert answer.status == 204
            assert answer.fields["x-pacifica-file"] == path_of(file_id)
            assert answer.fields["x-content-length"] == str(size)
            assert float(answer.fields["last-modified"]) == MTIME
            assert client.ask("POST", file_id).status == 200
        assert client.ask("PROPFIND", 12345, fields={"Depth": "0"}).status == 207
        assert client.ask("OPTIONS", 12345).status == 204
        for file_id in range(12345, 12345 + len(SIZES)):
            assert client.ask("DELETE", file_id).status == 200
            for method in ("GET", "HEAD", "POST", "DELETE", "PROPFIND"):
                assert client.ask(method, file_id).status == 404, method
    assert site.files() == {}
    assert (service.jobs(), site.archive.requests()) == ([], [])


def test_ranges(site: Site) -> None:
    """Every part of a file is the right one: within a block, over the edges of several, at both ends."""
    service = site.start(hpss=SMALL_BLOCKS)
    data, size = content("ranges", 2 * BLOCK + 777), 2 * BLOCK + 777
    spans = [(0, 0), (5, 9), (BLOCK - 3, BLOCK + 3), (BLOCK, 2 * BLOCK + 1), (1, size - 1), (size - 1, size - 1)]
    spans += [(0, size - 1), (100_000, 100_000 + (64 << 10)), (3 * MIB, 6 * MIB)]
    with service.client() as client:
        etag = client.ask("PUT", 1, data, {"Last-Modified": DATE}).fields["etag"]
        for first, last in spans:
            for method in ({"Range": f"bytes={first}-{last}"}, {"Range": f"bytes={first}-{last}", "If-Range": etag}):
                answer = client.ask("GET", 1, fields=method)
                assert (answer.status, answer.fields["content-range"]) == (206, f"bytes {first}-{last}/{size}")
                assert answer.body == data[first : last + 1], (first, last)
        for length in (1, 1000, BLOCK + 1000, size, 10 * size):
            answer = client.ask("GET", 1, fields={"Range": f"bytes=-{length}"})
            assert (answer.status, answer.body == data[-length:]) == (206, True), length
        answer = client.ask("GET", 1, fields={"Range": f"bytes={BLOCK}-"})
        assert (answer.status, answer.body == data[BLOCK:]) == (206, True)
        assert client.ask("GET", f"/1?byte_range={BLOCK - 1}-{BLOCK + 1}").body == data[BLOCK - 1 : BLOCK + 1]
        answer = client.ask("GET", 1, fields={"Range": f"bytes={size}-"})
        assert (answer.status, answer.fields["content-range"]) == (416, f"bytes */{size}")
        # If-Range of another version: all of it.
        answer = client.ask("GET", 1, fields={"Range": "bytes=0-9", "If-Range": '"other"'})
        assert (answer.status, answer.body == data) == (200, True)


def _chunked(target: int, data: bytes, *, announced: str, trailer: str) -> bytes:
    head = f"PUT /{target} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: {announced}\r\n"
    body = b"%x\r\n%b\r\n0\r\n%b\r\n\r\n" % (len(data), data, trailer.encode())
    return f"{head}Connection: close\r\n\r\n".encode() + body


def test_digests(site: Site) -> None:
    """Bytes that are not what the sender meant are refused and leave nothing; digests are kept, whoever made them."""
    service = site.start(server={"digests": "md5, adler32"}, hpss=SMALL_BLOCKS)
    for file_id, size in enumerate([10, BLOCK + 10], 1):
        data, wrong = content(file_id, size), content("wrong", size)
        md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
        for good in ({"Content-MD5": md5}, {"Repr-Digest": repr_digest(data)}, {"Digest": f"md5={md5}"}):
            assert service.ask("PUT", file_id, data, good).status == 201
            assert service.ask("PUT", file_id, wrong, good).status == 400
        for sent, status in ((data, 201), (wrong, 400)):
            with service.connect() as connection:
                connection.sendall(
                    _chunked(file_id, sent, announced="Repr-Digest", trailer=f"Repr-Digest: {repr_digest(data)}")
                )
                assert status_of(read_to_the_end(connection)) == status
        assert site.archive.read(path_of(file_id)) == data
        answer = service.ask("GET", file_id, fields={"Want-Digest": "md5,adler32"})
        assert f"md5={md5}" in answer.fields["digest"]
        assert f"adler32={zlib.adler32(data):08x}" in answer.fields["digest"]
    assert len(site.files()) == 2


def test_digests_of_other_clients(site: Site) -> None:
    """What HSI or Globus stored is told; what never had a digest gets one at its first whole read."""
    service = site.start()
    site.put(1, b"by hsi")
    site.put(2, b"without")
    values = {"algorithm": "SHA256", "checksum": hashlib.sha256(b"by hsi").hexdigest(), "state": "Valid"}
    attributes = {f"/hpss/user/cksum/{key}": value for key, value in (values | {"filesize": "6"}).items()}
    site.as_client(f"client.set_user_attributes({path_of(1)!r}, {attributes!r})")
    assert service.ask("HEAD", 1, fields=WANT_DIGEST).fields["repr-digest"] == repr_digest(b"by hsi")
    assert "repr-digest" not in service.ask("HEAD", 2, fields=WANT_DIGEST).fields
    assert service.ask("GET", 2).body == b"without"
    assert service.ask("HEAD", 2, fields=WANT_DIGEST).fields["repr-digest"] == repr_digest(b"without")
    # The stored digest is a promise: bytes that break it are not sent.
    (site.archive.directory / "data" / str(site.entry(2).number)).write_bytes(b"WITHOUT")
    assert service.ask("GET", 2).status == 500


def test_conditions(site: Site) -> None:
    """Conditions of reads, writes and removals; of eight writers that all would be first, one is."""
    service = site.start(workers=2)
    with service.client() as client:
        etag = client.ask("PUT", 1, b"first", {"Last-Modified": DATE, "If-None-Match": "*"}).fields["etag"]
        answer = client.ask("GET", 1, fields={"If-None-Match": etag})
        assert (answer.status, answer.body) == (304, b"")
        # It was stored long after the time that its sender gave it.
        assert client.ask("GET", 1, fields={"If-Modified-Since": DATE}).status == 200
        for method in ("GET", "PUT", "DELETE"):
            assert client.ask(method, 1, b"no" if method == "PUT" else b"", {"If-Match": '"other"'}).status == 412
        assert client.ask("PUT", 1, b"no", {"If-None-Match": "*"}).status == 412
        assert client.ask("PUT", 1, b"second", {"If-Match": etag}).status == 201
        assert client.ask("PUT", 2, b"no", {"If-Match": "*"}).status == 412
        assert client.ask("GET", 1).body == b"second"
    for file_id in range(10, 14):

        def write(writer: int, file_id: int = file_id) -> int:
            return service.ask("PUT", file_id, content((file_id, writer), 1000), {"If-None-Match": "*"}).status

        statuses = at_once([partial(write, writer) for writer in range(8)])
        assert sorted(statuses) == [201] + [412] * 7
        assert service.ask("GET", file_id).body == content((file_id, statuses.index(201)), 1000)


@pytest.mark.parametrize(("overwrite", "same", "other"), [("deny", 409, 409), ("identical", 201, 409)])
def test_overwriting(site: Site, overwrite: str, same: int, other: int) -> None:
    """An archive that is written once keeps what it has, also against moves."""
    service = site.start(server={"overwrite": overwrite})
    assert service.ask("PUT", 1, b"data").status == 201
    assert service.ask("PUT", 1, b"data").status == same
    assert service.ask("PUT", 1, b"DATA").status == other
    site.archive.write(f"{INCOMING}/new", b"newer")
    assert _move(service, 1, f"{INCOMING}/new").status == 409
    assert site.archive.read(f"{INCOMING}/new") == b"newer"
    assert site.archive.read(path_of(1)) == b"data"


# Moves


def test_moves(site: Site) -> None:
    """A file of another client is renamed, never read; links are followed as far as the roots reach."""
    service = site.start()
    for name in ("plain", "linked", "below/deep", "taken"):
        site.archive.write(f"{INCOMING}/{name}", name.encode())
    site.archive.write("/secret", b"secret")
    site.as_client(f"""
        for target, path in (
            ("{INCOMING}/linked", "{INCOMING}/link"), ("../..{INCOMING}/below", "{PREFIX}/in"),
            ("/secret", "{INCOMING}/out"), ("loop", "{INCOMING}/loop"), ("{INCOMING}/nothing", "{INCOMING}/dangling"),
        ):
            assert library.hpss_Symlink(target.encode(), path.encode()) == 0
    """)
    site.archive.migrate(f"{INCOMING}/plain")
    site.archive.purge(f"{INCOMING}/plain")
    for file_id, (source, name) in enumerate(
        [("plain", "plain"), ("link", "linked"), (f"../{PREFIX}/in/deep", "below/deep")], 1
    ):
        assert _move(service, file_id, f"{INCOMING}/{source}").status == 200, source
        assert site.archive.read(path_of(file_id)) == name.encode()
        assert site.entry(file_id).mode == 0o444
    assert _media(service.ask("HEAD", 1))[0] == "tape"
    assert (service.jobs(), site.archive.requests()) == ([], [])
    assert service.ask("PUT", 4, b"older").status == 201
    assert _move(service, 4, f"{INCOMING}/taken").status == 200
    answer = service.ask("GET", 4, fields=WANT_DIGEST)
    assert (answer.body, answer.fields.get("repr-digest")) in [(b"taken", None), (b"taken", repr_digest(b"taken"))]
    refused = {
        "/secret": 403,
        f"{INCOMING}/out": 403,
        f"{INCOMING}/../secret": 403,
        f"{PREFIX}/.pacarchive/x": 403,
        f"{INCOMING}/loop": 403,
        f"{INCOMING}/dangling": 404,
        f"{INCOMING}/nothing": 404,
        f"{INCOMING}/below": 400,
        "incoming/plain": 400,
    }
    for source, status in refused.items():
        assert _move(service, 5, source).status == status, source
    assert site.archive.read("/secret") == b"secret"
    assert service.ask("HEAD", 5).status == 404


def test_moves_from_another_fileset(site: Site) -> None:
    """HPSS does not rename from one fileset into another, and to copy would be to recall: refused in words."""
    service = site.start()
    site.archive.write(f"{SCRATCH}/file", b"data")
    site.archive.set_fileset(SCRATCH, 2)
    answer = _move(service, 1, f"{SCRATCH}/file")
    assert answer.status == 400
    assert "another fileset" in json.loads(answer.body)["message"]
    assert "HPSS_EXDEV (-18)" in json.loads(answer.body)["traceback"]
    assert site.archive.read(f"{SCRATCH}/file") == b"data"
    assert service.ask("HEAD", 1).status == 404


# Disk and tape


def _make_holes(site: Site, path: str) -> None:
    """A file of a MiB in which four bytes were written."""
    site.as_client(f"""
        descriptor = client.create({path!r}, size={MIB})
        client.seek(descriptor, {MIB} - 4)
        client.write(descriptor, b"last")
        client.close(descriptor)
    """)


def test_where_files_are(site: Site) -> None:
    """HEAD tells of each file where it is, in all of its forms; a file is described, and nothing is staged for it."""
    service = site.start()
    for file_id in (1, 2, 3):
        assert service.ask("PUT", file_id, b"data").status == 201
    for file_id in (4, 5):
        site.put(file_id, b"data", cos=DUAL)
    site.put(6, b"data", cos=TAPE_ONLY)
    site.put(7, b"")
    site.archive.mkdir(f"{PREFIX}/8")
    for file_id in (8, 9):
        _make_holes(site, f"{PREFIX}/file.{file_id}")
    for file_id in (2, 4):
        site.archive.migrate(path_of(file_id))
    for file_id in (3, 5, 9):
        site.send_to_tape(file_id)
    holes = sum(site.entry(8).levels.values())
    assert holes < MIB
    assert {file_id: _media(service.ask("HEAD", file_id)) for file_id in range(1, 10)} == {
        1: ("disk", "DISK", "(4, 0)"),
        2: ("disk", "DISK_AND_TAPE", "(4, 4)"),
        3: ("tape", "TAPE", "(0, 4)"),
        4: ("disk", "DISK_AND_TAPE", "(4, 4, 4)"),
        5: ("tape", "TAPE", "(0, 4, 4)"),
        6: ("tape", "TAPE", "(4,)"),
        7: ("disk", "DISK", "(0, 0)"),
        8: ("disk", "DISK", f"({holes}, 0)"),
        9: ("tape", "TAPE", f"(0, {holes})"),
    }
    # Those that are on disk, or have no disk to be staged to, are read.
    for file_id in (1, 2, 4, 6):
        assert service.ask("GET", file_id).body == b"data"
    assert service.ask("GET", 7).body == b""
    assert service.ask("GET", 8).body == bytes(MIB - 4) + b"last"
    assert (service.jobs(), site.archive.requests()) == ([], [])


def test_reading_from_tape(site: Site) -> None:
    """A GET of a file on tape is answered at once, with when to come back; then it is there.  One stage for all."""
    service = site.start(workers=2)
    data = content("tape", 300_000)
    assert service.ask("PUT", 1, data).status == 201
    site.send_to_tape(1)
    site.archive.clock.freeze()
    for answer in at_once([partial(service.ask, "GET", 1, None, {"Range": "bytes=0-9"})] * 16):
        assert answer.status == 503
        assert int(answer.fields["retry-after"]) > 0
        assert "on tape" in json.loads(answer.body)["message"]
    until(site.archive.requests, "it is asked for")
    for _ in range(3):
        assert service.ask("GET", 1).status == 503
        assert _media(service.ask("HEAD", 1))[:2] == ("tape", "TAPE")
        assert service.ask("POST", 1).status == 202
    assert len(site.archive.requests()) == 1
    site.wait_until_staged(1)
    answer = service.ask("GET", 1, fields=WANT_DIGEST)
    assert (answer.status, answer.body == data) == (200, True)
    assert answer.fields["repr-digest"] == repr_digest(data)
    assert _media(service.ask("HEAD", 1))[:2] == ("disk", "DISK_AND_TAPE")
    assert service.ask("POST", 1).status == 200
    assert len(site.archive.requests()) == 1


def test_as_cartd_does(site: Site) -> None:
    """The predecessor's client stages with POST, which must say 200, and asks HEAD until the medium is a disk."""
    service = site.start(server={"compatibility": "pacifica"}, workers=2)
    assert service.ask("PUT", 1, b"data").status == 201
    site.send_to_tape(1)
    site.archive.clock.freeze()
    answer = service.ask("POST", 1)
    assert (answer.status, json.loads(answer.body)["message"]) == (200, "File was staged")
    until(site.archive.requests, "it is asked for")
    media = []
    for _ in range(100):
        media.append(_media(service.ask("HEAD", 1))[0])
        if media[-1] == "disk":
            break
        site.archive.clock.advance(10)
    assert media == ["tape"] * (len(media) - 1) + ["disk"]
    assert len(media) > 5
    assert service.ask("GET", 1).body == b"data"
    assert len(site.archive.requests()) == 1


# Large files


class _Gauge:
    """
    The memory of the one process of a service, without the files that the simulator maps.

    @ivar peak: The most that was seen, above what it takes when idle.
    """

    def __init__(self, service: Service) -> None:
        (self._pid,) = service.workers()
        self._idle = self._now()
        self.peak = 0

    def look(self) -> None:
        """Once more."""
        self.peak = max(self.peak, self._now() - self._idle)

    def _now(self) -> int:
        lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("RssAnon:"))
        return int(line.split()[1]) * 1024


def _blocks(size: int, gauge: _Gauge | None = None) -> Iterator[bytes]:
    block = content("block", MIB)
    for _ in range(size // MIB):
        yield block
        if gauge is not None:
            gauge.look()


def _repr_digest(blocks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"


def test_memory(site: Site) -> None:
    """What a transfer takes is a few blocks, and no more for a file three times as large."""
    # Few threads: each keeps a block that it has freed.
    service = site.start(hpss={**SMALL_BLOCKS, "data_threads": 4})
    assert service.port
    gauge, peaks = _Gauge(service), []
    for file_id, size in enumerate([48 * MIB, 144 * MIB], 1):
        with service.client() as client:
            fields = {"Content-Length": str(size), "Repr-Digest": _repr_digest(_blocks(size))}
            assert client.ask("PUT", file_id, _blocks(size, gauge), fields).status == 201
        assert site.entry(file_id).size == size
        with service.client() as client, client.begin("GET", file_id) as answer:
            assert int(answer.headers["Content-Length"]) == size
            assert all(answer.read(MIB) == block for block in _blocks(size, gauge))
        peaks.append(gauge.peak)
    print(f"peaks above idle: {[peak // MIB for peak in peaks]} MiB")  # noqa: T201
    assert peaks[0] < 10 * BLOCK
    assert peaks[1] - peaks[0] < 4 * BLOCK
