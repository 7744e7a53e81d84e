"""The C{posix} backend's dealings with files that it did not write itself, and with things that are no files."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import gatherResults

from backends.calls import Calls
from backends.posix import archive, failing, on_a_system, without_attributes, without_openat2
from pacarchive import errors
from pacarchive.backends.contract.handling import (
    ALLOW,
    content,
    in_reactor,
    load,
    pattern,
    running,
    store,
)
from pacarchive.backends.local import archive as local
from pacarchive.backends.local import syscalls
from pacarchive.backends.local.archive import LocalArchive
from pacarchive.digests import PRIMARY, Hasher
from pacarchive.ids import id_to_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from pacarchive.interfaces import IArchiveBackend

MIB = 1 << 20
SYSTEMS = [(), (without_openat2,), (without_attributes,)]

systems = pytest.mark.parametrize(
    "lacking", SYSTEMS, ids=lambda lacking: " ".join(each.__name__ for each in lacking) or "with everything"
)


def plant(directory: Path, name: str, data: bytes, mode: int = 0o444) -> Path:
    """A file in the archive that somebody else wrote."""
    path = directory / "archive" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (1000, 1000))
    path.chmod(mode)
    return path


async def remember(backend: IArchiveBackend, file_id: int) -> bytes:
    """Read a file whole, and store its digest, as a download does."""
    stored = await backend.open(file_id)
    hasher = Hasher([PRIMARY])
    hasher.update(await stored.read(0, stored.status.size))
    await stored.remember(hasher.digests())
    stored.close()
    return hasher.digests()[PRIMARY]


@systems
@pytest.mark.parametrize("mode", [0o444, 0o644])
@in_reactor
async def test_files_of_the_predecessor(
    tmp_path: Path, mode: int, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]
) -> None:
    """They are served as they are, without a digest that nobody computed; one that was computed is kept with them."""
    for tree, name in ((False, "12345"), (True, id_to_path(12345)[1:])):
        path = plant(tmp_path, name, pattern(MIB), mode)
        async with on_a_system(*lacking, use_id2filename=tree)(tmp_path) as backend:
            for _ in range(2):
                status, data = await load(backend, 12345)
                assert data == pattern(MIB)
                assert (status.digests, status.size, status.mtime) == ({}, MIB, 1000)
            digest = await remember(backend, 12345)
            for _ in range(2):
                assert (await backend.status(12345)).digests == {PRIMARY: digest}
                assert (await load(backend, 12345))[0].etag == f'"{digest.hex()}"'
        assert stat.S_IMODE(path.stat().st_mode) == mode
        async with on_a_system(*lacking, use_id2filename=tree)(tmp_path) as backend:
            assert (await backend.status(12345)).digests == {PRIMARY: digest}


@systems
@in_reactor
async def test_a_digest_is_not_remembered_for_what_has_changed(
    tmp_path: Path, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]
) -> None:
    """Somebody wrote into the file after it was opened, or while it was read."""
    path = plant(tmp_path, "1", b"words", 0o644)
    async with on_a_system(*lacking)(tmp_path) as backend:
        stored = await backend.open(1)
        path.write_bytes(b"WORDS")
        await stored.remember({PRIMARY: b"x" * 32})
        stored.close()
        assert (await backend.status(1)).digests == {}


@in_reactor
async def test_a_sidecar_is_only_for_its_version(tmp_path: Path) -> None:
    """A file that was changed in place has no digest any more; nor has one whose sidecar makes no sense."""
    path = plant(tmp_path, "1", b"words", 0o644)
    async with on_a_system(without_attributes)(tmp_path) as backend:
        digest = await remember(backend, 1)
        (sidecar,) = (tmp_path / "archive/.pacarchive/digests").iterdir()
        good = sidecar.read_bytes()
        for bad in (b"", good[:-9], b"[]", b"{}", b'"', good.replace(b'"sha256": "', b'"sha256": "no hex'), b"\xff"):
            sidecar.write_bytes(bad)
            assert (await backend.status(1)).digests == {}
        sidecar.write_bytes(good)
        assert (await backend.status(1)).digests == {PRIMARY: digest}
        path.write_bytes(b"WORDS")
        assert (await backend.status(1)).digests == {}


@in_reactor
async def test_attributes_of_others_are_no_digests(tmp_path: Path) -> None:
    """Only the names of algorithms count."""
    path = plant(tmp_path, "1", b"words")
    os.setxattr(path, "user.pacarchive.crc", b"1")
    os.setxattr(path, "user.sha256", b"2")
    async with archive(tmp_path) as backend:
        assert (await backend.status(1)).digests == {}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@in_reactor
async def test_no_read_fails_for_a_digest_that_cannot_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A full or read-only file system can still be read."""
    plant(tmp_path, "1", b"words")
    async with archive(tmp_path) as backend:
        monkeypatch.setattr(os, "setxattr", failing(number))
        await remember(backend, 1)
        assert await content(backend, 1) == b"words"


@in_reactor
async def test_several_readers_remember(tmp_path: Path) -> None:
    """Side by side; the file has its digest, and its old mode, in the end."""
    path = plant(tmp_path, "1", b"words")
    async with archive(tmp_path) as backend:
        await gatherResults([running(remember(backend, 1)) for _ in range(16)])
        assert PRIMARY in (await backend.status(1)).digests
        assert stat.S_IMODE(path.stat().st_mode) == 0o444


@in_reactor
async def test_a_mode_that_another_reader_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two give a read-only file the same digest; each makes it writable for that, and it ends as it was."""
    path = plant(tmp_path, "1", b"words")
    really_set = os.setxattr

    def refuse_once(*args: Any) -> None:
        if path.stat().st_mode & 0o200:
            really_set(*args)
        else:
            path.chmod(0o644)  # the other one, just now
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    async with archive(tmp_path) as backend:
        monkeypatch.setattr(os, "setxattr", refuse_once)
        digest = await remember(backend, 1)
        assert (await backend.status(1)).digests == {PRIMARY: digest}
    assert stat.S_IMODE(path.stat().st_mode) == 0o444


AS_NOBODY = """
import os, sys
from pathlib import Path
from twisted.internet.task import react
from pacarchive.backends.contract.handling import ALLOW, content, pattern, store
from backends.posix import archive
from backends.test_posix_reading import remember
from pacarchive.digests import PRIMARY

directory = Path(sys.argv[1])

async def main(reactor):
    async with archive(directory) as backend:
        digest = await remember(backend, 1)
        assert (await backend.status(1)).digests == {PRIMARY: digest}
        await remember(backend, 2)
        assert PRIMARY in (await backend.status(2)).digests
        assert not os.access(directory / "archive/1", os.W_OK)
        for size in (5, 1 << 20):
            await store(backend, 3, pattern(size))
            assert await content(backend, 3) == pattern(size)
        assert not os.access(directory / "archive/3", os.W_OK)
        for name in ("own", "foreign"):
            await backend.move(4, str(directory / "incoming" / name), ALLOW)
            assert await content(backend, 4) == name.encode()
            assert PRIMARY in (await backend.status(4)).digests or name == "own"
            assert not (directory / "incoming" / name).exists()
        await backend.remove(3, ALLOW)
        await backend.remove(2, ALLOW)
    print("done")

if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
react(lambda reactor: __import__("twisted.internet.defer").internet.defer.ensureDeferred(main(reactor)))
"""


def test_an_unprivileged_user(tmp_path: Path) -> None:
    """
    Everything works without root's rights: digests get onto files that are read-only or belong to somebody else, and
    files of others can be moved in.
    """
    with tempfile.TemporaryDirectory() as name:  # pytest's own directories are closed to other users
        directory = Path(name)
        for each in (directory, directory / "archive", directory / "incoming"):
            each.mkdir(exist_ok=True)
        plant(directory, "1", b"words")
        (directory / "incoming/own").write_bytes(b"own")
        if os.geteuid() == 0:
            for each in (directory, *directory.rglob("*")):
                os.chown(each, 65534, 65534)
        plant(directory, "2", b"words of root")
        (directory / "incoming/foreign").write_bytes(b"foreign")
        (directory / "incoming/foreign").chmod(0o444)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, name],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout == "done\n", done.stderr
        assert stat.S_IMODE((directory / "archive/1").stat().st_mode) == 0o444


@in_reactor
async def test_a_status_reads_no_data(tmp_path: Path) -> None:
    """Nor does a conditional upload, or the removal of a file."""
    async with archive(tmp_path) as backend:
        await store(backend, 1, pattern(MIB))
        plant(tmp_path, "2", pattern(MIB))
        with Calls(tmp_path / "archive").watched() as calls:
            for file_id in (1, 2):
                await backend.status(file_id)
                await (await backend.receive(file_id, 10, ALLOW, ())).abort()
                await backend.remove(file_id, ALLOW)
            await backend.health()
        assert calls.made
        assert calls.text("pread", "preadv", "read") == []


def count_opens(patch: pytest.MonkeyPatch) -> list[int]:
    """The ids of the files that will be opened, or looked at, in a thread."""
    opened: list[int] = []

    def counting(in_thread: Callable[[LocalArchive, int], Any]) -> Callable[[LocalArchive, int], Any]:
        def count(self: LocalArchive, file_id: int) -> Any:
            opened.append(file_id)
            return in_thread(self, file_id)

        return count

    for name in ("_open", "_look"):
        patch.setattr(LocalArchive, name, counting(getattr(LocalArchive, name)))
    return opened


def opens_cached(directory: Path) -> bool:
    """Whether the system can open what is in memory, and say so where it is not."""
    (directory / "probe").write_bytes(b"")
    root = os.open(directory, os.O_RDONLY)
    try:
        found = syscalls.open_cached(root, b"probe")
        if found >= 0:
            os.close(found)
        return found >= 0 and syscalls.opens_without_network(root)
    finally:
        os.close(root)


@in_reactor
async def test_what_is_in_memory_needs_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is still the version that is published at that moment, whoever published it."""
    if not opens_cached(tmp_path):
        pytest.skip("this kernel or file system cannot open a file without waiting")
    monkeypatch.setattr(local, "SETTLED", -(10**18))
    calls = count_opens(monkeypatch)
    async with archive(tmp_path) as one, archive(tmp_path) as two:
        await store(one, 1, b"words")
        for _ in range(3):
            assert (await load(one, 1))[1] == b"words"
            assert (await one.status(1)).digests
        assert calls == [1]
        status = await store(two, 1, b"other words")
        assert await load(one, 1) == (status, b"other words")
        await two.remove(1, ALLOW)
        with pytest.raises(errors.NotFound):
            await one.open(1)


@in_reactor
async def test_a_file_that_has_just_changed_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Its inode could be freed and used again within one tick of the inode clock, and its digest be taken for the new
    file's.
    """
    monkeypatch.setattr(local, "SETTLED", 10**18)
    opened = count_opens(monkeypatch)
    async with archive(tmp_path) as backend:
        await store(backend, 1, b"words")
        for _ in range(3):
            await backend.status(1)
        assert opened == [1, 1, 1]


def test_an_open_that_keeps_failing_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal is no failure; but while somebody holds a lease on a file it cannot be opened, and that may last."""
    (tmp_path / "file").write_bytes(b"words")
    directory = os.open(tmp_path, os.O_RDONLY)
    really = syscalls._blocking_call
    left = 5

    def interrupted(*args: Any) -> int:
        nonlocal left
        left -= 1
        if left >= 0:
            ctypes.set_errno(errno.EINTR)
            return -1
        return int(really(*args))

    monkeypatch.setattr(syscalls, "_blocking_call", interrupted)
    os.close(syscalls.open_beneath(directory, "file", os.O_RDONLY))
    left = 10**9
    with pytest.raises(InterruptedError):
        syscalls.open_beneath(directory, "file", os.O_RDONLY)
    os.close(directory)
