"""An archive that takes the place of another: read through while files are copied, into an object store and back."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from backends.s3.servers import ACCESS_KEY, BUCKET, SECRET_KEY, ObjectServer, SeaweedFS

from system.harness import Service, content

if TYPE_CHECKING:
    from collections.abc import Iterator

MTIME = 981173096_123456789
SIZES = [0, 1, 100, 70_000, 300_000, 3 << 20, 17 << 20]
IDS = range(1, 60)


@pytest.fixture(scope="module")
def seaweedfs() -> Iterator[ObjectServer]:
    """A real store."""
    with SeaweedFS() as server:
        yield server


def data_of(file_id: int) -> bytes:
    """What a file has; most are small."""
    return content(file_id, SIZES[file_id % len(SIZES)] if file_id < 15 else 1000 + file_id)


def command(directory: Path, *options: str) -> subprocess.Popen[str]:
    """An administrator's command, in a process of its own."""
    words = "import sys; from pacarchive.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", words, "admin", *options], cwd=directory, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def done(process: subprocess.Popen[str]) -> str:
    """What it has printed."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """An archive in a directory, of a server that kept no digests."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old.ini").write_text(f"[server]\nprefix = {tmp_path}/old\ndurability = relaxed\n")
    for file_id in IDS:
        place = tmp_path / f"old/{file_id}"
        place.write_bytes(data_of(file_id))
        os.utime(place, ns=(MTIME, MTIME))
    return tmp_path


def in_a_bucket(store: ObjectServer, prefix: str) -> str:
    """The settings of an archive there."""
    return (
        f"[server]\ntype = s3\nprefix = /{BUCKET}/{prefix}\n"
        f"[s3]\nendpoint = {store.endpoint}\naccess_key = {ACCESS_KEY}\nsecret_key = {SECRET_KEY}\n"
    )


def test_into_an_object_store_and_back(old: Path, seaweedfs: ObjectServer) -> None:
    """Bytes, digests and times come back as they were, and a second time there is nothing to do."""
    (old / "new.ini").write_text(in_a_bucket(seaweedfs, "there"))
    (old / "back").mkdir()
    (old / "back.ini").write_text(f"[server]\nprefix = {old}/back\n[posix]\nuse_id2filename = true\n")
    for source, target in (("old", "new"), ("new", "back")):
        words = ("copy", "-c", f"{source}.ini", "--to", f"{target}.ini")
        assert done(command(old, *words)).startswith(f"{len(IDS)} files copied")
        assert f"0 files copied, 0 B (0 bytes), {len(IDS)} there already" in done(command(old, *words))
    found = {int(each.name.removeprefix("file."), 16): each for each in (old / "back").glob("file.*")}
    assert found.keys() == set(IDS)
    for file_id, place in found.items():
        assert place.read_bytes() == data_of(file_id)
        assert place.stat().st_mtime_ns == MTIME
        for each in (place, old / f"old/{file_id}"):
            assert os.getxattr(each, "user.pacarchive.sha256") == hashlib.sha256(data_of(file_id)).digest()


@pytest.fixture
def through(old: Path, seaweedfs: ObjectServer) -> Iterator[Service]:
    """A server over a bucket, and the old archive behind it."""
    text = in_a_bucket(seaweedfs, "through").replace("[s3]", f"fallback = {old}/old.ini\n[s3]")
    (old / "service").mkdir()
    service = Service(old / "service", "--prefix", f"/{BUCKET}/through", settings=text, workers=2)
    try:
        yield service
        service.stop()
        service.assert_clean()
    finally:
        service.kill()


def test_all_is_readable_meanwhile(old: Path, through: Service) -> None:
    """Each id, with the same bytes, before, while and after it is copied; and the rules see what is behind."""
    (old / "to.ini").write_text((old / "service/settings.ini").read_text())
    assert_readable(through)
    before = through.ask("GET", 20).fields["etag"]
    assert through.ask("PUT", 20, b"new", {"If-None-Match": "*"}).status == 412
    assert through.ask("PUT", 20, b"new", {"If-Match": '"other"'}).status == 412
    refused = through.ask("DELETE", 20)
    assert (refused.status, b"bring it back" in refused.body) == (409, True)
    copying = command(old, "copy", "-c", "old.ini", "--to", "to.ini", "--rate", "20")
    while copying.poll() is None:
        assert_readable(through)
    assert f"{len(IDS)} files copied" in done(copying)
    assert_readable(through)
    assert through.ask("GET", 20).fields["etag"] == before
    assert through.ask("DELETE", 20).status == 409
    assert through.ask("PUT", 20, b"new", {"If-Match": before}).status == 201
    assert through.ask("GET", 20).body == b"new"
    assert (old / "old/20").read_bytes() == data_of(20)
    assert through.ask("PUT", 99, b"its own").status == 201
    assert through.ask("DELETE", 99).status == 200
    assert through.ask("GET", 99).status == 404
    removal = command(old, "delete", "-c", "to.ini", "--yes", "21")
    assert "bring it back" in removal.communicate(timeout=60)[1]
    assert through.ask("GET", 21).body == data_of(21)


def assert_readable(service: Service) -> None:
    """All ids, by GET and HEAD, and each once in the list."""
    with service.client() as client:
        for file_id in IDS:
            answer = client.ask("GET", file_id)
            assert (answer.status, answer.body) == (200, data_of(file_id))
            assert client.ask("HEAD", file_id).fields["x-content-length"] == str(len(data_of(file_id)))
        lines = client.ask("GET", "/files").body.decode().splitlines()
    for file_id in IDS:
        assert sum(f'"file": "{file_id}"' in each for each in lines) == 1, file_id


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fallback = {0}/service/settings.ini", "fallback"),
        ("fallback = {0}/missing.ini", "missing.ini"),
        ("fallback = {0}/old.ini\nmove_roots = {0}", "keeps its files"),
        ("fallback = {0}/old.ini\nmove_roots = {0}/old/ab/30", "keeps its files"),
    ],
    ids=["itself", "missing", "moves", "moves of some"],
)
def test_wrong_settings(old: Path, text: str, words: str) -> None:
    """In words, and nothing is served."""
    (old / "old/ab/30").mkdir(parents=True)
    service = Service(old / "service", settings=f"[server]\n{text.format(old)}\n")
    try:
        assert service.ends() == 2
        assert words in service.log
    finally:
        service.kill()


def test_an_empty_directory_behind(old: Path) -> None:
    """A file system that is not mounted is no archive whose files are all gone."""
    for each in (old / "old").iterdir():
        each.unlink()
    service = Service(old / "service", settings=f"[server]\nfallback = {old}/old.ini\n")
    try:
        assert service.ends() != 0
        assert "is its file system mounted?" in service.log
    finally:
        service.kill()
