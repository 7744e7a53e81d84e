"""Which of the two is believed in what: the mount, and the database."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from pacarchive import errors
from pacarchive.backends.contract.handling import content, in_reactor, store
from pacarchive.backends.sideband import queries
from pacarchive.backends.sideband.archive import SidebandArchive
from pacarchive.backends.sideband.names import Place, place_of
from pacarchive.ids import id_to_path
from pacarchive.model import Locality, TapeLocation
from sideband.archives import Daemon, serving
from sideband.base import LOWER, OFFLINE, SIZES, UNARCHIVED, UPPER, write_base
from sideband.server import LAX, STRICT, Sideband
from sideband.writer import SEGMENT_INDEX, name_hash

DATA = b"words on disk"

NAMES = [
    *(b"/archive/39/Foo", b"/archive/39/foo", b"/archive/39/FOO", b"/archive/39/foo ", b"/archive/39/"),
    *(b"/ARCHIVE/39/foo", b"/archive/39 /foo", b"/old/3b/303b", b"/archive/3b/303b", b"/archive/3a/303a"),
]

KINDS = pytest.mark.parametrize(
    "database",
    [
        {"column": "off_set", "sql_mode": STRICT},
        {"column": "offset", "sql_mode": LAX},
        {"column": "off_set", "charset": "utf8mb4", "sql_mode": LAX},
        {"column": "offset", "engine": "MyISAM"},
    ],
    indirect=True,
    ids=["latin1", "offset", "utf8mb4", "MyISAM"],
)


@pytest.fixture
def daemon(database: Sideband, tmp_path: Path) -> Iterator[Daemon]:
    """What fills the database."""
    with Daemon(tmp_path, database) as daemon:
        yield daemon


async def locality(backend: SidebandArchive, file_id: int) -> Locality:
    return (await backend.status(file_id)).locality


@KINDS
@in_reactor
async def test_the_base_rows(database: Sideband, tmp_path: Path) -> None:
    """Each file has the row that is its own, and never a left-over's, a symbolic link's or a gone directory's."""
    for path, size in SIZES.items():
        file = tmp_path / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size)
    with database.server.connect(database=database.name) as connection:
        write_base(connection)
    async with serving(tmp_path, database) as backend:
        found = {file_id: await backend.status(file_id) for file_id in (12345, 12346, 12347, 1)}
        assert {file_id: status.locality for file_id, status in found.items()} == {
            12345: Locality.DISK_AND_TAPE,
            12346: Locality.TAPE,
            12347: Locality.DISK,
            1: Locality.DISK,
        }
        assert {file_id: tuple(status.bytes_per_level) for file_id, status in found.items()} == {
            12345: (1000, 1000),
            12346: (0, 2001),
            12347: (3000, 0),
            1: (10, 0),
        }
        assert found[12346].storage_media == "tape"
        listed = await backend.inventory("", 1000)
        assert {file_id: listed.files[file_id] for file_id in found} == found
        cheap = await backend.inventory("", 1000, locality=False)
        assert cheap.files.keys() == listed.files.keys()
        located = await backend.locate([12345, 12346, 12347, 1, 99])
        assert {file_id: where for file_id, where in located.items() if where} == {12346: located[12346]}
        assert isinstance(located[12346], TapeLocation)
        assert (located[12346].medium[:3], located[12346].size) == ("li.", 2001)


@KINDS
@in_reactor
async def test_a_name_is_its_bytes(database: Sideband, tmp_path: Path) -> None:
    """C{foo} never answers for C{Foo}, nor a gone directory for a present one."""
    with database.server.connect(database=database.name) as connection:
        write_base(connection)
    async with serving(tmp_path, database) as backend:
        for by_hash in (True, False):
            found = {path: await _sizes(backend, path, by_hash=by_hash) for path in NAMES}
            assert {path: sizes for path, sizes in found.items() if sizes} == {
                b"/archive/39/Foo": [SIZES[UPPER]],
                b"/archive/39/foo": [SIZES[LOWER]],
                b"/archive/3b/303b": [SIZES[UNARCHIVED]],
                b"/archive/3a/303a": [SIZES[OFFLINE]],
            }


async def _sizes(backend: SidebandArchive, path: bytes, *, by_hash: bool) -> list[int]:
    directory, _, name = path.rpartition(b"/")
    places = [Place(directory, name)]
    pool = backend._catalogue._pool
    assert pool is not None
    (entries,) = queries.entries_found(places, await pool.ask(queries.look_up(places, by_hash=by_hash)))
    return [entry.size for entry in entries]


@in_reactor
async def test_without_a_hash_that_is_sams_names_are_found_all_the_same(
    daemon: Daemon, database: Sideband, tmp_path: Path
) -> None:
    """On a platform with other hashes; and that is counted."""
    async with serving(tmp_path, database) as backend:
        await store(backend, 300, DATA)
        daemon.to_tape(300)
        daemon.execute("UPDATE sam_file SET name_hash = 7")
        assert await locality(backend, 300) is Locality.TAPE
        assert backend._catalogue.counts["found only without name_hash"] == 1


@KINDS
@in_reactor
async def test_the_life_of_a_file(database: Sideband, tmp_path: Path) -> None:
    """New, archived, released, and staged again."""
    with Daemon(tmp_path, database) as daemon:
        async with serving(tmp_path, database) as backend:
            await store(backend, 12345, DATA)
            assert await locality(backend, 12345) is Locality.DISK
            path = daemon.hear_of(12345)
            assert await locality(backend, 12345) is Locality.DISK
            daemon.archive(path, copy=1, media_type="dk", vsn="disk01", position=5)
            daemon.archive(path, copy=0, media_type="li", vsn="A00017", position=77)
            assert await locality(backend, 12345) is Locality.DISK_AND_TAPE
            daemon.offline(path)
            status = await backend.status(12345)
            assert (status.locality, status.storage_media) == (Locality.TAPE, "tape")
            assert await backend.locate([12345]) == {12345: TapeLocation(medium="li.A00017", position=77, size=13)}
            daemon.online(path)
            assert await locality(backend, 12345) is Locality.DISK_AND_TAPE
            assert await backend.locate([12345]) == {12345: None}


@in_reactor
async def test_existence_is_the_mounts(daemon: Daemon, database: Sideband, tmp_path: Path) -> None:
    """A row without a file is nothing (2); a file without a row is new, and on disk (1)."""
    async with serving(tmp_path, database) as backend:
        await store(backend, 1, DATA)
        await store(backend, 2, DATA)
        daemon.to_tape(2)
        (tmp_path / "archive/file.2").unlink()
        assert await locality(backend, 1) is Locality.DISK
        with pytest.raises(errors.NotFound):
            await backend.status(2)
        assert await backend.locate([1, 2]) == {1: None, 2: None}


@in_reactor
async def test_a_row_of_another_size_is_older_than_the_file(daemon: Daemon, database: Sideband, tmp_path: Path) -> None:
    """It is of when the file was still being written (3), and what it says of residency is not believed."""
    async with serving(tmp_path, database) as backend:
        await store(backend, 300, DATA)
        path = daemon.hear_of(300, size=0)
        daemon.offline(path)
        status = await backend.status(300)
        assert (status.size, status.locality) == (len(DATA), Locality.DISK)


@in_reactor
async def test_a_replaced_file_is_told_by_its_inode(daemon: Daemon, database: Sideband, tmp_path: Path) -> None:
    """The row is of the version before, of the same size, which is on tape."""
    async with serving(tmp_path, database) as backend:
        await store(backend, 300, DATA)
        daemon.to_tape(300)
        assert await locality(backend, 300) is Locality.TAPE
        await store(backend, 300, DATA[::-1])
        assert await locality(backend, 300) is Locality.DISK
        assert await content(backend, 300) == DATA[::-1]


@in_reactor
async def test_where_the_mount_does_not_show_inodes_names_must_do(database: Sideband, tmp_path: Path) -> None:
    """Then a number that differs says nothing."""
    with Daemon(tmp_path, database, sees_inodes=False) as daemon:
        async with serving(tmp_path, database) as backend:
            await store(backend, 300, DATA)
            daemon.to_tape(300)
            assert await locality(backend, 300) is Locality.TAPE


@in_reactor
async def test_times_are_the_mounts(daemon: Daemon, database: Sideband, tmp_path: Path) -> None:
    """Nobody tells the daemon of utime() (4)."""
    async with serving(tmp_path, database) as backend:
        await store(backend, 300, DATA, mtime=784111777)
        path = daemon.hear_of(300)
        status = await backend.status(300)
        assert status.mtime == 784111777.0
        assert status.ctime == os.stat(f"{tmp_path}{os.fsdecode(path)}").st_ctime


@in_reactor
async def test_a_copy_older_than_the_file_is_none(daemon: Daemon, database: Sideband, tmp_path: Path) -> None:
    """C{stale} is 0 all the same (5)."""
    now = int(time.time())
    async with serving(tmp_path, database) as backend:
        await store(backend, 300, DATA)
        path = daemon.hear_of(300)
        daemon.archive(path, create_time=now - 86400)
        assert await locality(backend, 300) is Locality.DISK
        daemon.archive(path, copy=1, create_time=now + 1)
        assert await locality(backend, 300) is Locality.DISK_AND_TAPE


@in_reactor
async def test_a_partial_file_is_on_tape(daemon: Daemon, database: Sideband, tmp_path: Path) -> None:
    """Its first bytes can be read at once, and the rest cannot (6)."""
    async with serving(tmp_path, database) as backend:
        await store(backend, 300, DATA)
        daemon.to_tape(300)
        assert os.stat(tmp_path / "archive/2c/12c").st_blocks
        assert await locality(backend, 300) is Locality.TAPE


@in_reactor
async def test_nothing_is_on_disk(daemon: Daemon, database: Sideband, tmp_path: Path) -> None:
    """A file without bytes has none to release (7)."""
    async with serving(tmp_path, database) as backend:
        await store(backend, 300, b"")
        daemon.to_tape(300)
        status = await backend.status(300)
        assert (status.locality, status.storage_media, tuple(status.bytes_per_level)) == (
            Locality.DISK,
            "disk",
            (0, 0),
        )
        assert await content(backend, 300) == b""


@in_reactor
async def test_what_is_online_of_a_segmented_file_is_its_index(
    daemon: Daemon, database: Sideband, tmp_path: Path
) -> None:
    """Where its segments are is in no row that has its name (8): only the mount's blocks can tell."""
    async with serving(tmp_path, database) as backend:
        await store(backend, 300, DATA)
        path = daemon.path(300)
        daemon.mkdirs(path.rpartition(b"/")[0])
        daemon.create(path, ino=os.stat(f"{tmp_path}{os.fsdecode(path)}").st_ino, kind=SEGMENT_INDEX, size=512)
        daemon.segment(path, 13, online=0)
        assert await locality(backend, 300) is Locality.DISK
        daemon.offline(path)
        assert await locality(backend, 300) is Locality.TAPE


@in_reactor
async def test_hard_links(daemon: Daemon, database: Sideband, tmp_path: Path) -> None:
    """One inode, two names: both are the file (9)."""
    async with serving(tmp_path, database) as backend:
        await store(backend, 7, DATA)
        os.link(tmp_path / "archive/file.7", tmp_path / "archive/file.8")
        daemon.link(daemon.to_tape(7), daemon.path(8))
        assert [await locality(backend, file_id) for file_id in (7, 8)] == [Locality.TAPE] * 2


@pytest.mark.parametrize(
    "prefix",
    [b"/", b"archive", b"/deep/er/", b"/quo'te\"d", b"/100%_\\", "/Übung".encode(), b"/\x81\x8d\x90\xff"],
    ids=["root", "no slash before", "slash behind", "quotes", "wildcards", "UTF-8", "no code page"],
)
@in_reactor
async def test_prefixes(database: Sideband, tmp_path: Path, prefix: bytes) -> None:
    """They are names like any other (10, 14); files in the prefix itself, and below directories, are found."""
    from pacarchive.settings.converters import mount_path

    setting = mount_path(os.fsdecode(prefix))
    with Daemon(tmp_path, database, prefix=os.fsencode(setting)) as daemon:
        async with serving(tmp_path, database, sam_qfs_prefix=setting) as backend:
            assert not (await backend.health()).degraded
            for file_id in (255, 12345):
                await store(backend, file_id, DATA)
                daemon.to_tape(file_id)
                assert await locality(backend, file_id) is Locality.TAPE


@pytest.mark.parametrize("csum", ["", "0", None, "0123456789abcdef" * 2])
@in_reactor
async def test_sums_of_sam_are_nobodys_digest(
    daemon: Daemon, database: Sideband, tmp_path: Path, csum: str | None
) -> None:
    """Whatever stands there (12)."""
    async with serving(tmp_path, database) as backend:
        await store(backend, 300, DATA)
        path = daemon.hear_of(300)
        daemon.execute("UPDATE sam_inode SET csum = %s WHERE ino = %s", (csum, daemon.identity(path)[0]))
        assert set((await backend.status(300)).digests) == {"sha256"}


@in_reactor
async def test_polling_sees_tape_and_then_disk(database: Sideband, tmp_path: Path) -> None:
    """The daemon hears of a stage late (15)."""
    now = 1000.0
    with Daemon(tmp_path, database, clock=lambda: now) as daemon:
        async with serving(tmp_path, database) as backend:
            await store(backend, 300, DATA)
            path = daemon.to_tape(300)
            daemon.delay = 15
            daemon.online(path)
            seen = []
            for passed in range(0, 20, 5):
                daemon.pump(now + passed)
                seen.append(await locality(backend, 300))
            assert seen == [Locality.TAPE, Locality.TAPE, Locality.TAPE, Locality.DISK_AND_TAPE]


async def _left_over_inode(daemon: Daemon, backend: SidebandArchive) -> None:
    """The removal of a file was lost, and its inode has another generation now."""
    await store(backend, 300, DATA)
    path = daemon.hear_of(300)
    ino, gen = daemon.identity(path)
    daemon.execute("UPDATE sam_inode SET gen = gen + 1 WHERE ino = %s", (ino,))
    daemon.execute("UPDATE sam_file SET gen = gen + 1 WHERE ino = %s", (ino,))
    daemon.execute("INSERT INTO sam_inode VALUES (%s, %s, 0, %s, NULL, 0, 0, 0, 0, 0)", (ino, gen, len(DATA)))


async def _left_over_directory(daemon: Daemon, backend: SidebandArchive) -> None:
    """The inode of the directory once belonged to another, whose path and file of the same name are still there."""
    await store(backend, 300, DATA)
    path = daemon.hear_of(300)
    ino, gen = daemon.identity(path.rpartition(b"/")[0])
    daemon.execute("INSERT INTO sam_inode VALUES (%s, %s, 1, 4096, NULL, 0, 0, 0, 0, 1)", (ino, gen + 5))
    daemon.execute("INSERT INTO sam_path VALUES (%s, %s, %s)", (ino, gen + 5, b"/old/2c/"))
    entry = (ino, gen + 5, name_hash(b"12c"), b"12c")
    daemon.execute("INSERT INTO sam_file VALUES (%s, %s, %s, %s, 4000000, 1)", entry)
    daemon.execute("INSERT INTO sam_inode VALUES (4000000, 1, 0, %s, NULL, 0, 0, 0, 0, 0)", (len(DATA),))


async def _symbolic_link(daemon: Daemon, backend: SidebandArchive) -> None:
    """A link's target reads like the path of the directory."""
    await store(backend, 300, DATA)
    path = daemon.hear_of(300)
    daemon.symlink(b"/link", path.rpartition(b"/")[0] + b"/")


async def _repaired_path(daemon: Daemon, backend: SidebandArchive) -> None:
    """A repair has written the path without its slash, and for a directory that is gone too."""
    await store(backend, 300, DATA)
    directory = daemon.hear_of(300).rpartition(b"/")[0]
    daemon.execute("UPDATE sam_path SET path = %s WHERE path = %s", (directory, directory + b"/"))


@pytest.mark.parametrize(
    "trap", [_left_over_inode, _left_over_directory, _symbolic_link, _repaired_path], ids=lambda trap: trap.__name__[1:]
)
@in_reactor
async def test_traps(
    daemon: Daemon,
    database: Sideband,
    tmp_path: Path,
    trap: Callable[[Daemon, SidebandArchive], Awaitable[None]],
) -> None:
    """None of them wins: the file's own row says that it is on disk, and later that it is not."""
    async with serving(tmp_path, database) as backend:
        await trap(daemon, backend)
        assert await locality(backend, 300) is Locality.DISK
        assert len(await backend._catalogue.find(place_of("/archive", id_to_path(300)))) == 1
        ino = os.stat(f"{tmp_path}/archive{id_to_path(300)}").st_ino
        daemon.execute("UPDATE sam_inode SET online = 0 WHERE ino = %s ORDER BY gen DESC LIMIT 1", (ino,))
        assert await locality(backend, 300) is Locality.TAPE
