"""What is special to files in HPSS: names, classes, attributes, levels; and that nothing is opened for a status."""

from __future__ import annotations

import hashlib
import posixpath
import time
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from hpss_simulator import Kind
from simulated import INCOMING, PREFIX, serving, simulated
from surroundings import (
    checksum_attributes,
    made_between,
    neighbour,
    paths,
    running_archive,
    serving_from,
    settled,
    temporaries,
)
from threaded import log

from pacarchive import errors
from pacarchive.backends.contract.handling import (
    ABSENT,
    ALLOW,
    DENY,
    IDENTICAL,
    content,
    cut,
    in_reactor,
    matching,
    pattern,
    store,
)
from pacarchive.backends.hpss.archive import HpssArchive
from pacarchive.digests import PRIMARY
from pacarchive.ids import id_to_path
from pacarchive.model import Locality
from pacarchive.times import SECOND

__all__ = ["log"]  # the fixture

pytestmark = pytest.mark.usefixtures("log")

MIB = 1 << 20
DEEP = 0x012345
PLACE = PREFIX + id_to_path(DEEP)
WORDS = b"words"
SHA256 = hashlib.sha256(WORDS).hexdigest()


# Names and attributes


@pytest.mark.parametrize("file_id", [0, 1, 255, 256, DEEP, 2**31, 2**63, 2**64 - 1])
@in_reactor
async def test_the_place_of_an_id(tmp_path: Path, file_id: int) -> None:
    """The predecessor's, so that its archives can be served on; with no directory beside."""
    async with running_archive(tmp_path) as (archive, backend):
        before = paths(archive)
        status = await store(backend, file_id, WORDS)
        place = PREFIX + id_to_path(file_id)
        directories = place[len(PREFIX) + 1 :].split("/")[:-1]
        assert status.path == place
        assert paths(archive) - before == {
            place,
            *(posixpath.join(PREFIX, *directories[: depth + 1]) for depth in range(len(directories))),
        }
        assert archive.read(place) == WORDS


@pytest.mark.parametrize("prefix", ["/", f"{PREFIX}/", "/other/place"])
@in_reactor
async def test_the_prefix(tmp_path: Path, prefix: str) -> None:
    """The root too."""
    with simulated(tmp_path) as archive:
        archive.mkdir(prefix)
        async with serving_from(archive, prefix) as backend:
            status = await store(backend, DEEP, WORDS)
            assert status.path == prefix.rstrip("/") + id_to_path(DEEP)
            assert f"{prefix.rstrip('/')}/.pacarchive" in paths(archive)
            assert await content(backend, DEEP) == WORDS
            archive.write(f"{INCOMING}/file", b"more")
            await backend.move(1, f"{INCOMING}/file", ALLOW)
            assert await content(backend, 1) == b"more"
            await backend.remove(DEEP, ALLOW)
            assert await content(backend, DEEP) is None
            await settled(archive)


@in_reactor
async def test_what_a_file_has(tmp_path: Path) -> None:
    """Mode, times, and the digests as hpsssum, HSI and Globus keep theirs."""
    async with running_archive(tmp_path, digests=("md5",)) as (archive, backend):
        begun = int(time.time())
        status = await store(backend, DEEP, WORDS, mtime_ns=1000_900000000, algorithms=("adler32",))
        entry = archive.entry(PLACE)
        assert (entry.kind, entry.mode & 0o7777, entry.links, entry.mtime) == (Kind.FILE, 0o444, 1, 1000)
        attributes = entry.attributes
        assert begun <= int(attributes.pop("/hpss/user/cksum/lastupdate")) <= time.time()
        others = attributes.pop("/hpss/user/pacarchive/digests").split()
        assert attributes == {
            "/hpss/user/cksum/algorithm": "sha256",
            "/hpss/user/cksum/checksum": SHA256,
            "/hpss/user/cksum/errors": "0",
            "/hpss/user/cksum/state": "Valid",
            "/hpss/user/cksum/app": "pacarchive",
            "/hpss/user/cksum/filesize": "5",
        }
        assert {f"adler32={zlib.adler32(WORDS):08x}", f"md5={hashlib.md5(WORDS).hexdigest()}"} <= set(others)
        assert status == await backend.status(DEEP)
        assert (status.mtime_ns, set(status.digests)) == (1000 * SECOND, {PRIMARY, "md5", "adler32"})


@pytest.mark.parametrize(
    ("change", "digests"),
    [
        ({}, {"md5": hashlib.md5(WORDS).digest()}),
        (
            {"algorithm": "SHA1", "checksum": hashlib.sha1(WORDS).hexdigest().upper()},
            {"sha1": hashlib.sha1(WORDS).digest()},
        ),
        ({"state": "Invalid"}, {}),
        ({"filesize": "6"}, {}),
        ({"algorithm": "crc32"}, {}),
        ({"checksum": "unknown"}, {}),
    ],
)
@in_reactor
async def test_digests_of_others(tmp_path: Path, change: dict[str, str], digests: dict[str, bytes]) -> None:
    """Those that were valid for this size are told; and what is computed later is put beside them."""
    async with running_archive(tmp_path) as (archive, backend):
        with neighbour() as other:
            attributes = checksum_attributes("md5", WORDS) | {
                f"/hpss/user/cksum/{key}": value for key, value in change.items()
            }
            other.put(f"{PREFIX}/file.1", WORDS, attributes)
            assert (await backend.status(1)).digests == digests
            stored = await backend.open(1)
            assert stored.status.digests == digests
            await stored.remember({PRIMARY: hashlib.sha256(WORDS).digest()})
            stored.close()
            assert (await backend.status(1)).digests == digests | {PRIMARY: hashlib.sha256(WORDS).digest()}
            if digests:
                assert attributes.items() <= archive.entry(f"{PREFIX}/file.1").attributes.items()


@pytest.mark.parametrize(
    ("mtime_ns", "kept"), [(SECOND, 1), (SECOND * 2 - 1, 1), *((n * SECOND, n) for n in (2**31, 2**32 - 1))]
)
@in_reactor
async def test_times_that_hpss_keeps(tmp_path: Path, mtime_ns: int, kept: int) -> None:
    """Whole seconds in 32 bits without a sign; a fraction is cut off."""
    async with running_archive(tmp_path) as (archive, backend):
        assert (await store(backend, 1, WORDS, mtime_ns=mtime_ns)).mtime_ns == kept * SECOND
        assert (await backend.status(1)).mtime_ns == kept * SECOND
        assert archive.entry(f"{PREFIX}/file.1").mtime == kept


@pytest.mark.parametrize("mtime_ns", [2**32 * SECOND, 2**40 * SECOND, 2**100, SECOND - 1, 0, -1, -SECOND])
@in_reactor
async def test_times_that_it_does_not_keep(tmp_path: Path, mtime_ns: int) -> None:
    """They are refused, and what was there is still there; zero would be no time."""
    async with running_archive(tmp_path) as (archive, backend):
        before = paths(archive)
        with pytest.raises(errors.InvalidRequest):
            await store(backend, DEEP, WORDS, mtime_ns=mtime_ns)
        assert paths(archive) == before
        await store(backend, DEEP, WORDS)
        with pytest.raises(errors.InvalidRequest):
            await store(backend, DEEP, b"more", mtime_ns=mtime_ns)
        assert await content(backend, DEEP) == WORDS
        assert temporaries(archive) == []


# Classes of service


@pytest.mark.parametrize(
    ("size", "announced", "cos"), [(10, True, 1), (1000, True, 1), (1001, True, 2), (3000, True, 2), (3000, False, 1)]
)
@in_reactor
async def test_the_class_of_service_follows_the_size(tmp_path: Path, size: int, announced: bool, cos: int) -> None:
    """As long as it is known beforehand; also where it is larger than any class is made for."""
    async with running_archive(tmp_path) as (archive, backend):
        archive.set_class(1, max_size=1000)
        archive.set_class(2, min_size=1001, max_size=2000)
        for other in (3, 4):
            archive.set_class(other, min_size=2**40, max_size=2**41)
        if size > 2000:
            archive.set_class(2, max_size=5000)
        await store(backend, 1, pattern(size), announced=announced)
        assert archive.entry(f"{PREFIX}/file.1").cos == cos
        assert archive.entry(f"{PREFIX}/file.1").family == 0


@in_reactor
async def test_class_and_family_by_setting(tmp_path: Path) -> None:
    """Whatever the size."""
    async with running_archive(tmp_path, class_of_service=3, family=7) as (archive, backend):
        status = await store(backend, 1, WORDS)
        entry = archive.entry(f"{PREFIX}/file.1")
        assert (entry.cos, entry.family) == (3, 7)
        assert (status.media, status.bytes_per_level) == (("disk", "tape", "tape"), (5, 0, 0))


@pytest.mark.parametrize("announced", [True, False])
@in_reactor
async def test_a_file_that_is_too_large(tmp_path: Path, announced: bool) -> None:
    """Where the class enforces its limit."""
    async with running_archive(tmp_path, class_of_service=1) as (archive, backend):
        archive.set_class(1, max_size=1000, enforce_max=1)
        with pytest.raises(errors.TooLarge):
            await store(backend, 1, pattern(1001), announced=announced)
        assert f"{PREFIX}/file.1" not in paths(archive)
        assert temporaries(archive) == []
        await store(backend, 1, pattern(1000), announced=announced)


@pytest.mark.parametrize("size", [1001, 5 * MIB])
@in_reactor
async def test_a_disk_that_is_full(tmp_path: Path, size: int) -> None:
    """It is said so, nothing is left, and there is room for a smaller one."""
    async with running_archive(tmp_path) as (archive, backend):
        archive.set("disk_capacity", 1000)
        with pytest.raises(errors.NoSpace) as raised:
            await store(backend, 1, pattern(size), pieces=[[piece] for piece in cut(pattern(size), MIB)])
        assert raised.value.reason == "Can't write hpss file with error: HPSS_ENOSPACE (-28)"
        assert temporaries(archive) == []
        await store(backend, 1, pattern(1000))


# Directories and links


@in_reactor
async def test_only_a_write_makes_directories(tmp_path: Path) -> None:
    """Not a look, nor a write that is refused."""

    async def abort(backend: HpssArchive) -> None:
        incoming = await backend.receive(DEEP, 5, ALLOW, ())
        await incoming.write([WORDS])
        await incoming.abort()

    refused: list[Callable[[HpssArchive], Awaitable[object]]] = [
        lambda backend: backend.status(DEEP),
        lambda backend: backend.open(DEEP),
        lambda backend: backend.remove(DEEP, ALLOW),
        lambda backend: backend.remove(DEEP, matching("*")),
        lambda backend: store(backend, DEEP, WORDS, matching("*")),
        lambda backend: store(backend, DEEP, WORDS, expected={PRIMARY: bytes(32)}),
        lambda backend: backend.move(DEEP, f"{INCOMING}/missing", ALLOW),
        lambda backend: backend.locate([DEEP]),
        lambda backend: backend.recall(uuid4(), [DEEP]),
        abort,
    ]
    async with running_archive(tmp_path) as (archive, backend):
        before = paths(archive)
        for call in refused:
            with suppress(errors.ArchiveError):
                await call(backend)
            await settled(archive)
            assert paths(archive) == before
        for conditions in (DENY, ABSENT, IDENTICAL):
            await store(backend, DEEP, WORDS, conditions)
            assert paths(archive) > before
            await backend.remove(DEEP, ALLOW)


@pytest.mark.parametrize("size", [5, 5 * MIB])
@pytest.mark.parametrize("kind", ["link to a file", "link to nothing", "loop", "link to a file of ours", "directory"])
@in_reactor
async def test_what_is_no_file_is_left_alone(tmp_path: Path, kind: str, size: int) -> None:
    """
    Somebody put something else at an id's place: a link is nothing, which is not followed, and a new file takes its
    place; a directory is told, and stays.
    """
    async with running_archive(tmp_path) as (archive, backend):
        archive.write("/outside", b"secret")
        await store(backend, 1, b"ours")
        archive.mkdir(posixpath.dirname(PLACE))
        with neighbour() as other:
            match kind:
                case "link to a file":
                    other.symlink("/outside", PLACE)
                case "link to nothing":
                    other.symlink("/nothing", PLACE)
                case "loop":
                    other.symlink(PLACE, PLACE)
                case "link to a file of ours":
                    other.symlink(f"{PREFIX}/file.1", PLACE)
                case "directory":
                    archive.mkdir(PLACE)
        planted = archive.entry(PLACE).number
        for _ in range(2):
            for call in (
                lambda: backend.open(DEEP),
                lambda: backend.status(DEEP),
                lambda: backend.remove(DEEP, ALLOW),
            ):
                with pytest.raises(errors.NotFound) as caught:
                    await call()
                assert isinstance(caught.value, errors.NotAFile) is (kind == "directory")
            for conditions in (DENY, ABSENT, IDENTICAL):
                with pytest.raises(errors.NotAFile if kind == "directory" else errors.AlreadyExists):
                    await store(backend, DEEP, pattern(size), conditions)
        assert archive.entry(PLACE).number == planted
        if kind == "directory":
            with pytest.raises(errors.NotAFile):
                await store(backend, DEEP, pattern(size))
            assert archive.entry(PLACE).number == planted
        else:
            await store(backend, DEEP, pattern(size))
            assert await content(backend, DEEP) == pattern(size)
        assert archive.read("/outside") == b"secret"
        assert await content(backend, 1) == b"ours"
        assert "/nothing" not in paths(archive)
        assert temporaries(archive) == []


@pytest.mark.parametrize("place", ["45", "45/23"])
@in_reactor
async def test_directories_that_lead_outside(tmp_path: Path, place: str) -> None:
    """Nothing is read, written or removed through a symbolic link that somebody put on the way to an id."""
    async with running_archive(tmp_path) as (archive, backend):
        for name in ("12345", "23/12345"):
            archive.write(f"/outside/{name}", b"secret")
        archive.mkdir(posixpath.dirname(f"{PREFIX}/{place}"))
        with neighbour() as other:
            other.symlink("/outside", f"{PREFIX}/{place}")
        before = paths(archive, "/outside")
        for _ in range(2):
            for call in (
                lambda: backend.open(DEEP),
                lambda: backend.status(DEEP),
                lambda: backend.remove(DEEP, ALLOW),
            ):
                with pytest.raises(errors.NotFound):
                    await call()
        for file_id in (DEEP, 0x022345):
            with pytest.raises(errors.ArchiveError):
                await store(backend, file_id, WORDS)
        assert paths(archive, "/outside") == before
        for name in ("12345", "23/12345"):
            assert archive.read(f"/outside/{name}") == b"secret"
        assert temporaries(archive) == []


# What is told without opening


@in_reactor
async def test_a_status_costs_one_call(tmp_path: Path) -> None:
    """Once the digests of a version are known: to the one who wrote it at once, to another after a first look."""
    async with running_archive(tmp_path) as (archive, backend):
        await store(backend, DEEP, WORDS)
        before = archive.all_calls()
        await backend.status(DEEP)
        assert made_between(archive, before) == {"hpss_FileGetXAttributes": 1}
        async with serving(archive) as another:
            before = archive.all_calls()
            first = await another.status(DEEP)
            assert made_between(archive, before) == {
                "hpss_FileGetXAttributes": 2,
                "hpss_Lstat": 3,  # two directories are on the way
                "hpss_UserAttrGetAttrs": 1,
            }
            before = archive.all_calls()
            assert await another.status(DEEP) == first
            assert made_between(archive, before) == {"hpss_FileGetXAttributes": 1}
            await store(backend, DEEP, b"other")
            assert (await another.status(DEEP)).digests == {PRIMARY: hashlib.sha256(b"other").digest()}


@in_reactor
async def test_a_status_opens_and_stages_nothing(tmp_path: Path) -> None:
    """Whatever is asked of it, what is on tape stays there."""
    async with running_archive(tmp_path) as (archive, backend):
        ids = range(1, 101)
        archive.populate(100, 1000, PREFIX, name=lambda number: id_to_path(number)[1:])
        before = archive.all_calls()
        for file_id in ids:
            status = await backend.status(file_id)
            assert (status.locality, status.storage_media, tuple(status.bytes_per_level)) == (
                *(Locality.TAPE, "tape"),
                (0, 1000),
            )
            with pytest.raises(errors.Offline):
                await backend.open(file_id)
        await backend.locate(ids)
        await backend.poll(uuid4(), ids)
        assert (await backend.health()).ready
        made = made_between(archive, before)
        asking = {"hpss_GetAsyncStatus", "hpss_GetAsynchStatus", "hpss_GetLastHPSSErrno", "hpss_ClearLastHPSSErrno"}
        writing = {"hpss_Mkdir", "hpss_Rmdir"}  # with which its health sees that it could be written to
        assert made.keys() - asking - writing == {"hpss_FileGetXAttributes", "hpss_Lstat", "hpss_UserAttrGetAttrs"}
        assert archive.requests() == []
        assert archive.mounts() == 0


# Levels


@pytest.mark.parametrize(
    ("cos", "media", "on_tape"), [(1, ("disk", "tape"), (5,)), (3, ("disk", "tape", "tape"), (5, 5))]
)
@in_reactor
async def test_the_levels_of_a_file(tmp_path: Path, cos: int, media: tuple[str, ...], on_tape: tuple[int, ...]) -> None:
    """On disk, on both, on tape only, and back."""
    async with running_archive(tmp_path, class_of_service=cos) as (archive, backend):

        async def seen() -> tuple[Locality, tuple[int, ...]]:
            status = await backend.status(1)
            assert status.media == media
            return status.locality, tuple(status.bytes_per_level)

        etag = (await store(backend, 1, WORDS)).etag
        assert await seen() == (Locality.DISK, (5, *(0 for _ in on_tape)))
        archive.migrate(f"{PREFIX}/file.1")
        assert await seen() == (Locality.DISK_AND_TAPE, (5, *on_tape))
        archive.purge(f"{PREFIX}/file.1")
        assert await seen() == (Locality.TAPE, (0, *on_tape))
        with pytest.raises(errors.Offline):
            await backend.open(1)
        archive.stage(f"{PREFIX}/file.1")
        archive.clock.advance(3600)
        assert await seen() == (Locality.DISK_AND_TAPE, (5, *on_tape))
        assert await content(backend, 1) == WORDS
        assert (await backend.status(1)).etag == etag


@in_reactor
async def test_a_file_with_a_hole(tmp_path: Path) -> None:
    """It has fewer bytes than its size says, wherever they are."""
    async with running_archive(tmp_path) as (archive, backend):
        with neighbour() as other:
            other.put_sparse(f"{PREFIX}/file.1", 2 * MIB, WORDS)
        whole = bytes(2 * MIB - 5) + WORDS
        before = await backend.status(1)
        assert (before.size, before.locality) == (2 * MIB, Locality.DISK)
        assert 0 < before.bytes_per_level[0] < 2 * MIB
        assert await content(backend, 1) == whole
        archive.migrate(f"{PREFIX}/file.1")
        assert (await backend.status(1)).locality is Locality.DISK_AND_TAPE
        archive.purge(f"{PREFIX}/file.1")
        assert (await backend.status(1)).locality is Locality.TAPE
        with pytest.raises(errors.Offline):
            await backend.open(1)
        archive.stage(f"{PREFIX}/file.1")
        archive.clock.advance(3600)
        assert await content(backend, 1) == whole


@in_reactor
async def test_no_bytes_at_all(tmp_path: Path) -> None:
    """They are always at hand."""
    async with running_archive(tmp_path) as (archive, backend):
        status = await store(backend, 1, b"")
        assert (status.locality, status.storage_media) == (Locality.DISK, "disk")
        assert await content(backend, 1) == b""
        archive.migrate(f"{PREFIX}/file.1")
        archive.purge(f"{PREFIX}/file.1")
        assert await content(backend, 1) == b""


@pytest.mark.parametrize("size", [5, 5 * MIB])
@in_reactor
async def test_a_class_without_a_disk(tmp_path: Path, size: int) -> None:
    """It is told as on tape, and read from there: there is nothing to recall it to."""
    async with running_archive(tmp_path, class_of_service=4) as (_, backend):
        status = await store(backend, 1, pattern(size))
        assert (status.media, status.locality) == (("tape",), Locality.TAPE)
        assert await content(backend, 1) == pattern(size)
        await store(backend, 1, WORDS)
        assert await content(backend, 1) == WORDS
