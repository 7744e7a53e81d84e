"""Files that lie in HPSS already are moved in: from where they may come, and what becomes of them."""

from __future__ import annotations

import errno
import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path

import attrs
import pytest
from hpss_simulator import Archive
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from simulated import INCOMING, PREFIX, serving, simulated
from surroundings import TEMPORARIES, Neighbour, checksum_attributes, neighbour, paths, serving_from, settled
from threaded import log
from twisted.internet.threads import deferToThread

from pacarchive import errors
from pacarchive.backends.contract.handling import ALLOW, DENY, IDENTICAL, content, in_reactor, store
from pacarchive.backends.hpss import client
from pacarchive.backends.hpss.archive import HpssArchive
from pacarchive.backends.hpss.move import locate, resolve
from pacarchive.backends.hpss.session import session_of
from pacarchive.backends.hpss.tree import HpssTree
from pacarchive.digests import PRIMARY
from pacarchive.ids import id_to_path
from pacarchive.model import Locality, WriteConditions

__all__ = ["log"]  # the fixture

pytestmark = pytest.mark.usefixtures("log")

WORDS = b"words"
SOURCE = f"{INCOMING}/file"


@asynccontextmanager
async def running_archive(directory: Path) -> AsyncIterator[tuple[Archive, HpssArchive, Neighbour]]:
    """A backend, and somebody who puts things where it takes them from."""
    with simulated(directory) as archive:
        async with serving(archive) as backend:
            with neighbour() as other:
                yield archive, backend, other
            await settled(archive)


def tree_of(archive: Archive, *roots: str) -> HpssTree:
    """The blocking half of a backend that runs, with move roots of its own."""
    return HpssTree(session_of(archive.principal, str(archive.keytab)), PREFIX, roots)


# Where a path leads

NAMES = st.sampled_from(["a", "b", "c", "d"])
STEPS = st.lists(st.one_of(NAMES, st.sampled_from(["..", ".", ""])), min_size=1, max_size=5).map("/".join)


@attrs.frozen
class Made:
    """
    Something to be made in a tree.

    @ivar parent: A path to where.
    @ivar target: Of a symbolic link; C{None}: a directory.
    @ivar absolute: Whether the target is from the top of the tree.
    """

    parent: str
    name: str
    target: str | None = None
    absolute: bool = False
    is_file: bool = False


MADE = st.one_of(
    st.builds(Made, STEPS, NAMES),
    st.builds(Made, STEPS, NAMES, is_file=st.just(True)),
    st.builds(Made, STEPS, NAMES, target=STEPS.filter(bool), absolute=st.booleans()),
    st.builds(Made, st.just(""), NAMES, target=STEPS.filter(bool), absolute=st.booleans()),
)


BEGINNING = [
    *(Made("", "a"), Made("a", "b"), Made("a/b", "c", is_file=True), Made("a/b", "a", target="..")),
    *(Made("", "d", target="a/d"), Made("a", "d", target="../d")),
]


def make_locally(top: Path, entries: list[Made]) -> None:
    """Make what can be made."""
    top.mkdir(parents=True)
    for entry in entries:
        path = f"{top}/{entry.parent}/{entry.name}"
        # A path that climbs out of the tree, or leads nowhere, or is taken.
        with suppress(OSError):
            if not f"{os.path.realpath(os.path.dirname(path), strict=True)}/".startswith(f"{top}/"):
                continue
            if entry.target is not None:
                os.symlink(f"{top}/{entry.target}" if entry.absolute else entry.target, path)
            elif entry.is_file:
                Path(path).touch(exist_ok=False)
            else:
                os.mkdir(path)


def copy_to_hpss(local: Path, top: Path, archive: Archive, other: Neighbour) -> None:
    """Make the same in HPSS; what is at C{local} here is at the root there."""
    archive.mkdir(as_in_hpss(str(top), local))
    for directory, directories, files in os.walk(top):
        for name in directories + files:
            path = f"{directory}/{name}"
            there = as_in_hpss(path, local)
            if os.path.islink(path):
                target = os.readlink(path)
                other.symlink(as_in_hpss(target, local) if target.startswith("/") else target, there)
            elif name in directories:
                archive.mkdir(there)
            else:
                archive.write(there, b"")


def as_in_hpss(path: str, local: Path) -> str:
    """The name in HPSS of something below a local directory."""
    return path.removeprefix(str(local)) or "/"


@in_reactor
async def test_paths_lead_where_they_lead_on_a_local_disk(tmp_path: Path) -> None:
    """Over any directories, files and symbolic links, whole or broken; loops are refused."""
    outcomes: Counter[str] = Counter()
    local, numbers = (tmp_path / "local").resolve(), count()

    @given(entries=st.lists(MADE, max_size=12), asked=st.lists(STEPS, min_size=1, max_size=4))
    @settings(max_examples=200, deadline=None)
    def compare(entries: list[Made], asked: list[str]) -> None:
        top = local / "trees" / str(next(numbers))
        make_locally(top, [*BEGINNING, *entries])
        copy_to_hpss(local, top, archive, other)
        for steps in asked:
            path = f"{top}/{steps}"
            try:
                real = os.path.realpath(path, strict=True)
            except OSError as error:
                assume(error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
                expected: str | int | None = errno.ENOENT if error.errno == errno.ENOTDIR else error.errno
            else:
                assume(f"{real}/".startswith(f"{local}/"))
                expected = as_in_hpss(real, local)
            outcomes["exists" if isinstance(expected, str) else errno.errorcode[expected or 0]] += 1
            try:
                found, missing = resolve(tree, as_in_hpss(path, local))
            except errors.NotPermitted:
                assert expected == errno.ELOOP
            else:
                assert expected == (errno.ENOENT if missing else found)
                if not missing:
                    assert found == os.path.normpath(found)

    def compare_in_thread() -> None:
        client.thread_start()
        compare()
        client.thread_end()

    with simulated(tmp_path) as archive:
        async with serving(archive):
            other, tree = Neighbour(), tree_of(archive)
            await deferToThread(compare_in_thread)
    assert all(outcomes[each] > 5 for each in ("exists", "ENOENT", "ELOOP")), outcomes


@pytest.mark.parametrize(("links", "is_followed"), [(1, True), (40, True), (41, False)])
@in_reactor
async def test_as_many_links_as_the_kernel_follows(tmp_path: Path, links: int, is_followed: bool) -> None:
    """One after the other."""
    async with running_archive(tmp_path) as (archive, backend, other):
        other.put(f"{INCOMING}/0", WORDS)
        for number in range(links):
            other.symlink(str(number), f"{INCOMING}/{number + 1}")
        if is_followed:
            await backend.move(1, f"{INCOMING}/{links}", ALLOW)
            assert await content(backend, 1) == WORDS
        else:
            with pytest.raises(errors.NotPermitted):
                await backend.move(1, f"{INCOMING}/{links}", ALLOW)
            assert archive.read(f"{INCOMING}/0") == WORDS


# From where


@pytest.mark.parametrize(
    "source",
    [
        *("/outside/file", "/outside/missing", "/outside", "/", "/..", "/missing/missing", f"{INCOMING}2/file"),
        *(INCOMING, f"{INCOMING}/", f"{INCOMING}/.", f"{INCOMING}/../outside/file", f"{INCOMING}/directory/../.."),
        *(f"{INCOMING}/link", f"{INCOMING}/links/file", f"{INCOMING}/links/missing", f"{INCOMING}/nowhere"),
        *(f"{INCOMING}/loop", f"{INCOMING}/loop/file", f"{INCOMING}/missing/../../outside/file"),
        *(TEMPORARIES, f"{TEMPORARIES}/file", f"{TEMPORARIES}/missing", f"{INCOMING}/hidden/file"),
        *(f"{PREFIX}/./.pacarchive/file", f"{INCOMING}/../archive//.pacarchive/file", f"/x/../{TEMPORARIES}/file"),
    ],
)
@in_reactor
async def test_sources_outside(tmp_path: Path, source: str) -> None:
    """The answer is one and the same, whether or not there is something; and it stays."""
    async with running_archive(tmp_path) as (archive, backend, other):
        for path in ("/outside/file", f"{INCOMING}2/file", f"{TEMPORARIES}/file"):
            archive.write(path, WORDS)
        archive.mkdir(f"{INCOMING}/directory")
        other.symlink("/outside/file", f"{INCOMING}/link")
        other.symlink("../outside", f"{INCOMING}/links")
        other.symlink("/outside/missing", f"{INCOMING}/nowhere")
        other.symlink(f"{INCOMING}/loop", f"{INCOMING}/loop")
        other.symlink(TEMPORARIES, f"{INCOMING}/hidden")
        before = paths(archive)
        for conditions in (ALLOW, DENY, IDENTICAL):
            with pytest.raises(errors.NotPermitted) as raised:
                await backend.move(0x12345, source, conditions)
            assert raised.value.reason == "Can't move hpss file with error: [Errno 13] Permission denied"
            assert PREFIX not in str(raised.value)
        assert paths(archive) == before


@in_reactor
async def test_there_is_no_telling_what_is_outside(tmp_path: Path) -> None:
    """By the words of the answer."""
    async with running_archive(tmp_path) as (archive, backend, _):
        archive.write("/outside/file", WORDS)
        said = set()
        for source in ("/outside/file", "/outside/missing", "/outside", "/missing/missing", "/outside/file/below"):
            with pytest.raises(errors.NotPermitted) as raised:
                await backend.move(1, source, ALLOW)
            said.add((str(raised.value), raised.value.reason))
        assert len(said) == 1


@pytest.mark.parametrize(
    ("source", "error"),
    [
        *((text, errors.InvalidRequest) for text in ("", "file", "incoming/file", "./file", f"{SOURCE}\0", "\0")),
        *((f"{INCOMING}/{text}", errors.InvalidRequest) for text in ("\ud800", "directory", "to-directory")),
        *(
            (f"{INCOMING}/{text}", errors.NotFound)
            for text in ("missing", "file/below", "broken", "x" * 1000, "/x" * 999)
        ),
    ],
)
@in_reactor
async def test_sources_that_are_no_files(tmp_path: Path, source: str, error: type[errors.ArchiveError]) -> None:
    """Or no paths."""
    async with running_archive(tmp_path) as (archive, backend, other):
        other.put(SOURCE, WORDS)
        archive.mkdir(f"{INCOMING}/directory")
        other.symlink("directory", f"{INCOMING}/to-directory")
        other.symlink("missing", f"{INCOMING}/broken")
        before = paths(archive)
        with pytest.raises(error):
            await backend.move(0x12345, source, ALLOW)
        assert paths(archive) == before


@pytest.mark.parametrize(
    "source",
    [
        *(SOURCE, f"/{SOURCE}", f"{INCOMING}/./directory/..//file", f"{INCOMING}/link", f"{INCOMING}/up/incoming/file"),
        *("/outside/in/file", f"/outside/../{SOURCE}", f"{INCOMING}/\udcff", f"{INCOMING}/ö"),
    ],
)
@in_reactor
async def test_ways_to_a_source_inside(tmp_path: Path, source: str) -> None:
    """However they go; the links on them stay."""
    async with running_archive(tmp_path) as (archive, backend, other):
        real = SOURCE if source.isascii() else source
        other.put(real, WORDS)
        archive.mkdir(f"{INCOMING}/directory")
        archive.mkdir("/outside")
        other.symlink("file", f"{INCOMING}/link")
        other.symlink("..", f"{INCOMING}/up")
        other.symlink(INCOMING, "/outside/in")
        before = paths(archive)
        await backend.move(1, source, ALLOW)
        assert await content(backend, 1) == WORDS
        assert paths(archive) == before - {real} | {f"{PREFIX}/file.1"}


@in_reactor
async def test_move_roots_that_are_links(tmp_path: Path) -> None:
    """They stand for what they lead to when the service starts."""
    with simulated(tmp_path) as archive:
        async with serving(archive):
            with neighbour() as other:
                archive.mkdir("/real/in")
                archive.mkdir("/else")
                other.symlink("/real", "/link")
                other.symlink("in", "/real/again")
                for name in ("one", "two", "three"):
                    other.put(f"/real/in/{name}", WORDS)
                other.put("/real/outside", WORDS)
                async with serving_from(archive, roots=["/link/again", "/missing"]) as backend:
                    for file_id, source in enumerate(("/real/in/one", "/link/in/two", "/link/again/three")):
                        await backend.move(file_id, source, ALLOW)
                        assert await content(backend, file_id) == WORDS
                    for source in ("/real/outside", "/link/outside", "/link/again/../outside", SOURCE):
                        with pytest.raises(errors.NotPermitted):
                            await backend.move(4, source, ALLOW)
                    with pytest.raises(errors.NotFound):
                        await backend.move(4, "/missing/file", ALLOW)
                    await settled(archive)


@in_reactor
async def test_the_root_as_move_root(tmp_path: Path) -> None:
    """Then all may be moved but what is hidden."""
    with simulated(tmp_path) as archive:
        archive.write("/anywhere/file", WORDS)
        archive.write(f"{TEMPORARIES}/file", WORDS)
        async with serving_from(archive, roots=["/"]) as backend:
            await backend.move(1, "/anywhere/file", ALLOW)
            assert await content(backend, 1) == WORDS
            with pytest.raises(errors.NotPermitted):
                await backend.move(2, f"{TEMPORARIES}/file", ALLOW)
            with pytest.raises(errors.InvalidRequest):
                await backend.move(2, "/", ALLOW)
            await settled(archive)


@in_reactor
async def test_what_locate_makes_of_a_source(tmp_path: Path) -> None:
    """The path by which it is moved has no links in it: what they lead to may change meanwhile."""

    def look() -> str:
        client.thread_start()
        try:
            return locate(tree_of(archive, INCOMING), f"{INCOMING}/link/../link/file")
        finally:
            client.thread_end()

    async with running_archive(tmp_path) as (archive, _, other):
        archive.write(f"{INCOMING}/directory/file", WORDS)
        other.symlink("directory", f"{INCOMING}/link")
        assert await deferToThread(look) == f"{INCOMING}/directory/file"


@pytest.mark.parametrize(
    "source", [f"{PREFIX}/file", f"{INCOMING}/link", f"{INCOMING}/links/file", f"{PREFIX}/missing"]
)
@in_reactor
async def test_sources_in_the_archive(tmp_path: Path, source: str) -> None:
    """They may be other ids' files, and are taken only where that is allowed."""

    def look(from_archive: bool) -> str:
        client.thread_start()
        try:
            return locate(tree_of(archive, "/"), source, from_archive)
        finally:
            client.thread_end()

    async with running_archive(tmp_path) as (archive, backend, other):
        archive.write(f"{PREFIX}/file", WORDS)
        archive.write(f"{INCOMING}/file", WORDS)
        other.symlink(f"{PREFIX}/file", f"{INCOMING}/link")
        other.symlink(PREFIX, f"{INCOMING}/links")
        if not source.endswith("missing"):
            assert await deferToThread(look, True) == f"{PREFIX}/file"
        with pytest.raises(errors.InArchive):
            await deferToThread(look, False)
        await backend.move(0x12345, f"{INCOMING}/file", WriteConditions(from_archive=False))


# What becomes of it


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("conditions", [ALLOW, DENY, IDENTICAL], ids=lambda conditions: conditions.overwrite.value)
@in_reactor
async def test_another_fileset(tmp_path: Path, conditions: WriteConditions, taken: bool) -> None:
    """HPSS renames within one only: that is said, the source stays, and so does what the id holds."""
    async with running_archive(tmp_path) as (archive, backend, _):
        archive.mkdir(f"{INCOMING}/other", fileset=2)
        archive.write(f"{INCOMING}/other/file", WORDS)
        if taken and conditions is ALLOW:
            await store(backend, 0x12345, b"old words")
        with pytest.raises(errors.InvalidRequest) as raised:
            await backend.move(0x12345, f"{INCOMING}/other/file", conditions)
        assert raised.value.reason == "Can't move hpss file with error: HPSS_EXDEV (-18)"
        assert archive.read(f"{INCOMING}/other/file") == WORDS
        assert await content(backend, 0x12345) == (b"old words" if taken and conditions is ALLOW else None)


@in_reactor
async def test_a_file_on_tape_stays_there(tmp_path: Path) -> None:
    """It is neither recalled nor copied, and keeps its times and digests."""
    async with running_archive(tmp_path) as (archive, backend, other):
        other.put(SOURCE, WORDS, checksum_attributes("md5", WORDS))
        client.utime(SOURCE, 1000, 1000)
        archive.migrate(SOURCE)
        archive.purge(SOURCE)
        number = archive.entry(SOURCE).number
        calls = archive.all_calls()
        status = await backend.move(0x12345, SOURCE, DENY)
        assert (status.locality, status.mtime) == (Locality.TAPE, 1000)
        assert status.digests == {"md5": hashlib.md5(WORDS).digest()}
        assert status == await backend.status(0x12345)
        entry = archive.entry(PREFIX + id_to_path(0x12345))
        assert (entry.number, entry.mode & 0o777, entry.links) == (number, 0o444, 1)
        for name in ("hpss_Open", "hpss_StageCallBack", "hpss_Read", "hpss_Write"):
            assert archive.all_calls().get(name) == calls.get(name)
        assert archive.requests() == []


@pytest.mark.parametrize("has_digest", [True, False])
@pytest.mark.parametrize("source", [b"words", b"other"])
@pytest.mark.parametrize("on_tape", ["nothing", "source", "stored"])
@in_reactor
async def test_the_same_bytes_again(tmp_path: Path, source: bytes, on_tape: str, has_digest: bool) -> None:
    """They are compared by digests, or by reading, but nothing is recalled for that."""
    async with running_archive(tmp_path) as (archive, backend, other):
        await store(backend, 1, WORDS)
        other.put(SOURCE, source, checksum_attributes("sha256", source) if has_digest else {})
        if on_tape != "nothing":
            path = SOURCE if on_tape == "source" else f"{PREFIX}/file.1"
            archive.migrate(path)
            archive.purge(path)
        if source == WORDS and (has_digest or on_tape != "source"):
            status = await backend.move(1, SOURCE, IDENTICAL)
            assert status.digests == {PRIMARY: hashlib.sha256(WORDS).digest()}
            assert SOURCE not in paths(archive)
        else:
            with pytest.raises(errors.AlreadyExists):
                await backend.move(1, SOURCE, IDENTICAL)
            assert archive.read(SOURCE) == source
        assert archive.read(f"{PREFIX}/file.1") == WORDS
        assert archive.requests() == []


@pytest.mark.parametrize("conditions", [ALLOW, DENY, IDENTICAL], ids=lambda conditions: conditions.overwrite.value)
@in_reactor
async def test_a_file_onto_itself(tmp_path: Path, conditions: WriteConditions) -> None:
    """It is where it should be; also by another of its names, of which only that one goes."""
    async with running_archive(tmp_path) as (_archive, backend, _other):
        status = await store(backend, 1, WORDS)
        for source in (f"{PREFIX}/file.1", f"{PREFIX}/../{PREFIX}/file.1"):
            assert await backend.move(1, source, conditions) == status
        client.link(f"{PREFIX}/file.1", SOURCE)
        with suppress(errors.AlreadyExists):
            await backend.move(1, SOURCE, conditions)
        assert await content(backend, 1) == WORDS


@in_reactor
async def test_one_id_to_another(tmp_path: Path) -> None:
    """The archive itself is among the move roots."""
    async with running_archive(tmp_path) as (archive, backend, _):
        before = await store(backend, 1, WORDS)
        after = await backend.move(2, f"{PREFIX}/file.1", DENY)
        assert (after.digests, after.mtime) == (before.digests, before.mtime)
        assert await content(backend, 1) is None
        assert await content(backend, 2) == WORDS
        assert archive.entry(f"{PREFIX}/file.2").links == 1
